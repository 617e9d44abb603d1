"""Five machines, and every way in which the network between them breaks.

The cluster is to serve wherever a quorum is connected, nothing that was acknowledged may be lost,
and all agree again soon after each heal. One cluster goes through one fault after another while a
client of every machine goes on submitting; at the end, all that any of them was told is looked for
on every machine.

What is promised (a commit within 2.5 s of the leader's silent loss, agreement within 5 s of a heal)
is printed by each run and not asserted: the machine that runs this may be busy. `-s` shows it.
"""

import time
from pathlib import Path

import pytest

from tests.e2e.machines import (
    Fleet,
    History,
    check,
    first_commit,
    fleet,
    hosts,
    powerless,
    say,
    submitting,
    wait_until,
)
from tests.rigs.fixtures import MakeLan

pytestmark = [pytest.mark.e2e, pytest.mark.netns, pytest.mark.timeout(300)]


def heal(machines: Fleet, after: str) -> None:
    machines.lan.heal()
    say(f"all agree after {after}", machines.wait_converged())


def test_whoever_is_with_a_majority_is_served(make_lan: MakeLan, tmp_path: Path) -> None:
    with fleet(make_lan(5), tmp_path) as machines:
        say("five machines from start to five voters", machines.start())
        with submitting(machines.machines, "part", pause_s=0.3) as history:
            the_leader_and_one_more_are_cut_off(machines, history)
            a_follower_is_alone(machines, history)
            for _ in range(3):
                the_leader_is_alone(machines, history)
            everybody_is_alone(machines, history)
        check(machines, history)


def the_leader_and_one_more_are_cut_off(machines: Fleet, history: History) -> None:
    leader = machines.leader()
    follower, *majority = machines.others(leader)
    machines.lan.partition(hosts([leader, follower]), hosts(majority))
    cut_s = time.monotonic()
    say("first commit of the other three", first_commit(history, cut_s, majority[0]))
    assert machines.leader(majority) in majority
    wait_until("the minority knows", lambda: powerless(leader) and powerless(follower))
    heal(machines, "two of five were cut off")


def a_follower_is_alone(machines: Fleet, history: History) -> None:
    leader = machines.leader()
    lone = machines.others(leader)[0]
    term = leader.status()["term"]
    machines.lan.unplug(lone.host)
    cut_s = time.monotonic()
    say("first commit without one follower", first_commit(history, cut_s, leader))
    wait_until("it knows", lambda: powerless(lone))
    heal(machines, "a follower was alone")
    # It asked for votes all the while, and nobody had to listen (Ongaro's thesis, section 9.6).
    assert machines.leader().status()["term"] == term


def the_leader_is_alone(machines: Fleet, history: History) -> None:
    leader = machines.leader()
    survivor = machines.others(leader)[0]
    machines.lan.unplug(leader.host)
    cut_s = time.monotonic()
    say("first commit after the leader's loss", first_commit(history, cut_s, survivor))
    heal(machines, "the leader was alone")


def everybody_is_alone(machines: Fleet, history: History) -> None:
    machines.lan.partition(*[[host] for host in machines.lan.hosts])
    wait_until("all know", lambda: all(powerless(machine) for machine in machines.machines))
    assert not any(machine.seen() is None for machine in machines.machines)
    machines.lan.heal()
    healed_s = time.monotonic()
    say("all agree after everybody was alone", machines.wait_converged())
    say("first commit after it", first_commit(history, healed_s, machines[1]))


def test_one_way_losses_and_bridges_stop_nobody_who_is_with_a_majority(
    make_lan: MakeLan, tmp_path: Path
) -> None:
    with fleet(make_lan(5), tmp_path) as machines:
        machines.start()
        with submitting(machines.machines, "odd", pause_s=0.3) as history:
            the_leader_is_not_heard(machines, history)
            the_leader_hears_nobody(machines, history)
            a_follower_does_not_hear_the_leader(machines, history)
            two_sides_share_one_machine(machines, history)
            all_hear_one_machine_only(machines, history)
        check(machines, history)


def the_leader_is_not_heard(machines: Fleet, history: History) -> None:
    leader = machines.leader()
    others = machines.others(leader)
    for other in others:
        machines.lan.oneway(leader.host, other.host)
    cut_s = time.monotonic()
    say("first commit after the leader fell mute", first_commit(history, cut_s, others[0]))
    assert machines.leader(others) in others
    heal(machines, "the leader was mute")


def the_leader_hears_nobody(machines: Fleet, history: History) -> None:
    leader = machines.leader()
    others = machines.others(leader)
    for other in others:
        machines.lan.oneway(other.host, leader.host)
    cut_s = time.monotonic()
    say("first commit after the leader fell deaf", first_commit(history, cut_s, others[0]))
    heal(machines, "the leader was deaf")


def a_follower_does_not_hear_the_leader(machines: Fleet, history: History) -> None:
    leader = machines.leader()
    follower, *others = machines.others(leader)
    term = leader.status()["term"]
    machines.lan.oneway(leader.host, follower.host)
    wait_until("it lost its leader", lambda: powerless(follower))
    since_s = time.monotonic()
    for machine in (leader, *others):
        first_commit(history, since_s, machine)
    assert machines.leader([leader, *others]) is leader
    assert leader.status()["term"] == term  # the others hear their leader, and give no votes
    heal(machines, "a follower did not hear the leader")


def two_sides_share_one_machine(machines: Fleet, history: History) -> None:
    leader = machines.leader()
    friend, middle, *others = machines.others(leader)
    machines.lan.partition(hosts([leader, friend]), hosts(others))
    wait_until("the others lost their leader", lambda: all(powerless(one) for one in others))
    since_s = time.monotonic()
    for machine in (leader, friend, middle):
        first_commit(history, since_s, machine)
    assert machines.leader([leader, friend, middle]) is leader
    heal(machines, "two sides shared one machine")


def all_hear_one_machine_only(machines: Fleet, history: History) -> None:
    """The hardest for Raft: only the one in the middle can have a majority's votes."""
    leader = machines.leader()
    middle, *others = machines.others(leader)
    machines.lan.partition(*[[machine.host] for machine in (leader, *others)])
    cut_s = time.monotonic()
    wait_until("the one in the middle leads", lambda: machines.leader([middle]) is middle)
    say("the only possible leader leads", time.monotonic() - cut_s)
    since_s = time.monotonic()
    for machine in machines.machines:
        first_commit(history, since_s, machine)
    heal(machines, "all heard one machine only")
