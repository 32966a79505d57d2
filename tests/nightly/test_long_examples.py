"""The scripts of examples/ that train for long, need the runtime of phones or a cluster, at toy size."""

import json
from pathlib import Path

import pytest

from examples import run_example


def test_own_photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ai_edge_litert")
    pytest.importorskip("onnxruntime")
    run_example("own_photos", tmp_path, monkeypatch)
    bundle = json.loads((tmp_path / "bundle" / "bundle.json").read_text())
    assert bundle["classes"] == ["square", "stripe"]
    assert (tmp_path / "bundle" / "model.tflite").stat().st_size > 1000
    assert (tmp_path / "bundle" / "model.onnx").stat().st_size > 1000


def test_own_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    run_example("own_space", tmp_path, monkeypatch)
    assert "front of 1 among 1 trial: 1 ok" in capsys.readouterr().out
    assert (tmp_path / "runs" / "own-space" / "best.yaml").is_file()


def test_notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = run_example("notebook", tmp_path, monkeypatch)
    assert "<svg" in left["result"]._repr_html_()  # type: ignore[attr-defined]
    assert (tmp_path / "runs" / "notebook-net" / "weights.npz").is_file()


@pytest.mark.ray
def test_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    run_example("cluster", tmp_path, monkeypatch)
    assert "among 2 trials: 2 ok" in capsys.readouterr().out
