"""Networks measured by a worker, a few at a time: one that hangs or kills its worker is found and named, the rest is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nas.records import JSON, Job, Measurement, Outcome
from nas.runtime.base import Executor
from nas.runtime.dispatch import run_all
from nas.runtime.machines import Failed, Keep

BATCH = 10  # networks that are timed in turns, in one job; where one of them hangs, all are measured again, one by one

References = Sequence[tuple[Mapping[str, JSON], float]]  # (plain architecture, ms at the fit)
Archs = Sequence[tuple[str, Mapping[str, JSON]]]  # (id, plain architecture)


def measure_all(
    executor: Executor, device: str, archs: Archs, timeout_s: float, keep: Keep, failed: Failed, references: References | None = None
) -> None:
    """Measures each architecture once.

    A batch that takes longer than `timeout_s` a network, or whose worker dies, is ended and its networks measured alone.

    Args:
        executor: Whose worker measures.
        device: The device's name in the settings of the executor's workers.
        archs: (architecture id, plain architecture) of each network.
        timeout_s: Seconds for each network.
        keep: Called with each record, as soon as its batch is done.
        failed: Called with the id and the error of a network that cannot be measured, not even alone.
        references: Networks of the fit for `Device.verify`, which measures then; None: `Device.measure` does.
    """
    for start in range(0, len(archs), BATCH):
        batch = archs[start : start + BATCH]
        outcome = _measured(executor, device, batch, timeout_s, references)
        if outcome.outcome == "ok":
            _take(outcome, keep, failed)
            continue
        for arch_id, arch in batch:
            alone = outcome if len(batch) == 1 else _measured(executor, device, [(arch_id, arch)], timeout_s, references)
            if alone.outcome == "ok":
                _take(alone, keep, failed)
            else:
                failed(arch_id, f"{arch.get('name', 'architecture')} ({arch_id}): {alone.outcome}: {alone.error}")


def about(executor: Executor, device: str, timeout_s: float) -> tuple[str, dict[str, JSON]]:
    """(fingerprint, info) of a device, as a worker sees it. Raises ValueError where the worker cannot make the device."""
    outcome = _measured(executor, device, [], timeout_s)
    if outcome.outcome != "ok":
        raise ValueError(f"device.{device}: {outcome.error}")
    return outcome.data["fingerprint"], dict(outcome.data["info"])


def _measured(
    executor: Executor, device: str, archs: Archs, timeout_s: float, references: References | None = None
) -> Outcome:
    data: dict[str, JSON] = {"device": device, "archs": [dict(arch) for _, arch in archs]}
    if references is not None:
        data["references"] = [[dict(arch), ms] for arch, ms in references]
    job = Job(-1, "measure", data=data)
    (outcome,) = run_all(executor, [job], retries=0, timeout_s=timeout_s * max(len(archs), 1))
    return outcome


def _take(outcome: Outcome, keep: Keep, failed: Failed) -> None:
    for record in outcome.data["measurements"]:
        keep(Measurement(**record))
    for arch_id, error in outcome.data["failures"]:
        failed(arch_id, error)
