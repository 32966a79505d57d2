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


def build(cls: type[T], mapping: Mapping[str, Any], where: str) -> T:
    """An instance of the dataclass `cls` from a plain mapping; `where` is the dotted place that errors name.

    Whole numbers are accepted for floats, booleans never for numbers; lists become tuples in tuple fields.
    Raises ValueError for an unknown key, a missing required key, a wrong type or choice, and for what the
    `__post_init__` of `cls` refuses.
    """
    if not isinstance(mapping, Mapping):
        raise ValueError(f"{where}: expected settings as a mapping, got {_shown(mapping)}")
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


def named(registry: Mapping[str, type[T]], mapping: Mapping[str, Any], where: str) -> T:
    """`mapping["name"]` chooses the dataclass in `registry`, the other keys are its settings.

    Raises ValueError as `build` does, and for a missing or unknown name.
    """
    if not isinstance(mapping, Mapping):
        raise ValueError(f"{where}: expected settings as a mapping, got {_shown(mapping)}")
    if "name" not in mapping:
        raise ValueError(f"{where}.name: missing; expected one of {_listed(registry)}")
    name = mapping["name"]
    if not isinstance(name, str) or name not in registry:
        raise ValueError(f"{where}.name: unknown {name!r}{did_you_mean(name, registry)} (known: {_listed(registry)})")
    return build(registry[name], {key: value for key, value in mapping.items() if key != "name"}, where)


def nearest(word: object, choices: Iterable[object]) -> str | None:
    """The choice spelled most like `word`, letter case aside; None where none comes close."""
    by_lower = {str(choice).lower(): str(choice) for choice in choices}
    found = difflib.get_close_matches(str(word).lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[found[0]] if found else None


def did_you_mean(word: object, choices: Iterable[object]) -> str:
    """The end of an error line: `; did you mean train_size?`, or nothing where no choice comes close."""
    near = nearest(word, choices)
    return f"; did you mean {near}?" if near else ""


def check_ranges(settings: object, **limits: tuple[float, float]) -> None:
    """Raises ValueError naming the first field outside its (low, high), both included; what is no number passes."""
    for key, (low, high) in limits.items():
        value = getattr(settings, key)
        if isinstance(value, int | float) and not low <= value <= high:
            raise ValueError(f"{key}: expected {low} to {high}, got {value}")


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin = typing.get_origin(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        return _convert_union(hint, value, where)
    if origin is Literal:
        return _convert_literal(hint, value, where)
    if origin in _CONTAINERS or hint in _CONTAINERS:
        return _CONTAINERS[origin or hint](hint, value, where)
    if dataclasses.is_dataclass(hint):
        return value if isinstance(value, hint) else build(hint, value, where)  # type: ignore[arg-type]
    return _convert_scalar(hint, value, where)


def _convert_scalar(hint: Any, value: Any, where: str) -> Any:
    is_bool = isinstance(value, bool)
    if hint is None or hint is type(None):
        ok = value is None
    elif hint is float:
        # NaN would pass every range check that a __post_init__ makes.
        ok = isinstance(value, (int, float)) and not is_bool and not math.isnan(value)
        value = float(value) if ok else value
    elif hint is int:
        ok = isinstance(value, int) and not is_bool
    else:
        ok = isinstance(value, hint)
    if not ok:
        raise ValueError(f"{where}: expected {_wanted(hint)}, got {_shown(value)}")
    return value


def _convert_union(hint: Any, value: Any, where: str) -> Any:
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
    raise ValueError(f"{where}: expected {_wanted(hint)}, got {_shown(value)}")


def _convert_literal(hint: Any, value: Any, where: str) -> Any:
    choices = typing.get_args(hint)
    if not any(type(value) is type(choice) and value == choice for choice in choices):
        raise ValueError(f"{where}: expected {_wanted(hint)}, got {_shown(value)}{did_you_mean(value, choices)}")
    return value


def _items(value: Any, where: str) -> Sequence[Any]:
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
        raise ValueError(f"{where}: expected a list, got {_shown(value)}")
    return value


def _convert_tuple(hint: Any, value: Any, where: str) -> tuple[Any, ...]:
    items = _items(value, where)
    args = typing.get_args(hint) or (Any, ...)
    if args[-1] is Ellipsis:
        args = (args[0],) * len(items)
    if len(args) != len(items):
        raise ValueError(f"{where}: expected a list of {len(args)}, got {len(items)} in {_shown(value)}")
    return tuple(_convert(arg, item, f"{where}[{i}]") for i, (arg, item) in enumerate(zip(args, items, strict=True)))


def _convert_list(hint: Any, value: Any, where: str) -> list[Any]:
    (arg,) = typing.get_args(hint) or (Any,)
    return [_convert(arg, item, f"{where}[{i}]") for i, item in enumerate(_items(value, where))]


def _convert_mapping(hint: Any, value: Any, where: str) -> dict[Any, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{where}: expected a mapping, got {_shown(value)}")
    key_hint, item_hint = typing.get_args(hint) or (Any, Any)
    return {_convert(key_hint, k, where): _convert(item_hint, v, _join(where, k)) for k, v in value.items()}


_CONTAINERS: dict[Any, Callable[[Any, Any, str], Any]] = {
    tuple: _convert_tuple,
    list: _convert_list,
    Sequence: _convert_tuple,
    dict: _convert_mapping,
    Mapping: _convert_mapping,
}
_WORDS: dict[Any, str] = {
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


def _wanted(hint: Any) -> str:
    origin = typing.get_origin(hint)
    if origin is Literal:
        return "one of " + _listed(typing.get_args(hint))
    if origin in (Union, types.UnionType):
        return " or ".join(_wanted(member) for member in typing.get_args(hint))
    if dataclasses.is_dataclass(hint):
        return "a mapping"
    return _WORDS.get(origin or hint, getattr(hint, "__name__", str(hint)))


def _shown(value: Any) -> str:
    """A value as the user's YAML would have it, cut short so that the error stays one line."""
    names = {None: "null", True: "true", False: "false"}
    text = names[value] if value is None or isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _listed(names: Iterable[object]) -> str:
    return ", ".join(str(name) for name in names) or "none"


def _join(where: str, key: object) -> str:
    return f"{where}.{key}" if where else str(key)


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
