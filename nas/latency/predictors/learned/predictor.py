"""A latency predictor learned from whole networks that were measured, by any means, on any device.

    predictor = fit_predictor(space, genomes, ms)            # (n, genes) options or architectures, (n,) milliseconds
    predictor.predict(others)                                # (m,) milliseconds
    predictor.interval(others)                               # (m,) and (m,): nine measurements of ten lie in between
    predictor.outside(others)                                # (m,) bool: unlike what was measured, do not rely on it
    predictor.errors()["mape"]                               # on networks left out of the fit
    text = json.dumps(predictor.to_dict())
    LearnedPredictor.from_dict(json.loads(text), space)      # refitted; refused with the reason where stale or foreign

The models (`nas.latency.predictors.learned.models`) are compared by cross-validation; the best or a blend of them is kept.
Intervals are conformal (Papadopoulos et al. 2002): quantiles of the held-out errors in units of the Gaussian process'
standard deviation. For networks drawn like the measured ones they cover what they promise, and they are wider where data are sparse.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from nas.arch import Arch
from nas.core.process import one_thread
from nas.latency.predictors.base import check_origin, scores
from nas.latency.predictors.learned.features import NAMES, Features, LayerCounts, Prior
from nas.latency.predictors.learned.models import MODELS, GaussianProcess, LatencyModel
from nas.latency.predictors.learned.record import Record
from nas.records import JSON
from nas.space import Space
from nas.surrogates.models import blend

LEAST_NETWORKS = 5
FOLDS, ALL_FOLDS = 5, 500  # above so many networks one fold is held out, once
LEAST = 0.5  # of the fastest measured network: no prediction is lower
MARGIN = 0.1  # of the range of a cost that a network may lie outside of it
FARTHEST = 1.25  # of the largest held-out standard deviation of a measured network
DIGITS = 6  # of a prediction: linear algebra differs in the last bits between machines, and a search must not
CHECKED = 8
CHUNK = 8192
REFIT = 1e-4  # relative; a refit differs in the last digits between machines


def fit_predictor(
    space: Space,
    networks: Sequence[Arch] | ArrayLike,
    ms: ArrayLike,
    *,
    device: str = "samples",
    fingerprint: str = "",
    info: Mapping[str, JSON] | None = None,
    seed: int = 0,
    priors: Sequence[Prior] = (),
    counts: LayerCounts | None = None,
) -> LearnedPredictor:
    """Learns the milliseconds of the networks of a space from some that were measured.

    Args:
        space: The space that the networks are of.
        networks: (n, genes) options, or n architectures of the space.
        ms: (n,) milliseconds.
        device, fingerprint, info: What the predictor records of the device, see `nas.latency.Device`.
        seed: Of the folds of the cross-validation.
        priors: Predictors to learn from as well: of another device for the same space, or sums of measured layers.
        counts: What was counted of the space's layers by an earlier fit, to save time.

    Raises:
        ValueError: A latency that is not a positive number, or fewer than `LEAST_NETWORKS` networks.
    """
    genomes, times = checked(space, networks, ms)
    with one_thread():
        features = Features(space, genomes, priors, counts)
        inputs = features(genomes)
        folds = _folds(genomes, seed)
        process = GaussianProcess.fit(inputs, times)
        names = [name for name in MODELS if name != "calibrated" or priors]
        predicted, sd, seen = _held_out(names, process, inputs, times, folds)
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
        process.process.hyper,
        tuple(float(v) if there else None for v, there in zip(mixed, seen, strict=True)),
        tuple(float(v) if there else None for v, there in zip(sd, seen, strict=True)),
        dict(zip(names, errors.tolist(), strict=True)),
    )
    unchecked = LearnedPredictor(space, record, priors, features.counts)
    check = tuple(unchecked.predict(genomes[:CHECKED]).tolist())
    return LearnedPredictor(space, dataclasses.replace(record, check=check), priors, features.counts)


def checked(
    space: Space, networks: Sequence[Arch] | ArrayLike, ms: ArrayLike, least: int = LEAST_NETWORKS
) -> tuple[np.ndarray, np.ndarray]:
    """Canonical genomes (n, genes) and positive times (n,). Raises ValueError naming what is neither."""
    rows = [space.encode(x) if isinstance(x, Arch) else space.canonical([int(i) for i in x]) for x in _listed(networks)]
    times = np.asarray(ms, float).reshape(-1)
    if len(rows) != len(times):
        raise ValueError(f"{space.name}: {len(rows)} networks but {len(times)} times")
    if len(rows) < least:
        raise ValueError(f"{space.name}: expected {least} measured networks or more to learn from, got {len(rows)}")
    for i, value in enumerate(times.tolist()):
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{space.name}: ms[{i}]: expected a time of more than 0 ms, got {value!r}")
    return np.array(rows, np.int64).reshape(len(rows), len(space.genes)), times


def _listed(networks: Sequence[Arch] | ArrayLike) -> Sequence[Arch | Sequence[int]]:
    plain = networks.tolist() if isinstance(networks, np.ndarray) else networks
    return list(plain)  # type: ignore[arg-type]


def _folds(genomes: np.ndarray, seed: int) -> np.ndarray:
    """(n,) numbers of folds; a network that was measured twice is in one."""
    _, network = np.unique(genomes, axis=0, return_inverse=True)
    count = int(network.max()) + 1
    order = np.random.default_rng([seed, 0xF01D]).permutation(count)[network.reshape(-1)]
    return order % (FOLDS if count >= 2 * FOLDS else count)


def _held_out(
    names: Sequence[str], process: GaussianProcess, inputs: Mapping[str, np.ndarray], ms: np.ndarray, folds: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(n, models) milliseconds, (n,) standard deviations of the process, (n,) bool: which networks were held out at all."""
    left = range(int(folds.max()) + 1) if len(ms) <= ALL_FOLDS else [0]
    seen = np.isin(folds, left)
    predicted = np.ones((len(ms), len(names)))
    mean, sd = process.left_out(folds)
    for i, name in enumerate(names):
        if name == "process":
            predicted[:, i] = mean
            continue
        for fold in left:
            out = folds == fold
            model = MODELS[name].fit({k: rows[~out] for k, rows in inputs.items()}, ms[~out])
            predicted[out, i] = model({k: rows[out] for k, rows in inputs.items()})
    return np.maximum(predicted, LEAST * ms.min()), sd, seen


class LearnedPredictor:
    """Milliseconds of the genomes of one space, with intervals. `fit_predictor` makes it, `from_dict` reads it."""

    kind: ClassVar[str] = "learned"

    def __init__(self, space: Space, record: Record, priors: Sequence[Prior] = (), counts: LayerCounts | None = None):
        self.space, self.record, self.priors = space, record, tuple(priors)
        self._genomes, self._ms = np.array(record.genomes, np.int64), np.array(record.ms)
        self._counts = counts

    @property
    def device(self) -> str:
        """The name of the device."""
        return self.record.device

    @property
    def fingerprint(self) -> str:
        """That of the device, see `nas.latency.Device`."""
        return self.record.fingerprint

    @cached_property
    def _features(self) -> Features:
        return Features(self.space, self._genomes, self.priors, self._counts)

    @cached_property
    def _models(self) -> dict[str, LatencyModel]:
        inputs = self._features(self._genomes)
        with one_thread():
            return {
                name: self._process if name == "process" else MODELS[name].fit(inputs, self._ms)
                for name in self.record.weights
            }

    @cached_property
    def _process(self) -> GaussianProcess:
        with one_thread():
            return GaussianProcess.fit(self._features(self._genomes), self._ms, self.record.hyper)

    def predict(self, genomes: ArrayLike) -> np.ndarray:
        """(m, genes) options -> (m,) milliseconds. Raises ValueError for what is no genome of the space."""
        rows = np.asarray(genomes)
        parts = [self._predict(rows[i : i + CHUNK]) for i in range(0, max(len(rows), 1), CHUNK)]
        return _rounded(np.maximum(np.concatenate(parts), LEAST * self._ms.min()))

    def _predict(self, rows: np.ndarray) -> np.ndarray:
        with one_thread():
            inputs = self._features(rows)
            total = np.zeros(len(rows))
            for name, weight in self.record.weights.items():
                total += weight * self._models[name](inputs)
        return total

    def predict_many(self, space: Space, genomes: ArrayLike) -> np.ndarray:
        """`predict` for genomes of a space that must be this predictor's own. Raises ValueError where it is not."""
        if space.fingerprint != self.record.space:
            raise ValueError(
                f"latency predictor of {self.device}: made for another space than {space.name} as it is now"
            )
        return self.predict(genomes)

    def predict_arch(self, arch: Arch) -> float:
        """Milliseconds of one network. Raises ValueError where it is not in the space."""
        return float(self.predict(np.array([self.space.encode(arch)]))[0])

    def interval(self, genomes: ArrayLike, coverage: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
        """(m,) and (m,) milliseconds between which a measurement lies with the probability `coverage`."""
        if not 0 < coverage < 1:
            raise ValueError(f"coverage: expected more than 0 and less than 1, got {coverage:g}")
        ms, margin = self.predict(genomes), self._score(coverage) * self.std(genomes)
        return np.maximum(ms - margin, 0.0), ms + margin

    def std(self, genomes: ArrayLike) -> np.ndarray:
        """(m,) milliseconds: the Gaussian process' standard deviation of a measurement; large far from what was measured."""
        with one_thread():
            return self._process.sd(self._features(np.asarray(genomes)))

    def _score(self, coverage: float) -> float:
        """The held-out error, in standard deviations, that a fraction `coverage` does not exceed; one more network counts as worst."""
        held, ms, sd = self.held_out
        scores = np.sort(np.abs(held - ms) / sd)
        place = math.ceil(coverage * (len(scores) + 1)) - 1
        return float(scores[place]) if place < len(scores) else float(2 * scores[-1])

    @cached_property
    def held_out(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(n,) milliseconds predicted by fits without the network, (n,) measured, (n,) standard deviations of the process."""
        rows = zip(self.record.held_out_ms, self.record.ms, self.record.held_out_sd, strict=True)
        held, ms, sd = zip(*((h, t, s) for h, t, s in rows if h is not None and s is not None), strict=True)
        return np.array(held), np.array(ms), np.array(sd)

    def outside(self, genomes: ArrayLike) -> np.ndarray:
        """(m,) bool: a cost is far outside the measured networks' range, or the uncertainty is larger than that of any of them."""
        rows = np.asarray(genomes)
        return self._features.beyond(rows, MARGIN).any(axis=1) | (self.std(rows) > self._widest)

    def why_outside(self, genome: Sequence[int]) -> str:
        """One line on why `outside` holds for a genome; empty where it does not."""
        row = np.array([genome])
        over = self._features.beyond(row, MARGIN)[0]
        if over.any():
            at = int(over.argmax())
            value = float(self._features.counts.sums(self._features.counts.layers(row)).sum(axis=1)[0, at])
            low, high = self._features.least[at], self._features.most[at]
            return f"{NAMES[at]} {value:,.0f}, measured networks have {low:,.0f} to {high:,.0f}"
        std = float(self.std(row)[0])
        if std > self._widest:
            return f"unlike the measured networks: uncertain by {std:.3g} ms, of these none by more than {self._widest:.3g}"
        return ""

    @property
    def _widest(self) -> float:
        return FARTHEST * float(self.held_out[2].max())

    @property
    def mape(self) -> float:
        """Mean relative error on networks that the fit did not see."""
        held, ms, _ = self.held_out
        return float(np.abs(held / ms - 1).mean())

    def errors(self) -> dict[str, float]:
        """The scores of the cross-validation (`nas.latency.predictors.base.scores`), and the number of `networks`."""
        held, ms, _ = self.held_out
        return {**scores(held, ms), "networks": float(len(self.record.ms))}

    def to_dict(self) -> dict[str, JSON]:
        """Plain data for JSON: the measurements, the models' names and settings, and the priors' own data."""
        return {**self.record.to_dict(), "priors": [prior.to_dict() for prior in self.priors]}

    @classmethod
    def from_dict(
        cls, data: object, space: Space, where: str = "predictor", priors: Sequence[Prior] = ()
    ) -> LearnedPredictor:
        """Reads `to_dict`'s data and fits the models again.

        Args:
            data: Plain data; `load_predictor` also reads the priors in it.
            space: The space whose networks are to be predicted.
            where: The place that errors name.
            priors: The predictors that this one was learned from as well.

        Raises:
            ValueError: Damaged data, another space, or a refit whose predictions differ from the saved ones.
        """
        record = Record.from_dict(data, where)
        check_origin(record, record.fingerprint, space, where)
        loaded = cls(space, record, priors)
        again, before = loaded.predict(np.array(record.genomes[: len(record.check)])), np.array(record.check)
        off = np.abs(again / before - 1)
        if off.max(initial=0.0) > REFIT:
            at = int(off.argmax())
            raise ValueError(
                f"{where}: stale: fitted again it predicts {again[at]:.6g} ms, saved were {before[at]:.6g} (other versions of "
                "this package or of its libraries?); fit it anew from its measurements"
            )
        return loaded

    def check(self, fingerprint: str, space: Space, where: str = "predictor") -> None:
        """See `Predictor.check`."""
        check_origin(self.record, fingerprint, space, where)


def _rounded(ms: np.ndarray) -> np.ndarray:
    unit = 10.0 ** (np.floor(np.log10(ms)) - DIGITS + 1)
    return np.round(ms / unit) * unit
