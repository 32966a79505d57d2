"""How a training step gets its images: from the host batch by batch, or from a dataset that lies on the device.

On an accelerator the host should have nothing to do per step. A dataset that fits stays on the device as uint8, an epoch's
order is all that travels, augmentation is a part of the step, and one dispatch runs many steps (`DeviceFeed`). On a CPU, and
for what does not fit, NumPy gathers and augments each batch while the step before it runs (`HostFeed`).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from nas.arch.graph import Graph, node_macs
from nas.data.augment_on_device import augment_on_device
from nas.data.dataset import Split
from nas.data.stream import prefetched
from nas.nn.ops import Array
from nas.nn.weights import AnyArray
from nas.recipe import Augment
from nas.train.optim import Tree
from nas.train.resident import resident
from nas.train.state import State

DISPATCH_S = 0.25  # what one dispatch should take
MOST_STEPS = 64  # a dispatch
STEP_S = 3e-3  # of a small network on an accelerator: its kernels' launches
FLOPS = 2e13  # a second, what a convolutional network reaches on an accelerator; only `steps_of_dispatch` uses it
AUGMENT = 104_729  # folded into a step's key, which dropout and mixing use by other numbers

Batch: TypeAlias = tuple[int, Sequence[AnyArray]]  # (steps that it has, what the compiled step takes after the state)
Order: TypeAlias = Callable[[int], Iterator[np.ndarray]]  # epoch -> the rows of each of its batches
PureStep: TypeAlias = Callable[..., tuple[State, Array]]  # (state, images, targets, *others) -> (state, loss)


class Feed(Protocol):
    """What stands between a pure step and the training images."""

    def wrap(self, step: PureStep) -> PureStep:
        """The function to compile: (state, *a batch of this feed, *others) -> (state, a loss or the losses (k,))."""
        ...

    def shapes(self) -> Sequence[AnyArray | jax.ShapeDtypeStruct]:
        """Shapes of a batch of this feed, or arrays that have them."""
        ...

    def batches(self, epoch: int, start: int) -> Generator[Batch]:
        """One epoch from step `start` on."""
        ...


@dataclass(frozen=True)
class HostFeed:
    """Batches that NumPy makes: one step a dispatch.

    images: of the training split. rows: of a batch. order: epoch -> the rows of each batch. make: (epoch, number, rows) -> what
    a step takes. shaped: what that has for shapes.
    """

    images: object
    rows: int
    order: Order
    make: Callable[[int, int, np.ndarray], Sequence[AnyArray]]
    shaped: Sequence[jax.ShapeDtypeStruct]

    def wrap(self, step: PureStep) -> PureStep:
        return step

    def shapes(self) -> Sequence[jax.ShapeDtypeStruct]:
        return self.shaped

    def batches(self, epoch: int, start: int) -> Generator[Batch]:
        rows = islice(enumerate(self.order(epoch)), start, None)
        return prefetched(self.images, self.rows, lambda one: (1, self.make(epoch, *one)), rows)


@dataclass(frozen=True)
class DeviceFeed:
    """Images that lie on the device; `steps` of them a dispatch, each with the key of its own step.

    The result is the same for any number of steps a dispatch. fill: as `augment_on_device` has it.
    """

    split: Split
    rows: int
    order: Order
    steps: int
    augment: Augment
    fill: Sequence[int]

    def wrap(self, step: PureStep) -> PureStep:
        def dispatch(
            state: State, images: Array, targets: Array, rows: Array, count: Array, *others: Tree
        ) -> tuple[State, Array]:
            def one(state: State, number: Array) -> tuple[State, Array]:
                mine = rows[number]
                key = jax.random.fold_in(jax.random.fold_in(state.key, state.step), AUGMENT)
                batch = augment_on_device(images[mine], key, self.augment, self.fill)
                moved, loss = step(state, batch, targets[mine], *others)
                return _chosen(number < count, moved, state), loss

            return lax.scan(one, state, jnp.arange(self.steps))

        return dispatch

    def shapes(self) -> Sequence[AnyArray]:
        return [*resident(self.split), self._rows(()), np.zeros((), np.int32)]

    def batches(self, epoch: int, start: int) -> Generator[Batch]:
        images, targets = resident(self.split)
        order = list(islice(self.order(epoch), start, None))
        for first in range(0, len(order), self.steps):
            rows = order[first : first + self.steps]
            yield len(rows), (images, targets, self._rows(rows), np.array(len(rows), np.int32))

    def _rows(self, rows: Sequence[np.ndarray]) -> np.ndarray:
        """(steps, rows of a step) int32; what is left over is row 0, whose steps do not count."""
        out = np.zeros((self.steps, self.rows), np.int32)
        out[: len(rows)] = rows if len(rows) else 0
        return out


def _chosen(new: Array, moved: State, state: State) -> State:
    """One of two states; the key is the same in both."""
    kept = jax.tree.map(lambda a, b: jnp.where(new, a, b), moved._replace(key=()), state._replace(key=()))
    return kept._replace(key=state.key)


def steps_of_dispatch(graph: Graph, rows: int, steps_per_epoch: int) -> int:
    """How many steps take about `DISPATCH_S`, evened out over an epoch so that little is left over in its last dispatch.

    Args:
        graph: The network, whose multiply-adds tell about how long a step takes.
        rows: Images a step.
        steps_per_epoch: 1 or more.

    Returns:
        1 to `MOST_STEPS`.
    """
    macs = sum(node_macs(node, [graph.nodes[i].shape for i in node.inputs]) for node in graph.nodes)
    step_s = max(STEP_S, 6 * macs * rows / FLOPS)  # two operations a product; the backward pass has two products for one
    most = min(max(round(DISPATCH_S / step_s), 1), MOST_STEPS, steps_per_epoch)
    dispatches = -(-steps_per_epoch // most)
    return -(-steps_per_epoch // dispatches)
