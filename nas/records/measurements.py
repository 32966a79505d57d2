"""A latency measured on a device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from nas.records.values import JSON


@dataclass(frozen=True)
class Measurement:
    """Times of a whole architecture, in ms; the fingerprint identifies device, versions, batch, dtype and threads.

    `latency_ms` is the one number that predictors are fitted to and reports call measured; median and 95th percentile stand
    beside it.
    """

    arch_id: str
    device: str
    fingerprint: str
    latency_ms: float
    median_ms: float
    p95_ms: float
    repeats: int
    info: Mapping[str, JSON] = field(default_factory=dict[str, JSON])
