"""`DATASETS`: name -> settings class; `load_dataset`: the settings of one, as YAML gives them, to a `Dataset`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from nas.core.settings import named
from nas.data.dataset import Dataset, DatasetSettings
from nas.data.digits import Digits
from nas.data.folder import Folder
from nas.data.idx import FashionMnist
from nas.data.npz import Npz
from nas.data.parquet import Parquet

DATASETS: dict[str, type[DatasetSettings]] = {
    "digits": Digits,
    "fashion_mnist": FashionMnist,
    "folder": Folder,
    "npz": Npz,
    "parquet": Parquet,
}


def dataset_settings(settings: Mapping[str, Any], where: str = "dataset") -> DatasetSettings:
    """The checked settings, without reading any image: `name` chooses the class, the rest are its fields.

    Raises ValueError naming the key: an unknown name or key, a wrong type or value.
    """
    return named(DATASETS, settings, where)


def load_dataset(settings: Mapping[str, Any], where: str = "dataset") -> Dataset:
    """The dataset of settings like `{"name": "digits", "train_size": 500}`, read and split.

    A pure function of the settings and the files that they name. Raises ValueError, one line naming the key, file or
    row: all of `dataset_settings`, and whatever is wrong with the data.
    """
    chosen = dataset_settings(settings, where)
    keys = {field.name for field in fields(chosen)}
    try:
        return chosen.load()
    except ValueError as error:
        key, found, _ = str(error).partition(":")
        raise ValueError(f"{where}.{error}" if found and key in keys else f"{where}: {error}") from error
