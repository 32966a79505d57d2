"""`nas train weights=torchvision:..`: images are made ready as those of the weights were, from training to prediction."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import nas
from nas.arch import Arch, arch_from_dict
from nas.arch.blocks import lower
from nas.cli import run
from nas.core.yamlio import dump_yaml
from nas.data import load_dataset
from nas.data.conventions import NORMALIZATIONS
from nas.data.pixels import squared
from nas.nn.network import init
from nas.nn.weights import HostVariables, Variables, save_arrays
from nas.workflows.export.inference import own_logits
from nas.workflows.predict import predict, trained_bundle
from nas.workflows.trained import RESULT
from networks import settled

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
    assert (bundle.data.mean, bundle.data.std, bundle.data.resize) == (*NORMALIZATIONS["imagenet"], "crop")  # all of them: none is larger
    mean, std = (np.array(values, np.float32) for values in NORMALIZATIONS["imagenet"])
    logits = own_logits(bundle.arch, bundle.trained.variables, (np.asarray(valid.images, np.float32) / 255 - mean) / std)
    logs = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    loss = -logs[np.arange(len(logs)), valid.targets].mean()
    assert json.loads(Path("a", RESULT).read_text())["valid"]["loss"] == pytest.approx(loss, rel=1e-4)
    (found,) = predict(bundle, np.asarray(valid.images[:1]))
    assert [found.probabilities[name] for name in bundle.data.classes] == pytest.approx(list(np.exp(logs[0])), rel=1e-4)

    assert run([*ARGS, "weights=torchvision:weights.npz", "normalization=dataset", "run=a"]) != 0
    assert "holds a training with another normalization" in capsys.readouterr().err


@pytest.fixture
def library(here: Path) -> tuple[Arch, HostVariables]:
    """A network with weights of torchvision, as files, and photographs of three classes, larger than its images."""
    rng = np.random.default_rng(1)
    for i in range(30):
        (folder := Path("photos", "abc"[i % 3])).mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (20, 16 + i % 4, 3), np.uint8)).save(folder / f"{i}.png")
    Path("net.yaml").write_text(dump_yaml({**NET, "classes": 3}))
    arch = dataclasses.replace(arch_from_dict({**NET, "classes": 3}), padding="torch", norm_eps=1e-5)
    variables = settled(lower(arch))
    save_arrays(Path("weights.npz"), state_dict(arch, variables))
    return arch, variables


def published(arch: Arch, variables: Variables, path: Path) -> np.ndarray:
    """(classes,) probabilities, step by step as torchvision has it: the center 7/8 of the shorter side, at the network's size."""
    image = Image.open(path)
    side = round(0.875 * min(image.size))
    left, top = (image.width - side) // 2, (image.height - side) // 2
    pixels = np.asarray(image.crop((left, top, left + side, top + side)).resize((8, 8), Image.Resampling.BILINEAR), np.float32) / 255
    mean, std = (np.array(values, np.float32) for values in NORMALIZATIONS["imagenet"])
    exp = np.exp(own_logits(arch, variables, ((pixels - mean) / std)[None])[0])
    return exp / exp.sum()


def test_an_imported_network_gives_the_published_answers(library: tuple[Arch, HostVariables], capsys: pytest.CaptureFixture[str]) -> None:
    paths = sorted(Path("photos").rglob("*.png"))
    expected = {path.name: published(*library, path) for path in paths}
    assert run(["predict", "weights=torchvision:weights.npz", "arch=net.yaml", "image=photos", "json=true", "top=3"]) == 0
    for line in capsys.readouterr().out.splitlines():
        found = json.loads(line)
        ours = [found["classes"][name] for name in "012"]
        assert ours == pytest.approx(list(expected[Path(found["image"]).name]), abs=1e-5)
    data = {"name": "folder", "path": "photos", "test_size": 6}
    scores = nas.evaluate("torchvision:weights.npz", data, arch="net.yaml", split="train")
    chosen = load_dataset({**data, "resolution": 8, "resize": "crop:0.875"}).train
    trained = [path for path in paths if _among(path, np.asarray(chosen.images))]
    right = [published(*library, path).argmax() == "abc".index(path.parent.name) for path in trained]
    assert len(right) == len(chosen)
    assert scores["accuracy"] == pytest.approx(np.mean(right))


def test_an_imported_network_is_explained(library: tuple[Arch, HostVariables]) -> None:
    path = Path("photos/a/0.png")
    expected = published(*library, path)
    found = nas.explain("torchvision:weights.npz", path, arch="net.yaml", methods=["saliency"])
    assert found.images[0].label == str(expected.argmax())
    assert found.images[0].maps["saliency"].shape == (8, 8)


def _among(path: Path, images: np.ndarray) -> bool:
    seen = squared(Image.open(path), 8, "crop:0.875")
    return bool((images == np.asarray(seen)).all((1, 2, 3)).any())


def test_a_training_from_such_weights_sees_such_images(library: tuple[Arch, HostVariables], capsys: pytest.CaptureFixture[str]) -> None:
    args = ["train", "arch=net.yaml", "dataset=folder", "dataset.path=photos", "recipe=quick", "recipe.epochs=1", "run=a"]
    assert run([*args, "weights=torchvision:weights.npz"]) == 0, capsys.readouterr().err
    line = "images: the center 0.875 of their sides at 8 px, as of these weights; dataset.resize and dataset.resolution change it"
    assert line in capsys.readouterr().out
    bundle, path = trained_bundle(Path("a")), Path("photos/a/0.png")
    assert (bundle.arch.resolution, bundle.data.resolution, bundle.data.resize) == (8, 8, "crop:0.875")
    (found,) = predict(bundle, path)
    ours = published(bundle.arch, bundle.trained.variables, path)
    assert [found.probabilities[name] for name in "abc"] == pytest.approx(list(ours), abs=1e-5)


@pytest.mark.parametrize(
    "weights, more, words",
    [
        ("torchvision:weights.npz", [], "arch: expected the architecture that torchvision:weights.npz is of, such as arch=resnet50"),
        ("keras:weights.h5", ["arch=net.yaml"], "weights: nothing says how images were made ready for keras:weights.h5"),
        ("weights.npz", ["arch=net.yaml"], "arch: is for weights of a library, such as timm:<file>; weights.npz has its own beside it"),
        ("torchvision:weights.npz", ["arch=resnet18"], "weights: weights.npz: "),
    ],
)
def test_what_cannot_answer_is_one_line(
    weights: str, more: list[str], words: str, library: tuple[Arch, HostVariables], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["predict", f"weights={weights}", "image=photos", *more]) == 2
    assert words in capsys.readouterr().err
