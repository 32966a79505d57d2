"""Images to search and train on: datasets with their splits, batches and augmentation.

    dataset = load_dataset({"name": "digits", "train_size": 1000})
    for rows in batches(dataset.train, 64, rng):
        images = augment(dataset.train.images[rows], rng, Augment(crop_padding=1))

A custom dataset is a frozen dataclass, a `DatasetSettings` with a `load()`, added to `DATASETS`.
"""

from nas.data.augment import augment, batches
from nas.data.dataset import Dataset, DatasetSettings, Part, Split, assemble
from nas.data.pixels import Encoded
from nas.data.registry import DATASETS, dataset_settings, load_dataset

__all__ = [
    "DATASETS",
    "Dataset",
    "DatasetSettings",
    "Encoded",
    "Part",
    "Split",
    "assemble",
    "augment",
    "batches",
    "dataset_settings",
    "load_dataset",
]
