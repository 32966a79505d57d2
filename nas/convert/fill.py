"""Arrays put in the place of a network's own, every name and shape compared."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from nas.nn.weights import HostVariables

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Imported:
    """HostVariables of a network, and the nodes that are as the start had them because the source does not fit there.

    `notes` are lines for people: what of the file was read, and what its network does otherwise than this one.
    """

    variables: HostVariables
    fresh: tuple[str, ...]
    notes: tuple[str, ...] = ()


def copied(variables: HostVariables) -> HostVariables:
    """New dictionaries, the same arrays."""
    return {part: {node: dict(arrays) for node, arrays in nodes.items()} for part, nodes in variables.items()}


def classifier_of(variables: HostVariables) -> str:
    """The node that gives the logits: the last that has parameters."""
    return list(variables["params"])[-1]


def fill(variables: HostVariables, node: str, arrays: Arrays, source: str) -> bool:
    """Puts arrays at a node. False where it is the classifier, whose number of classes differs: then it stays as it is.

    A kernel of a dense layer behind a map of (h, w, c) is one of a convolution whose window is that map.

    Raises ValueError naming the node, the array, both shapes and `source`.
    """
    places = {name: part for part in variables for name in variables[part].get(node, {})}
    ours = {name: np.shape(variables[part][node][name]) for name, part in places.items()}
    arrays = {name: _as_window(array, ours.get(name, ())) for name, array in arrays.items()}
    theirs = {name: array.shape for name, array in arrays.items()}
    if ours != theirs and node == classifier_of(variables) and _but_last(ours) == _but_last(theirs):
        return False
    for name in {**ours, **theirs}:
        expected, got = ours.get(name, "none"), theirs.get(name, "none")
        if expected != got:
            raise ValueError(f"{node}: {name}: expected {_shown(expected)}, got {_shown(got)} from {source}")
    for name, part in places.items():
        variables[part][node][name] = np.array(arrays[name], np.float32)
    return True


def _as_window(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    same = array.ndim == 2 and len(shape) == 4 and array.shape == (math.prod(shape[:3]), shape[3])
    return array.reshape(shape) if same else array


def _but_last(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    return {name: shape[:-1] for name, shape in shapes.items()}


def _shown(shape: tuple[int, ...] | str) -> str:
    return shape if isinstance(shape, str) else f"shape {shape}"
