"""Checks of values read from files: each returns the value, or raises ValueError that opens with the place."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TypeGuard, cast

from nas.core.settings import nearest

MAX_WORD = 200
NAME = re.compile(r"\w[\w.-]*")


def mapping(data: object, where: str) -> Mapping[str, object]:
    if not isinstance(data, Mapping) or not all(is_word(key) for key in data):
        raise ValueError(f"{where}: expected keys and values, got {shown(data)}")
    return cast("Mapping[str, object]", data)


def is_mapping(value: object) -> TypeGuard[Mapping[str, object]]:
    """Whether it is a mapping, as YAML and JSON have them."""
    return isinstance(value, Mapping)


def is_list(value: object) -> TypeGuard[list[object]]:
    """Whether it is a list, as YAML and JSON have them."""
    return isinstance(value, list)


def is_word(value: object) -> TypeGuard[str]:
    """Whether a value can stand in a one-line message as it is."""
    return isinstance(value, str) and value.isprintable() and 0 < len(value) <= MAX_WORD


def named(value: object, where: str) -> str:
    """The name of an architecture or a space. It becomes part of file names and of what is written for others to read."""
    if not is_word(value) or not NAME.fullmatch(value):
        raise ValueError(f"{where}: name: expected letters, digits, _, - and . after a letter or digit, got {shown(value)}")
    return value


def as_name(text: str) -> str:
    """The name for what has none, after its file: `my net (2)` is `my_net_2`."""
    if len(text) <= MAX_WORD and NAME.fullmatch(text):
        return text
    return re.sub(r"[^\w.-]+", "_", text).strip("_.-")[:MAX_WORD] or "arch"


def known_keys(data: Mapping[str, object], allowed: Sequence[str], where: str) -> None:
    for key in data:
        if key not in allowed:
            near = nearest(key, allowed)
            raise ValueError(
                f"{where}: unknown key {key!r}"
                + (f"; did you mean {near!r}?" if near else f" (keys: {', '.join(allowed)})")
            )


def whole(value: object, low: int, high: int, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"{where}: expected a whole number from {low} to {high}, got {shown(value)}")
    return value


def number(value: object, low: float, high: float, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ValueError(f"{where}: expected a number from {low:g} to {high:g}, got {shown(value)}")
    return value


def choice(value: object, allowed: Sequence[str], where: str) -> str:
    if not isinstance(value, str) or value not in allowed:
        near = nearest(str(value), allowed) if isinstance(value, str) else None
        hint = f"; did you mean {near!r}?" if near else ""
        raise ValueError(f"{where}: expected one of {', '.join(allowed)}, got {shown(value)}{hint}")
    return value


def shown(value: object, limit: int = 60) -> str:
    """A value for an error line, cut to a readable length."""
    if isinstance(value, list | dict | tuple) and len(value) > 8:
        return f"a {type(value).__name__} of {len(value)}"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 10**18:
        return "a number of over 18 digits"
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."
