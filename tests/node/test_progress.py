"""Waiting for an index, and hearing of changes."""

import asyncio

from paceline.node.progress import AppliedProgress


async def _all_reached() -> list[int]:
    progress: AppliedProgress[str] = AppliedProgress(5)
    order: list[int] = []

    async def wait(index: int) -> None:
        await progress.reached(index)
        order.append(index)

    async with asyncio.TaskGroup() as group:
        for index in (9, 5, 7, 8):
            group.create_task(wait(index))
        await asyncio.sleep(0)
        progress.advanced(7, [])
        await asyncio.sleep(0)
        assert order == [5, 7]
        progress.advanced(12, [])
    return order


def test_waiters_wake_when_their_index_is_applied_and_not_before() -> None:
    assert asyncio.run(_all_reached()) == [5, 7, 8, 9]


async def _cancelled_waiter() -> None:
    progress: AppliedProgress[str] = AppliedProgress(0)
    waiter = asyncio.create_task(progress.reached(3))
    await asyncio.sleep(0)
    waiter.cancel()
    await asyncio.gather(waiter, return_exceptions=True)
    progress.advanced(3, [])
    await progress.reached(3)


def test_a_waiter_that_gave_up_harms_nobody() -> None:
    asyncio.run(_cancelled_waiter())


def test_listeners_hear_changes_until_they_stop() -> None:
    progress: AppliedProgress[str] = AppliedProgress(0)
    heard: list[str] = []
    stop = progress.listen(heard.extend)
    progress.advanced(1, ["a"])
    stop()
    progress.advanced(2, ["b"])
    assert heard == ["a"]
