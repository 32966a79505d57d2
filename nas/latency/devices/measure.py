"""Whole networks measured on a bench: compiled, run in turns with nothing else measured on the machine, one record each."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nas.arch import Arch
from nas.arch.blocks import lower
from nas.latency.devices.energy import energy_mj
from nas.latency.devices.lock import machine_lock
from nas.latency.predictors.layerwise.fitting import Bench
from nas.latency.timing import AGAIN, DeviceError, Program, Timing, pause, pooled
from nas.records import JSON, MACHINE_BOUND, Measurement, confirmed

Failed = Callable[[Arch, DeviceError], None]


def info_fingerprint(info: Mapping[str, JSON]) -> str:
    """12 hex digits of `Device.info`."""
    return hashlib.sha256(json.dumps(info, sort_keys=True).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Windows:
    """Windows in which networks are timed, the first and the last `seconds` apart; one window has no pauses."""

    count: int = 1
    seconds: float = 0.0
    pause: Callable[[float], object] = pause

    @property
    def gap_s(self) -> float:
        return self.seconds / max(self.count - 1, 1)


def measure_networks(
    bench: Bench,
    archs: Arch | Sequence[Arch],
    device: str,
    info: Mapping[str, JSON],
    failed: Failed | None = None,
    limit_s: float | None = None,
    windows: Windows | None = None,
    references: Sequence[tuple[Arch, float]] = (),
) -> list[Measurement]:
    """Compiles networks, runs them in turns, and makes a record of each; networks that are equal run once.

    Args:
        bench: Compiles and times graphs.
        archs: One architecture, or several.
        device: The device's name.
        info: What the latencies hold for.
        failed: Called with an architecture that cannot be compiled or run, and its error; the others are measured.
        limit_s: Seconds that each network is timed for, about.
        windows: Over time; None: one.
        references: Networks with their milliseconds at the fit, run in turns with the others; their ratio is the machine's
            factor, which stands in the records' `info` beside the raw latency.

    Returns:
        Records of the architectures that were measured, in order.

    Raises:
        DeviceError: The first network that cannot be compiled or run, where `failed` is None.
    """
    expected, windows = [archs] if isinstance(archs, Arch) else list(archs), windows or Windows()
    ids = [lower(arch).id for arch in expected]
    programs = _compiled(bench, expected, failed)
    beside = _compiled(bench, [arch for arch, _ in references], lambda *_: None) if programs else {}
    fits = {i: ms for arch, ms in references if (i := lower(arch).id) in beside}
    timings, factor = time_in_windows(bench, {**beside, **programs}, fits, limit_s, windows)
    with machine_lock():
        energies = {name: energy_mj(program.burst) for name, program in programs.items()}
    fingerprint, machine = info_fingerprint(info), {} if factor is None else {"machine_factor": factor}
    over_time = windows.count > 1 and not fits
    return [
        _record(i, device, fingerprint, timings[i], {**info, **_beside(programs[i], energies[i]), **machine}, over_time)
        for i in ids
        if i in programs
    ]


def _compiled(bench: Bench, archs: Sequence[Arch], failed: Failed | None) -> dict[str, Program]:
    programs: dict[str, Program] = {}
    for arch in archs:
        graph = lower(arch)
        if graph.id in programs:
            continue
        try:
            programs[graph.id] = _tried(bench.compile(graph, f"{arch.name} ({graph.id})"))
        except DeviceError as error:
            if failed is None:
                raise
            failed(arch, error)
    return programs


def time_in_windows(
    bench: Bench, programs: Mapping[str, Program], fits: Mapping[str, float], limit_s: float | None, windows: Windows
) -> tuple[dict[str, Timing], float | None]:
    """Times programs in windows over time, and compares the references among them with the fit.

    A window in which the machine is off by more than `MACHINE_BOUND` does not count and is repeated later, up to `AGAIN` times
    as many windows in all. Where too few are left, all count, and the factor tells of it. Without references the windows are
    compared with each other: where the first half differs from the second by more than the bound, there are more of them.

    Args:
        bench: Times the programs.
        programs: By id.
        fits: Milliseconds of references at the fit, by id.
        limit_s: Seconds for each program over all windows, about.
        windows: How many, and how far apart.

    Returns:
        Timings by id, never corrected, and the machine's factor: by how much the references take longer than at the fit. None
        without references.
    """
    limits = None if limit_s is None else dict.fromkeys(programs, limit_s / windows.count)
    found: list[dict[str, Timing]] = []
    good: list[dict[str, Timing]] = []
    while len(good) < windows.count and len(found) < AGAIN * windows.count:
        if found:
            windows.pause(windows.gap_s)
        with machine_lock():
            found.append(bench.time(programs, limits))
        if confirmed(_factor(found[-1], fits)):
            good.append(found[-1])
        elif windows.count == 1:
            break
    while not fits and windows.count > 1 and drift(found) > MACHINE_BOUND and len(found) < AGAIN * windows.count:
        windows.pause(windows.gap_s)
        with machine_lock():
            found.append(bench.time(programs, limits))
    used = good if fits and len(good) == windows.count else found
    timings = {name: pooled([window[name] for window in used]) for name in programs}
    return timings, _factor(timings, fits)


def drift(windows: Sequence[Mapping[str, Timing]]) -> float:
    """By how much the first half of the windows differs from the second, as a fraction: of the network where it is most."""
    return max((pooled([window[name] for window in windows]).repeatability for name in windows[0]), default=0.0)


def _factor(timings: Mapping[str, Timing], fits: Mapping[str, float]) -> float | None:
    """The median ratio over the references."""
    return float(np.median([timings[i].latency_ms / ms for i, ms in fits.items()])) if fits else None


def _tried(program: Program) -> Program:
    """The program, run once: one that cannot run fails here, alone, and not among the others."""
    program()
    return program


def _beside(program: Program, energy: float | None) -> dict[str, JSON]:
    """What is known of a program beside its latency."""
    memory = program.memory_bytes
    return ({} if memory is None else {"memory_bytes": memory}) | ({} if energy is None else {"energy_mj": energy})


def _record(arch_id: str, device: str, fingerprint: str, timing: Timing, info: Mapping[str, JSON], over_time: bool) -> Measurement:
    """`over_time`: windows without references, which are compared with each other alone."""
    kept = {**info, "repeatability": timing.repeatability}
    if over_time and timing.repeatability > MACHINE_BOUND:
        kept["window_drift"] = timing.repeatability
    if factor := info.get("machine_factor"):
        kept["corrected_ms"] = timing.latency_ms / factor
    return Measurement(
        arch_id, device, fingerprint, timing.latency_ms, timing.median_ms, timing.p95_ms, timing.runs, kept
    )
