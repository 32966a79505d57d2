"""Rewards: one number that weighs quality against cost."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Reward = Literal["mnas_soft", "mnas_hard", "absolute", "first"]


def mnas_reward(
    accuracy: ArrayLike, latency_ms: ArrayLike, target_ms: float, alpha: float = -0.07, beta: float = -0.07
) -> NDArray[np.float64]:
    """ACC * (LAT / T)^w with w = alpha where LAT <= T and w = beta above.

    Soft (the defaults): alpha = beta = -0.07, by the rule that twice the latency should buy about 5 % of accuracy,
    relatively. Hard: alpha = 0, beta = -1.

    Args:
        accuracy: Fractions; arrays broadcast.
        latency_ms: Positive, in milliseconds.
        target_ms: T, in milliseconds.
        alpha: Exponent at or below the target.
        beta: Exponent above it.

    Returns:
        Rewards in the broadcast shape.

    Source:
        Tan et al. 2019 (arXiv:1807.11626), eq. 2 and 3.
    """
    ratio = np.asarray(latency_ms, float) / target_ms
    return np.asarray(accuracy, float) * ratio ** np.where(ratio <= 1, alpha, beta)


def absolute_reward(
    quality: ArrayLike, cost: ArrayLike, target: float, beta: float = -0.10, over: float = 1.0
) -> NDArray[np.float64]:
    """Q + beta * |T / T0 - 1|.

    Its optimum lies at the target where the slope beta is steeper than the front there, while MnasNet's drifts with the
    exponent. A steep slope above the target alone keeps the optimum there on a steep front too, and costs a search less than
    a steep one on both sides.

    Args:
        quality: Q, larger is better; arrays broadcast.
        cost: T.
        target: T0, in the unit of `cost`.
        beta: Negative slope below the target.
        over: Factor of beta above the target, 1 as published.

    Returns:
        Rewards in the broadcast shape.

    Source:
        TuNAS, Bender et al. 2020 (arXiv:2008.06120).
    """
    away = np.asarray(cost, float) / target - 1
    return np.asarray(quality, float) + beta * np.where(away > 0, over * away, -away)
