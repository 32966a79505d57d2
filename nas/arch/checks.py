"""Checks of values read from files: each returns the value, or raises ValueError that opens with the place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nas.core.settings import nearest

MAX_WORD = 200


def mapping(data: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(data, Mapping) or not all(is_word(key) for key in data):
        raise ValueError(f"{where}: expected keys and values, got {shown(data)}")
    return data


def is_word(value: Any) -> bool:
    """Whether a value can stand in a one-line message as it is."""
    return isinstance(value, str) and value.isprintable() and 0 < len(value) <= MAX_WORD


def known_keys(data: Mapping[str, Any], allowed: Sequence[str], where: str) -> None:
    for key in data:
        if key not in allowed:
            near = nearest(key, allowed)
            raise ValueError(
                f"{where}: unknown key {key!r}"
                + (f"; did you mean {near!r}?" if near else f" (keys: {', '.join(allowed)})")
            )


def whole(value: Any, low: int, high: int, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"{where}: expected a whole number from {low} to {high}, got {shown(value)}")
    return value


def number(value: Any, low: float, high: float, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ValueError(f"{where}: expected a number from {low:g} to {high:g}, got {shown(value)}")
    return value


def choice(value: Any, allowed: Sequence[str], where: str) -> str:
    if not isinstance(value, str) or value not in allowed:
        near = nearest(str(value), allowed) if isinstance(value, str) else None
        hint = f"; did you mean {near!r}?" if near else ""
        raise ValueError(f"{where}: expected one of {', '.join(allowed)}, got {shown(value)}{hint}")
    return value


def shown(value: Any, limit: int = 60) -> str:
    """A value for an error line, cut to a readable length."""
    if isinstance(value, list | dict | tuple) and len(value) > 8:
        return f"a {type(value).__name__} of {len(value)}"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 10**18:
        return "a number of over 18 digits"
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."
