"""A latency predictor learned from whole networks that were measured, by any means, on any device.

    predictor = fit_predictor(space, genomes, ms)            # (n, genes) options or architectures, (n,) milliseconds
    predictor.predict(others)                                # (m,) milliseconds
    predictor.interval(others)                               # (m,) and (m,): nine measurements of ten lie in between
    predictor.outside(others)                                # (m,) bool: unlike what was measured, do not rely on it
    predictor.errors()["mape"]                               # on networks left out of the fit
    text = json.dumps(predictor.to_dict())
    LatencyPredictor.from_dict(json.loads(text), space)      # refitted; refused with the reason where stale or foreign

Candidates (`nas.latency.predictors.candidates`) are compared by cross-validation; the best or a blend of them is kept. Intervals are
conformal (Papadopoulos et al. 2002): quantiles of the held-out errors over the Gaussian process' deviations, so that they
hold as often as they say for networks drawn like the measured ones, and are wider where the process knows less.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from nas.arch import Arch
from nas.core.machine import one_thread
from nas.latency.predictors.candidates import CANDIDATES, Candidate, Smooth
from nas.latency.predictors.columns import NAMES, Columns, Prior, Walk
from nas.latency.predictors.layerwise import Predictor
from nas.latency.predictors.lookup import TablePredictor
from nas.latency.predictors.record import Record, check_made_for, scores
from nas.space import Space
from nas.surrogates.models import blend

LEAST_NETWORKS = 5
FOLDS, ALL_FOLDS = 5, 500  # above so many networks one fold is held out, once
LEAST = 0.5  # of the fastest measured network: no prediction is less
MARGIN = 0.1  # of the range of a cost that a network may lie outside of it
SPREAD = 1.25  # over the largest held-out deviation that the process had of a measured network
DIGITS = 6  # of a prediction: linear algebra differs in the last bits between machines, and a search must not
CHECKED = 8
CHUNK = 8192
REFIT = 1e-4  # relative; a refit differs in the last digits between machines


def fit_predictor(
    space: Space,
    networks: Any,
    ms: Any,
    *,
    device: str = "samples",
    fingerprint: str = "",
    info: Mapping[str, Any] | None = None,
    seed: int = 0,
    priors: Sequence[Prior] = (),
    walk: Walk | None = None,
) -> LatencyPredictor:
    """Learns milliseconds from `networks`: (n, genes) options, or architectures of the space.

    `priors` are predictors that know something already: of other devices for the same space, or the sum of measured layers
    (`nas.latency.Predictor`). `walk` shares what was counted of the space's layers between fits.
    Raises ValueError naming the network whose time is none, and where there are fewer than `LEAST_NETWORKS`.
    """
    genomes, times = checked(space, networks, ms)
    with one_thread():
        columns = Columns(space, genomes, priors, walk)
        inputs = columns(genomes)
        folds = _folds(genomes, seed)
        smooth = Smooth.fit(inputs, times)
        names = [name for name in CANDIDATES if name != "calibrated" or priors]
        predicted, sd, seen = _held_out(names, smooth, inputs, times, folds)
        weights = blend(predicted[seen], times[seen])
    errors = np.abs(predicted[seen] / times[seen, None] - 1).mean(axis=0)
    mixed = np.maximum(predicted @ weights, LEAST * times.min())
    record = Record(
        device,
        fingerprint,
        dict(info or {}),
        space.fingerprint,
        seed,
        tuple(map(tuple, genomes.tolist())),
        tuple(times.tolist()),
        {name: float(w) for name, w in zip(names, weights, strict=True) if w > 0},
        smooth.process.hyper,
        tuple(float(v) if there else None for v, there in zip(mixed, seen, strict=True)),
        tuple(float(v) if there else None for v, there in zip(sd, seen, strict=True)),
        dict(zip(names, errors.tolist(), strict=True)),
    )
    unchecked = LatencyPredictor(space, record, priors, columns.walk)
    check = tuple(unchecked.predict(genomes[:CHECKED]).tolist())
    return LatencyPredictor(space, dataclasses.replace(record, check=check), priors, columns.walk)


def checked(space: Space, networks: Any, ms: Any, least: int = LEAST_NETWORKS) -> tuple[np.ndarray, np.ndarray]:
    """Canonical genomes (n, genes) and positive times (n,). Raises ValueError naming what is neither."""
    rows = [space.encode(x) if isinstance(x, Arch) else space.canonical([int(i) for i in x]) for x in networks]
    times = np.asarray(ms, float).reshape(-1)
    if len(rows) != len(times):
        raise ValueError(f"{space.name}: {len(rows)} networks but {len(times)} times")
    if len(rows) < least:
        raise ValueError(f"{space.name}: expected {least} measured networks or more to learn from, got {len(rows)}")
    for i, value in enumerate(times.tolist()):
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{space.name}: ms[{i}]: expected a time of more than 0 ms, got {value!r}")
    return np.array(rows, np.int64).reshape(len(rows), len(space.genes)), times


def _folds(genomes: np.ndarray, seed: int) -> np.ndarray:
    """(n,) folds; a network that stands twice is in one."""
    _, network = np.unique(genomes, axis=0, return_inverse=True)
    count = int(network.max()) + 1
    order = np.random.default_rng([seed, 0xF01D]).permutation(count)[network.reshape(-1)]
    return order % (FOLDS if count >= 2 * FOLDS else count)


def _held_out(
    names: Sequence[str], smooth: Smooth, inputs: Mapping[str, np.ndarray], ms: np.ndarray, folds: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(n, candidates) milliseconds, (n,) deviations of the process, and which networks were held out at all."""
    left = range(int(folds.max()) + 1) if len(ms) <= ALL_FOLDS else [0]
    seen = np.isin(folds, left)
    predicted = np.ones((len(ms), len(names)))
    mean, sd = smooth.left_out(folds)
    for i, name in enumerate(names):
        if name == "process":
            predicted[:, i] = mean
            continue
        for fold in left:
            out = folds == fold
            model = CANDIDATES[name].fit({k: rows[~out] for k, rows in inputs.items()}, ms[~out])
            predicted[out, i] = model({k: rows[out] for k, rows in inputs.items()})
    return np.maximum(predicted, LEAST * ms.min()), sd, seen


class LatencyPredictor:
    """Milliseconds of the genomes of one space, with intervals. `fit_predictor` makes it, `from_dict` loads it."""

    def __init__(self, space: Space, record: Record, priors: Sequence[Prior] = (), walk: Walk | None = None):
        self.space, self.record, self.priors = space, record, tuple(priors)
        self._genomes, self._ms = np.array(record.genomes, np.int64), np.array(record.ms)
        self._walk = walk

    @property
    def device(self) -> str:
        return self.record.device

    @cached_property
    def _columns(self) -> Columns:
        return Columns(self.space, self._genomes, self.priors, self._walk)

    @cached_property
    def _models(self) -> dict[str, Candidate]:
        inputs = self._columns(self._genomes)
        with one_thread():
            return {
                name: self._smooth if name == "process" else CANDIDATES[name].fit(inputs, self._ms)
                for name in self.record.weights
            }

    @cached_property
    def _smooth(self) -> Smooth:
        with one_thread():
            return Smooth.fit(self._columns(self._genomes), self._ms, self.record.hyper)

    def predict(self, genomes: Any) -> np.ndarray:
        """(m, genes) options -> (m,) milliseconds. Raises ValueError for what is no genome of the space."""
        rows = np.asarray(genomes)
        parts = [self._predict(rows[i : i + CHUNK]) for i in range(0, max(len(rows), 1), CHUNK)]
        return _rounded(np.maximum(np.concatenate(parts), LEAST * self._ms.min()))

    def _predict(self, rows: np.ndarray) -> np.ndarray:
        with one_thread():
            inputs = self._columns(rows)
            total = np.zeros(len(rows))
            for name, weight in self.record.weights.items():
                total += weight * self._models[name](inputs)
        return total

    def predict_many(self, space: Space, genomes: Any) -> np.ndarray:
        """`predict`, of genomes of a space that has to be this predictor's own. Raises ValueError where it is not."""
        if space.fingerprint != self.record.space:
            raise ValueError(
                f"latency predictor of {self.device}: made for another space than {space.name} as it is now"
            )
        return self.predict(genomes)

    def predict_arch(self, arch: Arch) -> float:
        """Milliseconds of one network of the space. Raises ValueError where it is none of it."""
        return float(self.predict(np.array([self.space.encode(arch)]))[0])

    def interval(self, genomes: Any, coverage: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
        """(m,) and (m,) milliseconds between which a measurement lies with the probability `coverage`."""
        if not 0 < coverage < 1:
            raise ValueError(f"coverage: expected more than 0 and less than 1, got {coverage:g}")
        middle, wide = self.predict(genomes), self._score(coverage) * self.spread(genomes)
        return np.maximum(middle - wide, 0.0), middle + wide

    def spread(self, genomes: Any) -> np.ndarray:
        """(m,) milliseconds: the process' standard deviation of a measurement; large far from what was measured."""
        with one_thread():
            return self._smooth.sd(self._columns(np.asarray(genomes)))

    def _score(self, coverage: float) -> float:
        """The held-out error, in deviations, that a share `coverage` does not exceed, one more network counted as worst."""
        held, ms, sd = self.held_out
        scores = np.sort(np.abs(held - ms) / sd)
        place = math.ceil(coverage * (len(scores) + 1)) - 1
        return float(scores[place]) if place < len(scores) else float(2 * scores[-1])

    @cached_property
    def held_out(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(n,) milliseconds predicted by fits without the network, measured ones, and the process' deviations."""
        rows = zip(self.record.held_out_ms, self.record.ms, self.record.held_out_sd, strict=True)
        held, ms, sd = zip(*((h, t, s) for h, t, s in rows if h is not None and s is not None), strict=True)
        return np.array(held), np.array(ms), np.array(sd)

    def outside(self, genomes: Any) -> np.ndarray:
        """(m,) bool: a cost lies far outside the measured networks' range, or the process knows less than of any of them."""
        rows = np.asarray(genomes)
        return self._columns.beyond(rows, MARGIN).any(axis=1) | (self.spread(rows) > self._widest)

    def why_outside(self, genome: Sequence[int]) -> str:
        """One line on why a genome lies outside; empty where it does not."""
        row = np.array([genome])
        over = self._columns.beyond(row, MARGIN)[0]
        if over.any():
            at = int(over.argmax())
            value = float(self._columns.walk.sums(self._columns.walk.layers(row)).sum(axis=1)[0, at])
            low, high = self._columns.least[at], self._columns.most[at]
            return f"{NAMES[at]} {value:,.0f}, measured networks have {low:,.0f} to {high:,.0f}"
        spread = float(self.spread(row)[0])
        if spread > self._widest:
            return f"unlike the measured networks: uncertain by {spread:.3g} ms, of these none by more than {self._widest:.3g}"
        return ""

    @property
    def _widest(self) -> float:
        return SPREAD * float(self.held_out[2].max())

    @property
    def mape(self) -> float:
        """Mean relative error on networks that the fit did not see."""
        held, ms, _ = self.held_out
        return float(np.abs(held / ms - 1).mean())

    def errors(self) -> dict[str, float]:
        """Of the cross-validation: Kendall's tau, Spearman's rho, mean relative error, shares within 5 and 10 %, networks."""
        held, ms, _ = self.held_out
        return {**scores(held, ms), "networks": float(len(self.record.ms))}

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: the measurements, the models' names and settings, and the priors' own data."""
        return {**self.record.to_dict(), "priors": [prior.to_dict() for prior in self.priors]}

    @classmethod
    def from_dict(cls, data: Any, space: Space, where: str = "predictor") -> LatencyPredictor:
        """Reads `to_dict`'s data and fits the models again.

        Raises ValueError with the reason: damaged data, another space, or a refit that says something else than was saved.
        """
        record = Record.from_dict(data, where)
        check_made_for(record, record.fingerprint, space, where)
        saved = data.get("priors", [])
        priors = [load_predictor(prior, space, f"{where}.priors[{i}]") for i, prior in enumerate(saved)]
        loaded = cls(space, record, priors)
        again, before = loaded.predict(np.array(record.genomes[: len(record.check)])), np.array(record.check)
        off = np.abs(again / before - 1)
        if off.max(initial=0.0) > REFIT:
            at = int(off.argmax())
            raise ValueError(
                f"{where}: stale: fitted again it says {again[at]:.6g} ms where it said {before[at]:.6g} (other versions of "
                "this package or of its libraries?); fit it anew from its measurements"
            )
        return loaded

    def check(self, fingerprint: str, space: Space, where: str = "predictor") -> None:
        """Raises ValueError with the reason where it was made for another space, device, or other settings or versions."""
        check_made_for(self.record, fingerprint, space, where)


def load_predictor(data: Any, space: Space, where: str = "predictor") -> Predictor | LatencyPredictor | TablePredictor:
    """Any kind of predictor from its data. Raises ValueError with the reason where it is damaged, stale or foreign."""
    if isinstance(data, Mapping) and data.get("kind") == "learned":
        return LatencyPredictor.from_dict(data, space, where)
    if isinstance(data, Mapping) and data.get("kind") == "table":
        return TablePredictor.from_dict(data)
    return Predictor.from_dict(data, where)


def _rounded(ms: np.ndarray) -> np.ndarray:
    unit = 10.0 ** (np.floor(np.log10(ms)) - DIGITS + 1)
    return np.round(ms / unit) * unit
