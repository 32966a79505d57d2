"""What all datasets share: shapes, determinism, sizes, the one line of every wrong setting, the config files."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from data_makers import MAKERS, error_of, make_labels, make_pixels
from nas.data import DATASETS, Dataset, DatasetSettings, Part, assemble, dataset_settings, load_dataset
from nas.data import images as images_module
from nas.testing import check_dataset
from nas.testing.datasets import DATASET_LAWS, DatasetLaw
from places import ROOT
from spatial_makers import SPATIAL

CONF = ROOT / "conf" / "dataset"
ALL = {**MAKERS, **SPATIAL}


@pytest.fixture(params=ALL)
def made(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    return ALL[request.param](tmp_path)


@pytest.fixture(params=MAKERS)
def labeled(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    return MAKERS[request.param](tmp_path)


def test_every_dataset_is_tried_here() -> None:
    assert set(ALL) <= set(DATASETS)


@pytest.mark.parametrize("law", DATASET_LAWS, ids=lambda law: law.__name__)
def test_it_keeps_the_law(made: dict[str, Any], law: DatasetLaw) -> None:
    law(made)


def test_sizes_and_the_split(labeled: dict[str, Any]) -> None:
    data = load_dataset(labeled)
    assert data.name == labeled["name"]
    assert abs(len(data.valid) / (len(data.train) + len(data.valid)) - 0.2) < 0.02
    data = load_dataset({**labeled, "train_size": 30, "valid_size": 10, "test_size": 5, "resolution": 9})
    assert [len(part) for part in (data.train, data.valid, data.test)] == [20, 10, 5]
    assert data.train.images.shape[1:3] == (9, 9)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"train_szie": 3}, "dataset.train_szie: unknown key; did you mean train_size?"),
        ({"train_size": "abc"}, "dataset.train_size: expected a whole number, got 'abc'"),
        ({"train_size": 0}, "dataset.train_size: expected 1 or more, or null, got 0"),
        ({"train_size": 3}, "dataset.train_size: expected "),
        ({"train_size": 10**9}, "dataset.train_size: expected "),
        ({"valid_size": 10**6}, "dataset.valid_size: expected "),
        ({"valid_size": 1}, "dataset.valid_size: expected "),
        ({"valid_fraction": 1.0}, "dataset.valid_fraction: expected a fraction between 0 and 1, got 1.0"),
        ({"valid_fraction": float("nan")}, "dataset.valid_fraction: expected a number, got nan"),
        ({"test_size": 10**6}, "dataset.test_size: expected 1 to "),
        ({"resolution": 0}, "dataset.resolution: expected 1 to 4096 pixels"),
        ({"resolution": 10**9}, "dataset.resolution: expected 1 to 4096 pixels"),
        ({"split_seed": -1}, "dataset.split_seed: expected 0 or more"),
        ({"name": "digit"}, "dataset.name: unknown 'digit'; did you mean digits? (known: digits, "),
        ({"name": None}, "dataset.name: unknown None"),
    ],
)
def test_wrong_settings(labeled: dict[str, Any], change: dict[str, Any], message: str) -> None:
    assert error_of({**labeled, **change}).startswith(message)


def test_settings_that_are_none() -> None:
    assert error_of({}).startswith("dataset.name: missing; expected one of digits, ")
    assert error_of([]).startswith("dataset: expected settings as a mapping")


@pytest.mark.parametrize("name", ["fashion_mnist", "folder", "npz", "parquet", *SPATIAL])
def test_paths(name: str, tmp_path: Path) -> None:
    assert error_of({"name": name, "path": None}).startswith("dataset.path: not set; expected a ")
    gone = str(tmp_path / "gone (a=b)")
    assert error_of({"name": name, "path": gone}).startswith(f"dataset.path: {gone} does not exist; expected a ")
    (tmp_path / "other").write_text("x") if name != "npz" else (tmp_path / "other").mkdir()
    assert "other is not a " in error_of({"name": name, "path": str(tmp_path / "other")})


@pytest.mark.parametrize("name", ALL)
def test_the_config_file_has_every_setting_and_its_default(name: str) -> None:
    text = (CONF / f"{name}.yaml").read_text()
    values = yaml.safe_load(text)
    assert text.startswith("# ")
    assert values["name"] == name
    assert set(values) == {"name", *DATASETS[name].__dataclass_fields__}
    defaults = asdict(DATASETS[name]())
    assert asdict(dataset_settings(values)) == defaults
    assert all(
        "  # " in line for line in text.splitlines() if ":" in line.split("#")[0] and not line.startswith("name")
    )


def test_digits_are_the_known_ones() -> None:
    data = load_dataset({"name": "digits"})
    assert data.classes == tuple("0123456789")
    assert (data.resolution, data.channels) == (8, 1)
    assert (len(data.train), len(data.valid), len(data.test)) == (1150, 288, 359)
    assert data.train.images[:].min() == 0
    assert data.train.images[:].max() == 255
    assert np.bincount(data.test.targets).min() >= 34


def test_parts_do_not_share_images() -> None:
    data = load_dataset({"name": "digits"})
    parts = [{image.tobytes() for image in part.images[:]} for part in (data.train, data.valid, data.test)]
    assert not (parts[0] & parts[1])
    assert not (parts[0] & parts[2])
    assert not (parts[1] & parts[2])


def test_what_does_not_fit_in_memory_is_refused(made: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images_module, "machine_memory", lambda: 1000)
    assert "this machine has" in error_of(made)


def test_a_custom_dataset(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass(frozen=True)
    class Stripes(DatasetSettings):
        count: int = 20

        def load(self) -> Dataset:
            if self.count > 100:
                raise ValueError(f"count: expected at most 100, got {self.count}")
            pixels = make_pixels(self.count)
            part = Part(make_labels(self.count), lambda rows: pixels[rows], lambda row: f"stripe {row}")
            return assemble("stripes", self, {"train": part}, ("up", "down"))

    monkeypatch.setitem(DATASETS, "stripes", Stripes)
    check_dataset({"name": "stripes", "count": 30})
    data = load_dataset({"name": "stripes", "count": 30})
    assert data.classes == ("up", "down")
    assert sum(len(p) for p in (data.train, data.valid, data.test)) == 30
    assert error_of({"name": "stripes", "count": 101}) == "dataset.count: expected at most 100, got 101"
