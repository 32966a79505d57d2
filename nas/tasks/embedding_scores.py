"""How good embeddings are, from the distances between them alone: retrieval, verification, neighbors, one-shot.

Pure functions on NumPy arrays, without chance. Where distances are equal, an image of another class counts as the nearer one, so
that a network that maps everything to one point scores nothing.
"""

from __future__ import annotations

from math import comb, floor

import numpy as np

from nas.data.statistics import evenly
from nas.tasks.embedding_losses import MARGIN

LIMIT = 1024  # images that are compared with each other; of more, some classes, and some images of each
IN_CLASS = 20  # images of a class that are compared, where there are more than `LIMIT`
FAR = 0.001  # of impostors that are accepted
NEIGHBORS = 5
WAYS = 20


def scores(embeddings: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """All measures by name.

    Args:
        embeddings: (n, d) of length 1.
        labels: (n,).

    Returns:
        `auc` and `tar_at_far` (at a false accept rate of 0.001) of all pairs; `recall_at_1`, `recall_at_5`; `knn_accuracy` by 5
        neighbors; `one_shot` among 20 classes; `active_triplets`, the fraction that violates a margin of 0.2; `mean_distance`
        of two images, at most 2. The order of rows has no effect.

    Example:
        >>> points = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
        >>> found = scores(points, np.array([0, 0, 1, 1]))
        >>> found["auc"], found["recall_at_1"], found["active_triplets"]
        (1.0, 1.0, 0.0)
    """
    order = np.lexsort((*embeddings.T[:4], labels))
    rows = order[compared(labels[order])]
    d, labels = distances(embeddings[rows]), labels[rows]
    positive, negative = pair_distances(d, labels)
    return {
        "auc": auc(positive, negative),
        "recall_at_1": recall(d, labels, 1),
        "recall_at_5": recall(d, labels, 5),
        "tar_at_far": tar_at_far(positive, negative),
        "knn_accuracy": knn_accuracy(d, labels),
        "one_shot": one_shot(d, labels),
        "active_triplets": active_triplets(d, labels),
        "mean_distance": float(np.concatenate([positive, negative]).mean()) if len(d) > 1 else 0.0,
    }


def compared(labels: np.ndarray) -> np.ndarray:
    """Numbers of at most about `LIMIT` rows of sorted labels (n,): of every class that is taken, two or more where it has them."""
    if len(labels) <= LIMIT:
        return np.arange(len(labels))
    classes, starts, counts = np.unique(labels, return_index=True, return_counts=True)
    most = max(LIMIT // len(classes), IN_CLASS)
    each = -(-int(np.minimum(counts, most).sum()) // len(classes))
    taken = evenly(np.arange(len(classes)), max(LIMIT // each, 2))
    spans = [(int(starts[i]), int(starts[i] + counts[i])) for i in taken]
    return np.concatenate([evenly(np.arange(*span), most) for span in spans])


def distances(embeddings: np.ndarray) -> np.ndarray:
    """(n, d) -> (n, n) Euclidean, to 6 digits, so that equal embeddings are at 0 whatever the order of sums."""
    rows = embeddings.astype(np.float64)
    squares = (rows**2).sum(1)
    return np.round(np.sqrt(np.maximum(squares[:, None] + squares[None] - 2 * rows @ rows.T, 0)), 6)


def pair_distances(d: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distances of all pairs of one class, and of all pairs of two classes, each pair once."""
    i, j = np.triu_indices(len(labels), 1)
    same = labels[i] == labels[j]
    return d[i, j][same], d[i, j][~same]


def auc(positive: np.ndarray, negative: np.ndarray) -> float:
    """How often a pair of one class is nearer than a pair of two, ties half; 0.5 where one kind is missing."""
    if not len(positive) or not len(negative):
        return 0.5
    ordered = np.sort(negative)
    nearer = np.searchsorted(ordered, positive, "left") + np.searchsorted(ordered, positive, "right")
    return float(1 - nearer.mean() / 2 / len(negative))


def tar_at_far(positive: np.ndarray, negative: np.ndarray, far: float = FAR) -> float:
    """The fraction of pairs of one class that is accepted at the largest distance that accepts at most `far` of the others."""
    if not len(positive) or not len(negative):
        return 0.0
    limit = np.sort(negative)[min(floor(far * len(negative) + 1e-9), len(negative) - 1)]
    return float((positive < limit).mean())


def recall(d: np.ndarray, labels: np.ndarray, k: int) -> float:
    """The fraction of images with one of their class among the k nearest; images that are alone in their class do not ask."""
    same, other = _pairs(labels)
    asking = same.any(1)
    if not asking.any():
        return 0.0
    nearest = np.where(same, d, np.inf).min(1, keepdims=True)
    return float(((other & (d <= nearest)).sum(1)[asking] < k).mean())


def knn_accuracy(d: np.ndarray, labels: np.ndarray, k: int = NEIGHBORS) -> float:
    """The fraction of images whose class has the most of the k nearest others; of classes with equally many, the nearest counts."""
    if len(labels) < 2:
        return 0.0
    without = np.where(np.eye(len(labels), dtype=bool), np.inf, d)
    different = labels[:, None] != labels[None]
    nearest = np.lexsort((~different, without), axis=1)[:, : min(k, len(labels) - 1)]
    votes = labels[nearest]
    counts = (votes[:, :, None] == votes[:, None]).sum(2)
    return float((votes[np.arange(len(votes)), counts.argmax(1)] == labels).mean())


def one_shot(d: np.ndarray, labels: np.ndarray, ways: int = WAYS) -> float:
    """How often an image is nearest to the one example of its class among examples of `ways` classes.

    It is the expectation over all choices of examples and of other classes, not the mean of drawn ones: for an example at some
    distance, class c has an example that is farther with probability p_c, and the mean over all sets of ways - 1 classes of the
    products of p_c is an elementary symmetric polynomial.

    Args:
        d: (n, n) distances.
        labels: (n,).
        ways: Classes to choose from; where there are fewer, all.
    """
    same, _ = _pairs(labels)
    classes, index = np.unique(labels, return_inverse=True)
    of_class = np.eye(len(classes))[index]
    of_class /= of_class.sum(0)
    parts, weights = [np.zeros((0, len(classes) - 1))], [np.zeros(0)]
    for i in np.flatnonzero(same.any(1)):
        own = d[i][same[i]]
        farther = (d[i][None] > own[:, None]) @ of_class
        parts.append(np.delete(farther, index[i], 1))
        weights.append(np.full(len(own), 1 / len(own)))
    weight, others = np.concatenate(weights), min(ways, len(classes)) - 1
    if not len(weight):
        return 0.0
    sums = np.zeros((others + 1, len(weight)))
    sums[0] = 1
    for column in np.concatenate(parts).T:
        sums[1:] += column * sums[:-1]
    return float((sums[-1] * weight).sum() / weight.sum() / comb(len(classes) - 1, others))


def active_triplets(d: np.ndarray, labels: np.ndarray, margin: float = MARGIN) -> float:
    """The fraction of all triplets whose negative is not farther than the positive by the margin, of squared distances."""
    same, other = _pairs(labels)
    active, total = 0, 0
    for row, positive, negative in zip(d**2, same, other, strict=True):
        ordered = np.sort(row[negative])
        active += int(np.searchsorted(ordered, row[positive] + margin, "left").sum())
        total += int(positive.sum()) * len(ordered)
    return active / total if total else 0.0


def _pairs(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(of one class, of two classes), each (n, n) bool."""
    same = labels[:, None] == labels[None]
    return same & ~np.eye(len(labels), dtype=bool), ~same
