"""Plants each bug, one at a time, and runs seeds until the simulation finds it.

    python -m tests.sim.mutants [NAME ...] [--seeds 2000] [--jobs N]
    python -m tests.sim.mutants --table     the same, and writes the table of docs/simulation.md

The table is the record: the seed that killed a mutant last is tried first, which takes a second. It
kills no more where the program has come to send or to draw lots in another order; then all seeds of
CI are tried, from the first on. A mutant that survives them is a hole in the tests: exit status 1.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.sim.mutant_list import MUTANTS
from tests.sim.planting import plant

CI_SEEDS = 2000
"""So many seeds run in CI; a mutant that none of them kills would go unseen."""
ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "simulation.md"
HEAD = "| mutant | bug | seed | invariant |\n|---|---|---|---|\n"
_TABLE = re.compile(re.escape(HEAD) + r"(\|.*\n)*")


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
        print(json.dumps(asdict(hunt(options.plant, options.try_seed))))
        return 0
    names = options.names or list(MUTANTS)
    found = []
    for outcome in outcomes(names, range(1, options.seeds + 1), options.jobs):
        found.append(outcome)
        print(_line(outcome), flush=True)
    _tell_moved(found)
    if options.table:
        write_table(found)
    survivors = sum(outcome.seed is None for outcome in found)
    print(f"{len(names)} mutants, {len(names) - survivors} killed")
    return 1 if survivors else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.sim.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these")
    parser.add_argument("--seeds", type=int, default=CI_SEEDS, help="give up after so many")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--table", action="store_true", help=f"rewrite the table in {DOCUMENT}")
    parser.add_argument("--plant", metavar="NAME", help="run one in this very process ...")
    parser.add_argument("--try-seed", type=int, nargs="+", default=[], help="... with these seeds")
    return parser


def _line(outcome: Outcome) -> str:
    if outcome.seed is None:
        return f"{outcome.name:<34} SURVIVED"
    return f"{outcome.name:<34} seed {outcome.seed:<5} {outcome.invariant}: {outcome.text[:100]}"


def _tell_moved(found: Iterable[Outcome]) -> None:
    """Say whose recorded seed is out of date; that is no failure, but costs time in each run."""
    seeds = recorded()
    moved = [each.name for each in found if each.seed is None or each.seed != seeds.get(each.name)]
    if moved:
        print(f"recorded seeds to renew (--table): {', '.join(moved)}", file=sys.stderr)


# --- the record -----------------------------------------------------------------------------------


def recorded() -> dict[str, int]:
    """Answer which seed killed which mutant when the table was written."""
    rows = (row.split(" | ") for row in table_in(DOCUMENT.read_text(encoding="utf-8")).splitlines())
    return {row[0].removeprefix("| "): int(row[2]) for row in rows if row[2:] and row[2].isdigit()}


def table_in(text: str) -> str:
    """Answer the table in a document. Raise ValueError if there is none."""
    found = _TABLE.search(text)
    if found is None:
        raise ValueError("there is no table of mutants")
    return found[0]


def table_of(found: Iterable[Outcome]) -> str:
    """Answer a table of these outcomes."""
    return HEAD + "".join(_row(outcome) for outcome in found)


def _row(outcome: Outcome) -> str:
    seed = "survived" if outcome.seed is None else outcome.seed
    return f"| {outcome.name} | {MUTANTS[outcome.name].bug} | {seed} | {outcome.invariant} |\n"


def write_table(found: Sequence[Outcome]) -> None:
    """Replace the table in the document; `found` has all mutants, or else some rows would go."""
    if [outcome.name for outcome in found] != list(MUTANTS):
        raise SystemExit("--table needs all mutants, not some")
    text = DOCUMENT.read_text(encoding="utf-8")
    DOCUMENT.write_text(text.replace(table_in(text), table_of(found)), encoding="utf-8")


# --- the hunt -------------------------------------------------------------------------------------


def hunt(name: str, seeds: Iterable[int]) -> Outcome:
    """Plant a mutant in this process, and run seeds until one finds it."""
    plant(MUTANTS[name])
    from tests.sim.simulation import simulate  # noqa: PLC0415 - must come after planting

    for seed in seeds:
        violation = simulate(seed).violation
        if violation is not None:
            return Outcome(name, seed, violation.invariant, violation.text.splitlines()[0])
    return Outcome(name, None, "", "")


def outcomes(names: Sequence[str], seeds: Sequence[int], jobs: int) -> Iterator[Outcome]:
    """Answer what becomes of these mutants, in order; each has a process of its own."""
    known = recorded()

    def try_all(name: str) -> Outcome:
        first = [known[name]] if name in known else []
        return _outcome(name, [*first, *seeds])

    with ThreadPoolExecutor(jobs) as pool:
        yield from pool.map(try_all, names)


def _outcome(name: str, seeds: Sequence[int]) -> Outcome:
    command = [sys.executable, "-m", "tests.sim.mutants", "--plant", name]
    command += ["--try-seed", *map(str, seeds)] if seeds else []
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    if ran.returncode:
        raise RuntimeError(f"{name}: {ran.stderr}")
    return Outcome(**json.loads(ran.stdout))


if __name__ == "__main__":
    sys.exit(main())
