"""scikit-learn's handwritten digits: 1,797 gray images of 8x8, embedded in the package, nothing to download."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nas.core.process import SKLEARN_SETS, environment_kept
from nas.data.dataset import Dataset, DatasetSettings, Part, assemble


@dataclass(frozen=True)
class Digits(DatasetSettings):
    """The test part of the UCI optical digits, which scikit-learn carries; the fixed fifth of it is our test part."""

    def load(self) -> Dataset:
        with environment_kept(*SKLEARN_SETS):
            from sklearn.datasets import load_digits

        images, labels = load_digits(return_X_y=True)
        pixels = np.round(images.reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)  # inks run from 0 to 16
        part = Part(labels, lambda rows: pixels[rows], lambda row: f"digits[{row}]")
        return assemble("digits", self, {"train": part}, tuple("0123456789"))
