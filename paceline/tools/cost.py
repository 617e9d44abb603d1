"""What a run cost: said by the tool where it can know, else computed from configured prices.

A tool's own figure is a guess from its maker's list prices. It is believed only where the tool
talks to its maker: the same program in front of a local model reports dollars that nobody pays.
"""

import math
from collections.abc import Mapping
from typing import Any

from paceline.errors import InvalidSettings
from paceline.tools.events import CostBasis

PER_TOKENS = 1_000_000
PRICE_KEYS = ("input", "output", "cached")


def cost(
    usage: Mapping[str, int],
    *,
    model: str,
    prices: Mapping[str, Mapping[str, float]],
    reported_usd: float | None,
    believed: bool,
) -> tuple[float | None, CostBasis]:
    """Answer US dollars and what they are based on. A configured price wins over a report.

    `prices` maps a model, or `*` for any, to dollars per million tokens: `input`, `output` and
    `cached` (input from a cache; without it, as `input`).
    """
    if (price := prices.get(model) or prices.get("*")) and usage:
        return _computed(usage, price), CostBasis.COMPUTED
    if believed and reported_usd is not None:
        return reported_usd, CostBasis.REPORTED
    return None, CostBasis.NONE


def _computed(usage: Mapping[str, int], price: Mapping[str, float]) -> float:
    cached = min(usage.get("cached", 0), usage.get("tokens_in", 0))
    fresh = usage.get("tokens_in", 0) - cached
    paid = (
        fresh * price.get("input", 0.0)
        + cached * price.get("cached", price.get("input", 0.0))
        + usage.get("tokens_out", 0) * price.get("output", 0.0)
    )
    return paid / PER_TOKENS


def check_prices(tool: str, prices: Any) -> None:
    """Raise InvalidSettings if `prices` is no table of prices."""
    where = f"tools.{tool}.prices"
    if not isinstance(prices, Mapping):
        raise InvalidSettings(f'{where} must map models to prices: {{"a" = {{ input = 3.0 }}}}')
    for model, price in prices.items():
        if not isinstance(price, Mapping) or not set(price) <= set(PRICE_KEYS):
            raise InvalidSettings(f"{where}.{model} may have {', '.join(PRICE_KEYS)}")
        if not all(_is_price(value) for value in price.values()):
            raise InvalidSettings(f"{where}.{model}: dollars per million tokens, 0 or more")


def _is_price(value: Any) -> bool:
    right = isinstance(value, int | float) and not isinstance(value, bool)
    return right and math.isfinite(value) and value >= 0
