"""The mark of fields that were appended to a type after a release; see `codec`."""

from collections.abc import Mapping
from types import MappingProxyType

LATER: Mapping[str, bool] = MappingProxyType({"later": True})
"""Metadata of such a field: `field(default=None, metadata=LATER)`."""
