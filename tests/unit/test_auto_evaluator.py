"""`evaluator=auto`, the default: chosen once by the space and what JAX trains on; a run keeps what it began with."""

from __future__ import annotations

from pathlib import Path

import pytest

import nas
from nas.core.accelerators import Backend
from nas.evaluators import EVALUATORS, Search, base, evaluator_settings
from nas.evaluators.auto import FEW, chosen
from nas.journal import Journal
from nas.workflows.defaults import compose
from nas.workflows.search.plan import SearchCommand, make_plan

TINY = nas.load_space("tiny").fit(8, 1, 10)


@pytest.mark.parametrize(
    "space, trials, backend, special, expected",
    [
        ("tiny", 24, "cpu", False, "scratch"),
        ("tiny", 24, "gpu", False, "switched"),
        ("tiny", 24, "tpu", False, "switched"),
        ("tiny", FEW - 1, "gpu", False, "scratch"),
        ("tiny", 24, "gpu", True, "scratch"),
        ("mobilenet_v3", 24, "gpu", False, "scratch"),  # widths are choices
        ("ofa_mobilenet_v3", 24, "gpu", False, "scratch"),  # large networks
    ],
)
def test_the_rule(space: str, trials: int, backend: str, special: bool, expected: str) -> None:
    fitted = nas.load_space(space)
    assert chosen(Search(fitted, trials, special, backend))[0] == expected


def plan(monkeypatch: pytest.MonkeyPatch, backend: str, **changes: object) -> tuple[object, list[str]]:
    monkeypatch.setattr(base, "training_backend", lambda: Backend(backend))
    composed = compose("search", {"device": [], "objective": "macs", "dataset": {"train_size": 40, "resolution": 8}, **changes})
    made = make_plan(SearchCommand(**{key: value for key, value in composed.items() if key != "defaults"}))
    return made.config["evaluator"], [line for line in made.notes if line.startswith("evaluator ")]


@pytest.mark.parametrize("backend, name", [("cpu", "scratch"), ("gpu", "switched")])
def test_a_plan_has_what_it_stands_for_and_says_so(monkeypatch: pytest.MonkeyPatch, backend: str, name: str) -> None:
    settings, lines = plan(monkeypatch, backend)
    assert settings == {**compose("search", {"evaluator": name})["evaluator"]}
    assert len(lines) == 1
    assert lines[0].startswith(f"evaluator {name}: ")


@pytest.mark.parametrize(
    "changes", [{"recipe": {"lr_scale": {"head": 2.0}}}, {"controller": "asha"}, {"executor": {"ahead": True}}, {"executor": {"gpus": 2}}]
)
def test_what_scratch_alone_can_do_has_scratch(monkeypatch: pytest.MonkeyPatch, changes: dict[str, object]) -> None:
    settings, _ = plan(monkeypatch, "gpu", **changes)
    assert isinstance(settings, dict)
    assert settings["name"] == "scratch"


def test_what_was_named_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    settings, lines = plan(monkeypatch, "gpu", evaluator="layerwise")
    assert settings == compose("search", {"evaluator": "layerwise"})["evaluator"]
    assert not lines


def test_settings_of_the_choice_are_complete() -> None:
    for backend in ("cpu", "gpu"):
        decided = evaluator_settings({"name": "auto", "keep_weights": False}).decided(Search(TINY, 24, backend=backend))
        assert decided is not None
        assert type(evaluator_settings(decided[0])) is EVALUATORS[decided[0]["name"]]
        assert decided[0]["keep_weights"] is False


def test_a_run_keeps_the_evaluator_that_it_began_with(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from nas.workflows import default_device

    Journal.create(tmp_path / "journal.sqlite", {"identity": {"evaluator": {"name": "switched"}}}).close()
    assert default_device.kept_settings(tmp_path, "evaluator") == {"name": "switched"}
