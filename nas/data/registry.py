"""`DATASETS`: name -> settings class; `load_dataset`: the settings of one, as YAML gives them, to a `Dataset`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from nas.core.settings import named
from nas.core.text import one_line
from nas.data.coco import Coco
from nas.data.dataset import Dataset, DatasetSettings
from nas.data.digits import Digits
from nas.data.folder import Folder
from nas.data.idx import FashionMnist
from nas.data.mask_folder import MaskFolder
from nas.data.npz import Npz
from nas.data.parquet import Parquet
from nas.data.voc import Voc
from nas.data.yolo import Yolo

DATASETS: dict[str, type[DatasetSettings]] = {
    "digits": Digits,
    "fashion_mnist": FashionMnist,
    "folder": Folder,
    "npz": Npz,
    "parquet": Parquet,
    "masks": MaskFolder,
    "voc": Voc,
    "coco": Coco,
    "yolo": Yolo,
}


def dataset_settings(settings: Mapping[str, Any], where: str = "dataset") -> DatasetSettings:
    """Checks the settings of a dataset without reading any image.

    Args:
        settings: `name` chooses the class in `DATASETS`, the rest are its fields.
        where: The place that errors name.

    Raises:
        ValueError: Naming the key: an unknown name or key, a wrong type or value.

    Example:
        >>> dataset_settings({"name": "digits", "train_size": 500}).train_size
        500
    """
    return named(DATASETS, settings, where)


def load_dataset(settings: Mapping[str, Any], where: str = "dataset") -> Dataset:
    """Reads a dataset and splits it. A pure function of the settings and the files that they name.

    Args:
        settings: As `dataset_settings` takes them.
        where: The place that errors name.

    Returns:
        The dataset, with training, validation and test splits.

    Raises:
        ValueError: As `dataset_settings`, and one line that names the file or row where the data are wrong.

    Example:
        >>> digits = load_dataset({"name": "digits", "train_size": 500, "valid_fraction": 0.2})
        >>> len(digits.train), len(digits.valid), digits.train.images.shape[1:]
        (400, 100, (8, 8, 1))
    """
    chosen = dataset_settings(settings, where)
    keys = {field.name for field in fields(chosen)}
    try:
        return chosen.load()
    except ValueError as error:
        key, found, _ = str(error).partition(":")
        raise ValueError(one_line(f"{where}.{error}" if found and key in keys else f"{where}: {error}")) from error
