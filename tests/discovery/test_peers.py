"""The book of contacts and the schedule of greetings, on a clock that the test owns."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from paceline.discovery.peers import (
    ADDRESSES_LIMIT,
    IN_FLIGHT_LIMIT,
    LAST_RETRY_MS,
    REFRESH_MS,
    GreetingSchedule,
    PeerBook,
    Source,
)
from tests.discovery.contacts import contact

# --- the book -------------------------------------------------------------------------------------


def test_a_new_node_is_news_and_the_same_again_is_not() -> None:
    book = PeerBook()
    assert book.learn(contact(1), Source.MDNS, 0) == contact(1)
    assert book.learn(contact(1), Source.MDNS, 1) is None
    assert book.contacts == (contact(1),)
    assert book.get(contact(1).node_id) == contact(1)
    assert book.get(contact(2).node_id) is None


def test_another_port_is_news() -> None:
    book = PeerBook()
    book.learn(contact(1, stamp_ms=1), Source.MDNS, 0)
    news = book.learn(contact(1, stamp_ms=2, join_port=9), Source.GOSSIP, 1)
    assert news is not None
    assert news.join_port == 9


def test_only_the_node_itself_makes_it_fresh() -> None:
    book, node_id = PeerBook(), contact(1).node_id
    book.learn(contact(1), Source.REMEMBERED, 0)
    book.learn(contact(1), Source.GOSSIP, 5)
    assert (book.source_of(node_id), book.heard_ms(node_id)) == (Source.REMEMBERED, 0)
    book.learn(contact(1), Source.GREETING, 7)
    assert (book.source_of(node_id), book.heard_ms(node_id)) == (Source.GREETING, 7)
    assert book.source_of("nobody") is book.heard_ms("nobody") is None


def test_strangers_push_out_the_oldest_strangers_and_never_members() -> None:
    book = PeerBook(limit=10)
    members = [contact(number) for number in range(5)]
    for member in members:
        book.learn(member, Source.MDNS, 0)
    book.keep(member.node_id for member in members)
    for number in range(100, 200):
        book.learn(contact(number), Source.MDNS, number)
    known = {one.node_id for one in book.contacts}
    assert len(known) == 10
    assert {member.node_id for member in members} <= known
    assert contact(199).node_id in known


def test_a_book_full_of_members_takes_no_strangers() -> None:
    book = PeerBook(limit=2)
    book.keep(contact(number).node_id for number in range(2))
    for number in range(3):
        book.learn(contact(number), Source.MDNS, number)
    assert {one.node_id for one in book.contacts} == {contact(n).node_id for n in range(2)}


def test_members_and_then_the_latest_are_worth_remembering() -> None:
    book = PeerBook()
    for number in range(4):
        book.learn(contact(number), Source.MDNS, number)
    book.keep([contact(0).node_id])
    assert book.worth_remembering(3) == (contact(0), contact(3), contact(2))


# --- the schedule ---------------------------------------------------------------------------------


def test_an_address_is_greeted_at_once_and_only_once_at_a_time() -> None:
    schedule = GreetingSchedule(random=Random(1))
    assert schedule.wait_ms(0) is None
    schedule.want(["a:1", "b:1", "a:1"], 100)
    assert schedule.wait_ms(100) == 0
    assert schedule.due(100) == ("a:1", "b:1")
    assert schedule.due(100) == ()
    assert schedule.wait_ms(100) is None


def test_failures_are_retried_ever_less_often_but_for_ever() -> None:
    schedule, now_ms, waits = GreetingSchedule(random=Random(1)), 0, []
    schedule.want(["a:1"], now_ms)
    for _ in range(1000):
        assert schedule.due(now_ms) == ("a:1",)
        schedule.failed("a:1", now_ms)
        wait_ms = schedule.wait_ms(now_ms)
        assert wait_ms is not None
        waits.append(wait_ms)
        now_ms += wait_ms
    assert 200 <= waits[0] <= 300
    assert max(waits) <= 1.2 * LAST_RETRY_MS
    assert min(waits[10:]) >= 0.8 * LAST_RETRY_MS


def test_an_answer_makes_it_rest_and_a_change_of_network_wakes_it() -> None:
    schedule = GreetingSchedule(random=Random(1))
    schedule.want(["a:1"], 0)
    schedule.due(0)
    schedule.answered("a:1", 0)
    rest_ms = schedule.wait_ms(0)
    assert rest_ms is not None
    assert rest_ms >= 0.8 * REFRESH_MS
    schedule.hurry(10)
    assert schedule.due(10) == ("a:1",)


def test_attempts_at_once_and_addresses_are_bounded() -> None:
    schedule = GreetingSchedule(random=Random(1))
    schedule.want([f"a:{number}" for number in range(1, 1000)], 0)
    first = schedule.due(0)
    assert len(first) == IN_FLIGHT_LIMIT
    for address in first:
        schedule.failed(address, 0)
    seen = set(first)
    while due := schedule.due(0):
        seen.update(due)
        for address in due:
            schedule.failed(address, 0)
    assert len(seen) == ADDRESSES_LIMIT


def test_an_address_can_be_dropped_even_while_it_is_greeted() -> None:
    schedule = GreetingSchedule(random=Random(1))
    schedule.want(["a:1"], 0)
    schedule.due(0)
    schedule.drop("a:1")
    schedule.failed("a:1", 0)
    schedule.answered("a:1", 0)
    assert schedule.due(10**9) == ()


@given(
    st.lists(st.tuples(st.sampled_from("wfad"), st.integers(0, 5), st.integers(0, 5000))),
    st.integers(),
)
def test_no_address_is_ever_forgotten(steps: list[tuple[str, int, int]], seed: int) -> None:
    schedule, now_ms = GreetingSchedule(random=Random(seed)), 0
    wanted: set[str] = set()
    flying: set[str] = set()
    for action, number, passed_ms in steps:
        now_ms += passed_ms
        address = f"host:{number + 1}"
        if action == "w":
            schedule.want([address], now_ms)
            wanted.add(address)
        elif action == "d":
            flying.update(schedule.due(now_ms))
        elif address in flying:
            flying.remove(address)
            (schedule.failed if action == "f" else schedule.answered)(address, now_ms)
    for address in flying:
        schedule.failed(address, now_ms)
    assert set(schedule.due(now_ms + 2 * REFRESH_MS)) == wanted
