"""Runs seeds: many on all cores, or one with its whole story.

    python -m tests.sim.runner --from 1 --seeds 2000 [--jobs N]
    python -m tests.sim.runner --seed 17

The last line of a range is `N seeds, N violations`. Exit status 1 if there is any violation, or if
a range of CI's size has not reached all that it should (see `coverage`).
"""

import argparse
import gc
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence

from tests.sim import story
from tests.sim.coverage import too_seldom
from tests.sim.simulation import Verdict, simulate

MANY = 10
"""So many violations are told in full; of the others, one line."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for."""
    options = _parser().parse_args(arguments)
    if options.seed is not None:
        return run_one(options.seed)
    return run_range(range(options.first, options.first + options.seeds), options.jobs)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.sim.runner", description=__doc__)
    parser.add_argument("--from", dest="first", type=int, default=1, help="the first seed")
    parser.add_argument("--seeds", type=int, default=200, help="how many")
    parser.add_argument("--seed", type=int, help="run one, and print its whole story")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    return parser


def run_one(seed: int) -> int:
    """Run one seed and print everything that happened in it."""
    verdict = simulate(seed, story_lines=None)
    print(verdict.scenario)
    for line in story.lines(verdict.story):
        print(line)
    print(f"{verdict.events} events, {verdict.operations} operations, digest {verdict.digest}")
    print(f"seed {seed}: {verdict.violation or 'no violation'}")
    return 1 if verdict.violation else 0


def run_range(seeds: range, jobs: int) -> int:
    """Run a range of seeds and print what was found."""
    started, violations, totals = time.monotonic(), 0, Counter[str]()
    for verdict in verdicts(seeds, jobs):
        totals.update(verdict.counts)
        totals.update(events=verdict.events, committed=verdict.committed)
        totals.update(operations=verdict.operations)
        if verdict.violation is not None:
            violations += 1
            for line in list(story.report(verdict))[: None if violations <= MANY else 1]:
                print(line, flush=True)
    seconds = time.monotonic() - started
    print(", ".join(f"{what} {count}" for what, count in sorted(totals.items())))
    print(f"{seconds:.1f} s, {len(seeds) / seconds:.1f} seeds/s")
    seldom = list(too_seldom(totals, len(seeds)))
    print(*seldom, sep="\n", end="\n" if seldom else "")
    print(f"{len(seeds)} seeds, {violations} violations")
    return 1 if violations or seldom else 0


def verdicts(seeds: Sequence[int], jobs: int) -> Iterator[Verdict]:
    """Answer each seed's verdict, in order."""
    if jobs <= 1:
        yield from map(_simulate, seeds)
        return
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        yield from pool.imap(_simulate, seeds, chunksize=8)


def _simulate(seed: int) -> Verdict:
    """Run one seed without the collector's pauses: a run is small, and freed as a whole."""
    gc.disable()
    try:
        return simulate(seed)
    finally:
        gc.enable()


if __name__ == "__main__":
    sys.exit(main())
