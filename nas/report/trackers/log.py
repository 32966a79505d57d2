"""`track=[log]`: a file of JSON lines a trial, `trials/trial-000012.jsonl`: when it started and where, its curve, its end."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path

from nas.records import JSON, Trial


class TrialLogs:
    """Appends a line at a time; after a crash the files continue."""

    def __init__(self, folder: Path):
        self._folder = folder / "trials"
        self._folder.mkdir(parents=True, exist_ok=True)

    def started(self, number: int, worker: str) -> None:
        self._write(number, "started", worker=worker)

    def curve(self, number: int, step: int, metrics: Mapping[str, float]) -> None:
        self._write(number, "progress", **{**metrics, "step": step})

    def lost(self, number: int, error: str) -> None:
        self._write(number, "lost", error=error)

    def result(self, trial: Trial) -> None:
        self._write(trial.number, "ended", outcome=trial.outcome, error=trial.error, **trial.metrics)

    def close(self) -> None: ...

    def _write(self, number: int, event: str, **data: JSON) -> None:
        plain = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in data.items()}
        line = json.dumps({"time": round(time.time(), 3), "event": event, **plain}, default=float)
        with open(self._folder / f"trial-{number:06d}.jsonl", "a", encoding="utf-8") as file:
            file.write(line + "\n")
