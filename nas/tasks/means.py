"""Metrics that are means over images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from nas.records import JSON


@dataclass
class Means:
    """Metrics that are means over images, from sums on the device."""

    names: tuple[str, ...]
    sums: dict[str, float] = field(default_factory=dict)
    count: int = 0

    def update(self, part: Mapping[str, np.ndarray], targets: np.ndarray) -> None:
        for name in self.names:
            self.sums[name] = self.sums.get(name, 0) + float(part[name])
        self.count += len(targets)

    def merge(self, other: Means) -> None:
        for name, value in other.sums.items():
            self.sums[name] = self.sums.get(name, 0) + value
        self.count += other.count

    def compute(self) -> dict[str, float]:
        return {name: self.sums[name] / self.count for name in self.names}

    def to_json(self) -> JSON:
        return {"sums": self.sums, "count": self.count}
