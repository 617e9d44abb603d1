"""Many seeds of the engine's world: `python -m tests.engine.runner --from 1 --seeds 1000`."""

import argparse
import sys
import time
import traceback

from tests.engine.world import run


def main() -> int:
    """Answer 1 if any seed failed, each with its own command to play it again."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--from", dest="first", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=1000)
    chosen = parser.parse_args()
    begun_s, failed = time.monotonic(), []
    for seed in range(chosen.first, chosen.first + chosen.seeds):
        try:
            run(seed)
        except Exception:
            failed.append(seed)
            traceback.print_exc(limit=-3)
            print(f"seed {seed}: python -m tests.engine.runner --from {seed} --seeds 1")
            if len(failed) >= 10:
                break
    print(f"{chosen.seeds} seeds in {time.monotonic() - begun_s:.1f} s, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
