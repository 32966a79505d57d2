"""The registry of blocks and heads, and the checks of their knobs: the signature of a block's function is its schema."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from nas.arch import AUTO, MAX_WIDTH, Block, Knob, choice, number, shown, whole
from nas.arch.blocks.classic import (
    bottleneck,
    dense_layer,
    inception,
    residual,
    shuffle_v1,
    shuffle_v2,
    transition,
    xception,
)
from nas.arch.blocks.detection import ssdlite, yolo
from nas.arch.blocks.heads import classifier, embedding, mlp, mobilenet_v3, spp
from nas.arch.blocks.mobile import avg_pool, conv, fused_mbconv, identity, max_pool, mbconv, sepconv, uib
from nas.arch.blocks.parts import SKIPS
from nas.arch.blocks.segmentation import deeplab_v3, lr_aspp, unet
from nas.arch.graph import ACTS
from nas.core.settings import nearest

BlockFn = Callable[..., Any]  # its output node; a head's may be several by name
BLOCKS: dict[str, BlockFn] = {
    "conv": conv,
    "sepconv": sepconv,
    "mbconv": mbconv,
    "fused_mbconv": fused_mbconv,
    "uib": uib,
    "residual": residual,
    "bottleneck": bottleneck,
    "dense_layer": dense_layer,
    "transition": transition,
    "inception": inception,
    "shuffle_v1": shuffle_v1,
    "shuffle_v2": shuffle_v2,
    "xception": xception,
    "identity": identity,
    "max_pool": max_pool,
    "avg_pool": avg_pool,
}
HEADS: dict[str, BlockFn] = {
    "classifier": classifier,
    "mobilenet_v3": mobilenet_v3,
    "mlp": mlp,
    "spp": spp,
    "embedding": embedding,
    "lr_aspp": lr_aspp,
    "deeplab_v3": deeplab_v3,
    "unet": unet,
    "ssdlite": ssdlite,
    "yolo": yolo,
}

# Knobs that hold a number of channels; a width multiplier scales them (a head's `width` by its own rule).
WIDTHS = ("width", "hidden", "se_width", "growth", "width1", "reduce3", "width3", "reduce5", "width5", "width_pool")

# What a knob of this name may hold, whatever block has it; the rest is checked by the annotation.
_ANY = ("conv", "width", "hidden", "se_width", "first_groups", "group_size")
_SOME = ("size", "groups", "growth", "width1", "reduce3", "width3", "reduce5", "width5", "width_pool")
_WHOLE = {
    **dict.fromkeys(_ANY, (0, MAX_WIDTH)),
    **dict.fromkeys(_SOME, (1, MAX_WIDTH)),
    **dict.fromkeys(("kernel", "kernel5"), (1, 31)),
    **dict.fromkeys(("start_kernel", "mid_kernel", "end_kernel"), (0, 31)),
    **dict.fromkeys(("divisor", "se_divisor"), (1, 256)),
    "depth": (1, 64),
    "dilation": (1, 64),
    **dict.fromkeys(("output_stride", "finer", "finest", "window"), (0, 1024)),
    **dict.fromkeys(("boxes", "first_boxes"), (0, 64)),
    "pairs": (0, 16),
}
_NUMBER = {"expand": (0.0, 64.0), "se": (0.0, 4.0), "dropout": (0.0, 0.99), "compress": (0.0, 1.0), "multiplier": (1 / 64, 64.0)}
_CHOICE = {
    **dict.fromkeys(("act", "se_gate", "project_act", "conv_act", "gate"), ACTS),
    "se_act": (*ACTS, "block"),
    "skip": SKIPS,
    "se_of": ("input", "hidden"),
    "stride_at": ("first", "middle"),
    "dropout_at": ("before", "after"),
    "scores": ("softmax", "sigmoid"),
}
_PADDINGS = ("auto", "same", "torch", "valid")
MAX_PADDING, MAX_DENSE = 64, 16


@cache
def _signature(fn: BlockFn) -> Mapping[str, inspect.Parameter]:
    parameters = inspect.signature(fn, eval_str=False).parameters.values()
    return {p.name: p for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in ("stride", "classes", "taps")}


def reads_taps(op: str) -> bool:
    """Whether a head reads the feature maps of several layers: its function has the argument `taps` then."""
    return _takes_taps(HEADS[op])


@cache
def _takes_taps(fn: BlockFn) -> bool:
    return "taps" in inspect.signature(fn).parameters


def knobs_of(op: str) -> list[str]:
    """Names of the knobs of a block or head."""
    return list(_signature({**BLOCKS, **HEADS}[op]))


def resolve(
    block: Block, defaults: Mapping[str, Knob], where: str, registry: Mapping[str, BlockFn] = BLOCKS
) -> tuple[BlockFn, dict[str, Knob]]:
    """A block's function and all its knobs. Raises ValueError naming an unknown op or knob, or a value out of range."""
    fn = registry.get(block.op) if isinstance(block.op, str) else None
    if fn is None:
        near = nearest(block.op, registry)
        hint = f"did you mean {near!r}?" if near else f"known: {', '.join(registry)}"
        raise ValueError(f"{where}.op: unknown {shown(block.op)}; {hint} (your own needs plugins=[<its module>])")
    signature = _signature(fn)
    knobs = {k: v for k, v in defaults.items() if k in signature}
    for name, value in block.knobs:
        if name == "stride" and where.endswith("stem"):
            continue
        if name not in signature:
            near = nearest(name, signature)
            hint = f"did you mean {near!r}?" if near else f"it has {', '.join(signature)}"
            raise ValueError(f"{where}.{name}: {block.op} has no such knob; {hint}")
        knobs[name] = value
    for name, parameter in signature.items():
        if name not in knobs and parameter.default is parameter.empty:
            raise ValueError(f"{where}: {block.op} needs the knob {name}")
    for name, value in knobs.items():
        _check_knob(name, value, signature[name], f"{where}.{name}")
    return fn, knobs


def knob_values(block: Block, defaults: Mapping[str, Knob], where: str) -> dict[str, Knob]:
    """Every knob of a block with the value that holds: its own, the architecture's default, the function's."""
    fn, knobs = resolve(block, defaults, where)
    unset = {name: p.default for name, p in _signature(fn).items() if p.default is not p.empty}
    return {**unset, **knobs}


def _check_knob(name: str, value: object, parameter: inspect.Parameter, where: str) -> None:
    kind = (
        parameter.annotation if isinstance(parameter.annotation, str) else getattr(parameter.annotation, "__name__", "")
    )
    if kind == "int":
        low, high = _WHOLE.get(name, (0, MAX_WIDTH))
        whole(value, 1 if name == "width" and parameter.default is parameter.empty else low, high, where)
        if name == "output_stride" and isinstance(value, int) and value & (value - 1):
            raise ValueError(f"{where}: expected a power of two, or 0 for what the strides give, got {value}")
    elif kind == "float":
        number(value, *_NUMBER.get(name, (-1e9, 1e9)), where)
    elif kind == "str" and name in _CHOICE:
        choice(value, _CHOICE[name], where)
    elif kind == "str | int":
        _check_padding(value, where)
    elif kind == "Sequence[int]":
        _check_widths(value, where)
    elif kind == "int | Sequence[int]":
        low, high = _WHOLE.get(name, (1, MAX_WIDTH))
        _check_sides(value, low, high, where)
    elif kind == "int | str":
        low, high = _WHOLE.get(name, (0, MAX_WIDTH))
        _check_open(value, lambda: whole(value, low, high, where), where)
    elif kind == "Sequence[float] | str":
        _check_open(value, lambda: _check_range(value, where), where)
    elif kind == "Sequence[Sequence[float]] | str":
        _check_open(value, lambda: _check_sizes(value, where), where)
    elif kind == "bool" and not isinstance(value, bool):
        raise ValueError(f"{where}: expected true or false, got {shown(value)}")
    elif kind == "str" and not isinstance(value, str):
        raise ValueError(f"{where}: expected a word, got {shown(value)}")


def _check_open(value: object, check: Callable[[], object], where: str) -> None:
    """What the data may decide: the word for that, or what passes the check."""
    if isinstance(value, str):
        choice(value, (AUTO,), where)
    else:
        check()


def _check_range(value: object, where: str) -> None:
    """Two fractions of the image, the first the smaller one."""
    if not isinstance(value, tuple) or len(value) != 2:
        raise ValueError(f"{where}: expected {AUTO}, or [low, high] in fractions of the image, got {shown(value)}")
    low, high = (number(side, 0.001, 1.0, where) for side in value)
    if low >= high:
        raise ValueError(f"{where}: expected [low, high], the first the smaller one, got {shown(list(value))}")


def _check_sizes(value: object, where: str) -> None:
    """Heights and widths in fractions of the image."""
    for size in value if isinstance(value, tuple) else (value,):
        if not isinstance(size, tuple) or len(size) != 2:
            raise ValueError(f"{where}: expected {AUTO}, or [height, width] of each box in fractions of the image, got {shown(size)}")
        for side in size:
            number(side, 0.001, 4.0, where)


def _check_padding(value: object, where: str) -> None:
    if isinstance(value, str):
        choice(value, _PADDINGS, where)
    else:
        whole(value, 0, MAX_PADDING, where)


def _check_sides(value: object, low: int, high: int, where: str) -> None:
    """One number, or one for the rows and one for the columns."""
    if isinstance(value, tuple) and len(value) != 2:
        raise ValueError(f"{where}: expected a side, or [rows, columns], got {shown(list(value))}")
    for side in value if isinstance(value, tuple) else (value,):
        whole(side, low, high, where)


def _check_widths(value: object, where: str) -> None:
    if not isinstance(value, tuple) or len(value) > MAX_DENSE:
        raise ValueError(f"{where}: expected a list of at most {MAX_DENSE} widths, got {shown(value)}")
    for width in value:
        whole(width, 1, MAX_WIDTH, where)
