"""The Python API: the search of the documentation, objects and functions in place of settings, and no side effects."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nas
from nas.workflows.progress import Update

PLAIN = {"epochs": 1, "warmup_epochs": 0}
ISOLATED = """
import logging, os, signal, sys, threading, warnings
import jax, ray  # what these two change when they are imported is theirs

def state():
    signals = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    return list(sys.argv), signals, dict(os.environ), list(logging.root.handlers), logging.root.level

before = state()
import nas

space = nas.Space.from_dict({"name": "one", "resolution": 8, "stem": {"op": "conv", "width": {"one_of": [4, 8]}},
                             "stages": [{"op": "conv", "width": 8, "stride": 2}], "head": {"op": "classifier"}})

def search(run):
    digits = {"name": "digits", "train_size": 100, "test_size": 20}
    result = nas.search(space, digits, objectives={"accuracy": "max", "params": "min"}, device=[], trials=1, run=run,
                        recipe={"epochs": 1, "warmup_epochs": 0}, executor="local")
    assert result.best.arch.classes == 10

search("here")
failures = []
def guarded():
    try:
        search("thread")
    except BaseException as error:
        failures.append(error)
thread = threading.Thread(target=guarded)
thread.start()
thread.join()
assert not failures, failures
for then, now in zip(before, state()):
    changed = {k: v for k, v in now.items() if then.get(k) != v} if isinstance(now, dict) else now
    assert then == now, changed
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def score(arch: nas.Arch) -> Mapping[str, float]:
    return {"accuracy": 1 - nas.cost(arch).params / 1e7}


def test_importing_nas_loads_nothing_heavy() -> None:
    code = "import nas, sys; dir(nas); print(sorted({'jax', 'ray', 'hydra', 'numpy', 'sklearn'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_function_stays_where_a_package_has_its_name() -> None:
    import importlib

    for name in ("train", "cost", "report", "explain", "supernet"):
        importlib.import_module(f"nas.{name}")
        assert callable(getattr(nas, name))


def test_nothing_of_the_process_changes(here: Path) -> None:
    done = subprocess.run([sys.executable, "-c", ISOLATED], cwd=here, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""


def test_a_function_scores_and_the_same_call_resumes() -> None:
    calls: list[str] = []

    def counted(arch: nas.Arch) -> Mapping[str, float]:
        calls.append(arch.name)
        return score(arch)

    first = nas.search("tiny", evaluate=counted, trials=5, run="r")
    assert len(calls) == 5
    assert nas.search("tiny", evaluate=counted, trials=5, run="r").best == first.best
    assert len(calls) == 5
    assert len(nas.search("tiny", evaluate=counted, trials=8, run="r").trials) >= 8
    assert len(calls) == 8
    with pytest.raises(ValueError, match=r"evaluator\.version: the run in .* began with"):
        nas.search("tiny", evaluate=counted, trials=5, run="r", version="2")


def test_the_folder_alone_resumes_with_the_settings_of_the_run() -> None:
    """What a call does not give is the run's, as on the command line; what it gives must agree with it."""
    asked: dict[str, Any] = {"objectives": {"f1": "max", "params": "min"}, "controller": {"name": "evolution", "genes": 2},
                             "trials": 4, "seed": 3, "resolution": 16, "run": "r"}  # fmt: skip

    def f1(arch: nas.Arch) -> Mapping[str, float]:
        return {"f1": 1 / nas.cost(arch).params}

    first = nas.search(evaluate=f1, **asked)
    again = nas.search(evaluate=f1, run="r")
    assert [row["id"] for row in again.trials] == [row["id"] for row in first.trials]
    assert len(nas.search(evaluate=f1, run="r", trials=6).trials) == 6
    assert len(nas.search(evaluate=f1, run=Path("r"), controller={"genes": 2}).trials) == 6
    others: dict[str, tuple[str, Any]] = {
        "seed": ("seed", 0), "space.name": ("space", "nas_bench_macro"), "controller.genes": ("controller", {"genes": 3}),
        "objective.constraints.params": ("constraints", {"params": 1e9}),
    }  # fmt: skip
    for key, (argument, value) in others.items():
        with pytest.raises(ValueError, match=f"{key}: the run in .* began with"):
            nas.search(evaluate=f1, run="r", **{argument: value})
    with pytest.raises(ValueError, match=r"evaluator: the run in r began with an object of a Python program, .*f1; "):
        nas.search(run="r")


def test_the_folder_alone_resumes_a_run_of_settings(tmp_path: Path) -> None:
    from nas.journal import Journal
    from nas.workflows.arguments import search_arguments
    from nas.workflows.search.plan import SearchCommand

    kept = {"space": "nas_bench_macro", "seed": 7, "executor": {"name": "local"}, "recipe": {"epochs": 9}}
    with Journal.create(tmp_path / "journal.sqlite", {"settings": kept}) as journal:
        journal.add_event("start", trials=60)
    unset = dict.fromkeys(SearchCommand.__dataclass_fields__)
    config = search_arguments({**unset, "recipe": {"batch": 8}}, None, None, None, None, tmp_path).config
    assert [config[key] for key in ("space", "seed", "executor", "trials")] == ["nas_bench_macro", 7, {"name": "local"}, 60]
    assert (config["recipe"]["epochs"], config["recipe"]["batch"]) == (9, 8)


def test_an_interrupted_search_resumes_to_the_same_trials() -> None:
    calls: list[int] = []

    def stops(arch: nas.Arch) -> Mapping[str, float]:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return score(arch)

    with pytest.raises(KeyboardInterrupt, match="the same call resumes"):
        nas.search("tiny", evaluate=stops, trials=6, run="stopped")
    resumed = nas.search("tiny", evaluate=stops, trials=6, run="stopped")
    whole = nas.search("tiny", evaluate=score, trials=6, run="whole")
    assert [row["id"] for row in resumed.trials] == [row["id"] for row in whole.trials]


def test_results_are_rows_with_the_parameters_of_the_genome() -> None:
    result = nas.search("tiny", evaluate=score, trials=4, run="r")
    row = result.trials[0]
    assert {"number", "id", "outcome", "accuracy", "params", "stages[0].kernel"} <= row.keys()
    assert row["stages[0].kernel"] in (3, 5)
    assert result.best is not None
    assert result.best.params == nas.cost(result.best.arch).params
    assert "<svg" in result._repr_html_()
    assert [one.id for one in nas.load_run("r").front] == [one.id for one in result.front]
    assert result.report() == result.run / "report.html"


def test_frames_need_pandas(monkeypatch: pytest.MonkeyPatch) -> None:
    result = nas.search("tiny", evaluate=score, trials=2, run="r")
    monkeypatch.setattr("nas.workflows.table.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="pip install pandas"):
        result.front.to_pandas()


def test_progress_reaches_a_function() -> None:
    heard: list[Update] = []
    nas.search("tiny", evaluate=score, trials=3, run="r", progress=heard.append)
    assert [update.done for update in heard if update.kind == "trial"] == [1, 2, 3]
    assert any("architectures" in update.text for update in heard if update.kind == "message")


def test_a_metric_of_a_function_is_an_objective() -> None:
    result = nas.search(
        "tiny", evaluate=lambda arch: {"f1": 0.5, "energy": 2.0}, objectives={"f1": "max", "energy": "min"}, trials=2, run="r"
    )
    assert result.front[0].metrics["f1"] == 0.5


@pytest.mark.parametrize(
    "arguments, text",
    [
        ({"controller": "mnasnt"}, "did you mean mnasnet"),
        ({"recipe": {"epocs": 2}}, "recipe.epocs: unknown key; did you mean epochs"),
        ({"evaluate": score, "executor": "processes"}, "object of this process"),
        ({"evaluate": score, "evaluator": "scratch"}, "expected one of the two"),
        ({"trials": 0}, "trials: expected"),
        ({"device": "hots"}, "did you mean host"),
        ({"dataset": {"name": "folder"}}, "dataset.path: not set"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(arguments: dict, text: str, here: Path) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]*$") as error:
        nas.search("tiny", **arguments)
    assert text in str(error.value)
    assert not (here / "runs").exists()


def test_arrays_are_trained_exported_and_classified() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(90) % 3
    images = (rng.integers(0, 60, (90, 8, 8)) + 80 * labels[:, None, None]).astype(np.uint8)
    stages = [{"op": "conv", "width": 8, "stride": 2}]
    plain = nas.load_arch({"resolution": 8, "stem": {"op": "conv", "width": 8}, "stages": stages, "head": {"op": "classifier"}})
    net = nas.train(plain, (images, labels), recipe=PLAIN, run="net")
    assert net.weights.is_file()
    assert nas.evaluate(net, split="valid") == pytest.approx(net.metrics)
    found = net.predict(images[:2, ..., None])
    assert sum(found[0].probabilities.values()) == pytest.approx(1)
    bundle = net.export("bundle", formats=["stablehlo"])
    assert bundle.accuracy == pytest.approx(net.test["accuracy"])
    assert nas.predict("bundle", images[:2, ..., None]) == found
    with pytest.raises(ValueError, match="dataset: expected the dataset"):
        nas.export(net.weights, "other")


def test_the_defaults_are_those_of_the_command_line() -> None:
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from omegaconf import OmegaConf

    from nas.core.paths import CONF
    from nas.workflows.defaults import compose

    missing = {"train": {"arch": "x"}, "adapt": {"weights": "w"}, "scale": {"arch": "x"}}
    with initialize_config_dir(version_base=None, config_dir=str(CONF)):
        for command in ("search", "train", "profile", "adapt", "scale", "export", "supernet"):
            given = missing.get(command, {})
            composed: Any = OmegaConf.to_container(hydra_compose(command, [f"{k}={v}" for k, v in given.items()]))
            ours, theirs = (  # Hydra leaves groups without a choice out
                {key: value for key, value in settings.items() if value not in ({}, None)}
                for settings in (compose(command, given), composed)
            )
            assert ours == theirs, command


def twin(g: Any, x: int, *, stride: int = 1, width: int) -> int:
    """Two convolutions side by side."""
    return g.add(*(g.conv_norm_act(x, width, k, stride, "relu", f"conv{k}") for k in (1, 3)))


def test_blocks_of_this_process_stay_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from nas.arch import blocks

    for registry in (blocks.BLOCKS, blocks.PRIVATE):
        monkeypatch.setitem(registry, "twin", None)  # put back as it was after the test
        del registry["twin"]
    stages = [{"op": "twin", "width": {"one_of": [8, 16]}}]
    data = {"name": "twins", "resolution": 8, "stem": {"op": "conv", "width": 8}, "stages": stages, "head": {"op": "classifier"}}
    space = nas.Space.from_dict(data, blocks={"twin": twin})
    with pytest.raises(ValueError, match=r"executor: the block 'twin' of the space is an object of this process.*plugins="):
        nas.search(space, objectives={"accuracy": "max", "params": "min"}, device=[], executor="processes", trials=1)
    with pytest.raises(ValueError, match=r"the block 'twin' is a function of this process.*to export it.*plugins="):
        nas.export(arch=space.decode((0,)))
