"""TensorFlow's checkpoints of MnasNet and EfficientNet, exported as .npz: their names and layouts as a state dict.

    chosen = from_tensorflow({"efficientnet-b0/stem/conv2d/kernel": .., "efficientnet-b0/blocks_0/se/conv2d_1/bias": .., ..})
    chosen.arrays        # {"stem.conv2d.weight": .., "blocks.0.se.conv2d_1.bias": .., ..}, in the order of the network

Names say where a layer stands, so that the order of the file does not matter. Where the moving averages of weights are in it, which
its makers evaluate, they are taken. What the optimizer keeps is left.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TypeAlias

import numpy as np

from nas.convert.state_dict import Chosen

AVERAGE = "ExponentialMovingAverage"
NAMES = {
    "kernel": "weight", "depthwise_kernel": "weight", "bias": "bias",
    "gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var",
}  # fmt: skip
LAYER = re.compile(
    r"(?:[^/]+/)?(?:mnas_)?(?P<part>stem|blocks_(?P<block>\d{1,6})|head)/(?P<layer>.+)/"
    rf"(?P<array>{'|'.join(NAMES)})(?P<average>/{AVERAGE})?(?::0)?"
)
OPTIMIZER = re.compile(r"(?:.+/)?(?:(?:RMSProp|Momentum|Adam|Adagrad)(?:Optimizer)?(?:_\d{1,6})?|beta[12]_power|global_step)(?::0)?")
Key: TypeAlias = tuple[int, int, tuple[tuple[str, int], ...], str]  # part, block, layer, array
PARTS = {"stem": 0, "blocks": 1, "head": 2}


def is_tensorflow(names: Iterable[str]) -> bool:
    """Whether names are of such a checkpoint: a batch norm's, with slashes."""
    return any(LAYER.fullmatch(name) and "/moving_mean" in name for name in names)


def from_tensorflow(arrays: Mapping[str, np.ndarray]) -> Chosen[np.ndarray]:
    """The arrays by PyTorch's names, in its layouts. Raises ValueError naming an array that is of no layer known here."""
    left = {match[0].rpartition("/")[2] for name in arrays if (match := OPTIMIZER.fullmatch(name))}
    found: dict[Key, np.ndarray] = {}
    names: dict[Key, str] = {}
    averaged = False
    for name in sorted(arrays, key=lambda name: AVERAGE in name):  # averages last, in the place of the others
        if OPTIMIZER.fullmatch(name):
            continue
        if (match := LAYER.fullmatch(name)) is None:
            raise ValueError(f"{name}: an array of no layer known here; expected <network>/stem, blocks_<number> or head, then a layer")
        part, layer = match["part"].partition("_")[0], match["layer"]
        key = (PARTS[part], int(match["block"] or 0), _numbered(layer), NAMES[match["array"]])
        if match["average"]:
            averaged = True
        elif key in found:
            raise ValueError(f"{name}: names the same array as {names[key]}")
        block = f"{part}.{match['block']}" if match["block"] else part
        names[key] = f"{block}.{layer.replace('/', '.')}.{NAMES[match['array']]}"
        found[key] = _moved(name, match["array"], arrays[name])
    return Chosen({names[key]: found[key] for key in sorted(found)}, AVERAGE if averaged else "", tuple(sorted(left)))


def _numbered(layer: str) -> tuple[tuple[str, int], ...]:
    """`se/conv2d_1` so that it comes after `se/conv2d`, and 10 after 2."""
    matches = (re.fullmatch(r"(.+?)(?:_(\d{1,6}))?", token) for token in layer.split("/"))
    return tuple((match[1], int(match[2] or 0)) for match in matches if match)


def _moved(name: str, kind: str, array: np.ndarray) -> np.ndarray:
    """Outputs first."""
    if kind == "kernel" and array.ndim == 2:
        return array.T
    if kind in ("kernel", "depthwise_kernel"):
        if array.ndim != 4:
            raise ValueError(f"{name}: shape {array.shape}; expected 4 axes, or 2 of a dense layer")
        if kind == "depthwise_kernel":
            array = array.reshape(*array.shape[:2], 1, -1)
        return array.transpose(3, 2, 0, 1)
    return array
