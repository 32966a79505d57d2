from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.core.settings import build, did_you_mean, nearest


@dataclass(frozen=True)
class Inner:
    depth: int = 2
    scale: float = 1.0

    def __post_init__(self) -> None:
        if self.depth < 1:
            raise ValueError(f"depth: expected 1 or more, got {self.depth}")


@dataclass(frozen=True)
class Outer:
    path: str
    size: int | None = None
    share: float = 0.5
    flip: bool = False
    mode: Literal["full", "half", 3] = "full"
    widths: tuple[int, ...] = (8, 16)
    pair: tuple[int, str] = (1, "a")
    names: list[str] = field(default_factory=list)
    limits: Mapping[str, float] = field(default_factory=dict)
    either: float | str = 0.0
    inner: Inner = field(default_factory=Inner)
    extra: Inner | None = None
    anything: Any = None


GOOD: list[tuple[str, Any, Any]] = [
    ("size", None, None),
    ("size", 7, 7),
    ("share", 1, 1.0),
    ("flip", True, True),
    ("mode", "half", "half"),
    ("mode", 3, 3),
    ("widths", [1, 2, 3], (1, 2, 3)),
    ("widths", [], ()),
    ("pair", [4, "b"], (4, "b")),
    ("names", ("x", "y"), ["x", "y"]),
    ("limits", {"params": 3}, {"params": 3.0}),
    ("either", "auto", "auto"),
    ("either", 2, 2.0),
    ("inner", {"depth": 5}, Inner(depth=5)),
    ("inner", Inner(3), Inner(3)),
    ("extra", {"scale": 2}, Inner(scale=2.0)),
    ("extra", None, None),
    ("anything", [1, {"a": 2}], [1, {"a": 2}]),
]


@pytest.mark.parametrize("key, given_value, want", GOOD)
def test_values_are_taken(key: str, given_value: Any, want: Any) -> None:
    got = getattr(build(Outer, {"path": "p", key: given_value}, "o"), key)
    assert got == want
    assert type(got) is type(want)


BAD: list[tuple[dict[str, Any], str]] = [
    ({}, "o.path: missing, and it has no default"),
    ({"path": 3}, "o.path: expected text, got 3"),
    ({"pth": "x"}, "o.pth: unknown key; did you mean path? (keys: path, size, "),
    ({"size": "abc"}, "o.size: expected a whole number, got 'abc'"),
    ({"size": True}, "o.size: expected a whole number, got true"),
    ({"size": 1.5}, "o.size: expected a whole number, got 1.5"),
    ({"share": False}, "o.share: expected a number, got false"),
    ({"share": "1"}, "o.share: expected a number, got '1'"),
    ({"share": float("nan")}, "o.share: expected a number, got nan"),
    ({"share": None}, "o.share: expected a number, got null"),
    ({"flip": 1}, "o.flip: expected true or false, got 1"),
    ({"mode": "hlaf"}, "o.mode: expected one of full, half, 3, got 'hlaf'; did you mean half?"),
    ({"mode": True}, "o.mode: expected one of full, half, 3, got true"),
    ({"widths": 3}, "o.widths: expected a list, got 3"),
    ({"widths": "12"}, "o.widths: expected a list, got '12'"),
    ({"widths": [1, "x"]}, "o.widths[1]: expected a whole number, got 'x'"),
    ({"pair": [1]}, "o.pair: expected a list of 2, got 1 in [1]"),
    ({"limits": [1]}, "o.limits: expected a mapping, got [1]"),
    ({"limits": {"a": "b"}}, "o.limits.a: expected a number, got 'b'"),
    ({"either": [1]}, "o.either: expected a number or text, got [1]"),
    ({"inner": 3}, "o.inner: expected settings as a mapping, got 3"),
    ({"inner": {"depht": 3}}, "o.inner.depht: unknown key; did you mean depth? (keys: depth, scale)"),
    ({"inner": {"depth": 0}}, "o.inner.depth: expected 1 or more, got 0"),
    ({"extra": {"depth": "x"}}, "o.extra.depth: expected a whole number, got 'x'"),
]


@pytest.mark.parametrize("mapping, message", BAD)
def test_mistakes_are_one_line_with_the_key(mapping: dict[str, Any], message: str) -> None:
    whole = mapping if not mapping or "path" in mapping or "pth" in mapping else {"path": "p", **mapping}
    with pytest.raises(ValueError, match="o") as error:
        build(Outer, whole, "o")
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_an_empty_place_adds_no_dot() -> None:
    with pytest.raises(ValueError, match=r"^depth: expected 1 or more"):
        build(Inner, {"depth": -1}, "")
    with pytest.raises(ValueError, match=r"^x: unknown key"):
        build(Inner, {"x": -1}, "")


def test_not_a_mapping() -> None:
    with pytest.raises(ValueError, match=r"^o: expected settings as a mapping, got \[\]"):
        build(Inner, [], "o")  # type: ignore[arg-type]


def test_long_values_are_cut() -> None:
    with pytest.raises(ValueError, match="o") as error:
        build(Outer, {"path": "p", "size": "y" * 500}, "o")
    assert len(str(error.value)) < 120


@given(st.builds(Inner, depth=st.integers(1, 99), scale=st.floats(allow_nan=False, allow_infinity=False)))
def test_a_dataclass_survives_its_own_dict(inner: Inner) -> None:
    assert build(Inner, asdict(inner), "o") == inner


@pytest.mark.parametrize(
    "word, want", [("train_szie", "train_size"), ("PATH", "path"), ("zzz", None), ("train_size", "train_size")]
)
def test_nearest(word: str, want: str | None) -> None:
    assert nearest(word, ["path", "train_size"]) == want
    assert did_you_mean(word, ["path", "train_size"]) == (f"; did you mean {want}?" if want else "")
