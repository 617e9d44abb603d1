"""Five machines live through a day in minutes: they join, leave, sleep, crash and are cut off.

    python -m tests.e2e.fast_motion --actions 500 --seed 7

Each action is drawn from a seed; the story is printed as it goes, so that a failing day can be
lived again. All the while a client of every machine submits tasks. At most two of the five are
away, asleep or cut off at a time, and the rest are checked to serve after each action; at the end
everybody comes back, and whatever was acknowledged has to be on every machine, once.
"""

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from paceline.errors import Conflict, PacelineError
from tests.e2e.cluster import wait_for
from tests.e2e.machines import Fleet, History, Machine, check, fleet, submitting
from tests.rigs.lan import Lan, unavailable

AWAY_LIMIT = 2
"""Of five: a majority is always connected."""
SERVED_S = 45.0
LEAVING = 0.15
"""The share of those who go that go for good."""
LEAVE_S = 2.0
PATIENCE_S = 30.0
PAUSE_S = (0.1, 1.5)
QUICK_LEASES = ("--lease-ms", "3000", "--grace-ms", "1000")


class Day:
    """Draws actions and carries them out."""

    def __init__(self, machines: Fleet, seed: int) -> None:
        self._machines = machines
        self._lots = random.Random(seed)
        self._ways_back: dict[int, Callable[[], None]] = {}
        """By host: how those who are away come back."""
        self._number = 0
        self.longest_wait_s = 0.0

    def act(self) -> None:
        """One action: somebody comes back, or goes in one of many ways."""
        self._number += 1
        full = len(self._ways_back) >= AWAY_LIMIT
        if self._ways_back and (full or self._lots.random() < 0.4):
            self._come_back(self._lots.choice(list(self._ways_back)))
        else:
            self._go(self._lots.choice(self._there()))
        time.sleep(self._lots.uniform(*PAUSE_S))
        self._served()

    def end(self) -> None:
        """Everybody comes back."""
        for host in list(self._ways_back):
            self._come_back(host)
        self._machines.lan.heal()
        self._machines.wait_converged()

    def _go(self, machine: Machine) -> None:
        ways = [self._stop, self._kill, self._power_off, self._sleep, self._cut, self._half_cut]
        if self._lots.random() < LEAVING:
            ways = [self._leave]
        way = self._lots.choice(ways)
        self._tell(f"{machine.name}: {way.__name__.strip('_')}")
        self._ways_back[machine.host] = way(machine)

    def _come_back(self, host: int) -> None:
        self._tell(f"{self._machines[host].name}: back")
        self._ways_back.pop(host)()

    def _there(self) -> list[Machine]:
        return [each for each in self._machines.machines if each.host not in self._ways_back]

    def _tell(self, what: str) -> None:
        print(f"{self._number:4} {what}", flush=True)

    def _served(self) -> None:
        """Those who are connected get something committed."""
        machine = self._lots.choice(self._there())
        began = time.monotonic()
        name = f"check-{self._number}"
        plan = f"description: {name}\nsubtasks: [{{name: a, tool: command, run: 'true'}}]\n"

        def submitted() -> str | None:
            try:
                return machine.submit(plan, key=name)
            except PacelineError:
                return None

        wait_for(f"{machine.name} to be served", submitted, SERVED_S)
        self.longest_wait_s = max(self.longest_wait_s, time.monotonic() - began)

    # --- ways to go, each answering the way back --------------------------------------------------

    def _stop(self, machine: Machine) -> Callable[[], None]:
        machine.stop()
        return lambda: self._start(machine)

    def _leave(self, machine: Machine) -> Callable[[], None]:
        """It goes for good, and comes back as another node that knows nothing."""
        assert machine.process is not None
        try:
            machine.client.post("node/leave", {"timeout_s": LEAVE_S})
        except Conflict as error:  # the only one who is trusted, or who cannot be spared
            self._tell(f"{machine.name}: may not leave, and stops: {error}")
            return self._stop(machine)
        machine.process.wait(timeout=PATIENCE_S)

        def back() -> None:
            options = machine.options
            machine.options = [*options, "--anew"]
            self._start(machine)
            machine.options = options
            # Until it votes, nobody else can be spared in its place.
            wait_for(f"{machine.name} to be a voter", lambda: votes(machine), PATIENCE_S)

        return back

    def _kill(self, machine: Machine) -> Callable[[], None]:
        machine.kill()
        return lambda: self._start(machine)

    def _power_off(self, machine: Machine) -> Callable[[], None]:
        machine.power_off()

        def back() -> None:
            machine.lan.replug(machine.host)
            self._start(machine)

        return back

    def _sleep(self, machine: Machine) -> Callable[[], None]:
        machine.freeze()
        return machine.thaw

    def _cut(self, machine: Machine) -> Callable[[], None]:
        machine.lan.unplug(machine.host)
        return lambda: machine.lan.replug(machine.host)

    def _half_cut(self, machine: Machine) -> Callable[[], None]:
        """It hears the others, who do not hear it."""
        for other in self._machines.others(machine):
            machine.lan.oneway(machine.host, other.host)
        return lambda: machine.lan.replug(machine.host)

    def _start(self, machine: Machine) -> None:
        machine.spawn()
        machine.wait_ready()


def votes(machine: Machine) -> bool:
    seen = machine.seen()
    return seen is not None and machine.node_id in seen["voters"]


def live(lan: Lan, directory: Path, *, actions: int, seed: int) -> History:
    """Live through a day of so many actions, and check what was promised in it."""
    print(f"fast motion: seed {seed}, {actions} actions", flush=True)
    with fleet(lan, directory, QUICK_LEASES) as machines:
        machines.start()
        day = Day(machines, seed)
        with submitting(machines.machines, "day", pause_s=1.0) as history:
            for _ in range(actions):
                day.act()
            day.end()
        check(machines, history, timeout_s=180)
        print(
            f"measured: {actions} actions, {len(history.acknowledged)} acknowledged submissions; "
            f"longest wait for a commit {day.longest_wait_s:.2f} s",
            flush=True,
        )
        return history


def main() -> None:
    """Run one day from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--actions", type=int, default=500)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    options = parser.parse_args()
    if reason := unavailable():
        sys.exit(reason)
    with tempfile.TemporaryDirectory() as directory, Lan(5) as lan:
        live(lan, Path(directory), actions=options.actions, seed=options.seed)


if __name__ == "__main__":
    main()
