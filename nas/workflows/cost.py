"""What networks cost on devices: one that is measured, and the quantiles of a space, to choose a limit by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from nas.arch import Arch
from nas.core.process import use_compile_cache
from nas.cost import Costs
from nas.latency import Device, load_predictor, make_device, read_predictor
from nas.objectives import PREDICTED
from nas.records import JSON, Measurement
from nas.space import Space
from nas.workflows.default_device import resolved
from nas.workflows.run_folder import with_paths

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
SAMPLES = 1000


def latencies(arch: Arch, devices: Mapping[str, Mapping[str, JSON]]) -> list[Measurement]:
    """Measures an architecture in this process, in windows over time.

    Args:
        arch: The network, of its final size.
        devices: Settings by name.

    Returns:
        A measurement for each device, under the name it has here.

    Raises:
        ValueError: A device cannot measure it.
    """
    use_compile_cache()
    devices, _ = resolved(devices)
    made = {name: make_device(with_paths(settings), f"device.{name}") for name, settings in devices.items()}
    return [_named(name, device.verify([arch], [])[0]) for name, device in made.items()]


def _named(name: str, found: Measurement) -> Measurement:
    return replace(found, device=name)


def space_quantiles(space: Space, devices: Mapping[str, Mapping[str, JSON]], seed: int = 0) -> dict[str, list[float]]:
    """Quantiles of what the architectures of a space cost.

    Args:
        space: Of its final size.
        devices: Settings by name; a predictor is fitted in this process where none is named.
        seed: Of the sample.

    Returns:
        By metric the values at `QUANTILES`: latencies first, then parameters, multiply-adds and memory.
    """
    rng = np.random.default_rng(seed)
    genomes = np.array([space.sample(rng) for _ in range(SAMPLES)])
    devices, _ = resolved(devices)
    costs = {f"{PREDICTED}/{name}": _predicted(space, genomes, name, settings, seed) for name, settings in devices.items()}
    columns = {**costs, **Costs(space)(genomes)}
    return {name: np.quantile(np.asarray(values, float), QUANTILES).tolist() for name, values in columns.items()}


def _predicted(space: Space, genomes: np.ndarray, name: str, settings: Mapping[str, JSON], seed: int) -> np.ndarray:
    use_compile_cache()
    device: Device = make_device(with_paths(settings), f"device.{name}").bind(space)
    if device.predictor is None:
        return device.fit(space, seed).predict_many(space, genomes)
    where = f"device.{name}.predictor"
    predictor = load_predictor(read_predictor(device.predictor, where), space, where)
    predictor.check(device.fingerprint(), space, where)
    return predictor.predict_many(space, genomes)
