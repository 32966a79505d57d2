"""Strategies by name. A new one is a file with a frozen dataclass of settings and a line here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nas.core.settings import build, nearest
from nas.supernet.strategies.attentive import Attentive
from nas.supernet.strategies.base import Candidates, Changes, Kept, StepContext, Strategy
from nas.supernet.strategies.fair import Fair
from nas.supernet.strategies.rl import Rl
from nas.supernet.strategies.sandwich import Sandwich
from nas.supernet.strategies.shrinking import Shrinking
from nas.supernet.strategies.taught import Taught
from nas.supernet.strategies.uniform import Uniform

STRATEGIES: dict[str, type[Any]] = {
    "uniform": Uniform, "fair": Fair, "sandwich": Sandwich, "attentive": Attentive, "rl": Rl,
    "shrinking": Shrinking, "taught": Taught,
}  # fmt: skip


def strategy_from(data: Mapping[str, Any]) -> Strategy:
    """The strategy of settings such as `{"name": "fair"}`. Raises ValueError naming the key, and the nearest name."""
    settings = dict(data)
    name = settings.pop("name", None)
    if name not in STRATEGIES:
        close = nearest(name, STRATEGIES)
        raise ValueError(
            f"strategy: no {name!r}; " + (f"did you mean {close!r}?" if close else f"expected {', '.join(STRATEGIES)}")
        )
    return build(STRATEGIES[name], settings, "strategy")


__all__ = [
    "STRATEGIES",
    "Attentive",
    "Candidates",
    "Changes",
    "Fair",
    "Kept",
    "Rl",
    "Sandwich",
    "Shrinking",
    "StepContext",
    "Strategy",
    "Taught",
    "Uniform",
    "strategy_from",
]  # fmt: skip
