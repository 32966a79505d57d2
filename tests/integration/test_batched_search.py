"""A search whose trials train side by side: groups in one program, weights and scores for each member of the front."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import nas
from nas.evaluators.batched import BatchedEvaluator
from nas.journal import Journal
from nas.nn.weights import load_weights
from nas.records import Job

RECIPE = {"epochs": 2, "batch": 16}
WIDTHS = {
    "name": "widths", "resolution": 8, "stem": {"op": "conv", "width": 4},
    "stages": [{"op": "conv", "width": {"one_of": [4, 5, 6, 7]}, "stride": 2}], "head": {"op": "classifier"},
}  # fmt: skip


def search(space: Any, run: Path, trials: int, **evaluator: Any) -> Any:
    digits = {"name": "digits", "resolution": 8, "train_size": 60, "test_size": 20}
    return nas.search(
        space, digits, objectives={"accuracy": "max", "params": "min"}, evaluator={"name": "batched", **evaluator}, recipe=RECIPE,
        controller="random", executor="local", device=[], trials=trials, run=run,
    )  # fmt: skip


def test_a_search_trains_in_groups_and_one_that_was_killed_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException): ...

    groups: list[list[int]] = []

    def fits(self: Any, jobs: list[Job], report: Any, own: Any = BatchedEvaluator._fits) -> Any:
        groups.append([job.number for job in jobs])
        if len(groups) == 2:
            raise Killed
        return own(self, jobs, report)

    monkeypatch.setattr(BatchedEvaluator, "_fits", fits)
    with pytest.raises(Killed):
        search(WIDTHS, tmp_path / "run", 4, group=2)
    found = search(WIDTHS, tmp_path / "run", 4, group=2)
    assert groups == [[0, 1], [2, 3], [2, 3]]
    assert [trial["outcome"] for trial in found.trials] == ["ok"] * 4
    with Journal.open(tmp_path / "run" / "journal.sqlite", read_only=True) as journal:
        compiled = [one.compile_s > 0 for one in journal.evaluations("search")]
    assert compiled == [True, False, True, False]  # a program for each call of `search`
    for member in found.front:
        assert member.test
        load_weights(tmp_path / "run" / "checkpoints" / f"trial-{member.number:06d}.npz")


@pytest.mark.nightly
def test_tiny_is_searched(tmp_path: Path) -> None:
    found = search("tiny", tmp_path / "run", 3, group=3)
    assert [trial["outcome"] for trial in found.trials] == ["ok"] * 3
    assert found.best.test
