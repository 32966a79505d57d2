"""`evaluator=batched`: outcomes of trials that train together, each with its own failure, and one program for all groups."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from nas.arch.blocks import arch_id
from nas.evaluators import Context, evaluator_settings
from nas.evaluators.batched import BatchedEvaluator
from nas.recipe import Recipe
from nas.records import Job, Outcome
from nas.space import Space, load_space
from nas.supernet import batched
from nas.supernet.batched import BatchedProgram
from nas.train import Diverged, Fit, resident
from small_supernet import FEW

DIGITS = {"name": "digits", "train_size": 60, "test_size": 20}
SPACE = Space.from_dict(FEW, "few").fit(8, 1, 10)
JOBS = [
    Job(i, "train", (arch := SPACE.decode(genome)).to_dict(), arch_id(arch), seed=i)
    for i, genome in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)])
]


RECIPE = Recipe(epochs=1, batch=16, dtype="float32")
SETTINGS = {"dataset": DIGITS, "recipe": dataclasses.asdict(RECIPE), "evaluator": {"name": "batched"}}


def silent(number: int, step: int, steps: int, metrics: Mapping[str, float]) -> None: ...


def evaluator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fitting: Callable[..., Any], **given: Any
) -> tuple[BatchedEvaluator, list[int]]:
    """One whose programs do what `fitting` says, and the sizes of those that it compiles."""
    sizes = list[int]()

    class Program:
        compile_s = 0.0

        def __init__(self, plan: Any, dataset: Any, recipe: Any, size: int, seed: int):
            self.size = size
            sizes.append(size)

        fit = fitting

    monkeypatch.setattr(batched, "compile_batched", Program)
    made = evaluator_settings({"name": "batched", **given}).make(Context(SETTINGS, tmp_path, "", SPACE.to_plain()))
    assert isinstance(made, BatchedEvaluator)
    return made, sizes


def one_fit() -> Fit:
    return Fit({}, {}, {"accuracy": 0.5, "loss": 1.0, "balanced_accuracy": 0.5}, 1.0, 0.0, 0.1, 3, None, [], 1)


def test_a_network_of_another_space_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fit(self: Any, candidates: Sequence[Any], report: Any, checkpoint: Any) -> list[Fit]:
        for which in range(len(candidates)):
            report(which, 1, 1, {})
        return [one_fit() for _ in candidates]

    stray = load_space("nas_bench_macro").fit(8, 1, 10)
    stranger = dataclasses.replace(JOBS[0], number=9, arch=stray.decode((0,) * len(stray.genes)).to_dict())
    made, sizes = evaluator(tmp_path, monkeypatch, fit)
    heard = list[int]()
    outcomes = made([JOBS[0], stranger, JOBS[1]], lambda number, *_: heard.append(number))
    assert [(one.number, one.outcome) for one in outcomes] == [(0, "ok"), (9, "error"), (1, "ok")]
    assert "not in the space few" in outcomes[1].error
    assert (heard, sizes) == ([0, 1], [2])


def test_where_memory_is_short_half_as_many_train_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    groups: list[int] = []

    def fit(self: Any, candidates: Sequence[Any], report: Any, checkpoint: Any) -> list[Fit]:
        groups.append(len(candidates))
        if len(candidates) > 2:
            raise RuntimeError("RESOURCE_EXHAUSTED: out of memory while trying to allocate")
        return [one_fit() for _ in candidates]

    made, sizes = evaluator(tmp_path, monkeypatch, fit, group=4)
    assert [one.outcome for one in made(JOBS, silent)] == ["ok"] * 4
    assert (groups, sizes) == ([4, 2, 2], [4, 2])
    groups.clear()
    made(JOBS, silent)
    assert groups == [2, 2]


def test_each_trial_has_its_own_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fit(self: Any, candidates: Sequence[Any], report: Any, checkpoint: Any) -> list[Fit | Diverged]:
        return [one_fit(), Diverged("the training loss is nan after step 3", 3), one_fit(), one_fit()]

    made, _ = evaluator(tmp_path, monkeypatch, fit)
    outcomes: Sequence[Outcome] = made(JOBS, silent)
    assert [one.outcome for one in outcomes] == ["ok", "nan", "ok", "ok"]
    assert outcomes[1].error == "the training loss is nan after step 3"


def test_as_many_train_together_as_memory_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fit(self: Any, candidates: Sequence[Any], report: Any, checkpoint: Any) -> list[Fit]:
        return [one_fit() for _ in candidates]

    for memory, expected in ((0, [4]), (1, [1]), (2.5, [2])):
        made, sizes = evaluator(tmp_path, monkeypatch, fit)
        each = made._plan.bytes_each(Recipe(dtype="float32"), 16) if memory else 0
        monkeypatch.setattr(resident, "device_memory", lambda bytes=int(2 * memory * each): bytes)
        made(JOBS, silent)
        assert sizes == expected


def test_a_group_that_a_dead_worker_left_resumes_where_it_forms_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders: list[Path] = []

    def fit(self: BatchedProgram, candidates: Sequence[Any], report: Any, checkpoint: Any) -> list[Fit]:
        folders.append(checkpoint.folder)
        return [one_fit() for _ in candidates]

    for jobs in (JOBS[:3], JOBS[:3], JOBS[:2], JOBS[1:3]):
        evaluator(tmp_path, monkeypatch, fit)[0](jobs, silent)
    assert folders[0] == folders[1]
    assert len({*folders}) == 3
    assert {folder.parent.name for folder in folders[:3]} == {"trial-000000"}  # goes with what that trial leaves


@pytest.mark.parametrize("given, words", [({"group": 0}, "group: expected 1 to 1024"), ({"seed": -1}, "seed: expected 0 or more")])
def test_mistakes_name_the_key(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        evaluator_settings({"name": "batched", **given})


def test_what_it_cannot_do_is_refused_before_anything_starts() -> None:
    found = evaluator_settings({"name": "batched"})
    assert found.trains_together() == 16
    with pytest.raises(ValueError, match=r"recipe\.patience: evaluator=batched ends no training early"):
        found.capabilities.check_recipe(Recipe(patience=1, validate_every=1), "batched")
    with pytest.raises(ValueError, match="few: resolution: changes sizes"):
        found.check(Space.from_dict({**FEW, "resolution": {"one_of": [6, 8]}}, "few").fit(None, 1, 10))
