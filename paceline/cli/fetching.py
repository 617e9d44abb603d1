"""Bringing a result's commits into a person's own repository, with the person's own git.

Only a branch is made or moved on: neither the checkout nor the index is touched, and a branch that
is checked out or has other commits is refused.
"""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from paceline.cli.format import changed
from paceline.client import Client, Document
from paceline.errors import Conflict, InputError, NotFound, PacelineError

_TITLE_LENGTH = 100


def take_branch(
    client: Client, path: str, subtask: str, document: Document, *, name: str, repo: str | None
) -> Document:
    """Fetch the result at REST `path` into the branch `name`; answer what was done.

    Raise InputError for a name or repository that cannot be used, Conflict for a branch that has
    other commits.
    """
    repository = _find_repository(document, repo)
    _check_name(repository, name)
    since = document["base"] if _has(repository, document["base"]) else ""
    if not _has(repository, document["commit"]):
        with tempfile.TemporaryDirectory(prefix="paceline-result-") as place:
            bundle = Path(place) / "bundle"
            with bundle.open("wb") as file:
                head = client.download(f"{path}/bundle", file, subtask=subtask, since=since)
            _fetch(repository, str(bundle), f"{head['x-paceline-ref']}:refs/heads/{name}", name)
    else:
        commit = f"{document['commit']}:refs/heads/{name}"
        _fetch(repository, ".", commit, name)
    counted = _git(repository, "rev-list", "--count", f"{document['base']}..{document['commit']}")
    return {
        "name": name,
        "repository": str(repository),
        "commit": document["commit"],
        "base": document["base"],
        "commits": int(counted),
    }


def open_pull_request(document: Document, *, remote: str) -> str:
    """Push the branch that was taken and open a pull request; answer its address.

    Raise PacelineError where the push is refused, or there is no `gh`.
    """
    branch, repository = document["branch"]["name"], Path(document["branch"]["repository"])
    pushed = _run(repository, "git", "push", remote, f"refs/heads/{branch}:refs/heads/{branch}")
    if pushed.returncode != 0:
        raise PacelineError(f"git push {remote} {branch} failed: {_words(pushed)}")
    if shutil.which("gh") is None:
        raise PacelineError(
            f"the branch {branch} is pushed to {remote}, but there is no `gh` here to open a pull "
            "request: install it (https://cli.github.com), or open it by hand"
        )
    title = document["description"].strip().partition("\n")[0][:_TITLE_LENGTH]
    body = _body(document)
    asked = ("gh", "pr", "create", "--head", branch, "--title", title or branch, "--body", body)
    opened = _run(repository, *asked)
    if opened.returncode != 0:
        raise PacelineError(f"the branch {branch} is pushed, but gh said: {_words(opened)}")
    return opened.stdout.strip()


def _body(document: Document) -> str:
    lines = [document["description"].strip(), "", f"Paceline task {document['task_id']}:", ""]
    for each in document["subtasks"]:
        done = ", ".join(filter(None, (each["status"], changed(each["change"]))))
        lines.append(f"- {each['name']}: {done}")
    return "\n".join(lines)


def _find_repository(document: Document, repo: str | None) -> Path:
    """Answer the repository that is meant. Raise InputError where there is none."""
    if repo is not None:
        return _top(Path(repo))
    source = Path(document["repository"]["source"])
    for place in (Path.cwd(), source):
        found = _top_or_none(place)
        if found is not None and _has(found, document["base"]):
            return found
    if (found := _top_or_none(source)) is not None:
        return found
    raise InputError(
        f"neither this directory nor {source} is a repository with commit "
        f"{document['base'][:12]}: name it with --repo"
    )


def _top(place: Path) -> Path:
    found = _top_or_none(place)
    if found is None:
        raise InputError(f"{place} is not a git repository")
    return found


def _top_or_none(place: Path) -> Path | None:
    if not place.is_dir():
        return None
    found = _run(place, "git", "rev-parse", "--absolute-git-dir", "--show-toplevel")
    lines = found.stdout.split("\n")
    if found.returncode == 0:
        return Path(lines[1])
    return Path(lines[0]) if lines[0] else None  # bare: there is no top level


def _check_name(repository: Path, name: str) -> None:
    if _run(repository, "git", "check-ref-format", f"refs/heads/{name}").returncode != 0:
        raise InputError(f"{name!r} cannot be the name of a branch")


def _has(repository: Path, commit: str) -> bool:
    return _run(repository, "git", "cat-file", "-e", f"{commit}^{{commit}}").returncode == 0


def _fetch(repository: Path, source: str, refspec: str, branch: str) -> None:
    asked = ("fetch", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance")
    done = _run(repository, "git", *asked, source, refspec)
    if done.returncode == 0:
        return
    said = _words(done)
    if "checked out" in said:
        raise Conflict(f"the branch {branch} is checked out: choose another name")
    if "non-fast-forward" in said or "rejected" in said:
        raise Conflict(f"the branch {branch} has other commits: choose another name, or delete it")
    if "prerequisite" in said:
        raise NotFound(f"{repository} does not have what the result builds on: {said}")
    raise PacelineError(f"git fetch failed: {said}")


def _git(repository: Path, *arguments: str) -> str:
    done = _run(repository, "git", *arguments)
    if done.returncode != 0:
        raise PacelineError(f"git {arguments[0]} failed: {_words(done)}")
    return done.stdout.strip()


def _run(directory: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    try:
        return subprocess.run(
            command,
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    except FileNotFoundError as error:
        raise PacelineError(f"there is no {command[0]} on this machine's PATH") from error


def _words(done: subprocess.CompletedProcess[str]) -> str:
    return " ".join((done.stderr or done.stdout).split())[:1000]
