"""Whole networks measured on a bench: compiled, run in turns with nothing else measured on the machine, one record each."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence

from nas.arch import Arch
from nas.arch.blocks import lower
from nas.latency.devices.energy import energy_mj
from nas.latency.devices.lock import machine_lock
from nas.latency.predictors.layerwise.fitting import Bench
from nas.latency.timing import DeviceError, Program, Timing
from nas.records import JSON, Measurement

Failed = Callable[[Arch, DeviceError], None]


def info_fingerprint(info: Mapping[str, JSON]) -> str:
    """12 hex digits of `Device.info`."""
    return hashlib.sha256(json.dumps(info, sort_keys=True).encode()).hexdigest()[:12]


def measure_networks(
    bench: Bench,
    archs: Arch | Sequence[Arch],
    device: str,
    info: Mapping[str, JSON],
    failed: Failed | None = None,
    limit_s: float | None = None,
) -> list[Measurement]:
    """Compiles networks, runs them in turns, and makes a record of each; networks that are equal run once.

    Args:
        bench: Compiles and times graphs.
        archs: One architecture, or several.
        device: The device's name.
        info: What the latencies hold for.
        failed: Called with an architecture that cannot be compiled or run, and its error; the others are measured.
        limit_s: Seconds that each network is timed for, about.

    Returns:
        Records of the architectures that were measured, in order.

    Raises:
        DeviceError: The first network that cannot be compiled or run, where `failed` is None.
    """
    expected = [archs] if isinstance(archs, Arch) else list(archs)
    ids: list[str] = []
    programs: dict[str, Program] = {}
    for arch in expected:
        graph = lower(arch)
        ids.append(graph.id)
        if graph.id in programs:
            continue
        try:
            programs[graph.id] = _tried(bench.compile(graph, f"{arch.name} ({graph.id})"))
        except DeviceError as error:
            if failed is None:
                raise
            failed(arch, error)
    with machine_lock():
        timings = bench.time(programs, None if limit_s is None else dict.fromkeys(programs, limit_s))
        energies = {name: energy_mj(program) for name, program in programs.items()}
    fingerprint = info_fingerprint(info)
    return [
        _record(i, device, fingerprint, timings[i], {**info, **_beside(programs[i], energies[i])})
        for i in ids
        if i in timings
    ]


def _tried(program: Program) -> Program:
    """The program, run once: one that cannot run fails here, alone, and not among the others."""
    program()
    return program


def _beside(program: Program, energy: float | None) -> dict[str, JSON]:
    """What is known of a program beside its latency."""
    memory = program.memory_bytes
    return ({} if memory is None else {"memory_bytes": memory}) | ({} if energy is None else {"energy_mj": energy})


def _record(arch_id: str, device: str, fingerprint: str, timing: Timing, info: Mapping[str, JSON]) -> Measurement:
    kept = {**info, "repeatability": timing.repeatability}
    return Measurement(
        arch_id, device, fingerprint, timing.latency_ms, timing.median_ms, timing.p95_ms, timing.runs, kept
    )
