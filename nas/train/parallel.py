"""Data parallel training: each batch is split among devices, of this process or of several on other hosts; the rest is on each.

XLA sees one program over the whole batch and puts the sums over images together across devices, batch norm's statistics and
gradients alike: losses are those of one device, up to the order of sums.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding

from nas.data.dataset import Split
from nas.nn.ops import Array
from nas.nn.weights import AnyArray
from nas.tasks import MetricState, Task

T = TypeVar("T")
PATIENCE_S = 100  # after which processes take one that is silent for dead


@dataclass(frozen=True)
class DeviceMesh:
    """Who trains together.

    Args:
        devices: Of each process.
        hosts: Processes.
        rank: The number of this one; number 0 writes files.

    Example:
        >>> second = DeviceMesh(devices=2, hosts=2, rank=1)
        >>> second.size, second.leads, second.mine(64)
        (4, False, slice(32, 64, None))
    """

    devices: int = 1
    hosts: int = 1
    rank: int = 0

    @property
    def size(self) -> int:
        """Devices that share a batch."""
        return self.devices * self.hosts

    @property
    def leads(self) -> bool:
        """Whether this process writes files."""
        return self.rank == 0

    def mine(self, rows: int) -> slice:
        """This process' part of a batch."""
        each = rows // self.hosts
        return slice(self.rank * each, (self.rank + 1) * each)

    def shared(self) -> NamedSharding | None:
        """How images and labels are laid out; None for one device. Raises ValueError where there are fewer devices."""
        return None if self.size == 1 else NamedSharding(self._mesh(), PartitionSpec("batch"))

    def everywhere(self) -> NamedSharding | None:
        """How all the rest is laid out."""
        return None if self.size == 1 else NamedSharding(self._mesh(), PartitionSpec())

    def replicated(self, tree: T) -> T:
        """Arrays on every device."""
        layout = self.everywhere()
        return tree if layout is None else jax.tree.map(lambda leaf: laid_out(leaf, layout), tree)

    def batch(self, *arrays: AnyArray) -> Sequence[AnyArray]:
        """This process' parts of a batch as the whole one, where several share it."""
        if self.hosts == 1:
            return arrays
        shared = self.shared()
        assert shared is not None
        return [jax.make_array_from_process_local_data(shared, np.asarray(array)) for array in arrays]

    def metrics(self, split: Split, score: Callable[[Split], MetricState], task: Task) -> dict[str, float]:
        """A split's metrics, each process scoring a part of it; equal in all."""
        if self.hosts == 1:
            return score(split).compute()
        part = split.take(np.arange(self.rank, len(split), self.hosts))
        own = score(part) if len(part) else task.new_metrics()
        merged = task.new_metrics()
        for data in self._gathered(json.dumps(own.to_json()).encode()):
            merged.merge(task.new_metrics(json.loads(data)))
        return merged.compute()

    def _gathered(self, data: bytes) -> list[bytes]:
        """What every process gave, in order of rank."""
        from jax.experimental import multihost_utils

        sizes = np.asarray(multihost_utils.process_allgather(np.int32(len(data)))).reshape(-1)
        padded = np.frombuffer(data.ljust(int(sizes.max())), np.uint8)
        rows = np.asarray(multihost_utils.process_allgather(padded))
        return [row[:size].tobytes() for row, size in zip(rows, sizes, strict=True)]

    def agree(self, place: Sequence[int], what: str) -> None:
        """Raises ValueError in every process where they stand at different places."""
        if self.hosts == 1:
            return
        from jax.experimental import multihost_utils

        found = np.asarray(multihost_utils.process_allgather(np.array(place, np.int32)))
        if (found != found[0]).any():
            raise ValueError(f"{what}: the workers do not see the same files; give a folder that all nodes share by run=")

    def _mesh(self) -> Mesh:
        found = [[d for d in jax.devices() if d.process_index == p] for p in range(self.hosts)]
        for own in found:
            if len(own) < self.devices:
                platform = jax.devices()[0].platform
                raise ValueError(f"devices: expected {self.devices}, this machine has {len(own)} ({platform})")
        return Mesh(np.array([d for own in found for d in own[: self.devices]]), ("batch",))


ALONE = DeviceMesh()


def laid_out(leaf: AnyArray, layout: Sharding) -> Array:
    """An array, or random keys, that every process has whole, as a layout over all their devices has it."""
    if layout.is_fully_addressable:
        return jax.device_put(leaf, layout)
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(laid_out(jax.random.key_data(leaf), layout), impl=jax.random.key_impl(leaf))
    whole = np.asarray(leaf)
    return jax.make_array_from_callback(whole.shape, layout, lambda part: whole[part])


def join(address: str, devices: int, hosts: int, rank: int) -> DeviceMesh:
    """Makes this process one of `hosts` that train together; before JAX is used. `address`: host:port of number 0."""
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(address, hosts, rank, heartbeat_timeout_seconds=PATIENCE_S)
    return DeviceMesh(devices, hosts, rank)
