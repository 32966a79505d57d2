"""Bundles: every format gives the network's logits in a process without nas; what is damaged or unfit is refused whole."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nas.arch.blocks import lower
from nas.arch.graph import ACTS as EVERY_ACT
from nas.cli import run
from nas.data.record import record_of
from nas.explain.taps import last_map
from nas.nn.network import LAYERS, RANDOM
from nas.nn.weights import save_weights
from nas.tasks.confidence import calibration_error, probabilities
from nas.workflows.export import FORMATS, Bundle, bundle, inference, load_bundle, make_bundle, safetensors
from nas.workflows.export.images import classify, image_files, read_image
from nas.workflows.export.inference import own_logits, prepared
from nas.workflows.export.source import ACTS, LINES
from nas.workflows.predict import predict
from small_bundle import ARCH, DATA, WEIGHTS
from traced import count_traces

FRESH = """
import importlib.util, json, sys
sys.modules["nas"] = None
from pathlib import Path
import numpy as np
folder = Path(sys.argv[1])
with np.load(sys.argv[2]) as arrays:
    images, expected = arrays["images"], arrays["logits"]
got = {}
from jax import export
got["stablehlo"] = export.deserialize(bytearray((folder / "model.stablehlo").read_bytes())).call(images)
spec = importlib.util.spec_from_file_location("model", folder / "model.py")
model = importlib.util.module_from_spec(spec)
spec.loader.exec_module(model)
got["source"] = model.Network()(images)
import onnxruntime
session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
got["onnx"] = session.run(None, {"images": images.transpose(0, 3, 1, 2).copy()})[0]
from ai_edge_litert.interpreter import Interpreter
run = Interpreter(model_path=str(folder / "model.tflite"), num_threads=1).get_signature_runner()
got["tflite"] = np.concatenate([run(images=image[None])["logits"] for image in images])
print(json.dumps({name: float(np.abs(np.asarray(logits) - expected).max()) for name, logits in got.items()}))
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export") / "bundle"
    done = make_bundle(
        folder, ARCH, WEIGHTS, DATA, list(FORMATS), with_int8=True, latencies={"host": 0.5}, origin={"seed": 7}
    )
    assert set(done.differences) == set(FORMATS)
    assert set(done.int8_accuracy) == {"onnx", "tflite"}
    assert all(value > done.accuracy - 0.2 for value in done.int8_accuracy.values())
    assert [path.name for path in folder.parent.iterdir()] == ["bundle"]
    return folder


def test_every_format_gives_our_logits_in_a_process_without_nas(made: Path, tmp_path: Path) -> None:
    images = prepared(DATA.test.images[:], ARCH, DATA.mean, DATA.std)
    np.savez(tmp_path / "expected.npz", images=images, logits=own_logits(ARCH, WEIGHTS, images))
    command = [sys.executable, "-c", FRESH, str(made), str(tmp_path / "expected.npz")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    differences = json.loads(done.stdout.splitlines()[-1])
    assert set(differences) == set(FORMATS)
    assert max(differences.values()) < 1e-4, differences


def test_no_more_images_are_held_than_a_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def counted(images: np.ndarray, *others: Any) -> np.ndarray:
        seen.append(len(images))
        return prepared(images, *others)

    for name, value in (("BATCH", 4), ("SAMPLES", 3), ("prepared", counted)):
        monkeypatch.setattr(bundle, name, value)
    make_bundle(tmp_path / "b", ARCH, WEIGHTS, DATA, ["onnx"], with_int8=True, calibrate=5)
    assert len(DATA.test) > 8
    assert max(seen) == 5


def test_a_folder_is_classified_by_one_program() -> None:
    images = np.zeros((64, ARCH.resolution, ARCH.resolution, 1), np.float32)
    inference._inference.cache_clear()
    for count in (64, 64, 37):
        assert len(own_logits(ARCH, WEIGHTS, images[:count])) == count
    assert inference._inference.cache_info().misses == 1
    assert inference._inference(ARCH, lower(ARCH).id)._cache_size() == 1  # type: ignore[attr-defined]


def test_a_bundle_compiles_its_network_once_whatever_the_sizes_of_its_splits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody asked for a closer look: calibration and Grad-CAM use the program of the test split, and maps the head alone."""
    traced, graph = count_traces(monkeypatch), lower(ARCH)
    inference._inference.cache_clear()
    make_bundle(tmp_path / "b", ARCH, WEIGHTS, replace(DATA, test=DATA.train, valid=DATA.test), [])
    assert traced == [len(graph.nodes) - 1, len(graph.nodes) - 1 - last_map(graph)]


def test_the_card_tells_what_there_is(made: Path) -> None:
    card = (made / "README.md").read_text(encoding="utf-8")
    for words in ("model.onnx", "model_int8.onnx", "model_int8.tflite", "0.5000 ms", '"seed": 7', "Confusion", "multiply-adds", "| a |"):
        assert words in card, words
    assert (made / "model.py").read_text(encoding="utf-8").count("import nas") == 0


def test_the_card_looks_closer_at_a_classifier(made: Path) -> None:
    """The calibration error of the test split before and after, and Grad-CAM of test images, whose file the index holds too."""
    card, index = (made / "README.md").read_text(encoding="utf-8"), json.loads((made / "bundle.json").read_text())
    known = index["confidence"]
    logits = own_logits(ARCH, WEIGHTS, prepared(DATA.test.images[:], ARCH, DATA.mean, DATA.std))
    for key, temperature in (("before", 1.0), ("after", known["temperature"])):
        error = calibration_error(probabilities(logits, temperature), np.asarray(DATA.test.targets))
        assert known["ece"][key] == pytest.approx(error)
        assert f"{error:.4f} {key}" in card
    assert "![Images of the test split" in card
    assert "explanation.png" in index["sha256"]
    with Image.open(made / "explanation.png") as picture:
        assert picture.width == 6 * (128 + 6)


def test_the_source_has_a_line_for_every_primitive() -> None:
    assert {*LAYERS, *RANDOM, "norm"} == set(LINES)
    assert set(EVERY_ACT) == set(ACTS)


def test_a_bundle_is_read_back_and_classifies(made: Path, tmp_path: Path) -> None:
    loaded = load_bundle(made)
    assert (loaded.trained.classes, loaded.resolution, loaded.trained.mean) == (DATA.classes, 8, DATA.mean)
    for name, side in (("b.png", 8), ("a.png", 24)):
        Image.fromarray(np.full((side, side), 90, np.uint8)).save(tmp_path / name)
    files = image_files(tmp_path)
    assert [path.name for path in files] == ["a.png", "b.png"]
    shares = classify(loaded, np.stack([read_image(path, loaded.data) for path in files]))
    assert shares.sum(1) == pytest.approx([1, 1])
    assert shares[0] == pytest.approx(shares[1], rel=1e-5)


def test_predictions_are_calibrated_where_asked_and_none_of_these_below_the_threshold(made: Path) -> None:
    loaded, images = load_bundle(made), DATA.test.images[:]
    temperature = loaded.facts["confidence"]["temperature"]
    plain, calm = predict(loaded, images), predict(loaded, images, calibrated=True, threshold=0.5)
    logits = own_logits(ARCH, WEIGHTS, prepared(images, ARCH, DATA.mean, DATA.std))
    for one, other, row in zip(plain, calm, probabilities(logits, temperature), strict=True):
        assert list(one.probabilities) == list(other.probabilities)
        assert max(other.probabilities.values()) == pytest.approx(row.max())
        assert other.label == (one.label if row.max() >= 0.5 else "none of these")
    with pytest.raises(ValueError, match=r"calibrated: .* holds no temperature"):
        predict(replace(loaded, facts={}), images, calibrated=True)


@pytest.mark.parametrize("name", ["weights.safetensors", "arch.yaml", "model.onnx"])
def test_a_changed_byte_is_noticed(made: Path, tmp_path: Path, name: str) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(made, copy)
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{name}: changed since it was exported"):
        load_bundle(copy)
    (copy / name).unlink()
    with pytest.raises(ValueError, match=f"{name}: No such file"):
        load_bundle(copy)


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"version": 9}', '{"version": 1, "sha256": {"../x": "0"}}'])
def test_an_index_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "bundle.json").write_text(text)
    with pytest.raises(ValueError, match=r"bundle\.json: "):
        load_bundle(tmp_path)


def test_a_format_that_differs_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = FORMATS["source"]
    wrong = type(source)(source.file, source.write, lambda path, images: np.asarray(source.run(path, images)) + 0.01)
    monkeypatch.setitem(bundle.FORMATS, "source", wrong)
    with pytest.raises(ValueError, match=r"source: its outputs differ from the network's by 0.01"):
        make_bundle(tmp_path / "out", ARCH, WEIGHTS, DATA, ["source"])
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"out: .*file"):
        make_bundle(tmp_path / "file" / "bundle", ARCH, WEIGHTS, DATA, [])
    with pytest.raises(ValueError, match=r"out: .*file exists already"):
        make_bundle(tmp_path / "file", ARCH, WEIGHTS, DATA, [])
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    "content, words",
    [
        (b"no image", "corrupt image: not PNG"),
        (None, "no such file or folder"),
    ],
)
def test_wrong_images_are_named(tmp_path: Path, content: Any, words: str) -> None:
    path = tmp_path / "x.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=words):
        read_image(image_files(path)[0], record_of(DATA))


def test_safetensors_round_trip_and_damage() -> None:
    arrays = {"b": np.arange(6, dtype=np.float32).reshape(2, 3), "a": np.array([1.5], np.float32)}
    data = safetensors.to_bytes(arrays)
    back = safetensors.from_bytes(data, "x")
    assert {name: array.tolist() for name, array in back.items()} == {
        name: array.tolist() for name, array in arrays.items()
    }
    for broken in (b"", data[:20], b"\xff" * 40, data[:-4]):
        with pytest.raises(ValueError, match="x: no safetensors file"):
            safetensors.from_bytes(broken, "x")


@pytest.mark.parametrize(
    "args, words",
    [
        (["weights=none.npz", "dataset=digits"], "none.npz"),
        (["weights=w/weights.npz"], "dataset: expected the dataset"),
        (["weights=w/weights.npz", "formats=[timm]"], "formats: timm is of an architecture alone"),
        (["arch=mnasnet_a1", "formats=[onnx]"], "formats: onnx needs weights="),
        (["weights=w/broken.npz", "dataset=digits", "arch=w/arch.yaml"], "broken.npz: no weights file"),
        ([], "arch: must be given"),
    ],
)
def test_wrong_commands_are_named(here: Path, capsys: pytest.CaptureFixture[str], args: list[str], words: str) -> None:
    from nas.core.yamlio import dump_yaml

    Path("w").mkdir()
    Path("w/arch.yaml").write_text(dump_yaml(ARCH.with_io(classes=10).to_dict()))
    save_weights(Path("w/weights.npz"), WEIGHTS)
    content = bytearray(Path("w/weights.npz").read_bytes())
    content[len(content) // 2] ^= 1
    Path("w/broken.npz").write_bytes(content)
    assert run(["export", *args]) == 2
    assert words in capsys.readouterr().err
    assert sorted(path.name for path in here.rglob("*") if path.name != "__pycache__") == [
        "arch.yaml",
        "broken.npz",
        "w",
        "weights.npz",
    ]


def test_the_bundle_of_a_command_predicts(made: Path, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(np.zeros((8, 8), np.uint8)).save("x.png")
    assert run(["predict", f"weights={made}", "image=x.png"]) == 0
    assert "x.png" in capsys.readouterr().out
    assert run(["predict", f"weights={made}", "image=x.png", "json=true", "top=1"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert len(shown["classes"]) == 1
    assert isinstance(load_bundle(made), Bundle)
