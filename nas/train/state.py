"""What a training step changes, and the types of compiled steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np

from nas.nn.ops import Array
from nas.train.optim import Tree

Count: TypeAlias = "Array | np.int32"  # of steps


class State(NamedTuple):
    """All that a step changes; each field is a pytree of arrays, packed as the trainer packs them.

    params, stats: packed parameters and batch statistics. opt: the optimizer's. ema: (params, stats), or nothing. step: how many
    were taken. key: of random numbers, the same throughout.
    """

    params: Tree
    stats: Tree
    opt: Tree
    ema: tuple[Tree, ...]
    step: Count
    key: Array


Step: TypeAlias = Callable[..., tuple[State, Array]]  # (state, *a batch of the feed) -> (state, a loss, or one a step)
