"""What is compiled of a network when it is looked into: the count of nodes of each trace."""

from __future__ import annotations

from typing import Any

import pytest

from nas.explain import taps


def count_traces(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that receives the count of nodes each time that a network, or a part of it, is traced."""
    traced, values = list[int](), taps._values

    def counted(nodes: Any, *rest: Any) -> Any:
        traced.append(len(nodes))
        return values(nodes, *rest)

    monkeypatch.setattr(taps, "_values", counted)
    return traced
