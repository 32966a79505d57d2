"""Plain mappings, as YAML gives them, into frozen settings dataclasses; every mistake is one line naming the key.

The annotations of the dataclass are the schema:

    @dataclass(frozen=True)
    class Augment:
        crop_padding: int = 4
        flip: bool = True

    build(Augment, {"crop_padding": 2}, "recipe.augment")       # Augment(crop_padding=2, flip=True)
    build(Augment, {"crop_pading": 2}, "recipe.augment")
    # ValueError: recipe.augment.crop_pading: unknown key; did you mean crop_padding? (keys: crop_padding, flip)

Understood annotations: bool, int, float, str, None, Any, Literal, unions of these, tuple, list and mapping of these,
and other dataclasses. A `__post_init__` may raise `ValueError("key: message")`; the place is put before it.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, TypeVar, Union

T = TypeVar("T")


def build(cls: type[T], mapping: Mapping[str, object], where: str) -> T:
    """Builds the dataclass `cls` from a plain mapping.

    Whole numbers are accepted for floats, booleans never for numbers; lists become tuples in tuple fields.

    Args:
        cls: A dataclass; its annotations are the schema.
        mapping: Values by field name; fields with a default may be absent.
        where: Dotted place that errors name, such as `recipe.augment`.

    Returns:
        The instance.

    Raises:
        ValueError: An unknown key, a missing required key, a wrong type or choice, or a value that `__post_init__` refuses.
    """
    mapping = _mapping(mapping, where)
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}  # type: ignore[arg-type]
    for key in mapping:
        if key not in fields:
            raise ValueError(f"{_join(where, key)}: unknown key{did_you_mean(key, fields)} (keys: {_listed(fields)})")
    for field in fields.values():
        if field.name not in mapping and _is_required(field):
            raise ValueError(f"{_join(where, field.name)}: missing, and it has no default")
    hints = typing.get_type_hints(cls)
    values = {key: _convert(hints[key], value, _join(where, key)) for key, value in mapping.items()}
    try:
        return cls(**values)
    except ValueError as error:
        raise ValueError(_join(where, str(error))) from error


def named(registry: Mapping[str, type[T]], mapping: Mapping[str, object], where: str) -> T:
    """Builds the dataclass of `registry` that `mapping["name"]` chooses; the other keys are its settings.

    Args:
        registry: Dataclasses by name.
        mapping: `name` and settings.
        where: Dotted place that errors name.

    Returns:
        The instance.

    Raises:
        ValueError: As `build`, and for a missing or unknown name.
    """
    mapping = _mapping(mapping, where)
    if "name" not in mapping:
        raise ValueError(f"{where}.name: missing; expected one of {_listed(registry)}")
    name = mapping["name"]
    if not isinstance(name, str) or name not in registry:
        raise ValueError(f"{where}.name: unknown {name!r}{did_you_mean(name, registry)} (known: {_listed(registry)})")
    return build(registry[name], {key: value for key, value in mapping.items() if key != "name"}, where)


def nearest(word: object, choices: Iterable[object]) -> str | None:
    """The choice spelled most like a word, ignoring case.

    Args:
        word: What the user wrote.
        choices: Known names.

    Returns:
        The nearest choice; None if none comes close.
    """
    by_lower = {str(choice).lower(): str(choice) for choice in choices}
    found = difflib.get_close_matches(str(word).lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[found[0]] if found else None


def did_you_mean(word: object, choices: Iterable[object]) -> str:
    """The end of an error line for an unknown word.

    Args:
        word: What the user wrote.
        choices: Known names.

    Returns:
        `; did you mean train_size?`, or an empty string if no choice comes close.
    """
    near = nearest(word, choices)
    return f"; did you mean {near}?" if near else ""


def check_ranges(settings: object, **limits: tuple[float, float]) -> None:
    """Checks that numeric fields lie in their ranges; values that are not numbers pass.

    Args:
        settings: An object with the fields.
        **limits: (low, high) by field, both included.

    Raises:
        ValueError: Names the first field outside its range.
    """
    for key, (low, high) in limits.items():
        value = getattr(settings, key)
        if isinstance(value, int | float) and not low <= value <= high:
            raise ValueError(f"{key}: expected {low} to {high}, got {value}")


def _mapping(value: object, where: str) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{where}: expected settings as a mapping, got {_shown(value)}")
    return value


def _convert(hint: object, value: object, where: str) -> object:
    origin = typing.get_origin(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        return _convert_union(hint, value, where)
    if origin is Literal:
        return _convert_literal(hint, value, where)
    if origin in _CONTAINERS or hint in _CONTAINERS:
        return _CONTAINERS[origin or hint](hint, value, where)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return value if isinstance(value, hint) else build(hint, _mapping(value, where), where)
    return _convert_scalar(hint, value, where)


def _convert_scalar(hint: object, value: object, where: str) -> object:
    is_bool = isinstance(value, bool)
    if hint is None or hint is type(None):
        ok = value is None
    elif hint is float:
        # NaN would pass every range check that a __post_init__ makes.
        if isinstance(value, int | float) and not is_bool and not math.isnan(value):
            return float(value)
        ok = False
    elif hint is int:
        ok = isinstance(value, int) and not is_bool
    else:
        ok = isinstance(hint, type) and isinstance(value, hint)
    if not ok:
        raise ValueError(f"{where}: expected {_expected(hint)}, got {_shown(value)}")
    return value


def _convert_union(hint: object, value: object, where: str) -> object:
    members = typing.get_args(hint)
    if value is None and type(None) in members:
        return None
    rest = [member for member in members if member is not type(None)]
    if len(rest) == 1:
        return _convert(rest[0], value, where)
    if type(value) in rest:
        return _convert(type(value), value, where)
    for member in rest:
        try:
            return _convert(member, value, where)
        except ValueError:
            continue
    raise ValueError(f"{where}: expected {_expected(hint)}, got {_shown(value)}")


def _convert_literal(hint: object, value: object, where: str) -> object:
    choices = typing.get_args(hint)
    if not any(type(value) is type(choice) and value == choice for choice in choices):
        raise ValueError(f"{where}: expected {_expected(hint)}, got {_shown(value)}{did_you_mean(value, choices)}")
    return value


def _items(value: object, where: str) -> Sequence[object]:
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
        raise ValueError(f"{where}: expected a list, got {_shown(value)}")
    return value


def _convert_tuple(hint: object, value: object, where: str) -> tuple[object, ...]:
    items = _items(value, where)
    args = typing.get_args(hint) or (Any, ...)
    if args[-1] is Ellipsis:
        args = (args[0],) * len(items)
    if len(args) != len(items):
        raise ValueError(f"{where}: expected a list of {len(args)}, got {len(items)} in {_shown(value)}")
    return tuple(_convert(arg, item, f"{where}[{i}]") for i, (arg, item) in enumerate(zip(args, items, strict=True)))


def _convert_list(hint: object, value: object, where: str) -> list[object]:
    (arg,) = typing.get_args(hint) or (Any,)
    return [_convert(arg, item, f"{where}[{i}]") for i, item in enumerate(_items(value, where))]


def _convert_mapping(hint: object, value: object, where: str) -> dict[object, object]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{where}: expected a mapping, got {_shown(value)}")
    key_hint, item_hint = typing.get_args(hint) or (Any, Any)
    return {_convert(key_hint, k, where): _convert(item_hint, v, _join(where, k)) for k, v in value.items()}


_CONTAINERS: dict[object, Callable[[object, object, str], object]] = {
    tuple: _convert_tuple,
    list: _convert_list,
    Sequence: _convert_tuple,
    dict: _convert_mapping,
    Mapping: _convert_mapping,
}
_NOUNS: dict[object, str] = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "true or false",
    type(None): "null",
    None: "null",
    tuple: "a list",
    list: "a list",
    Sequence: "a list",
    dict: "a mapping",
    Mapping: "a mapping",
}


def _expected(hint: object) -> str:
    origin = typing.get_origin(hint)
    if origin is Literal:
        return "one of " + _listed(typing.get_args(hint))
    if origin in (Union, types.UnionType):
        return " or ".join(_expected(member) for member in typing.get_args(hint))
    if dataclasses.is_dataclass(hint):
        return "a mapping"
    return _NOUNS.get(origin or hint, getattr(hint, "__name__", str(hint)))


def _shown(value: object) -> str:
    """A value as the user's YAML would have it, cut short so that the error stays one line."""
    names = {None: "null", True: "true", False: "false"}
    text = names[value] if value is None or isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _listed(names: Iterable[object]) -> str:
    return ", ".join(str(name) for name in names) or "none"


def _join(where: str, key: object) -> str:
    return f"{where}.{key}" if where else str(key)


def _is_required(field: dataclasses.Field[object]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
