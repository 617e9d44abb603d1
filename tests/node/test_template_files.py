"""People's own templates, from the configuration directory and from a repository."""

from pathlib import Path

import pytest

from paceline.errors import InvalidPlan
from paceline.node.template_files import FILE_LIMIT_BYTES, IN_REPOSITORY, TemplateFiles
from paceline.tasks import plan
from paceline.tasks.draft import SHIPPED_TOOLS, RepositoryDraft

MINE = """
summary = "Release it"
tool = ["codex", "ollama"]

[[subtasks]]
name = "Check"
tool = "command"
run = "make check # {description}"
timeout_s = 60

[[subtasks]]
name = "Notes"
needs = "Check"
instructions = "Write the notes of {description}."
checkpoint = true
"""


@pytest.fixture
def files(tmp_path: Path) -> TemplateFiles:
    (tmp_path / "user").mkdir()
    (tmp_path / "repository" / IN_REPOSITORY).mkdir(parents=True)
    return TemplateFiles(tmp_path / "user", lambda: SHIPPED_TOOLS)


def write(directory: Path, name: str, text: str) -> Path:
    file = directory / f"{name}.toml"
    file.write_text(text)
    return file


def test_a_template_of_ones_own_is_expanded_like_a_shipped_one(
    files: TemplateFiles, tmp_path: Path
) -> None:
    write(tmp_path / "user", "release", MINE)
    options = plan.PlanOptions(own_template=files.find, terms={"model": "m"})
    draft = plan.from_description("version $(2)", "release", options=options)
    check, notes = draft.subtasks
    assert (check.tools, check.run) == (("command",), "make check # {description}"), "taken as is"
    assert (check.timeout_s, check.settings) == (60.0, {})
    assert notes.instructions == "Write the notes of version $(2)."
    assert (notes.tools, notes.needs) == (("codex", "ollama"), ("Check",))
    assert notes.settings == {"checkpoint": True, "model": "m"}


def test_a_repositorys_goes_before_the_users_and_that_before_a_shipped_one(
    files: TemplateFiles, tmp_path: Path
) -> None:
    repository = RepositoryDraft(str(tmp_path / "repository"))
    write(tmp_path / "user", "bug_fix", MINE)
    mine = {each["name"]: each for each in files.listing()}
    assert (mine["bug_fix"]["origin"], mine["bug_fix"]["replaces"]) == ("user", "shipped")
    assert mine["testing"]["origin"] == "shipped"
    theirs = write(tmp_path / "repository" / IN_REPOSITORY, "bug_fix", MINE)
    found = files.find("bug_fix", repository)
    assert found is not None
    assert (found.origin, found.path) == ("repository", str(theirs))
    listed = {each["name"]: each for each in files.listing(repository)}
    assert (listed["bug_fix"]["origin"], listed["bug_fix"]["replaces"]) == ("repository", "user")
    draft = plan.parse(
        f"{{type: bug_fix, description: d, repository: {tmp_path / 'repository'}}}",
        options=plan.PlanOptions(own_template=files.find),
    )
    assert [each.name for each in draft.subtasks] == ["Check", "Notes"]


def test_one_that_is_wrong_is_listed_with_its_line_and_refused(
    files: TemplateFiles, tmp_path: Path
) -> None:
    wrong = write(tmp_path / "user", "release", MINE.replace('"Check"\ninst', '"Chek"\ninst'))
    (listed,) = [each for each in files.listing() if each["name"] == "release"]
    assert "line 13" in listed["problem"]
    assert '"Notes" needs "Chek"' in listed["problem"]
    with pytest.raises(InvalidPlan, match='needs "Chek"') as refused:
        plan.from_description("x", "release", options=plan.PlanOptions(own_template=files.find))
    assert str(wrong) in str(refused.value)


def test_what_is_no_plain_small_file_is_not_read(files: TemplateFiles, tmp_path: Path) -> None:
    secret = write(tmp_path, "secret", MINE)
    repository = RepositoryDraft(str(tmp_path / "repository"))
    place = tmp_path / "repository" / IN_REPOSITORY
    (place / "link.toml").symlink_to(secret)
    write(place, "large", MINE + "#" * FILE_LIMIT_BYTES)
    write(place, "plan", MINE)
    write(place, "Bad Name", MINE)
    for name in ("link", "large", "../user/x", "missing"):
        assert files.find(name, repository) is None
    told = {each["name"]: each.get("problem") for each in files.listing(repository)}
    assert "plain file" in str(told["link"])
    assert "plain file" in str(told["large"])
    assert not {"plan", "Bad Name"} & told.keys()
