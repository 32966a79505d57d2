"""How far a classifier's probabilities can be trusted, and when it had better say "none of these"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nas.records import JSON

BINS = 15
LOWEST, HIGHEST = 0.05, 20.0  # temperatures that are looked at
LEVELS = (0.9, 0.95, 0.99)  # accuracies for which a threshold is looked for


def probabilities(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """(n, classes): the softmax of logits over a temperature; above 1 it is less sure, below 1 surer.

    Example:
        >>> probabilities(np.array([[0.0, 4.0]]), temperature=2.0).round(3).tolist()
        [[0.119, 0.881]]
    """
    scaled = logits.astype(np.float64) / temperature
    exp = np.exp(scaled - scaled.max(1, keepdims=True))
    return exp / exp.sum(1, keepdims=True)


def calibration_error(probability: np.ndarray, labels: np.ndarray, bins: int = BINS) -> float:
    """Expected calibration error: how far confidence and accuracy are apart, on the average over the images.

    Images are sorted into bins of equal width by the probability of their most likely class; each bin counts by its images.

    Args:
        probability: (n, classes).
        labels: (n,)
        bins: Of confidence, from 0 to 1.

    Returns:
        From 0 to 1.

    Source:
        Guo et al. 2017 (arXiv:1706.04599), who have 15 bins.

    Example:
        >>> calibration_error(np.array([[0.8, 0.2]] * 5), np.array([0, 0, 0, 0, 1])) < 1e-9
        True
    """
    confidence, right = probability.max(1), probability.argmax(1) == labels
    places = np.minimum((confidence * bins).astype(int), bins - 1)
    sums = [np.bincount(places, weights=values, minlength=bins) for values in (confidence, right.astype(float))]
    return float(np.abs(sums[0] - sums[1]).sum() / len(labels))


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature at which the cross-entropy is lowest. It changes no answer, only how sure each is.

    The cross-entropy is convex in the inverse of the temperature, so that bisecting its derivative finds the minimum; where all
    answers are right it is the lowest temperature that is looked at.

    Args:
        logits: (n, classes), of images that the network was not trained on.
        labels: (n,)

    Returns:
        From 0.05 to 20.

    Source:
        Guo et al. 2017 (arXiv:1706.04599).

    Example:
        >>> round(fit_temperature(np.array([[0.0, 4.0]] * 4), np.array([1, 1, 1, 0])), 4)  # 4 / ln 3: it is right 3 times of 4
        3.641
    """
    wide = logits.astype(np.float64)
    of_label = wide[np.arange(len(labels)), labels]

    def slope(inverse: float) -> float:
        """The derivative of the mean cross-entropy with respect to the inverse temperature."""
        return float(((probabilities(wide, 1 / inverse) * wide).sum(1) - of_label).mean())

    low, high = 1 / HIGHEST, 1 / LOWEST
    while high - low > 1e-6 * low:
        between = (low + high) / 2
        low, high = (low, between) if slope(between) > 0 else (between, high)
    return 2 / (low + high)


def at_an_end(temperature: float) -> bool:
    """Whether `fit_temperature` stopped at an end of its range: all answers are right, or they say next to nothing.

    Example:
        >>> [at_an_end(temperature) for temperature in (0.05, 1.0, 20.0)]
        [True, False, True]
    """
    return not LOWEST * 1.01 < temperature < HIGHEST * 0.99


def top_accuracy(logits: np.ndarray, labels: np.ndarray, count: int = 5) -> float:
    """Fraction of the images whose class is among the `count` most likely ones.

    Example:
        >>> top_accuracy(np.array([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0]]), np.array([1, 2]), count=2)
        0.5
    """
    of_label = logits[np.arange(len(labels)), labels]
    return float(((logits > of_label[:, None]).sum(1) < count).mean())


@dataclass(frozen=True)
class Threshold:
    """From which confidence on a network's answer is taken; below it the answer is "none of these".

    Args:
        accuracy: What is asked of the answers that are taken.
        confidence: The least probability of the most likely class.
        answered: Fraction of the images that get an answer.
        right: Fraction of these whose answer is right.
    """

    accuracy: float
    confidence: float
    answered: float
    right: float


def threshold_for(accuracy: float, probability: np.ndarray, labels: np.ndarray) -> float | None:
    """The least confidence from which on answers are right that often; None where no confidence is enough.

    Args:
        accuracy: From 0 to 1.
        probability: (n, classes), of images that the network was not trained on.
        labels: (n,)

    Example:
        >>> threshold_for(0.9, np.array([[0.9, 0.1], [0.8, 0.2], [0.6, 0.4]]), np.array([0, 0, 1]))
        0.8
    """
    confidence, right = probability.max(1), probability.argmax(1) == labels
    order = np.argsort(-confidence, kind="stable")
    enough = np.cumsum(right[order]) >= accuracy * np.arange(1, len(labels) + 1) - 1e-9
    last = np.append(np.diff(confidence[order]) != 0, True)  # images of equal confidence are taken together
    found = np.flatnonzero(enough & last)
    return float(confidence[order][found[-1]]) if len(found) else None


def accepted(confidence: float, accuracy: float, probability: np.ndarray, labels: np.ndarray) -> Threshold:
    """What a threshold does to other images than those that it was found on."""
    taken = probability.max(1) >= confidence
    right = probability.argmax(1) == labels
    return Threshold(accuracy, confidence, float(taken.mean()), float(right[taken].mean()) if taken.any() else 1.0)


@dataclass(frozen=True)
class Confidence:
    """What is known of a classifier's confidence: fitted on one split, looked at on another.

    Args:
        temperature: That calibrates it.
        before: Expected calibration error without it.
        after: With it.
        thresholds: For "none of these", of calibrated probabilities.
        top5: Fraction of images whose class is among the five most likely; None for five classes or fewer.
    """

    temperature: float
    before: float
    after: float
    thresholds: tuple[Threshold, ...]
    top5: float | None = None

    def plain(self) -> dict[str, JSON]:
        """As JSON has it."""
        return {
            "temperature": self.temperature, "ece": {"before": self.before, "after": self.after}, "top5": self.top5,
            "thresholds": [vars(one).copy() for one in self.thresholds],
        }  # fmt: skip


def confidence_of(
    fitted: tuple[np.ndarray, np.ndarray], looked_at: tuple[np.ndarray, np.ndarray], levels: Sequence[float] = LEVELS
) -> Confidence:
    """Fits temperature and thresholds on one split and says what they do on another.

    Args:
        fitted: (logits, labels) of a split that the network was not trained on, such as validation.
        looked_at: (logits, labels) of a third one, such as the test split.
        levels: Accuracies for which a threshold is looked for; one that no confidence reaches is left out.
    """
    logits, labels = fitted
    other, other_labels = looked_at
    temperature = fit_temperature(logits, labels)
    here, there = probabilities(logits, temperature), probabilities(other, temperature)
    found = [(level, threshold_for(level, here, labels)) for level in levels]
    return Confidence(
        temperature,
        calibration_error(probabilities(other), other_labels),
        calibration_error(there, other_labels),
        tuple(accepted(least, level, there, other_labels) for level, least in found if least is not None),
        top_accuracy(other, other_labels) if other.shape[1] > 5 else None,
    )
