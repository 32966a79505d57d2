"""Networks measured by a worker on a device, a few at a time: what hangs or dies is found and named, the rest is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nas.records import Job, Measurement, Outcome
from nas.runtime.base import Executor
from nas.runtime.dispatch import run_all

TURNS = 5  # of measuring a few networks whose times are to be compared
TOGETHER = 10  # networks that take turns: what is lost where one of them hangs is measured again, one by one

Keep = Callable[[Measurement], Any]
Failed = Callable[[str, str], Any]  # (architecture id, error)
Archs = Sequence[tuple[str, Mapping[str, Any]]]  # (id, plain architecture)


def measure_all(executor: Executor, device: str, archs: Archs, timeout_s: float, keep: Keep, failed: Failed) -> None:
    """Measures each architecture once; every record goes to `keep` as soon as its batch is done.

    A batch that takes longer than `timeout_s` a network, or whose worker dies, is ended and its members tried alone; one
    that fails alone too, cannot be compiled or has times that are none goes to `failed`.
    """
    for start in range(0, len(archs), TOGETHER):
        batch = archs[start : start + TOGETHER]
        outcome = _measured(executor, device, batch, timeout_s)
        if outcome.outcome == "ok":
            _take(outcome, keep, failed)
            continue
        for arch_id, arch in batch:
            alone = outcome if len(batch) == 1 else _measured(executor, device, [(arch_id, arch)], timeout_s)
            if alone.outcome == "ok":
                _take(alone, keep, failed)
            else:
                failed(arch_id, f"{arch.get('name', 'architecture')} ({arch_id}): {alone.outcome}: {alone.error}")


def measure_in_turns(
    executor: Executor, device: str, archs: Archs, timeout_s: float, failed: Failed, turns: int = TURNS
) -> dict[str, Measurement]:  # fmt: skip
    """By architecture id the fastest of `turns` measurements: other work makes a network slower for moments, never faster."""
    found: dict[str, Measurement] = {}

    def keep(measured: Measurement) -> None:
        before = found.get(measured.arch_id, measured)
        found[measured.arch_id] = min(before, measured, key=lambda m: m.latency_ms)

    for turn in range(turns):
        left = [(arch_id, arch) for arch_id, arch in archs if turn == 0 or arch_id in found]
        measure_all(executor, device, left, timeout_s, keep, failed)
    return found


def about(executor: Executor, device: str, timeout_s: float) -> tuple[str, dict[str, Any]]:
    """(fingerprint, info) of a device where the executor runs it. Raises ValueError where it cannot be had."""
    outcome = _measured(executor, device, [], timeout_s)
    if outcome.outcome != "ok":
        raise ValueError(f"device.{device}: {outcome.error}")
    return outcome.data["fingerprint"], dict(outcome.data["info"])


def _measured(executor: Executor, device: str, archs: Archs, timeout_s: float) -> Outcome:
    job = Job(-1, "measure", data={"device": device, "archs": [dict(arch) for _, arch in archs]})
    (outcome,) = run_all(executor, [job], retries=0, timeout_s=timeout_s * max(len(archs), 1))
    return outcome


def _take(outcome: Outcome, keep: Keep, failed: Failed) -> None:
    for record in outcome.data["measurements"]:
        keep(Measurement(**record))
    for arch_id, error in outcome.data["failures"]:
        failed(arch_id, error)
