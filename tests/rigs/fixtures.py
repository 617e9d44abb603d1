"""Pytest fixtures for LANs. A directory's conftest imports those that its tests use."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.rigs.lan import Lan, unavailable

MakeLan = Callable[..., Lan]


@pytest.fixture
def make_lan() -> Iterator[MakeLan]:
    """Answer a function that makes a `Lan`, down again after the test; skip where it cannot be."""
    reason = unavailable()
    if reason is not None:
        pytest.skip(reason)
    with ExitStack() as stack:
        yield lambda *args, **options: stack.enter_context(Lan(*args, **options))
