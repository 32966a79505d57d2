"""How far the scores of shared weights can be trusted: whether they rank networks as trainings of each network alone do.

found = rank_fidelity({"accuracy": inherited}, {"accuracy": "max"}, alone, macs)
found["accuracy"].kendall, found["macs"].kendall
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 500
MACS = "macs"


@dataclass(frozen=True)
class Ranking:
    """How well one number ranks networks.

    Args:
        kendall: Kendall's tau-b with the truth, -1 to 1: of pairs in the same order minus pairs in the other. 0 where all are equal.
        spearman: Spearman's rho, the correlation of ranks.
        standard_error: Of `kendall`, by drawing networks anew.
        ahead: By how many standard errors `kendall` is above that of the multiply-adds of the same networks.
    """

    kendall: float
    spearman: float
    standard_error: float
    ahead: float

    def to_dict(self) -> dict[str, float]:
        return {
            "kendall": self.kendall,
            "spearman": self.spearman,
            "standard_error": self.standard_error,
            "ahead": self.ahead,
        }


def rank_fidelity(
    scores: Mapping[str, Sequence[float]], ways: Mapping[str, str], truth: Sequence[float], macs: Sequence[float]
) -> dict[str, Ranking]:
    """How the scores of shared weights rank networks, and how their multiply-adds alone do.

    Args:
        scores: Of the same networks by metric, with the shared weights.
        ways: Which way each metric is better, `max` or `min`.
        truth: What each network has when it is trained alone; more is better.
        macs: Multiply-adds of each network.

    Returns:
        A ranking by metric, and one under `macs`. Empty for fewer than three networks.

    Example:
        >>> found = rank_fidelity({"loss": [3, 2, 1, 0]}, {"loss": "min"}, [1, 2, 3, 4], [1, 2, 4, 3])
        >>> found["loss"].kendall, round(found["macs"].kendall, 2)
        (1.0, 0.67)
    """
    right = np.asarray(truth, np.float64)
    if len(right) < 3:
        return {}
    signed = {
        name: np.asarray(values, np.float64) * (-1 if ways[name] == "min" else 1) for name, values in scores.items()
    }
    signed[MACS] = np.asarray(macs, np.float64)
    draws = np.random.default_rng(0).integers(0, len(right), (RESAMPLES, len(right)))
    drawn = {name: np.array([kendall(values[rows], right[rows]) for rows in draws]) for name, values in signed.items()}
    base = kendall(signed[MACS], right)

    def ranking(name: str, values: np.ndarray) -> Ranking:
        tau, error = kendall(values, right), float((drawn[name] - drawn[MACS]).std(ddof=1))
        return Ranking(
            tau, spearman(values, right), float(drawn[name].std(ddof=1)), (tau - base) / error if error else 0.0
        )

    return {name: ranking(name, values) for name, values in signed.items()}


def kendall(a: np.ndarray, b: np.ndarray) -> float:
    """Kendall's tau-b of two rows of numbers; 0 where one of them says nothing.

    Source:
        Kendall 1945, "The treatment of ties in ranking problems".
    """
    row, column = np.triu_indices(len(a), 1)
    x, y = np.sign(a[row] - a[column]), np.sign(b[row] - b[column])
    untied = float(np.count_nonzero(x)) * float(np.count_nonzero(y))
    return float((x * y).sum()) / untied**0.5 if untied else 0.0


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's rho of two rows of numbers, ties at their mean rank; 0 where one of them says nothing."""
    from scipy.stats import rankdata

    x, y = (rankdata(values) - (len(values) + 1) / 2 for values in (a, b))
    size = float((x * x).sum() * (y * y).sum()) ** 0.5
    return float((x * y).sum()) / size if size else 0.0


def warning(rankings: Mapping[str, Ranking], networks: int) -> str | None:
    """A line for people where no metric of the shared weights ranks better than multiply-adds do, beyond chance; else None."""
    scored = {name: one for name, one in rankings.items() if name != MACS}
    if not scored:
        return None
    best = max(scored, key=lambda name: scored[name].kendall)
    if scored[best].ahead >= 1:
        return None
    more = f"; {networks} networks are few to tell" if networks < 30 and scored[best].ahead > -1 else ""
    return (
        f"these weights rank no better than multiply-adds alone (tau {rankings[MACS].kendall:.2f}, by {best} "
        f"{scored[best].kendall:.2f}): train them longer, or take evaluator=scratch{more}"
    )
