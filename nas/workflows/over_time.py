"""Whole networks measured over time: the one way in which workflows measure what they claim."""

from __future__ import annotations

from collections.abc import Callable

from nas.journal import Journal
from nas.latency.predictors.references import references
from nas.objectives import latest
from nas.report.front import unconfirmed
from nas.runtime.base import Executor
from nas.runtime.machines import Alike
from nas.runtime.measure import Archs, measure_all
from nas.space import Space


def measure_over_time(
    journal: Journal, executor: Executor, device: str, archs: Archs, timeout_s: float, space: Space, message: Callable[[str], object],
) -> None:  # fmt: skip
    """Measures networks in windows over time, and keeps what was measured, and what could not be, in the journal.

    Networks of the fit are measured beside them where the journal has a predictor of the device, by which a machine that is
    not what it was is noticed.

    Args:
        journal: Of the run.
        executor: Whose worker measures.
        device: The device's name in the settings of the executor's workers.
        archs: (architecture id, plain architecture) of each network.
        timeout_s: Seconds after which a network is given up.
        space: That the predictor was fitted to.
        message: Receives a line on each network that cannot be measured.
    """

    def failed(arch_id: str, error: str) -> None:
        journal.add_event("measure_failed", device=device, arch_id=arch_id, error=error)
        message(f"not measured on {device}: {error}")

    fit = journal.get(f"predictor/{device}") or {}
    keep = Alike(journal.add_measurement, failed, fit.get("fingerprint", ""), fit.get("info"))
    beside = [(arch.to_dict(), ms) for arch, ms in references(fit, space)]
    measure_all(executor, device, archs, timeout_s, keep, failed, beside)


def not_confirmed(journal: Journal, arch_id: str) -> list[str]:
    """What is not confirmed of the latest measurements of an architecture, a line for each device."""
    return unconfirmed(latest(journal.measurements()).get(arch_id, {}))
