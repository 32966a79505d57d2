"""An additive model of what a search measures: a linear part of the genes, smooth parts of costs, and noise, with intervals.

    inputs = SpaceInputs(space)
    model = Additive.fit(inputs(rows), y)
    mean, sd = model.predict(inputs(others))
    low, high = model.interval(inputs(others))               # nine new trainings of ten lie in between
    model.tau, model.coverage                                # of predictions for networks that were held out

The model is a Gaussian process (`nas.surrogates.process`) in one of four forms. All have a linear part of the one-hot genes
and a smooth part of the logarithms of multiply-adds and parameters; to these come products of two genes, then a smooth
part of the costs of stages, and, in the last form, a variance for each gene instead of one for all: automatic relevance
determination (MacKay 1995), by groups of columns. The form is the one under which held-out trials are most likely.

Intervals are conformal (Papadopoulos et al. 2002): quantiles of held-out errors in units of the process' standard deviation,
mixed with those of `PRIOR` errors of a normal distribution, which matter where there are few trials. They hold for networks like
those that were tried; a search tries good ones.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.stats import kendalltau, norm

from nas.core.process import one_thread
from nas.surrogates.process import Hyper, Inputs, Process, Term, choose, standardized

GENES, COSTS, STAGES, GENE = "genes", "costs", "stages", "gene/"
LINEAR, SMOOTH = Term("linear", GENES), Term("matern", COSTS)
PAIRS, STAGED = Term("pairs", GENES), Term("matern", STAGES)
FORMS: Mapping[str, tuple[Term, ...]] = {
    "linear": (LINEAR, SMOOTH),
    "pairs": (LINEAR, SMOOTH, PAIRS),
    "stages": (LINEAR, SMOOTH, PAIRS, STAGED),
    "relevance": (LINEAR, SMOOTH, PAIRS, STAGED),
}
RELEVANCE = "relevance"  # the form with a variance for each gene
RELEVANCE_WIDTH = 1.0  # of the prior of a gene's variance around that of all, in powers of e
FOLDS = 5
REFITTED = 150  # up to so many trials hyperparameters are chosen anew without each fold; their choice hardly depends on a fold of more
JUDGED = 300  # trials by which forms are compared, of more
FREEDOM = 4  # of Student's t, by which forms are compared, so that a single trial does not decide
PRIOR = 10  # errors of a normal distribution among those that intervals follow from
LEVEL = 0.9
LEAST = 1e-8


@dataclass(frozen=True)
class Additive:
    """A fitted model of values (n,).

    Attributes:
        form: a key of `FORMS`.
        process: of standardized values.
        shift, scale: mean and standard deviation of the values.
        y: (n,) the values.
        held_out: (n,) what is predicted for each without it and its fold.
        held_out_sd: (n,) with which standard deviation, noise included.
        networks: (n,) numbers that are equal for trials of one network.
    """

    form: str
    process: Process
    shift: float
    scale: float
    y: np.ndarray
    held_out: np.ndarray
    held_out_sd: np.ndarray
    networks: np.ndarray

    @classmethod
    def fit(cls, inputs: Inputs, y: np.ndarray, networks: np.ndarray | None = None, forms: Sequence[str] = tuple(FORMS)) -> Additive:
        """The model of values.

        Args:
            inputs: What `SpaceInputs` gives: blocks of rows (n, f).
            y: (n,) finite values.
            networks: (n,) numbers that are equal for trials of one network, which are held out together; None: all differ.
            forms: Keys of `FORMS` to choose among.

        Raises:
            ValueError: There are fewer than two networks, or a value is not finite.
        """
        y = np.asarray(y, float)
        keys = np.arange(len(y)) if networks is None else np.unique(networks, return_inverse=True)[1].reshape(-1)
        if len(np.unique(keys)) < 2 or not np.isfinite(y).all():
            raise ValueError(f"expected finite values of two networks or more, got {len(y)} values of {len(np.unique(keys))}")
        with one_thread():
            judged = _judged(inputs, y, keys)
            found = _fits(forms, *judged)
            form = max(forms, key=lambda form: found[form].likelihood)
            fit = found[form] if len(judged[1]) == len(y) else _fits([form], inputs, y, keys)[form]
        return cls(form, fit.process, fit.shift, fit.scale, y, fit.held_out, fit.sd, keys)

    def predict(self, inputs: Inputs, noise: bool = True) -> tuple[np.ndarray, np.ndarray]:
        """(m,) means and standard deviations, those of a new training or, without noise, of the mean of many."""
        with one_thread():
            return self.shift + self.scale * self.process.mean(inputs), self.scale * self.process.sd(inputs, noise)

    def mean(self, inputs: Inputs) -> np.ndarray:
        """(m,) means alone, which cost less."""
        with one_thread():
            return self.shift + self.scale * self.process.mean(inputs)

    def sample(self, inputs: Inputs, n: int, rng: np.random.Generator) -> np.ndarray:
        """(n, m) joint draws, without noise."""
        with one_thread():
            return self.shift + self.scale * self.process.sample(inputs, n, rng)

    def interval(self, inputs: Inputs, level: float = LEVEL) -> tuple[np.ndarray, np.ndarray]:
        """(m,) and (m,): a fraction `level` of new trainings lies in between."""
        mean, sd = self.predict(inputs)
        half = conformal_quantile(self.scores, level) * sd
        return mean - half, mean + half

    @cached_property
    def scores(self) -> np.ndarray:
        """(n,) held-out errors in standard deviations."""
        return np.abs(self.y - self.held_out) / self.held_out_sd

    @cached_property
    def tau(self) -> float:
        """Kendall's tau between held-out predictions and values; nan where either are all equal."""
        return kendall(self.held_out, self.y)

    @cached_property
    def coverage(self) -> float:
        """The fraction of the trials that lie in the intervals which follow from the others."""
        inside = [
            self.scores[i] <= conformal_quantile(self.scores[self.networks != self.networks[i]], LEVEL) for i in range(len(self.y))
        ]
        return float(np.mean(inside))

    def held_out_interval(self, level: float = LEVEL) -> tuple[np.ndarray, np.ndarray]:
        """(n,) and (n,) ends of the intervals of the held-out predictions."""
        half = conformal_quantile(self.scores, level) * self.held_out_sd
        return self.held_out - half, self.held_out + half


def conformal_quantile(scores: np.ndarray, level: float) -> float:
    """How many standard deviations a fraction `level` of new errors stays within.

    Args:
        scores: (n,) absolute held-out errors in standard deviations.
        level: Between 0 and 1.

    Returns:
        The quantile of the scores and of `PRIOR` errors of a normal distribution, in the order that split conformal
        prediction takes: at the rank `ceil((n + 1) level)`, the largest where there are too few.
    """
    prior = norm.ppf(0.5 + 0.5 * (np.arange(PRIOR) + 0.5) / PRIOR)
    ordered = np.sort(np.concatenate([scores, prior]))
    return float(ordered[min(math.ceil((len(ordered) + 1) * level), len(ordered)) - 1])


def kendall(predicted: np.ndarray, observed: np.ndarray) -> float:
    """Kendall's tau-b; nan where either are all equal."""
    if min(len(np.unique(predicted)), len(np.unique(observed))) < 2:
        return math.nan
    return float(np.asarray(kendalltau(predicted, observed))[0])


def _judged(inputs: Inputs, y: np.ndarray, networks: np.ndarray) -> tuple[Inputs, np.ndarray, np.ndarray]:
    """The trials by which forms are compared: all, or `JUDGED` of many."""
    if len(y) <= JUDGED:
        return inputs, y, networks
    kept = np.sort(np.random.default_rng(0).choice(len(y), JUDGED, replace=False))
    return {name: rows[kept] for name, rows in inputs.items()}, y[kept], np.unique(networks[kept], return_inverse=True)[1].reshape(-1)


@dataclass(frozen=True)
class _Fit:
    """One form fitted to values, with (n,) means and standard deviations of each value without those of its fold."""

    process: Process
    shift: float
    scale: float
    y: np.ndarray
    held_out: np.ndarray
    sd: np.ndarray

    @property
    def likelihood(self) -> float:
        """The mean logarithm of Student's t of the held-out values, up to a constant."""
        squares = ((self.y - self.held_out) / self.sd) ** 2
        return float(np.mean(-0.5 * (FREEDOM + 1) * np.log1p(squares / FREEDOM) - np.log(self.sd)))


def _fits(forms: Sequence[str], inputs: Inputs, y: np.ndarray, networks: np.ndarray) -> dict[str, _Fit]:
    fitted, shift, scale = _fitted(forms, inputs, y)
    if len(y) > REFITTED:
        pairs = {form: process.left_out(networks) for form, process in fitted.items()}
        return {form: _Fit(fitted[form], shift, scale, y, shift + scale * mean, scale * sd) for form, (mean, sd) in pairs.items()}
    count = int(networks.max()) + 1
    folds = np.random.default_rng(0).permutation(count)[networks] % (FOLDS if count >= 2 * FOLDS else count)
    found = {form: _Fit(process, shift, scale, y, np.empty_like(y), np.empty_like(y)) for form, process in fitted.items()}
    for fold in range(int(folds.max()) + 1):
        out = folds == fold
        alone, mid, unit = _fitted(forms, {name: rows[~out] for name, rows in inputs.items()}, y[~out])
        rest = {name: rows[out] for name, rows in inputs.items()}
        for form, process in alone.items():
            found[form].held_out[out], found[form].sd[out] = mid + unit * process.mean(rest), unit * process.sd(rest)
    return found


def _fitted(forms: Sequence[str], inputs: Inputs, y: np.ndarray) -> tuple[dict[str, Process], float, float]:
    """A process of standardized values for each form, with their mean and standard deviation."""
    target, shift, scale = standardized(y)
    shared: dict[tuple[Term, ...], Hyper] = {}
    processes = {}
    for form in forms:
        terms = FORMS[form]
        if terms not in shared:
            shared[terms] = choose(terms, inputs, target, np.random.default_rng(0))
        hyper = shared[terms]
        if form == RELEVANCE:
            terms, hyper = _by_gene(terms, hyper, inputs, target)
        processes[form] = Process(terms, hyper, inputs, target)
    return processes, shift, scale


def _by_gene(terms: Sequence[Term], shared: Hyper, inputs: Inputs, target: np.ndarray) -> tuple[tuple[Term, ...], Hyper]:
    """Terms with a linear one for each gene in place of the first, whose amplitudes are sought around the one of all."""
    genes = [name for name in inputs if name.startswith(GENE)]
    if not genes:
        return tuple(terms), shared
    first, *others = (max(amplitude, LEAST) for amplitude in shared.amplitudes)
    split = (*(Term("linear", name) for name in genes), *terms[1:])
    amplitudes = (*[first / len(genes)] * len(genes), *others)
    around = Hyper(amplitudes, (*[1.0] * len(genes), *shared.lengths[1:]), max(shared.noise, LEAST))
    return split, choose(split, inputs, target, np.random.default_rng(0), around, [RELEVANCE_WIDTH] * len(split))
