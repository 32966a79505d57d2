"""`nas explain` and `nas.explain`: a page, pictures and receptive fields of a bundle, and mistakes in one line."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import nas
from nas.arch import Stage
from nas.arch.blocks import lower
from nas.cli import run
from nas.workflows.explain import ExplainSettings
from nas.workflows.export import make_bundle
from networks import settled
from small_bundle import ARCH, DATA

ONE = replace(ARCH, stages=(Stage(ARCH.stages[0].layers[:1], stride=2),))  # of one block: gradients compile in half the time
QUICK = ["copies=2", "steps=4"]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("explain") / "bundle"
    make_bundle(folder, ONE, settled(lower(ONE)), DATA, [])
    return folder


@pytest.fixture
def photos(here: Path) -> Path:
    (here / "photos").mkdir()
    for name, side in (("one", 8), ("two", 20)):
        pixels = np.random.default_rng(side).integers(0, 256, (side, side), np.uint8)
        Image.fromarray(pixels).save(here / "photos" / f"{name}.png")
    return here / "photos"


def test_the_command_leaves_a_page_and_pictures(bundle: Path, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    methods = "methods=[cam,grad_cam,saliency,smooth_grad,integrated_gradients]"
    assert run(["explain", f"weights={bundle}", "image=photos", methods, "features=[stem,C1]", "tap=stages.0.0", *QUICK, "out=why"]) == 0
    shown = capsys.readouterr().out
    assert "why/explanation.html" in shown
    with Path("why/receptive_fields.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["layer"] for row in rows] == ["stem", "stages.0.0", "head"]
    assert [int(row["receptive_field"]) for row in rows] == [3, 5, 5]
    assert [row["pooled"] for row in rows] == ["false", "true", "true"]
    assert all(row["layer"] in shown for row in rows)
    names = {path.name for path in Path("why").iterdir()}
    pictures = ["image", "cam", "grad_cam", "saliency", "smooth_grad", "integrated_gradients", "features-stem", "features-C1"]
    assert names == {"explanation.html", "receptive_fields.csv", "filters.png"} | {f"{i}-{p}.png" for i in ("one", "two") for p in pictures}
    page = Path("why/explanation.html").read_text()
    assert page.count("<img") == 2 * len(pictures) + 2  # and filters, and the scale of colors
    for words in ("two.png", "Grad-CAM", "integrated gradients", "feature map C1", "Filters of the first convolution", "Receptive fields"):
        assert words in page, words
    with Image.open("why/one-grad_cam.png") as picture:
        assert (picture.size, picture.mode) == ((160, 160), "RGB")


def test_the_call_gives_maps_and_writes_nothing_unasked(bundle: Path, here: Path) -> None:
    images = DATA.test.images[:3]
    found = nas.explain(bundle, images, methods=["grad_cam", "saliency"], features=["C1"])
    answers = nas.predict(bundle, images)
    assert [one.label for one in found.images] == [answer.label for answer in answers]
    for one, answer in zip(found.images, answers, strict=True):
        assert one.probability == pytest.approx(answer.probabilities[answer.label])
        assert {name: values.shape for name, values in one.maps.items()} == {"grad_cam": (4, 4), "saliency": (8, 8)}
        assert one.features["C1"].shape == (4, 4, 8)
        assert one.picture("grad_cam").shape == (8, 8, 3)
        assert one.picture("saliency", side=20).shape == (24, 24, 3)
    assert found.filters is not None
    assert found.filters.shape == (8, 3, 3)
    assert not list(here.iterdir())


def test_another_class_has_another_map(bundle: Path, here: Path) -> None:
    maps = [nas.explain(bundle, DATA.test.images[:1], methods=["cam"], label=name).images[0] for name in ("a", "b")]
    assert [one.label for one in maps] == ["a", "b"]
    answer = nas.predict(bundle, DATA.test.images[:1])[0].label
    for one in maps:
        assert one.said == f"{one.label} {one.probability:.1%}" + ("" if one.label == answer else f" (the answer is {answer})")
    assert sum("the answer is" in one.said for one in maps) >= 1
    assert not np.allclose(maps[0].maps["cam"], maps[1].maps["cam"])


def test_a_broken_image_is_left_out_and_named(bundle: Path, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (photos / "broken.png").write_bytes(b"broken")
    assert run(["explain", f"weights={bundle}", "image=photos", "methods=[saliency]"]) == 0
    captured = capsys.readouterr()
    assert "broken.png: corrupt image" in captured.err
    assert "one.png" in captured.out


@pytest.mark.parametrize(
    "settings, words",
    [
        (["label=d"], "label: the network has no class 'd'"),
        (["tap=C7"], "tap: no layer 'C7' (taps: C1)"),
        (["tap=head"], "tap: head is no feature map: it has a single position"),
        (["features=[stme]"], "features: no layer 'stme'; did you mean stem?"),
        (["methods=[]"], "methods: expected at least one"),
        (["methods=[gradcam]"], "methods"),
        (["copies=0"], "copies: expected 1 to 10000, got 0"),
        (["noise=2"], "noise: expected 0 to 1, got 2"),
        (["image=nowhere"], "image: nowhere: no such file or folder"),
    ],
)
def test_a_mistake_ends_in_one_line(
    settings: list[str], words: str, bundle: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["explain", f"weights={bundle}", "image=photos", *settings]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert words in error
    assert not Path("explanation").exists()


def test_the_defaults_are_those_of_the_configuration() -> None:
    from nas.workflows.defaults import compose

    config = compose("explain", {"weights": "w", "image": "i"})
    defaults = ExplainSettings()
    assert {key: config[key] for key in vars(defaults)} == {
        key: list(value) if isinstance(value, tuple) else value for key, value in vars(defaults).items()
    }
