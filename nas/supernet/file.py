"""The file of a trained supernet: the shared weights, and the record of what they are of.

save_supernet(folder / FILE, trained.params, record_of_supernet(space, dataset, recipe, ...))
found = load_supernet(folder)          # a run's folder or the file
found.space, found.record["recipe"]
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nas.arch import Arch
from nas.core.jsonio import parse_json
from nas.core.versions import versions
from nas.data.dataset import Dataset
from nas.data.record import DataRecord, record_from, record_of
from nas.nn.weights import HostArrays, flattened, load_arrays, nested, save_arrays
from nas.recipe import Recipe
from nas.records import JSON
from nas.space import Space
from nas.supernet.strategies import strategy_from

FILE = "supernet.npz"
RECORD = "record"  # under which the file has the record's JSON, as bytes
KEYS = ("space", "fingerprint", "recipe", "strategy", "seed", "data", "valid", "train_s", "curve")


@dataclass(frozen=True, eq=False)
class SupernetFile:
    """What a file of shared weights holds.

    Args:
        path: The file.
        record: `space` (as `Space.to_plain` gives it), its `fingerprint`, `recipe`, `strategy`, `seed`, `data` (a `DataRecord`),
            `valid` (metrics of the largest network), `train_s`, `curve`, `chosen` (the genome that the strategy ended with, where it
            chooses one) and `versions`.
        params: The shared arrays by slot and node, as `Fit.params` of a supernet's training has them.
    """

    path: Path
    record: Mapping[str, JSON]
    params: HostArrays

    @property
    def space(self) -> Space:
        """The space, fitted to the images that the weights were trained on."""
        return Space.from_plain(self.record["space"])

    @property
    def matrices(self) -> bool:
        """Whether smaller kernels are made of larger ones by matrices."""
        return strategy_from(self.record["strategy"]).learns_matrices

    @property
    def chosen(self) -> Arch | None:
        """The architecture that the strategy ended with; None where it chooses none."""
        genome = self.record.get("chosen")
        return self.space.decode(genome) if genome else None

    @property
    def data(self) -> DataRecord:
        """What the weights were trained with."""
        return record_from(self.record["data"])

    def check(self, space: Space, dataset: Dataset | None = None) -> None:
        """Raises ValueError, one line, where the weights are of another space or of other images."""
        if space.fingerprint != self.record["fingerprint"]:
            theirs = self.space
            same = theirs.name == space.name
            more = (
                f" with other choices or sizes ({_sizes(theirs)}, not {_sizes(space)})"
                if same
                else f", not of {space.name}"
            )
            raise ValueError(f"{self.path}: weights of the space {theirs.name}{more}")
        if dataset is not None and dataset.digest != self.data.digest:
            raise ValueError(f"{self.path}: was trained on other images or labels than those of {dataset.name} now")


def _sizes(space: Space) -> str:
    resolution, channels, classes = space.io
    return f"{resolution} pixels, {channels} channels, {classes} classes, {space.size:.3g} networks"


def supernet_path(where: str | Path) -> Path:
    """The file of shared weights that a run's folder, or the file itself, stands for. Raises ValueError where there is none."""
    path = Path(where).expanduser()
    prepared = sorted(path.glob(f"preparation/*/{FILE}")) if path.is_dir() else []
    found = [path / FILE, *prepared] if path.is_dir() else [path]
    for file in found:
        if file.is_file():
            return file
    raise ValueError(
        f"{path}: no {FILE}, the weights that nas supernet leaves" if path.is_dir() else f"{path}: no such file"
    )


def record_of_supernet(
    space: Space, dataset: Dataset, recipe: Recipe, strategy: Mapping[str, JSON], seed: int
) -> dict[str, JSON]:
    """What a training of shared weights is a function of, as plain data."""
    found = {
        "space": space.to_plain(), "fingerprint": space.fingerprint, "recipe": dataclasses.asdict(recipe),
        "strategy": dict(strategy), "seed": seed, "data": record_of(dataset).plain(),
    }  # fmt: skip
    return json.loads(json.dumps(found))


def save_supernet(path: Path, params: HostArrays, record: Mapping[str, JSON]) -> None:
    """Writes shared weights with their record, whole or not at all. Raises ValueError naming a path that cannot be written."""
    about = json.dumps({**record, "versions": versions()}, allow_nan=False).encode()
    save_arrays(path, {RECORD: np.frombuffer(about, np.uint8), **flattened({"params": params})})


def load_supernet(where: str | Path) -> SupernetFile:
    """Reads shared weights from a run's folder or a file. Raises ValueError naming what is missing or damaged."""
    path = supernet_path(where)
    arrays = load_arrays(path)
    try:
        record = _record(arrays.pop(RECORD, None))
        Space.from_plain(record["space"])
        record_from(record["data"])
        return SupernetFile(path, record, nested(arrays, path).get("params", {}))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path}: no weights of nas supernet: {' '.join(str(error).split())}") from None


def _record(kept: np.ndarray | None) -> Mapping[str, JSON]:
    """From the bytes of its JSON. Raises ValueError for what `save_supernet` does not write."""
    if kept is None or kept.dtype != np.uint8:
        raise ValueError(f"expected bytes under {RECORD!r}")
    record = parse_json(kept.tobytes())
    if not isinstance(record, dict):
        raise ValueError("its record is no mapping")
    if missing := [key for key in KEYS if key not in record]:
        raise ValueError(f"its record has no {missing[0]}")
    return record


def file_digest(path: Path) -> str:
    """SHA-256 of a file. Raises ValueError naming one that cannot be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror or error}") from None
