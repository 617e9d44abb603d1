"""The fixtures that the tests here share."""

from tests.rigs.fixtures import make_lan

__all__ = ["make_lan"]
