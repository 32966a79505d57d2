"""Confidence: the temperature that was used is found again, thresholds keep what they promise."""

from __future__ import annotations

import numpy as np
import pytest

from nas.tasks.confidence import (
    calibration_error,
    confidence_of,
    fit_temperature,
    probabilities,
    threshold_for,
    top_accuracy,
)
from nas.workflows.export.closer import confidence_lines


def drawn(temperature: float, seed: int = 0, count: int = 20_000, classes: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are `temperature` times those by whose probabilities the labels are drawn."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (count, classes))
    labels = (probabilities(logits).cumsum(1) > rng.random((count, 1))).argmax(1)
    return logits * temperature, labels


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_is_found_again(temperature: float) -> None:
    logits, labels = drawn(temperature)
    assert fit_temperature(logits, labels) == pytest.approx(temperature, rel=0.05)


def test_the_fitted_temperature_has_the_lowest_cross_entropy() -> None:
    logits, labels = drawn(2.0, count=200)
    found = fit_temperature(logits, labels)
    losses = [-np.log(probabilities(logits, t)[np.arange(200), labels]).mean() for t in (found, 0.98 * found, 1.02 * found)]
    assert losses[0] < min(losses[1:])


@pytest.mark.parametrize("logits, expected", [([[9.0, 0.0]], 0.05), ([[0.0, 9.0]], 20.0), ([[0.0, 0.0]], None)])
def test_the_temperature_stays_within_its_bounds(logits: list[list[float]], expected: float | None) -> None:
    found = fit_temperature(np.array(logits), np.array([0]))
    assert 0.05 <= found <= 20.0
    assert expected is None or found == pytest.approx(expected)


def test_calibration_changes_no_answer_and_lowers_the_error() -> None:
    (logits, labels), (other, other_labels) = drawn(3.0), drawn(3.0, seed=1)
    found = confidence_of((logits, labels), (other, other_labels))
    assert found.before > 0.1
    assert found.after < 0.02
    assert (probabilities(other, found.temperature).argmax(1) == other.argmax(1)).all()


@pytest.mark.parametrize(
    "confidence, right, expected",
    [
        ([0.9, 0.9, 0.9, 0.9], [1, 1, 1, 0], 0.15),  # one bin, three of four right
        ([1.0, 1.0], [1, 1], 0.0),  # 1.0 is in the last bin
        ([0.95, 0.55], [1, 0], (0.05 + 0.55) / 2),
    ],
)
def test_the_calibration_error_by_hand(confidence: list[float], right: list[int], expected: float) -> None:
    probability = np.array([[c, 1 - c] for c in confidence])
    assert calibration_error(probability, 1 - np.array(right)) == pytest.approx(expected)


@pytest.mark.parametrize(
    "accuracy, confidence, right, expected",
    [
        (0.9, [0.9, 0.8, 0.6], [1, 1, 0], 0.8),
        (0.6, [0.9, 0.8, 0.6], [1, 1, 0], 0.6),
        (1.0, [0.9, 0.8, 0.6], [0, 1, 1], None),
        (0.9, [0.8, 0.8, 0.6], [1, 0, 1], None),  # two of equal confidence come together
    ],
)
def test_a_threshold_by_hand(accuracy: float, confidence: list[float], right: list[int], expected: float | None) -> None:
    probability = np.array([[c, 1 - c] for c in confidence])
    assert threshold_for(accuracy, probability, 1 - np.array(right)) == expected


def test_thresholds_keep_their_promise_on_other_images() -> None:
    found = confidence_of(drawn(2.0), drawn(2.0, seed=1))
    assert [one.accuracy for one in found.thresholds] == [0.9, 0.95, 0.99]
    for one in found.thresholds:
        assert one.right == pytest.approx(one.accuracy, abs=0.02)
    answered = [one.answered for one in found.thresholds]
    assert answered == sorted(answered, reverse=True)
    assert found.plain()["thresholds"][0]["confidence"] == found.thresholds[0].confidence


def test_top_five_counts_only_larger_scores() -> None:
    logits = np.array([[5.0, 4, 3, 2, 1, 0]] * 6)
    assert top_accuracy(logits, np.arange(6)) == pytest.approx(5 / 6)
    assert confidence_of((logits, np.arange(6)), (logits, np.arange(6))).top5 == pytest.approx(5 / 6)
    few = logits[:, :3]
    assert confidence_of((few, np.array([0, 1, 2] * 2)), (few, np.array([0, 1, 2] * 2))).top5 is None


@pytest.mark.parametrize(
    "logits, labels, words",
    [
        ([[9.0, 0.0], [0.0, 9.0], [9.0, 0.0]], [1, 0, 1], ["temperature of 20,", "do not rely on", "No threshold of it makes 90%"]),
        ([[9.0, 0.0], [0.0, 9.0], [9.0, 0.0]], [0, 1, 0], ["temperature of 0.05,", "do not rely on", "| 99% |"]),
        ([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]], [0, 1, 1], ["temperature of 1.44,", "No threshold of it"]),
    ],
    ids=["all wrong", "all right", "in between"],
)
def test_the_card_says_what_calibration_cannot_do(logits: list[list[float]], labels: list[int], words: list[str]) -> None:
    split = (np.array(logits), np.array(labels))
    text = "\n".join(confidence_lines(confidence_of(split, split).plain()))
    assert all(word in text for word in words), text
    assert ("do not rely on" in text) == ("do not rely on" in words)
