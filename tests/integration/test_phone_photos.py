"""A folder of 200 photographs straight from phones: searched, trained, exported, answered alike by nas, ONNX Runtime and LiteRT."""

from __future__ import annotations

import json
import re
import unicodedata
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nas.cli import run
from nas.core.yamlio import dump_yaml

SPACE = {"name": "small", "resolution": 16, "stem": {"op": "conv", "width": {"one_of": [4, 8]}, "stride": 2},
         "stages": [{"op": "conv", "width": 8, "stride": 2}], "head": {"op": "classifier"}}  # fmt: skip
CAFE = unicodedata.normalize("NFD", "café")
PER_CLASS = 100
ASKED = ["dataset=folder", "dataset.path=photos", "dataset.resolution=16", "dataset.resize=crop", "recipe=quick", "recipe.epochs=1",
         "recipe.warmup_epochs=0", "recipe.batch=16"]  # fmt: skip
SEARCH = ["search", "space=space.yaml", "controller=random", "objective=params", "device=[]", "executor=local", "trials=2",
          "search.in_flight=1", *ASKED, "run=found"]  # fmt: skip
TRAIN = ["train", "arch=found/best.yaml", *ASKED, "run=net"]


def photo(rng: np.random.Generator, bright: bool) -> Image.Image:
    size = (24, 32) if rng.random() < 0.5 else (32, 24)
    low = 128 if bright else 0
    return Image.fromarray(rng.integers(low, low + 128, (*size, 3)).astype(np.uint8))


def save(image: Image.Image, path: Path, i: int, rng: np.random.Generator) -> None:
    """One in five of each kind: JPEG, WebP, PNG with alpha, JPEG in a folder of its own, BMP; with an orientation where they can."""
    exif = Image.Exif()
    exif[0x0112] = int(rng.integers(1, 9))
    kinds: list[tuple[str, Callable[[Path], object]]] = [
        (".JPG", lambda to: image.save(to, "JPEG", exif=exif)), (".webp", lambda to: image.save(to, exif=exif)),
        (".png", lambda to: with_alpha(image).save(to)), ("/2024/IMG.jpeg", lambda to: image.save(to, "JPEG", exif=exif)),
        (".bmp", lambda to: image.save(to)),
    ]  # fmt: skip
    suffix, write = kinds[i % len(kinds)]
    target = Path(f"{path}{suffix}")
    target.parent.mkdir(parents=True, exist_ok=True)
    write(target)


def with_alpha(image: Image.Image) -> Image.Image:
    image = image.copy()
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image


@pytest.fixture
def photos(here: Path) -> Path:
    rng = np.random.default_rng(0)
    for name, bright in ((CAFE, True), ("night", False)):
        for i in range(PER_CLASS - 1):
            save(photo(rng, bright), here / "photos" / name / f"{i:03}", i, rng)
        gray = np.asarray(photo(rng, bright).convert("L")).astype(np.uint16) * 257
        Image.fromarray(gray).save(here / "photos" / name / "scan.png")
    (here / "photos/.DS_Store").write_bytes(b"\0")
    (here / "photos/night/._000.JPG").write_bytes(b"\0")
    (here / "photos/night/video.mov").write_bytes(b"\0")
    for name in (CAFE, "night"):
        (here / "photos" / name / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 and no more")
    (here / "space.yaml").write_text(dump_yaml(SPACE))
    return here / "photos"


def test_photographs_from_phones(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(SEARCH) == 2
    assert capsys.readouterr().err.count("broken.jpg: corrupt image") == 2
    kept = [(file, file.read_bytes()) for file in photos.rglob("broken.jpg")]
    for file, _ in kept:
        file.unlink()
    for command in (SEARCH, TRAIN):
        assert run(command) == 0, capsys.readouterr().err
        shown = capsys.readouterr().out
        assert "images: 128 train, 32 valid, 40 test; 16x16, color; 2 classes: café, night" in shown
        assert "left out: 2 hidden files" in shown
        assert "left out: 1 file of another kind (.mov 1): video.mov" in shown
    for file, content in kept:
        file.write_bytes(content)
    assert run(["export", "weights=net/weights.npz", "formats=[onnx,tflite]"]) == 2  # the folder has broken files again
    for file, _ in kept:
        file.unlink()
    assert run(["export", "weights=net/weights.npz", "formats=[onnx,tflite]"]) == 0, capsys.readouterr().err
    kept[0][0].write_bytes(kept[0][1])
    capsys.readouterr()
    assert run(["predict", "weights=net/bundle", "image=photos", "json=true", "top=2"]) == 0
    captured = capsys.readouterr()
    answers = [json.loads(line) for line in captured.out.splitlines()]
    assert [Path(one["image"]).name for one in answers if "error" in one] == ["broken.jpg"]
    assert "left out: 2 hidden files" in captured.err
    read = {one["image"]: one["classes"] for one in answers if "classes" in one}
    assert len(read) == 2 * PER_CLASS
    check_alike(photos.parent / "net" / "bundle", read)


def check_alike(bundle: Path, answers: dict[str, dict[str, float]]) -> None:
    """Holds ONNX Runtime's and LiteRT's answers, by the code of the card, against those of `nas predict`."""
    import onnxruntime
    from ai_edge_litert.interpreter import Interpreter

    code = re.findall(r"```python\n(.*?)```", (bundle / "README.md").read_text(encoding="utf-8"), re.DOTALL)[0]
    found: dict[str, Any] = {}
    exec(code.partition("\n\n\nimages = ")[0], found)  # the function `pixels`
    facts = json.loads(zipfile.ZipFile(bundle / "model.tflite").read("metadata.json"))
    session = onnxruntime.InferenceSession(str(bundle / "model.onnx"))
    lite = Interpreter(str(bundle / "model.tflite")).get_signature_runner()
    for path, expected in answers.items():
        images = (found["pixels"](path)[None].astype(np.float32) / 255 - np.float32(facts["mean"])) / np.float32(facts["std"])
        runs = session.run(None, {"images": np.ascontiguousarray(images.transpose(0, 3, 1, 2))})[0], lite(images=images)["logits"]
        for given in runs:
            logits = np.asarray(given)
            exp = np.exp(logits[0] - logits[0].max())
            assert dict(zip(facts["classes"], (exp / exp.sum()).tolist(), strict=True)) == pytest.approx(expected, abs=1e-4), path
