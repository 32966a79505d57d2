"""Channels taken away so that the layers that read them lose least, what is left making up for them (Optimal Brain Surgeon).

A layer gives x W. Without some channels of x, the least of it is lost, in squares over many x, where the rest of W takes over what
they had in common: that is a regression, and the covariance of x tells all of it. Source: Hassibi and Stork 1993; for whole channels
He et al. 2017 (arXiv:1707.06168). No label is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

RIDGE = 1e-3  # of the mean variance: channels that hardly differ share their weight
ROUND = 8  # a round takes one of so many channels that are left, at most


@dataclass(frozen=True)
class Seen:
    """What a layer read, over pixels of images. mean: (channels,). covariance: (channels, channels)."""

    mean: np.ndarray
    covariance: np.ndarray


@dataclass(frozen=True)
class Reader:
    """A pointwise layer: a 1 x 1 convolution or a dense one.

    kernel: (channels, outputs). gain: of each output, squared, as a norm behind it has it.
    """

    kernel: np.ndarray
    seen: Seen
    gain: np.ndarray | float = 1.0

    def given(self) -> tuple[np.ndarray, np.ndarray]:
        """(mean, variance) of its outputs, without a bias."""
        return self.seen.mean @ self.kernel, ((self.seen.covariance @ self.kernel) * self.kernel).sum(0)

    def reduced(self, kept: np.ndarray) -> Reader:
        """The same of the channels that are kept, which make up for the others."""
        seen = Seen(self.seen.mean[kept], self.seen.covariance[np.ix_(kept, kept)])
        return Reader(np.linalg.solve(self._ridged[np.ix_(kept, kept)], self._cross[kept]), seen, self.gain)

    def losses(self, kept: np.ndarray) -> np.ndarray:
        """What is lost with each of the channels that are kept, as a fraction of the variance of all that the layer gives."""
        inverse = np.linalg.inv(self._ridged[np.ix_(kept, kept)])
        squares = (np.square(inverse @ self._cross[kept]) * self.gain).sum(1)
        return squares / np.diag(inverse) / self._whole

    @cached_property
    def _whole(self) -> float:
        return max(float((self.given()[1] * self.gain).sum()), 1e-30)

    @cached_property
    def _ridged(self) -> np.ndarray:
        variances = np.diag(self.seen.covariance)
        return self.seen.covariance + max(RIDGE * float(variances.mean()), 1e-12) * np.eye(len(variances))

    @cached_property
    def _cross(self) -> np.ndarray:
        """Covariance of each input with each output."""
        return self._ridged @ self.kernel


def kept_of(readers: Sequence[Reader], width: int) -> np.ndarray:
    """Numbers of the `width` channels that stay, ascending."""
    kept = np.arange(len(readers[0].kernel))
    while len(kept) > width:
        lost = np.sum([reader.losses(kept) for reader in readers], 0)
        count = min(len(kept) - width, max(len(kept) // ROUND, 1))
        kept = np.sort(kept[np.argsort(lost, kind="stable")[count:]])
    return kept
