"""Slow disk work beside the owner's thread: one job after the other, answered on that thread."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, TypeVar

from paceline.errors import Busy, StorageError

T = TypeVar("T")

CallSoon = Callable[[Callable[[], None]], None]
"""Has a function called on the owner's thread, soon; may be called from any thread."""

JOB_LIMIT: Final = 16
"""Jobs waiting or running at once."""


class Background:
    """Runs jobs in one thread of its own; or at once, in the caller's, where it has no `call_soon`.

    The second way is for the simulation and for tests that must not depend on threads.
    """

    def __init__(self, call_soon: CallSoon | None) -> None:
        self._call_soon = call_soon
        self._jobs = 0
        self._thread = (
            ThreadPoolExecutor(max_workers=1, thread_name_prefix="state") if call_soon else None
        )

    def run(
        self,
        job: Callable[[], T],
        done: Callable[[T], None],
        failed: Callable[[StorageError], None],
    ) -> None:
        """Call `job` in the thread, then `done` or `failed` on the owner's. Raise Busy if full.

        A job may raise StorageError; anything else is a mistake in the program, raised on the
        owner's thread.
        """
        if self._thread is None:
            _outcome(job, done, failed)()
            return
        if self._jobs >= JOB_LIMIT:
            raise Busy("too much disk work is waiting")
        self._jobs += 1
        self._thread.submit(self._work, job, done, failed)

    def close(self) -> None:
        """Finish all jobs and end the thread."""
        if self._thread is not None:
            self._thread.shutdown(wait=True)

    def _work(
        self,
        job: Callable[[], T],
        done: Callable[[T], None],
        failed: Callable[[StorageError], None],
    ) -> None:
        outcome = _outcome(job, done, failed)
        assert self._call_soon is not None
        self._call_soon(partial(self._finish, outcome))

    def _finish(self, outcome: Callable[[], None]) -> None:
        self._jobs -= 1
        outcome()


def _outcome(
    job: Callable[[], T], done: Callable[[T], None], failed: Callable[[StorageError], None]
) -> Callable[[], None]:
    """Do the job; answer what is to be called about it on the owner's thread."""
    try:
        result = job()
    except StorageError as error:
        return partial(failed, error)
    except BaseException as error:  # raised again where its owner will see it
        return partial(_raise, error)
    return partial(done, result)


def _raise(error: BaseException) -> None:
    raise error
