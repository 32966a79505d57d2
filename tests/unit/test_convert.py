"""Keras' weight files in every layout, what does not fit named in one line, and trainings that start from weights."""

from __future__ import annotations

import dataclasses
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest

from data_makers import make_pixels, png
from keras_models import application, randomize, without_initial_values
from keras_twins import TOLERANCE, compare
from nas.arch.blocks import lower
from nas.arch.files import load_arch
from nas.arch.graph import Graph
from nas.cli import run
from nas.convert import import_layers, layers_of, read_layers, starting_weights
from nas.convert.keras import CLASSES, Layer, keras_order
from nas.nn.network import init
from nas.nn.weights import Variables, load_weights, save_weights

# Keras 3.15's own variables meet NumPy 2 so when it saves them.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")
SMALL = "mobilenet_v3_small"


@pytest.fixture(scope="module")
def small() -> Any:
    model = application("MobileNetV3Small", classes=7, input_shape=(32, 32, 3))
    randomize(model, 1.3)
    return model


@pytest.fixture(scope="module")
def checkpoint(small: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(small, tmp_path_factory.mktemp("keras") / "small.weights.h5")


def saved(model: Any, path: Path) -> Path:
    (model.save_weights if path.name.endswith(".weights.h5") else model.save)(path)
    return path


def of_keras_2(model: Any, path: Path) -> Path:
    """The layout of the files that `keras.applications` downloads."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.name.encode() for layer in model.layers]
        for layer in model.layers:
            depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
            group, names = file.create_group(layer.name), []
            for weight in layer.weights:
                names.append(
                    f"{layer.name}/{'depthwise_' if depthwise and weight.name == 'kernel' else ''}{weight.name}:0"
                )
                group.create_dataset(names[-1], data=np.asarray(weight.value))
            group.attrs["weight_names"] = [name.encode() for name in names]
    return path


def graph_for(name: str, classes: int = 7, channels: int = 3) -> Graph:
    return lower(load_arch(name).with_io(32, channels, classes))


def same(a: Variables, b: Variables) -> bool:
    return list(flat(a)) == list(flat(b)) and all(
        np.array_equal(x, y) for x, y in zip(values(a), values(b), strict=True)
    )


def flat(variables: Variables) -> Iterator[tuple[str, str, str]]:
    return (
        (part, node, name) for part, nodes in variables.items() for node, arrays in nodes.items() for name in arrays
    )


def values(variables: Variables) -> Iterator[np.ndarray]:
    return (np.asarray(variables[part][node][name]) for part, node, name in flat(variables))


@pytest.mark.parametrize("file", ["a.weights.h5", "a.keras", "a.h5"])
def test_every_layout_gives_the_model_in_memory(file: str, small: Any, tmp_path: Path):
    graph = graph_for(SMALL)
    expected = import_layers(layers_of(small), graph, init(graph, 0))
    got = starting_weights(f"keras:{saved(small, tmp_path / file)}", graph, 0)
    assert not got.fresh
    assert same(got.variables, expected.variables)


def test_files_of_keras_2(small: Any, tmp_path: Path):
    graph = graph_for(SMALL)
    expected = import_layers(layers_of(small), graph, init(graph, 0))
    assert same(starting_weights(f"keras:{of_keras_2(small, tmp_path / 'a.h5')}", graph, 0).variables, expected.variables)


@pytest.fixture(scope="module")
def every_kind() -> Any:
    """A compiled model with each class of layer twice, and with what is not to be imported."""
    with without_initial_values():
        x = inputs = keras.Input((8, 8, 3))
        x = keras.layers.Normalization()(x)
        for width in (4, 6):
            x = keras.layers.Conv2D(width, 3)(x)
            x = keras.layers.SeparableConv2D(width + 1, 1, use_bias=False)(x)
            x = keras.layers.DepthwiseConv2D(1)(x)
            x = keras.layers.BatchNormalization()(x)
        x = keras.layers.Dropout(0.1)(keras.layers.GlobalAveragePooling2D()(x))
        model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Dense(5)(x)))
    model.compile(optimizer="adam", loss="mse")
    model.optimizer.build(model.trainable_variables)
    randomize(model, 1)
    return model


def by_kind(layers: list[Layer]) -> dict[str, list[Layer]]:
    return {kind: [layer for layer in layers if layer.kind == kind] for kind in CLASSES}


@pytest.mark.parametrize("file", ["a.weights.h5", "a.keras", "a.h5", "keras_2.h5"])
def test_every_class_of_layer_is_read_in_order(file: str, every_kind: Any, tmp_path: Path):
    path = (of_keras_2 if file == "keras_2.h5" else saved)(every_kind, tmp_path / file)
    expected, got = by_kind(layers_of(every_kind)), by_kind(read_layers(path))
    for kind, layers in expected.items():
        assert len(layers) == 2
        for theirs, ours in zip(layers, got[kind], strict=True):
            assert ours.name == theirs.name
            assert all(np.array_equal(a, b) for a, b in zip(ours.arrays, theirs.arrays, strict=True))


def test_a_network_computes_what_keras_own_does():
    """One of those that tests/nightly/test_parity.py compares."""
    assert compare(SMALL) < TOLERANCE


def test_layers_stand_as_keras_has_them_whatever_is_dropped():
    """ResNet's shortcut and main convolution have one shape: only their order tells them apart."""
    for arch in (load_arch("resnet50_v1"), dataclasses.replace(load_arch("resnet50_v1"), drop_path=0.2)):
        graph = lower(arch)
        names = [graph.nodes[i].name for i in keras_order(graph) if graph.nodes[i].op == "conv"]
        block = [name.split("/")[1] for name in names if name.startswith("stages.1.0/")]
        assert block == ["conv1.conv", "conv2.conv", "shortcut.conv", "conv3.conv"]


def test_other_classes_leave_the_classifier_fresh(checkpoint: Path):
    graph = graph_for(SMALL, classes=2)
    start, imported = init(graph, 3), starting_weights(f"keras:{checkpoint}", graph, 3)
    assert imported.fresh == ("head/logits",)
    smaller = np.float32((2 / 1024) ** 0.5)  # by inputs and not by outputs: its answers are about as large as one
    fresh = imported.variables["params"]["head/logits"]["kernel"]
    assert fresh == pytest.approx(start["params"]["head/logits"]["kernel"] * smaller)
    assert 0.5 < np.std(fresh) * 1024**0.5 < 0.65
    assert not np.array_equal(
        imported.variables["params"]["head/wide"]["kernel"], start["params"]["head/wide"]["kernel"]
    )


def test_a_model_without_its_top_leaves_the_head_fresh(tmp_path: Path):
    model = application("MobileNetV3Small", include_top=False, input_shape=(32, 32, 3))
    imported = starting_weights(f"keras:{saved(model, tmp_path / 'a.weights.h5')}", graph_for(SMALL), 0)
    assert imported.fresh == ("head/wide", "head/logits")


@pytest.mark.parametrize(
    "name, channels, message",
    [
        (
            "mobilenet_v3_large",
            3,
            r"stages\.0\.0/project\.conv: kernel: expected .*, got .* from Keras layer expanded_conv_squeeze",
        ),
        (
            "mobilenet_v2",
            3,
            r"stem/conv: kernel: expected shape \(3, 3, 3, 32\), got shape \(3, 3, 3, 16\) from Keras layer conv",
        ),
        (SMALL, 1, r"stem/conv: kernel: expected shape \(3, 3, 1, 16\), got shape \(3, 3, 3, 16\) from Keras layer conv"),
    ],
)
def test_another_network_is_named_by_its_first_layer(name: str, channels: int, message: str, checkpoint: Path):
    with pytest.raises(ValueError, match=message) as caught:
        starting_weights(f"keras:{checkpoint}", graph_for(name, channels=channels), 0)
    assert str(caught.value).startswith(str(checkpoint))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda layers: layers[:-2] + layers[-1:], r"head/wide: kernel: expected shape \(1, 1, 576, 1024\), got shape"),
        (lambda layers: [*layers, layers[0]], "Keras layer conv is left over"),
        (lambda layers: [x for x in layers if x.name != "expanded_conv_5_depthwise"],
         r"stages\.2\.2/depthwise.conv: kernel: expected shape \(5, 5, 1, 240\), got shape \(5, 5, 1, 120\)"),
        (lambda layers: [Layer("lstm", "odd", (np.zeros(3),)), *layers], "Keras layer odd: class lstm has no counterpart"),
        (lambda layers: [dataclasses.replace(layers[0], arrays=()), *layers[1:]], "expected 1 to 2 arrays, got 0"),
        (lambda layers: [dataclasses.replace(layers[0], arrays=(*layers[0].arrays, np.zeros(16))), *layers[1:]],
         "stem/conv: bias: expected none, got shape"),
    ],
)  # fmt: skip
def test_layers_that_do_not_fit(change: Any, message: str, small: Any):
    graph = graph_for(SMALL)
    with pytest.raises(ValueError, match=message):
        import_layers(change(layers_of(small)), graph, init(graph, 0))


def write_text(path: Path) -> None:
    path.write_text("no weights")


def write_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")


def write_link(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["layers/conv2d/vars/0"] = h5py.ExternalLink("/etc/hostname", "/x")


def write_nothing(path: Path) -> None:
    h5py.File(path, "w").close()


def write_huge(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("layers/conv2d/vars/0", (10**6, 10**6), "f4", chunks=(1000, 1000))


def write_gap(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["layers/conv2d/vars/7"] = np.zeros(3, np.float32)


@pytest.mark.parametrize(
    "write, message",
    [
        (lambda path: None, "no such file"),
        (write_text, "no Keras weights file"),
        (write_zip, "expected model.weights.h5"),
        (write_link, "0 is a link"),
        (write_nothing, "holds no layers with weights"),
        (write_huge, "declares 3725 GiB of weights"),
        (write_gap, "no Keras weights file"),
    ],
)
def test_files_that_are_no_checkpoints(write: Any, message: str, tmp_path: Path):
    path = tmp_path / "a.weights.h5"
    write(path)
    with pytest.raises(ValueError, match=message) as caught:
        read_layers(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_own_weights_come_back(tmp_path: Path):
    graph, path = graph_for(SMALL), tmp_path / "weights.npz"
    variables = init(graph, 1)
    save_weights(path, variables)
    assert same(starting_weights(str(path), graph, 0).variables, variables)
    assert starting_weights(str(path), graph_for(SMALL, classes=3), 0).fresh == ("head/logits",)
    with pytest.raises(ValueError, match=r"the architecture has no such layer|expected shape"):
        starting_weights(str(path), graph_for("mobilenet_v2"), 0)
    with pytest.raises(ValueError, match="write weights=keras:"):
        starting_weights("some.weights.h5", graph, 0)


@pytest.mark.nightly
def test_training_starts_from_a_keras_checkpoint(
    checkpoint: Path, here: Path, capsys: pytest.CaptureFixture[str]
):
    """At a learning rate of next to nothing the trained kernels are still those of the file."""
    for i, pixels in enumerate(make_pixels(20, size=32)):
        file = here / "photos" / ("cat", "dog")[i % 2] / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(png(pixels))
    recipe = ["recipe.epochs=1", "recipe.warmup_epochs=0", "recipe.batch=4", "recipe.lr=1e-12"]
    data = ["dataset=folder", "dataset.path=photos"]
    assert run(["train", f"arch={SMALL}", f"weights=keras:{checkpoint}", "run=t", *data, *recipe]) == 0
    shown = capsys.readouterr().out
    assert "head/logits: not in these weights for 2 classes, starts from initial values" in shown
    trained = load_weights(here / "t" / "weights.npz")["params"]
    given = starting_weights(f"keras:{checkpoint}", graph_for(SMALL, classes=2), 0).variables["params"]
    assert np.allclose(trained["stem/conv"]["kernel"], given["stem/conv"]["kernel"], atol=1e-6)


def test_a_training_refuses_a_checkpoint_of_other_shapes(checkpoint: Path, here: Path, capsys: pytest.CaptureFixture[str]):
    assert run(["train", f"arch={SMALL}", f"weights=keras:{checkpoint}", "run=u"]) == 2
    assert "weights: " in (error := capsys.readouterr().err)
    assert "stem/conv: kernel: expected shape (3, 3, 1, 16), got shape (3, 3, 3, 16)" in error
    assert error.count("\n") == 1
