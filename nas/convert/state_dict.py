"""Which of a checkpoint's arrays are the network's: training tools put a state dict beside an optimizer's, and in one another.

    chosen = choose({"epoch": 3, "model": {"module.fc.weight": ..}, "optimizer": {..}}, Tensor)
    chosen.arrays        # {"fc.weight": ..}
    chosen.place         # "model.module"
    chosen.left          # ("epoch", "optimizer")

The rule: of the dictionaries in a dictionary that hold arrays, the first of `CONTAINERS`, which begin with moving averages of
the weights, as those are what training tools evaluate; or else the only one. Then a word of `CONTAINERS` that begins every name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from nas.core.text import one_line

T = TypeVar("T")

AVERAGES = ("state_dict_ema", "model_ema", "ema_state_dict", "model_ema_state_dict", "ema_model", "ema")
CONTAINERS = (
    *AVERAGES, "state_dict", "model_state_dict", "model_state", "model", "module", "_orig_mod", "net", "network", "params", "weights",
)  # fmt: skip
COUNTERS = ("num_batches_tracked", "n_averaged")  # how many batches an average is of: no part of what a network computes
MAX_DEPTH, MAX_VISITS, MAX_NAME, SHOWN = 12, 200_000, 500, 8


@dataclass(frozen=True)
class Chosen(Generic[T]):
    """The arrays of a network by name, what stood before each of their names, and the other entries of the file."""

    arrays: dict[str, T]
    place: str = ""
    left: tuple[str, ...] = ()

    @property
    def note(self) -> str | None:
        """One line for people; None where the file holds nothing but these arrays."""
        if not (self.place or self.left):
            return None
        others = [*self.left[:SHOWN], *(["..."] if len(self.left) > SHOWN else [])]
        return one_line(f"read from {self.place or 'the whole file'}" + (f"; not read: {', '.join(others)}" if others else ""))


def choose(tree: Any, kind: type[T]) -> Chosen[T]:
    """The network's arrays, which are the values of type `kind`, of a checkpoint's plain data.

    Raises:
        ValueError: Where the data holds no arrays, or under several names of which none is known.
    """
    walk = _Walk(kind)
    place: list[str] = []
    left: list[str] = []
    while True:
        if type(tree) is not dict or len(place) > MAX_DEPTH:
            raise ValueError(f"it holds a {type(tree).__name__}; expected a dictionary of arrays, as state_dict() gives")
        inside = {key: value for key, value in tree.items() if type(value) is dict and walk.holds(value)}
        known = [name for name in CONTAINERS if name in inside]
        if not known and any(isinstance(value, kind) for value in tree.values()):
            break
        if not known and len(inside) != 1:
            found = f"arrays under {', '.join(map(str, list(inside)[:SHOWN]))}" if inside else "no arrays"
            raise ValueError(f"it holds {found}; expected those of one network, under one of {', '.join(CONTAINERS)}")
        key = known[0] if known else next(iter(inside))
        left += [str(other) for other in tree if other != key]
        place.append(str(key))
        tree = tree[key]
    named = dict(walk.named(tree))
    left += [name for name, value in named.items() if value is None]
    chosen = choose_by_name({name: value for name, value in named.items() if value is not None})
    return Chosen(chosen.arrays, ".".join([*place, *([chosen.place] if chosen.place else [])]), (*left, *chosen.left))


def choose_by_name(arrays: Mapping[str, T]) -> Chosen[T]:
    """The same of a file that has names alone: a word of `CONTAINERS` is taken off where every name begins with one."""
    arrays = {name: array for name, array in arrays.items() if name.rpartition(".")[2] not in COUNTERS}
    place: list[str] = []
    left: list[str] = []
    while arrays and all(name.partition(".")[0] in CONTAINERS and "." in name for name in arrays):
        heads = {name.partition(".")[0] for name in arrays}
        head = next(name for name in CONTAINERS if name in heads)
        left += sorted(heads - {head})
        place.append(head)
        arrays = {name.partition(".")[2]: array for name, array in arrays.items() if name.partition(".")[0] == head}
    return Chosen(dict(arrays), ".".join(place), tuple(left))


class _Walk(Generic[T]):
    """Through data that may hold itself, or the same many times: so many steps, and no deeper than `MAX_DEPTH`."""

    def __init__(self, kind: type[T]) -> None:
        self.kind, self.steps = kind, 0

    def named(self, tree: Any, prefix: str = "", depth: int = 0) -> Iterator[tuple[str, T | None]]:
        """Values by dotted names; what is no array is None."""
        self.steps += 1
        if self.steps > MAX_VISITS:
            raise ValueError(f"it holds more than {MAX_VISITS:,} entries")
        if len(prefix) > MAX_NAME:
            raise ValueError(f"it holds a name of more than {MAX_NAME} characters")
        if isinstance(tree, self.kind):
            yield prefix, tree
        elif type(tree) in (dict, list, tuple) and depth <= MAX_DEPTH:
            for key, value in tree.items() if type(tree) is dict else enumerate(tree):
                yield from self.named(value, f"{prefix}.{key}" if prefix else str(key), depth + 1)
        else:
            yield prefix, None

    def holds(self, tree: Any) -> bool:
        """Whether an array is anywhere in it."""
        return any(value is not None for _, value in self.named(tree))
