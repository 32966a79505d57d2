"""What a run tells other tools: JSON lines a trial, TensorBoard's files; a tracker that fails does not end the run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nas.records import Trial
from nas.report.trackers import Tracking, check_trackers, open_trackers

OK = Trial(3, (1,), "a", outcome="ok", metrics={"accuracy": 0.75, "params": 100.0})


def follow(tracking: Tracking) -> None:
    tracking.started(3, "node1/7")
    tracking.progress(3, 10, 20, {"train_loss": 0.5, "lr": float("nan")})
    tracking.lost(3, "died")
    tracking.trial(Trial(4, (1,), "a", outcome="ok", metrics=OK.metrics, repeat_of=3))
    tracking.trial(OK)
    tracking.close()


def test_a_trial_is_a_file_of_json_lines(tmp_path: Path) -> None:
    follow(open_trackers(["log"], tmp_path, {}))
    (file,) = (tmp_path / "trials").iterdir()
    assert file.name == "trial-000003.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["event"] for line in lines] == ["started", "progress", "lost", "ended"]
    assert lines[0]["worker"] == "node1/7"
    assert (lines[1]["train_loss"], lines[1]["lr"], lines[1]["step"]) == (0.5, None, 10)
    assert (lines[3]["outcome"], lines[3]["accuracy"]) == ("ok", 0.75)


def test_scalars_for_tensorboard(tmp_path: Path) -> None:
    follow(open_trackers(["tensorboard"], tmp_path, {}))
    written = {file.parent.name: file.read_bytes() for file in (tmp_path / "tensorboard").rglob("events.*")}
    assert set(written) == {"search", "trial-000003"}
    assert b"accuracy" in written["search"]
    assert b"params" in written["search"]
    assert b"training/train_loss" in written["trial-000003"]


def test_a_tracker_that_fails_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        def __getattr__(self, name: str) -> Any:
            raise ConnectionError("no server")

    class Heard:
        said: list[str] = []  # noqa: RUF012

        def __getattr__(self, name: str) -> Any:
            return lambda *args: self.said.append(name)

    sinks: dict[str, Any] = {"broken": Broken(), "heard": Heard()}
    follow(Tracking(sinks))
    assert Heard.said == ["started", "curve", "lost", "result", "close"]
    assert caplog.text.count("track: broken is left out from here on: no server") == 1


def test_mistakes_name_the_tracker_and_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="no such tracker 'tensorbord'; did you mean 'tensorboard'"):
        check_trackers(["log", "tensorbord"])
    monkeypatch.setitem(__import__("sys").modules, "wandb", None)
    with pytest.raises(ValueError, match=r"track: wandb needs wandb: pip install 'nas\[wandb\]'"):
        open_trackers(["wandb"], tmp_path, {})
