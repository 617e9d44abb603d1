"""The simulation finds nothing in the program, finds what is planted, and repeats itself."""

import itertools
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.sim import coverage, mutants, runner, story
from tests.sim.mutant_list import MUTANTS
from tests.sim.planting import Edit, Mutant, TextNotFound, edited, plant
from tests.sim.scenario import draw
from tests.sim.simulation import simulate

ROOT = Path(__file__).parents[2]
SEEDS = range(1, 61)

EARLY = (
    "two-votes-in-a-term",
    "vote-told-before-durable",
    "truncate-without-conflict",
    "acknowledged-before-durable",
    "minority-commits",
    "read-before-applied",
    "compaction-before-durable",
    "disk-that-lies",
)
"""Mutants that one of the first few seeds finds."""

CALM_SEED = next(seed for seed in itertools.count(1) if draw(seed).voters == 1)
"""One whose run has nothing that a minority could commit."""


def python(*arguments: str, hash_seed: str = "0") -> str:
    """Answer what a fresh interpreter prints."""
    ran = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
    )
    return ran.stdout


# --- the program ----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_no_invariant_is_violated(seed: int) -> None:
    verdict = simulate(seed)
    assert verdict.violation is None, "\n".join(story.report(verdict))


def test_the_runs_are_not_empty() -> None:
    """What is not reached is not tested: the first seeds see everything that matters."""
    totals = Counter[str]()
    for seed in SEEDS[:30]:
        totals.update(simulate(seed).counts)
    wanted = {
        "elections": 50,
        "truncations": 10,
        "snapshots installed": 10,
        "compactions": 50,
        "single changes": 10,
        "joint changes": 2,
        "crashes": 20,
        "pauses": 5,
        "reads": 500,
        "repeated requests": 50,
    }
    assert {what: totals[what] for what in wanted if totals[what] < wanted[what]} == {}


# --- determinism ----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [1, 2, 3, 7])
def test_a_seed_tells_the_same_story_twice(seed: int) -> None:
    first, second = simulate(seed), simulate(seed, story_lines=None)
    assert first.digest == second.digest
    assert first.story == second.story[-len(first.story) :]
    assert second.events > 100


def test_a_seed_tells_the_same_story_in_another_process() -> None:
    program = (
        "from tests.sim.simulation import simulate\n"
        "print(*(simulate(seed).digest for seed in (1, 2, 3)))"
    )
    here = [simulate(seed).digest for seed in (1, 2, 3)]
    assert python("-c", program, hash_seed="1").split() == here
    assert python("-c", program, hash_seed="4242").split() == here


def test_two_seeds_tell_two_stories() -> None:
    assert simulate(1).digest != simulate(2).digest


def test_processes_give_the_verdicts_that_one_gives() -> None:
    alone = [verdict.digest for verdict in runner.verdicts(range(1, 5), jobs=1)]
    together = [verdict.digest for verdict in runner.verdicts(range(1, 5), jobs=2)]
    assert alone == together


# --- the command ----------------------------------------------------------------------------------


def test_a_range_ends_with_the_count(capsys: pytest.CaptureFixture[str]) -> None:
    assert runner.main(["--from", "11", "--seeds", "3", "--jobs", "1"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "3 seeds, 0 violations"


def test_one_seed_tells_its_whole_story(capsys: pytest.CaptureFixture[str]) -> None:
    assert runner.main(["--seed", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 200
    assert any("VoteRequest(sender=" in line for line in lines)
    assert lines[-1] == "seed 1: no violation"


def test_one_seed_is_told_twice_to_the_byte() -> None:
    command = ("-m", "tests.sim.runner", "--seed", "17")
    told = python(*command, hash_seed="1")
    assert python(*command, hash_seed="4242") == told


def test_a_range_that_has_reached_too_little_fails(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coverage, "SEEDS", 3)
    monkeypatch.setattr(coverage, "LEAST", {"elections": 1, "moons risen": 2})
    assert runner.main(["--from", "11", "--seeds", "3", "--jobs", "1"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2:] == [
        "too seldom: moons risen, 0 times in 3 seeds; 2 are wanted",
        "3 seeds, 0 violations",
    ]


def test_a_small_range_is_asked_for_nothing_and_a_large_one_for_everything() -> None:
    assert list(coverage.too_seldom({}, coverage.SEEDS - 1)) == []
    assert len(list(coverage.too_seldom({}, coverage.SEEDS))) == len(coverage.LEAST)
    assert list(coverage.too_seldom(coverage.LEAST, coverage.SEEDS)) == []


def test_a_violation_is_reported_with_its_story_and_fails_the_run() -> None:
    program = (
        "import sys\n"
        "from tests.sim.mutant_list import MUTANTS\n"
        "from tests.sim.planting import plant\n"
        "plant(MUTANTS['minority-commits'])\n"
        "from tests.sim.runner import main\n"
        "print(main(['--from', '1', '--seeds', '12', '--jobs', '1']))"
    )
    lines = python("-c", program).splitlines()
    assert lines[-1] == "1"
    assert lines[-2].startswith("12 seeds, ")
    assert lines[-2] != "12 seeds, 0 violations"
    assert any(line.startswith("seed ") and "a quorum has what is" in line for line in lines)
    assert any("replay: python -m tests.sim.runner --seed " in line for line in lines)


# --- planted bugs ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(MUTANTS))
def test_a_mutant_fits_the_source(name: str) -> None:
    """Where it does not, the program was changed: look at the mutant again."""
    mutant = MUTANTS[name]
    for module in {edit.module: None for edit in mutant.edits}:
        compile(edited(module, mutant.edits), module, "exec")


def test_there_are_mutants_of_every_kind() -> None:
    assert len(MUTANTS) >= 50
    assert len({mutant.bug for mutant in MUTANTS.values()}) == len(MUTANTS)


def test_a_text_that_is_not_there_is_an_error() -> None:
    gone = Mutant("gone", "", (Edit("paceline.consensus.quorum", "no such text", ""),))
    with pytest.raises(TextNotFound, match="0 times"):
        edited("paceline.consensus.quorum", gone.edits)


def test_a_module_that_is_imported_cannot_be_planted() -> None:
    with pytest.raises(RuntimeError, match="imported already"):
        plant(MUTANTS["minority-commits"])


@pytest.mark.parametrize("name", EARLY)
def test_an_early_mutant_is_killed(name: str) -> None:
    seeds = map(str, SEEDS)
    outcome = json.loads(python("-m", "tests.sim.mutants", "--plant", name, "--try-seed", *seeds))
    assert outcome["seed"] is not None, f"{name} survived"


def test_a_survivor_is_a_failure(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mutants, "recorded", dict)
    late = "stale-leader-not-told"
    assert mutants.main([late, "--seeds", "1", "--jobs", "1"]) == 1
    printed = capsys.readouterr()
    assert "SURVIVED" in printed.out
    assert printed.out.splitlines()[-1] == "1 mutants, 0 killed"
    assert "to renew (--table): stale-leader-not-told" in printed.err


def test_a_recorded_seed_that_kills_no_more_is_followed_by_a_hunt(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mutants, "recorded", lambda: {"minority-commits": CALM_SEED})
    assert mutants.main(["minority-commits", "--seeds", "60", "--jobs", "1"]) == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines()[-1] == "1 mutants, 1 killed"
    assert "to renew (--table): minority-commits" in printed.err


def test_the_table_in_the_document_has_every_mutant_with_its_bug_and_its_seed() -> None:
    """`make mutants` checks the seeds; here, that nobody has added or renamed a mutant since."""
    text = mutants.DOCUMENT.read_text(encoding="utf-8")
    rows = mutants.table_in(text).splitlines()[2:]
    cells = [row.strip("| ").split(" | ") for row in rows]
    assert [(name, bug) for name, bug, *_ in cells] == [(m.name, m.bug) for m in MUTANTS.values()]
    assert list(mutants.recorded()) == list(MUTANTS)
    assert all(len(row) == 4 and row[3] for row in cells)


def test_a_table_is_written_only_of_all_mutants() -> None:
    outcome = mutants.Outcome("minority-commits", 4, "a quorum has what is committed", "")
    row = "| minority-commits | what half of the voters have is committed | 4 | a quorum has what"
    assert mutants.table_of([outcome]).splitlines()[2].startswith(row)
    with pytest.raises(SystemExit, match="needs all"):
        mutants.write_table([outcome])
