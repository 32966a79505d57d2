"""`nas train weights=torchvision:..`: images are made ready as those of the weights were, from training to prediction."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from nas.arch import Arch, arch_from_dict
from nas.arch.blocks import lower
from nas.cli import run
from nas.core.yamlio import dump_yaml
from nas.data import load_dataset
from nas.data.conventions import NORMALIZATIONS
from nas.nn.network import init
from nas.nn.weights import HostVariables, save_arrays
from nas.workflows.export.inference import own_logits
from nas.workflows.predict import predict, trained_bundle
from nas.workflows.trained import RESULT

NET = {"name": "net", "resolution": 8, "stem": {"op": "conv", "width": 8}, "stages": [{"op": "conv", "width": 8}],
       "head": {"op": "classifier"}}  # fmt: skip
ARGS = ["train", "arch=net.yaml", "dataset=npz", "dataset.path=images.npz", "recipe=quick", "recipe.epochs=1"]
SUFFIXES = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}


def state_dict(arch: Arch, variables: HostVariables) -> Mapping[str, np.ndarray]:
    """Our variables under names and in layouts of PyTorch."""
    out: dict[str, np.ndarray] = {}
    for node in lower(arch).nodes:
        for name, array in {**variables["params"].get(node.name, {}), **variables["stats"].get(node.name, {})}.items():
            turned = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T
            out[f"{node.name.replace('/', '.')}.{SUFFIXES[name]}"] = turned
    return out


def test_the_colors_are_those_that_the_weights_know(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Dark images, whose own mean and std are far from ImageNet's: every score and answer is by the latter."""
    rng = np.random.default_rng(0)
    np.savez("images.npz", x_train=rng.integers(0, 60, (40, 8, 8, 3), np.uint8), y_train=np.arange(40) % 2)
    Path("net.yaml").write_text(dump_yaml(NET))
    arch = arch_from_dict({**NET, "channels": 3, "classes": 2})
    save_arrays(Path("weights.npz"), state_dict(arch, init(lower(arch), 7)))
    assert run([*ARGS, "weights=torchvision:weights.npz", "run=a"]) == 0, capsys.readouterr().err
    output = capsys.readouterr().out
    assert "images: mean 0.485 0.456 0.406, std 0.229 0.224 0.225, as torchvision trains" in output

    bundle, valid = trained_bundle(Path("a")), load_dataset({"name": "npz", "path": "images.npz"}).valid
    assert (bundle.data.mean, bundle.data.std, bundle.data.resize) == (*NORMALIZATIONS["imagenet"], "crop")
    mean, std = (np.array(values, np.float32) for values in NORMALIZATIONS["imagenet"])
    logits = own_logits(bundle.arch, bundle.trained.variables, (np.asarray(valid.images, np.float32) / 255 - mean) / std)
    logs = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    loss = -logs[np.arange(len(logs)), valid.targets].mean()
    assert json.loads(Path("a", RESULT).read_text())["valid"]["loss"] == pytest.approx(loss, rel=1e-4)
    (found,) = predict(bundle, np.asarray(valid.images[:1]))
    assert [found.probabilities[name] for name in bundle.data.classes] == pytest.approx(list(np.exp(logs[0])), rel=1e-4)

    assert run([*ARGS, "weights=torchvision:weights.npz", "normalization=dataset", "run=a"]) != 0
    assert "holds a training with another normalization" in capsys.readouterr().err
