"""What a learned latency model is made of, as plain data, checked when it is read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields

from nas.core.settings import did_you_mean
from nas.latency.predictors.learned.models import MODELS
from nas.records import JSON
from nas.space import Genome
from nas.surrogates.process import Hyper

VERSION = 1


@dataclass(frozen=True)
class Record:
    """The measurements that a predictor was fitted to, and the settings of its models.

    device, fingerprint, info: the device, and what the latencies hold for (batch, dtype, threads, versions).
    space: fingerprint of the space.
    genomes, ms: the networks and their latencies, in the same order.
    weights: of each model in the blend.
    hyper: hyperparameters of the Gaussian process.
    held_out_ms, held_out_sd: prediction and standard deviation, in ms, of each network by a fit without it; None for networks
        that were in every fit.
    candidates: mean held-out relative error of each model.
    check: predictions of the first networks, by which a refit is recognized.
    """

    device: str
    fingerprint: str
    info: Mapping[str, JSON]
    space: str
    seed: int
    genomes: tuple[Genome, ...]
    ms: tuple[float, ...]
    weights: Mapping[str, float]
    hyper: Hyper
    held_out_ms: tuple[float | None, ...]
    held_out_sd: tuple[float | None, ...]
    candidates: Mapping[str, float] = field(default_factory=dict)
    check: tuple[float, ...] = ()

    def to_dict(self) -> dict[str, JSON]:
        """Plain data for JSON."""
        return {"version": VERSION, "kind": "learned", **_lists(asdict(self))}

    @classmethod
    def from_dict(cls, data: object, where: str) -> Record:
        """Reads `to_dict`'s data. Raises ValueError naming what is missing, of another version or not a number."""
        if not isinstance(data, Mapping) or data.get("kind") != "learned":
            raise ValueError(f"{where}: expected the data of a learned latency predictor")
        if data.get("version") != VERSION:
            raise ValueError(
                f"{where}.version: expected {VERSION}, got {data.get('version')!r}; fit the predictor again"
            )
        names = [f.name for f in fields(cls)]
        for name in names:
            if name not in data:
                raise ValueError(f"{where}: missing key {name!r}")
        values: dict[str, JSON] = {name: tuple(v) if isinstance(v := data[name], list) else v for name in names}
        values["genomes"] = tuple(tuple(int(i) for i in genome) for genome in data["genomes"])
        values["hyper"] = _hyper(data["hyper"], f"{where}.hyper")
        record = cls(**values)
        record._check(where)
        return record

    def _check(self, where: str) -> None:
        for name in ("ms", "held_out_ms", "held_out_sd"):
            if len(getattr(self, name)) != len(self.genomes):
                raise ValueError(
                    f"{where}.{name}: expected {len(self.genomes)} numbers, got {len(getattr(self, name))}"
                )
        if not self.weights or not any(value is not None for value in self.held_out_ms):
            raise ValueError(f"{where}: has no model or no held-out network")
        for name in self.weights:
            if name not in MODELS:
                near = did_you_mean(name, MODELS)
                raise ValueError(f"{where}.weights: unknown model {name!r}{near} (known: {', '.join(MODELS)})")
        numbers = {f"ms[{i}]": value for i, value in enumerate(self.ms)}
        numbers |= {f"weights.{name}": value for name, value in self.weights.items()}
        for name in ("held_out_ms", "held_out_sd"):
            numbers |= {f"{name}[{i}]": v for i, v in enumerate(getattr(self, name)) if v is not None}
        _positive(numbers, where)


def _lists(value: JSON) -> JSON:
    if isinstance(value, Mapping):
        return {key: _lists(inner) for key, inner in value.items()}
    return [_lists(inner) for inner in value] if isinstance(value, tuple | list) else value


def _hyper(data: JSON, where: str) -> Hyper:
    names = {"amplitudes", "lengths", "noise"}
    if not isinstance(data, Mapping) or set(data) != names or len(data["amplitudes"]) != len(data["lengths"]):
        raise ValueError(f"{where}: expected {', '.join(sorted(names))}")
    numbers = {f"{key}[{i}]": v for key in ("amplitudes", "lengths") for i, v in enumerate(data[key])}
    _positive(numbers | {"noise": data["noise"]}, where)
    return Hyper(tuple(data["amplitudes"]), tuple(data["lengths"]), data["noise"])


def _positive(numbers: Mapping[str, object], where: str) -> None:
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not (math.isfinite(value) and value > 0):
            raise ValueError(f"{where}.{name}: expected a number of more than 0, got {value!r}")
