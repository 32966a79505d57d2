"""A latency measured on a device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from nas.records.values import JSON

MACHINE_BOUND = 0.10  # references that are off by more: the machine is not what it was at the fit


@dataclass(frozen=True)
class Measurement:
    """Times of a whole architecture, in ms; the fingerprint identifies device, versions, batch, dtype and threads.

    `latency_ms` is the one number that predictors are fitted to and reports call measured; median and 95th percentile stand
    beside it. It is raw: `machine_factor`, by how much reference networks took longer than at the fit, corrects nothing.
    """

    arch_id: str
    device: str
    fingerprint: str
    latency_ms: float
    median_ms: float
    p95_ms: float
    repeats: int
    info: Mapping[str, JSON] = field(default_factory=dict[str, JSON])

    @property
    def machine_factor(self) -> float | None:
        """Ratio of the references' latencies to those at the fit; None where there were no references."""
        factor = self.info.get("machine_factor")
        return float(factor) if isinstance(factor, int | float) else None

    @property
    def corrected_ms(self) -> float | None:
        """What the latency would be on the machine as it was at the fit; beside the measurement, never in place of it."""
        return None if self.machine_factor is None else self.latency_ms / self.machine_factor

    @property
    def window_drift(self) -> float | None:
        """By how much its windows differed where that was too much and no references tell why; else None."""
        drift = self.info.get("window_drift")
        return float(drift) if isinstance(drift, int | float) else None


def confirmed(machine_factor: float | None) -> bool:
    """Whether the machine was as it was at the fit, within `MACHINE_BOUND`; also where nothing says otherwise."""
    return machine_factor is None or abs(machine_factor - 1) <= MACHINE_BOUND
