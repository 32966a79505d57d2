"""A constraint on the cost steers the search: its target, its best network, what is said of the space, and how a limit is chosen."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas.arch.blocks import arch_id
from nas.cli import run
from nas.cost import cost
from nas.latency import DEVICES, DeviceDefaults
from nas.objectives import build_objectives
from nas.records import Measurement
from nas.report import summarize
from nas.workflows.search.feasibility import fitting, percent
from report_makers import HOST, LATENCY, OBJECTIVES, add, measure, new_journal
from search_fakes import AXES, TINY, problem

SETTINGS: dict[str, Any] = {"metrics": {"accuracy": "max", "latency_ms": "min"}, "cost": "latency_ms"}


@pytest.mark.parametrize(
    "changes, target, limited",
    [
        ({"constraints": {"latency_ms": 5}}, 5, True),
        ({"constraints": {"latency_ms/host": 5}}, 5, True),
        ({"constraints": {"latency_ms": 5}, "target_ms": 3}, 3, False),
        ({"constraints": {"latency_ms": 5}, "target": 5}, 5, True),
        ({"constraints": {"params": 5}}, None, False),
        ({"constraints": {"params": 5}, "cost": "params"}, 5, True),
        ({"constraints": {"accuracy": 0.5}}, None, False),
        ({"constraints": {"latency_ms": 5}, "reward": "absolute"}, 5, True),
    ],
)
def test_the_target_is_the_limit_unless_another_is_set(changes: dict[str, Any], target: float | None, limited: bool) -> None:
    found = build_objectives({**SETTINGS, **changes}, ["host"])
    assert (found.target, found.limited) == (target, limited)


@pytest.mark.parametrize(
    "limit, target, measured, best",
    [
        (9.0, 9.0, {}, 0),  # 0.82 at 8 ms, 0.80 at 1 ms: the reward prefers the second
        (9.0, 4.0, {}, 1),
        (None, 9.0, {}, 1),
        (9.0, 9.0, {0: 9.5, 1: 1.0, 2: 0.5}, 1),  # over the limit by measurement
    ],
)
def test_best_is_the_most_accurate_network_within_a_limit(
    limit: float | None, target: float, measured: dict[int, float], best: int, memory_path: Path
) -> None:
    constraints = [[LATENCY, limit]] if limit else []
    with new_journal(memory_path, objectives={**OBJECTIVES, "constraints": constraints, "target": target}) as journal:
        trials = [add(journal, {"accuracy": a, "loss": 0.1, HOST: ms}) for a, ms in ((0.82, 8.0), (0.8, 1.0), (0.5, 0.5))]
        for number, ms in measured.items():
            measure(journal, trials[number], ms)
        found = summarize(journal).best
    assert found is not None
    assert found.number == best


FITS = " % of architectures fit the constraints; parameters "


@pytest.mark.parametrize("bound, words", [(30_000.0, FITS), (1.0, "fewer than 1 in 500 of")])
def test_what_fits_is_said_before_the_search(bound: float, words: str) -> None:
    limited = problem(TINY, replace(AXES, constraints=(("params", bound),)))
    line = fitting(limited, 0)
    assert words in line
    assert fitting(limited, 0) == line
    assert fitting(problem(TINY), 0) == ""


@pytest.mark.parametrize("fraction, text", [(0.05, "5 %"), (0.5, "50 %"), (0.002, "0.2 %"), (1.0, "100 %"), (0.123, "12 %")])
def test_a_small_fraction_keeps_a_digit(fraction: float, text: str) -> None:
    assert percent(fraction) == text


@dataclass(frozen=True)
class Counted(DeviceDefaults):
    """A device whose networks take a microsecond for every thousand multiply-adds."""

    timeout_s: float = 1.0
    predictor: str | None = None

    def info(self) -> dict[str, Any]:
        return {"batch": 1}

    def measure(self, archs: Any, failed: Any = None) -> list[Measurement]:
        times = [(arch, cost(arch).macs / 1e6) for arch in archs]
        return [Measurement(arch_id(arch), "counted", "f", ms, ms, 2 * ms, 9) for arch, ms in times]

    def fit(self, space: Any, seed: int, progress: Any = None) -> Any:
        class Predictor:
            def predict_many(self, space: Any, genomes: np.ndarray) -> np.ndarray:
                return np.arange(len(genomes)) / (len(genomes) - 1)

        return Predictor()


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setitem(DEVICES, "counted", Counted)
    return ["device=[]", "+device.counted.name=counted"]


def test_the_latency_of_an_architecture(counted: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["cost", "arch=mobilenet_v3_large", *counted]) == 0, capsys.readouterr().err
    assert "latency on counted: 217 ms, 95th percentile 433 ms, 9 repeats" in capsys.readouterr().out
    assert run(["cost", "arch=mobilenet_v3_large", *counted, "json=true"]) == 0
    assert json.loads(capsys.readouterr().out)["latency_ms/counted"] == pytest.approx(216.59, abs=0.01)


def test_quantiles_of_a_space(counted: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    size = ["resolution=8", "channels=1", "classes=10"]
    assert run(["cost", "space=tiny", *size, *counted, "json=true"]) == 0, capsys.readouterr().err
    found = json.loads(capsys.readouterr().out)
    assert found["predicted_ms/counted"] == pytest.approx({str(q): q for q in (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)})
    assert list(found["params"].values()) == sorted(found["params"].values())
    assert run(["cost", "space=tiny", *size]) == 0
    out = capsys.readouterr().out
    assert out.startswith("tiny  8 px, 1 channels, 10 classes\n")
    assert "largest" in out


@pytest.mark.parametrize("args", [[], ["arch=tiny", "space=tiny"], ["space=tiny", "plot=x.svg"]])
def test_either_an_architecture_or_a_space(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["cost", *args]) == 2
    assert capsys.readouterr().err.startswith(("nas: arch: ", "nas: plot: "))
