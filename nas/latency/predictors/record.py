"""What a learned latency model is made of, as plain data, and what its JSON must have to be believed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np
from scipy.stats import kendalltau, spearmanr

from nas.core.settings import did_you_mean
from nas.latency.predictors.candidates import CANDIDATES
from nas.space import Genome, Space
from nas.surrogates.process import Hyper

VERSION = 1


@dataclass(frozen=True)
class Record:
    """The measurements, the models' names and settings. `genomes`, `ms`, `held_out_ms` and `held_out_sd` stand side by side.

    `info` says what the times hold for (batch, dtype, threads, versions), `weights` what the candidates have in the blend,
    `candidates` their mean held-out errors, `hyper` what the process was fitted with, `check` the predictions of the first
    networks, by which a refit is recognized. Held-out values are None of networks that were in every fit.
    """

    device: str
    fingerprint: str
    info: Mapping[str, Any]
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

    def to_dict(self) -> dict[str, Any]:
        return {"version": VERSION, "kind": "learned", **_lists(asdict(self))}

    @classmethod
    def from_dict(cls, data: Any, where: str) -> Record:
        """Reads `to_dict`'s data. Raises ValueError naming what is missing, of another version or not a number."""
        if not isinstance(data, Mapping) or data.get("kind") != "learned":
            raise ValueError(f"{where}: expected the data of a learned latency predictor")
        if data.get("version") != VERSION:
            raise ValueError(f"{where}.version: expected {VERSION}, got {data.get('version')!r}; fit the predictor again")
        names = [f.name for f in fields(cls)]
        for name in names:
            if name not in data:
                raise ValueError(f"{where}: misses the key {name}")
        values: dict[str, Any] = {name: tuple(v) if isinstance(v := data[name], list) else v for name in names}
        values["genomes"] = tuple(tuple(int(i) for i in genome) for genome in data["genomes"])
        values["hyper"] = _hyper(data["hyper"], f"{where}.hyper")
        record = cls(**values)
        record._check(where)
        return record

    def _check(self, where: str) -> None:
        for name in ("ms", "held_out_ms", "held_out_sd"):
            if len(getattr(self, name)) != len(self.genomes):
                raise ValueError(f"{where}.{name}: expected {len(self.genomes)} numbers, got {len(getattr(self, name))}")
        if not self.weights or not any(value is not None for value in self.held_out_ms):
            raise ValueError(f"{where}: has no model or no held-out network")
        for name in self.weights:
            if name not in CANDIDATES:
                near = did_you_mean(name, CANDIDATES)
                raise ValueError(f"{where}.weights: unknown model {name!r}{near} (known: {', '.join(CANDIDATES)})")
        numbers = {f"ms[{i}]": value for i, value in enumerate(self.ms)}
        numbers |= {f"weights.{name}": value for name, value in self.weights.items()}
        for name in ("held_out_ms", "held_out_sd"):
            numbers |= {f"{name}[{i}]": v for i, v in enumerate(getattr(self, name)) if v is not None}
        _positive(numbers, where)


def _lists(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _lists(inner) for key, inner in value.items()}
    return [_lists(inner) for inner in value] if isinstance(value, tuple | list) else value


def _hyper(data: Any, where: str) -> Hyper:
    names = {"amplitudes", "lengths", "noise"}
    if not isinstance(data, Mapping) or set(data) != names or len(data["amplitudes"]) != len(data["lengths"]):
        raise ValueError(f"{where}: expected {', '.join(sorted(names))}")
    numbers = {f"{key}[{i}]": v for key in ("amplitudes", "lengths") for i, v in enumerate(data[key])}
    _positive(numbers | {"noise": data["noise"]}, where)
    return Hyper(tuple(data["amplitudes"]), tuple(data["lengths"]), data["noise"])


def _positive(numbers: Mapping[str, Any], where: str) -> None:
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not (math.isfinite(value) and value > 0):
            raise ValueError(f"{where}.{name}: expected a number of more than 0, got {value!r}")


def check_made_for(record: Any, fingerprint: str, space: Space, where: str) -> None:
    """Raises ValueError where a predictor's data names another space, or another device, settings or versions."""
    if record.space != space.fingerprint:
        raise ValueError(f"{where}: made for another space than {space.name} as it is now; fit it again")
    if record.fingerprint != fingerprint:
        known = ", ".join(f"{key} {value}" for key, value in record.info.items())
        raise ValueError(
            f"{where}: made on another device or with other settings ({record.device}: {known}); fit it again"
        )


def scores(predicted: np.ndarray, measured: np.ndarray) -> dict[str, float]:
    """How (n,) predictions agree with (n,) measurements: tau, rho, mape, within_5, within_10 (shares)."""
    error = np.abs(predicted / measured - 1)
    several = len(measured) > 1 and len(set(measured.tolist())) > 1 and len(set(predicted.tolist())) > 1
    tau, rho = (float(np.asarray(f(predicted, measured))[0]) if several else math.nan for f in (kendalltau, spearmanr))
    return {
        "tau": tau, "rho": rho, "mape": float(error.mean()),
        "within_5": float((error <= 0.05).mean()), "within_10": float((error <= 0.1).mean()),
    }  # fmt: skip
