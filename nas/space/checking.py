"""Whether all that a space can decode can be built: looked at when it is read, so that no worker meets it later."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np

from nas.arch import arch_from_dict, whole
from nas.arch.blocks import BLOCKS, HEADS, BlockFn, lower, resolve
from nas.space.decoding import Template
from nas.space.template import Hole, Pairs

LOOKED_AT, LEAST = 12_000, 20  # blocks of a space, and of one of its layers, that are resolved
DRAWN = 3
MAX_STRIDE, MAX_RESOLUTION = 16, 8192


def check(space: Template, where: str) -> None:
    """Every option of every layer resolves against its block, and a few random genomes can be built. Raises ValueError."""
    try:
        space.active([0] * len(space.genes))
    except RecursionError:
        raise ValueError(f"{where}: the conditions of its choices lead from one to the next too often") from None
    _check_stem(space, f"{where}: stem")
    _check_layer(space, space.head, f"{where}: head", HEADS)
    for i, stage in enumerate(space.stages):
        place = f"{where}: stages[{i}]"
        _check_whole(space, stage.stride, MAX_STRIDE, f"{place}.stride")
        for j, layer in enumerate(stage.layers):
            _check_layer(space, layer, f"{place}.layers[{j}]" if len(stage.layers) > 1 else place)
    _check_whole(space, space.resolution, MAX_RESOLUTION, f"{where}: resolution")
    rng = np.random.default_rng(0)
    for genome in [space.sample(rng) for _ in range(DRAWN if space.genes else 1)]:
        lower(arch_from_dict(space.decode(genome).to_dict(), where), where)


def _blocks_checked(space: Template) -> int:
    return max(LEAST, LOOKED_AT // sum(len(stage.layers) for stage in space.stages))


def _check_stem(space: Template, place: str) -> None:
    defaults = dict(space.base.defaults)
    for block in itertools.islice(space.blocks_of(space.stem), _blocks_checked(space)):
        whole(block.get("stride", 1), 1, MAX_STRIDE, f"{place}.stride")
        resolve(block, defaults, place)


def _check_layer(space: Template, layer: Pairs, place: str, registry: Mapping[str, BlockFn] = BLOCKS) -> None:
    defaults = dict(space.base.defaults)
    for block in itertools.islice(space.blocks_of(layer), _blocks_checked(space)):
        resolve(block, defaults, place, registry)


def _check_whole(space: Template, value: Any, most: int, place: str) -> None:
    for option in space.genes[value.gene].options if isinstance(value, Hole) else (value,):
        whole(option, 1, most, place)
