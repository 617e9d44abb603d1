"""Plants each bug, one at a time, and runs seeds until the simulation finds it.

    python -m tests.sim.mutants [NAME ...] [--seeds 2000] [--jobs N]
    python -m tests.sim.mutants --table         the same, as a table for docs/simulation.md

A mutant that survives is a hole in the tests: exit status 1.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.sim.mutant_list import MUTANTS
from tests.sim.planting import plant

CI_SEEDS = 2000
"""So many seeds run in CI; a mutant that none of them kills would go unseen."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one mutant: `seed` found it (None: none did) by `invariant`."""

    name: str
    seed: int | None
    invariant: str
    text: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line asks for."""
    options = _parser().parse_args(arguments)
    if options.plant:
        print(json.dumps(asdict(hunt(options.plant, options.first, options.seeds))))
        return 0
    names = options.names or list(MUTANTS)
    survivors = 0
    if options.table:
        print("| mutant | bug | seed | invariant |\n|---|---|---|---|")
    for outcome in outcomes(names, options.seeds, options.jobs):
        survivors += outcome.seed is None
        print(_row(outcome) if options.table else _line(outcome), flush=True)
    print(f"{len(names)} mutants, {len(names) - survivors} killed", file=sys.stderr)
    return 1 if survivors else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.sim.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these")
    parser.add_argument("--from", dest="first", type=int, default=1, help="the first seed")
    parser.add_argument("--seeds", type=int, default=CI_SEEDS, help="give up after so many")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--table", action="store_true", help="print a table")
    parser.add_argument("--plant", metavar="NAME", help="run one in this very process")
    return parser


def _line(outcome: Outcome) -> str:
    if outcome.seed is None:
        return f"{outcome.name:<34} SURVIVED"
    return f"{outcome.name:<34} seed {outcome.seed:<5} {outcome.invariant}: {outcome.text[:100]}"


def _row(outcome: Outcome) -> str:
    bug = MUTANTS[outcome.name].bug
    seed = "survived" if outcome.seed is None else outcome.seed
    return f"| {outcome.name} | {bug} | {seed} | {outcome.invariant} |"


def hunt(name: str, first: int, seeds: int) -> Outcome:
    """Plant a mutant in this process, and run seeds until one finds it."""
    plant(MUTANTS[name])
    from tests.sim.simulation import simulate  # noqa: PLC0415 - must come after planting

    for seed in range(first, first + seeds):
        violation = simulate(seed).violation
        if violation is not None:
            return Outcome(name, seed, violation.invariant, violation.text.splitlines()[0])
    return Outcome(name, None, "", "")


def outcomes(names: Sequence[str], seeds: int, jobs: int) -> Iterator[Outcome]:
    """Answer what becomes of these mutants, in order; each has a process of its own."""
    with ThreadPoolExecutor(jobs) as pool:
        yield from pool.map(lambda name: _outcome(name, seeds), names)


def _outcome(name: str, seeds: int) -> Outcome:
    command = [sys.executable, "-m", "tests.sim.mutants", "--plant", name, "--seeds", str(seeds)]
    root = Path(__file__).parents[2]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=root)
    if ran.returncode:
        raise RuntimeError(f"{name}: {ran.stderr}")
    return Outcome(**json.loads(ran.stdout))


if __name__ == "__main__":
    sys.exit(main())
