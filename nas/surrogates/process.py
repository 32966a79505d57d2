"""A Gaussian process whose covariance is a sum of terms over named blocks of columns.

    terms = (Term("linear", "stage"), Term("pairs", "gene"), Term("matern", "log"))
    hyper = choose(terms, inputs, y, np.random.default_rng(0))
    process = Process(terms, hyper, inputs, y)
    process.mean(others), process.sd(others)

`inputs` maps a block's name to (n, f) rows. A linear term is a ridge on its block, a term of pairs one on all products of
two columns, a Matern term any smooth function (smoothness 5/2, Rasmussen and Williams 2006, eq. 4.17). Amplitudes, lengths
and noise maximize the marginal likelihood (eq. 5.8 and 5.9) times a wide log-normal prior, on at most `FITTED` rows. With
`centers`, a Matern term over more rows is replaced by its projection on so many of them (Nystrom), so that a prediction costs
the same however many rows there are; standard deviations far from all centers are then too small.

One range of lengths fits all where columns are standardized and divided by the root of their number, so that a typical
squared distance is 2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from scipy.linalg import cho_factor, cho_solve, cholesky, lapack, solve_triangular
from scipy.optimize import minimize

FITTED, CHUNK = 300, 2048
STEPS = 60
JITTER = 1e-7
NOISE, LENGTH, WIDTH = 0.01, 8.0, 5.0  # the prior's medians, and its standard deviation in powers of e
Inputs = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Term:
    kind: Literal["linear", "pairs", "matern"]
    block: str


@dataclass(frozen=True)
class Hyper:
    """Variances of the terms and of the noise, and the squared lengths of the terms (of use to Matern ones alone)."""

    amplitudes: tuple[float, ...]
    lengths: tuple[float, ...]
    noise: float


def matern(a: np.ndarray, b: np.ndarray, length: float) -> np.ndarray:
    """(n, m) correlations of smoothness 5/2 between rows; `length` is squared."""
    squares = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1)[None, :] - 2 * (a @ b.T)
    ratio = np.maximum(squares, 0) * (5 / length)
    root = np.sqrt(ratio)
    return (1 + root + ratio / 3) * np.exp(-root)


def standardized(values: np.ndarray) -> tuple[np.ndarray, float, float]:
    """(values - mean) / std, with mean and std; the std of a constant counts as 1."""
    mean, std = float(values.mean()), float(values.std())
    std = std if std > 1e-12 else 1.0
    return (values - mean) / std, mean, std


def covariance(terms: Sequence[Term], hyper: Hyper, a: Inputs, b: Inputs) -> np.ndarray:
    """(n, m) covariances between rows, without noise."""
    rows, columns = (len(next(iter(x.values()))) for x in (a, b))
    out = np.zeros((rows, columns))
    for term, amplitude, length in zip(terms, hyper.amplitudes, hyper.lengths, strict=True):
        out += amplitude * _correlation(term, length, a[term.block], b[term.block])
    return out


def _correlation(term: Term, length: float, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    if term.kind == "matern":
        return matern(a, b, length)
    product = a @ b.T
    return product * product if term.kind == "pairs" else product


def choose(
    terms: Sequence[Term], inputs: Inputs, y: np.ndarray, rng: np.random.Generator, prior: Hyper | None = None,
    widths: Sequence[float] | None = None,
) -> Hyper:  # fmt: skip
    """The hyperparameters most likely for `y` (n,), which should have the mean 0 and the variance 1.

    prior: the medians of the prior, where they are known better than by `NOISE`, `LENGTH` and equal parts of the variance.
    widths: of the prior of each term's amplitude, in powers of e, in place of `WIDTH`.
    """
    kept = np.arange(len(y)) if len(y) <= FITTED else np.sort(rng.choice(len(y), FITTED, replace=False))
    evidence = _Evidence(terms, {name: rows[kept] for name, rows in inputs.items()}, y[kept], prior, widths)
    found = minimize(evidence, evidence.prior, jac=True, method="L-BFGS-B", bounds=evidence.bounds,
                     options={"maxiter": STEPS})  # fmt: skip
    return evidence.hyper(found.x)


class _Evidence:
    """The negative log posterior of log amplitudes, log noise and log lengths, with its gradient."""

    def __init__(
        self, terms: Sequence[Term], inputs: Inputs, y: np.ndarray, prior: Hyper | None = None, widths: Sequence[float] | None = None
    ):
        self.terms, self.inputs, self.y = terms, inputs, y
        self.smooth = [i for i, term in enumerate(terms) if term.kind == "matern"]
        n = len(terms)
        known = prior or Hyper((1 / n,) * n, (LENGTH,) * n, NOISE)
        self.prior = np.log(np.array([*known.amplitudes, known.noise, *(known.lengths[i] for i in self.smooth)]))
        self.widths = np.array([*(widths or [WIDTH] * n), *[WIDTH] * (1 + len(self.smooth))])
        self.bounds = [(-16.0, 12.0)] * n + [(-18.0, 0.0)] + [(-1.6, 7.0)] * len(self.smooth)
        self.fixed = {
            i: _correlation(term, 1.0, inputs[term.block], inputs[term.block])
            for i, term in enumerate(terms)
            if term.kind != "matern"
        }

    def hyper(self, theta: np.ndarray) -> Hyper:
        n = len(self.terms)
        lengths = dict(zip(self.smooth, np.exp(theta[n + 1 :]).tolist(), strict=True))
        amplitudes = tuple(np.exp(theta[:n]).tolist())
        return Hyper(amplitudes, tuple(lengths.get(i, 1.0) for i in range(n)), float(np.exp(theta[n])))

    def __call__(self, theta: np.ndarray) -> tuple[float, np.ndarray]:
        hyper, n = self.hyper(theta), len(self.terms)
        parts = [(i, hyper.amplitudes[i] * rows) for i, rows in self.fixed.items()]
        for at, i in enumerate(self.smooth):
            rows, length = self.inputs[self.terms[i].block], hyper.lengths[i]
            here, longer = (hyper.amplitudes[i] * matern(rows, rows, length * far) for far in (1.0, 1.0001))
            parts += [(i, here), (n + 1 + at, (longer - here) / np.log(1.0001))]
        total = np.sum([part for i, part in parts if i < n], axis=0)
        total[np.diag_indices_from(total)] += hyper.noise + JITTER
        away = (theta - self.prior) / self.widths
        try:
            lower = cholesky(total, lower=True, check_finite=False)
        except np.linalg.LinAlgError:
            return 1e10, np.zeros_like(theta)
        inverse = _inverse(lower)
        weights = inverse @ self.y
        slope = inverse - np.outer(weights, weights)
        gradient = away / self.widths
        for i, part in parts:
            gradient[i] += 0.5 * float(np.einsum("ij,ij->", slope, part))
        gradient[n] += 0.5 * hyper.noise * float(np.trace(slope))
        value = 0.5 * float(self.y @ weights) + float(np.log(np.diag(lower)).sum()) + 0.5 * float(away @ away)
        return value, gradient


def _inverse(lower: np.ndarray) -> np.ndarray:
    """The inverse of a matrix from its lower Cholesky factor."""
    (dpotri,) = lapack.get_lapack_funcs(("potri",), (lower,))
    half, _ = dpotri(lower, lower=1)
    return np.tril(half) + np.tril(half, -1).T


class Process:
    """The process after the observations `y` (n,) of `inputs`."""

    def __init__(self, terms: Sequence[Term], hyper: Hyper, inputs: Inputs, y: np.ndarray, centers: int | None = None):
        self.hyper, self.y = hyper, y
        self._terms, self._bases = [], {}
        self.terms: Sequence[Term] = terms
        if centers is not None and len(y) > centers:
            self._project(inputs, centers)
        self.inputs = self._seen(inputs)
        total = covariance(self.terms, self.hyper, self.inputs, self.inputs)
        total[np.diag_indices_from(total)] += hyper.noise + JITTER
        self.lower = cholesky(total, lower=True, overwrite_a=True, check_finite=False)
        self.weights = cho_solve((self.lower, True), y, check_finite=False)

    def _project(self, inputs: Inputs, count: int) -> None:
        at = np.linspace(0, len(self.y) - 1, count).astype(int)
        terms = []
        for i, term in enumerate(self.terms):
            if term.kind == "matern":
                centers, length = inputs[term.block][at], self.hyper.lengths[i]
                among = matern(centers, centers, length) + 1e-6 * np.eye(count)
                self._bases[f"{term.block}~{i}"] = (term.block, centers, length, cholesky(among, lower=True))
                term = Term("linear", f"{term.block}~{i}")
            terms.append(term)
        self.terms = terms

    def _seen(self, inputs: Inputs) -> dict[str, np.ndarray]:
        out = dict(inputs)
        for name, (block, centers, length, lower) in self._bases.items():
            out[name] = solve_triangular(lower, matern(centers, inputs[block], length), lower=True).T
        return out

    @cached_property
    def _compact(self) -> list[np.ndarray]:
        """The observations as each term needs them for a mean: column weights, a matrix of pairs, or weights of the rows."""
        out = []
        for term, amplitude in zip(self.terms, self.hyper.amplitudes, strict=True):
            rows = self.inputs[term.block]
            if term.kind == "linear":
                out.append(amplitude * (rows.T @ self.weights))
            elif term.kind == "pairs":
                out.append(amplitude * (rows.T * self.weights) @ rows)
            else:
                out.append(amplitude * self.weights)
        return out

    def mean(self, inputs: Inputs) -> np.ndarray:
        """(m,) means."""
        rows = self._seen(inputs)
        total = np.zeros(len(next(iter(rows.values()))))
        for term, length, kept in zip(self.terms, self.hyper.lengths, self._compact, strict=True):
            x = rows[term.block]
            if term.kind == "linear":
                total += x @ kept
            elif term.kind == "pairs":
                total += np.einsum("ij,ij->i", x @ kept, x)
            else:
                total += matern(x, self.inputs[term.block], length) @ kept
        return total

    def sd(self, inputs: Inputs, noise: bool = True) -> np.ndarray:
        """(m,) standard deviations of an observation, or without its noise."""
        n = len(next(iter(inputs.values())))
        parts = [
            self._variance({name: x[i : i + CHUNK] for name, x in inputs.items()}) for i in range(0, max(n, 1), CHUNK)
        ]
        return np.sqrt(np.concatenate(parts) + (self.hyper.noise if noise else 0.0))

    def _variance(self, inputs: Inputs) -> np.ndarray:
        rows = self._seen(inputs)
        cross = covariance(self.terms, self.hyper, self.inputs, rows)
        white = solve_triangular(self.lower, cross, lower=True, overwrite_b=True, check_finite=False)
        return np.maximum(self._own(rows) - np.einsum("ij,ij->j", white, white), 0.0)

    def posterior_covariance(self, inputs: Inputs) -> np.ndarray:
        """(m, m) covariances between rows given the observations, without noise."""
        rows = self._seen(inputs)
        white = solve_triangular(self.lower, covariance(self.terms, self.hyper, self.inputs, rows), lower=True)
        return covariance(self.terms, self.hyper, rows, rows) - white.T @ white

    def sample(self, inputs: Inputs, n: int, rng: np.random.Generator) -> np.ndarray:
        """(n, m) joint draws, without noise."""
        values, vectors = np.linalg.eigh(self.posterior_covariance(inputs))
        root = vectors * np.sqrt(np.maximum(values, 0))
        return self.mean(inputs) + rng.normal(size=(n, len(root))) @ root.T

    def _own(self, rows: Inputs) -> np.ndarray:
        """(m,) variances before any observation."""
        total = np.zeros(len(next(iter(rows.values()))))
        for term, amplitude in zip(self.terms, self.hyper.amplitudes, strict=True):
            squares = np.einsum("ij,ij->i", rows[term.block], rows[term.block])
            total += amplitude * {"linear": squares, "pairs": squares**2, "matern": 1.0}[term.kind]
        return total

    def left_out(self, folds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n,) means and standard deviations of each observation with its fold (n,) left out, the noise counted.

        The same as solving again without the fold (Rasmussen and Williams 2006, section 5.4.2, for blocks), not an estimate.
        """
        inverse = _inverse(self.lower)
        mean, sd = np.empty_like(self.y), np.empty_like(self.y)
        for fold in np.unique(folds):
            at = np.flatnonzero(folds == fold)
            block = cho_factor(inverse[np.ix_(at, at)], lower=True)
            mean[at] = self.y[at] - cho_solve(block, self.weights[at])
            sd[at] = np.sqrt(np.diag(cho_solve(block, np.eye(len(at)))))
        return mean, sd
