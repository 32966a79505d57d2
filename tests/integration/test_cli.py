"""What a user types: help that teaches, mistakes that end in one clear line and exit code 2, a search from end to end."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import nas
from nas.cli import COMMANDS, run
from nas.cli.hydra_door import quoted
from nas.core.paths import CONF
from nas.core.yamlio import read_yaml
from nas.workflows.run_folder import run_folder

FAST = ["evaluator=formula", "plugins=[made_up]", "device=[]", "objective=params", "controller=random", "executor=local"]


def test_help_shows_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"\n  {name}" in text for name in COMMANDS)
    assert max(len(line) for line in text.splitlines()) < 120


@pytest.mark.parametrize("name", list(COMMANDS))
def test_help_of_a_command_lists_keys_and_choices(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([name, "--help"]) == 0
    text = capsys.readouterr().out
    assert "usage: nas " + name in text
    if name == "search":
        for word in ("mobilenet_v3", "mnasnet_paper", "fashion_mnist", "in_flight", "mnas_hard", "(default)"):
            assert word in text
        assert "from a plugin" not in text


def test_cfg_job_shows_the_settings(here: Path, run_nas: Any) -> None:
    done = run_nas("search", "--cfg", "job", "trials=7", cwd=here)
    assert done.returncode == 0
    assert re.search(r"^trials: 7$", done.stdout, re.MULTILINE)
    assert not (here / "runs").exists()


@pytest.mark.parametrize(
    "args, words",
    [
        (["serch"], ["serch", "search"]),
        (["search", "trails=3"], ["trails", "trials"]),
        (["search", "search.inflight=3"], ["search.inflight", "search.in_flight"]),
        (["search", "recipe.epoch=3"], ["recipe.epoch", "recipe.epochs"]),
        (["search", "dataset=digit"], ["digit", "digits"]),
        (["search", "controller=mnasnt"], ["mnasnt", "mnasnet"]),
        (["search", "space=tinny"], ["tinny", "tiny"]),
        (["search", "space=no/such.yaml"], ["no/such.yaml", "no such file"]),
        (["search", "space=broken.yaml"], ["broken.yaml", "line"]),
        (["search", "space=wrong.yaml"], ["wrong.yaml", "stages[0].kernle", "kernel"]),
        (["search", "trials=many"], ["trials", "whole number", "many"]),
        (["search", "trials=0"], ["trials", "0"]),
        (["search", "recipe.freeze=[backbone]"], ["recipe.freeze", "stem/conv", "initial values"]),
        (["search", "recipe.lr_scale={hed: 2}"], ["recipe.lr_scale", "'hed'", "did you mean head?"]),
        (["search", "recipe.lr_scale={head: 2}", "evaluator=layerwise"], ["recipe.lr_scale", "evaluator=scratch"]),
        (["search", "recipe.epochs=-1"], ["recipe.epochs", "-1"]),
        (["search", "executor.workers=0"], ["executor.workers", "0"]),
        (["search", "objective.constraints.params=-5"], ["objective.constraints.params", "-5"]),
        (["search", "dataset=folder", "dataset.path=nowhere"], ["nowhere"]),
        (["search", "dataset=parquet"], ["dataset.path"]),
        (["search", "plugins=[no_such_module]"], ["plugins", "no_such_module"]),
        (["search", "search.enqueue=[nothing]"], ["nothing"]),
        (["search", "trials=[1"], ["trials=[1"]),
        (["search", "run=occupied"], ["occupied", "notes.txt"]),
        (["cost"], ["arch"]),
        (["cost", "arch=tiny"], ["tiny", "choices"]),
        (["report", "run=runs/none"], ["runs/none"]),
        (["report"], ["run"]),
        (["train", "arch=nothing"], ["nothing"]),
        (["cost", "arch=ir_r2_k3_s2_e6_c24_xx3"], ["ir_r2_k3_s2_e6_c24_xx3", "'xx3'"]),
        (["export", "arch=resnet50"], ["resnet50", "max_pool"]),
        (["export", "arch=mnasnet_a1", "formats=[tif]"], ["tif", "tf"]),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    args: list[str], words: list[str], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "broken.yaml").write_text("name: x\nstages: [{op: conv\n")
    (here / "wrong.yaml").write_text(
        "name: x\nresolution: 8\nstem: {op: conv, width: 8}\nstages: [{op: sepconv, width: 8, kernle: 3}]\nhead: {op: classifier}\n"
    )
    (here / "occupied").mkdir()
    (here / "occupied" / "notes.txt").write_text("mine")
    assert run(args) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("nas: ")
    assert captured.err.count("\n") == 1, captured.err
    assert all(word in captured.err for word in words), captured.err
    assert "Traceback" not in captured.out + captured.err
    assert not (here / "runs").exists()


def must_be_given() -> list[tuple[str, str, str]]:
    """(group, choice, key) of every setting that a choice of a group leaves to the user."""
    choices = [(path.parent.name, path.stem, read_yaml(path)) for path in sorted(CONF.glob("*/*.yaml"))]
    return [(group, choice, key) for group, choice, data in choices for key, value in data.items() if value == "???"]


@pytest.mark.parametrize("group, choice, key", must_be_given())
def test_a_setting_that_is_missing_is_named_in_full(
    group: str, choice: str, key: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    full = f"{group}.{choice}.{key}" if group == "device" else f"{group}.{key}"
    assert run(["search", f"{group}=[{choice}]" if group == "device" else f"{group}={choice}"]) == 2
    assert capsys.readouterr().err.startswith(f"nas: {full}: must be given, as in {full}=")
    given: dict[str, Any] = {group: choice}
    with pytest.raises(ValueError, match=f"^{full}: must be given"):
        nas.search(**given)


@pytest.mark.parametrize(
    "args, full",
    [
        (["controller=asha", "controller.eta=0"], "controller.eta"),
        (["dataset=folder"], "dataset.path"),
        (["dataset.valid_fraction=2"], "dataset.valid_fraction"),
        (["device.onnxruntime.threads=0"], "device.onnxruntime.threads"),
        (["evaluator=accel_nasbench", "evaluator.path=x", "evaluator.devices=[none]"], "evaluator.devices[0]"),
        (["evaluator=nas_bench_macro", "evaluator.path=x", "space=nas_bench_macro"], "evaluator.path"),
        (["executor.workers=0"], "executor.workers"),
        (["objective.target_ms=3", "+objective.target=3"], "objective.target_ms"),
        (["recipe.warmup_epochs=100"], "recipe.warmup_epochs"),
    ],
)
def test_a_setting_that_its_class_refuses_is_named_in_full(
    args: list[str], full: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["search", *args]) == 2
    assert capsys.readouterr().err.startswith(f"nas: {full}: ")


def test_constraints_that_no_network_meets_are_refused_before_anything_is_measured(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["search", "device=[host]", "objective.constraints.params=100", "run=r"]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("nas: objective.constraints: no architecture of tiny was found within them; the nearest: params ")
    assert captured.out == ""
    assert not (here / "r").exists()


def test_a_search_leaves_everything_and_resumes(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["search", *FAST, "trials=8", "run=my runs/a=b (1)"]) == 0, capsys.readouterr().err
    folder = here / "my runs" / "a=b (1)"
    for name in ("journal.sqlite", "report.html", "front.csv", "best.yaml", "config.yaml", "log.txt"):
        assert (folder / name).is_file(), name
    assert list((folder / "front").glob("*.yaml"))
    capsys.readouterr()
    assert run(["report", "run=my runs/a=b (1)", "json=true"]) == 0
    first = json.loads(capsys.readouterr().out)
    assert {"front", "counts", "settings"} <= first.keys()
    assert run(["search", *FAST, "trials=8", "run=my runs/a=b (1)"]) == 0
    assert "finished" in capsys.readouterr().out
    assert run(["search", *FAST, "trials=12", "run=my runs/a=b (1)"]) == 0
    capsys.readouterr()
    assert run(["report", "run=my runs/a=b (1)", "json=true"]) == 0
    assert sum(json.loads(capsys.readouterr().out)["counts"].values()) >= 12
    assert run(["cost", f"arch={folder / 'best.yaml'}"]) == 0
    assert "total" in capsys.readouterr().out


def test_another_identity_is_refused_by_name(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["search", *FAST, "trials=2", "run=r"]) == 0
    capsys.readouterr()
    for change, key in (("seed=1", "seed"), ("search.in_flight=2", "search.in_flight"), ("evaluator.fail=0.5", "evaluator.fail")):
        assert run(["search", *FAST, "trials=2", "run=r", change]) == 2
        line = capsys.readouterr().err
        assert line.startswith(f"nas: {key}: ")
        assert "run=" in line


def test_failures_are_shown_in_the_report(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["search", *FAST, "trials=20", "run=r", "evaluator.fail=0.4"]) == 0
    capsys.readouterr()
    assert run(["report", "run=r", "json=true"]) == 0
    assert json.loads(capsys.readouterr().out)["counts"]["nan"] > 0
    assert "made up" in (here / "r" / "report.html").read_text()


def test_a_sweep_gives_each_job_its_folder(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["search", *FAST, "trials=2", "-m", "seed=0,1", "run=s"]) == 0, capsys.readouterr().err
    assert [(here / "s" / f"seed={i}" / "best.yaml").is_file() for i in (0, 1)] == [True, True]


@pytest.mark.parametrize(
    "overrides, name",
    [
        ([], "default"),
        (["trials=9", "executor=ray", "executor.workers=3"], "default"),
        (["space=mobilenet_v3", "recipe.epochs=2", "controller=random"], "mobilenet_v3-recipe.epochs_2-random"),
        (["space='my spaces/a b.yaml'"], None),
    ],
)
def test_a_run_is_named_after_the_keys_that_were_set(overrides: list[str], name: str | None) -> None:
    folder = run_folder(None, overrides)
    assert folder.parent == Path("runs")
    assert re.fullmatch(r"[\w.-]+", folder.name)
    assert name is None or folder.name == name


def test_run_folders_of_different_settings_differ() -> None:
    paths = ["a b.yaml", "a_b.yaml", "a(b.yaml", "x/a b.yaml"]
    assert len({run_folder(None, [f"space='{p}'"]) for p in paths}) == len(paths)


@pytest.mark.parametrize(
    "arg, expected",
    [
        ("run=runs/a", "run=runs/a"),
        ("run=my runs/a=b (1)", "run='my runs/a=b (1)'"),
        ("dataset.path=it's here", "dataset.path='it\\'s here'"),
        ("arch=ir_r2_k3_s2_e6_c24,ds_r1", "arch='ir_r2_k3_s2_e6_c24,ds_r1'"),
        ("runs=[a,b]", "runs=[a,b]"),
        ("trials=3", "trials=3"),
        ("--cfg", "--cfg"),
    ],
)
def test_paths_are_quoted_for_hydra(arg: str, expected: str) -> None:
    assert quoted(arg) == expected


@pytest.mark.parametrize("name", ["mnasnet_a1", "mobilenet_v2", "mobilenet_v3_large", "efficientnet_b0"])
def test_exported_strings_are_read_back(name: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["cost", f"arch={name}", "json=true"]) == 0
    expected = json.loads(capsys.readouterr().out)
    assert run(["export", f"arch={name}", "formats=[timm,yaml]", "out=files"]) == 0
    files = capsys.readouterr().out.split()
    assert len(files) == 2
    for file in files:
        assert run(["cost", f"arch={file}", "json=true"]) == 0
        got = json.loads(capsys.readouterr().out)
        assert [got[k] for k in ("name", "params", "macs")] == [expected[k] for k in ("name", "params", "macs")]


def test_cost_reads_block_strings(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["cost", "arch=ds_r1_k3_s1_e1_c16_noskip,ir_r2_k3_s2_e6_c24_se0.25_nre", "json=true"]) == 0
    assert json.loads(capsys.readouterr().out)["params"] > 10_000


@pytest.mark.parametrize("width, params", [(1.4, 6_108_776), (0.5, 1_968_680)])
def test_cost_multiplies_widths_and_layers(width: float, params: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["cost", "arch=mobilenet_v2", f"width={width}", "depth=1", "json=true"]) == 0
    assert json.loads(capsys.readouterr().out)["params"] == params
    assert run(["cost", "space=tiny", f"width={width}"]) == 2
    assert "width: multiplies an architecture, with arch=" in capsys.readouterr().err


def test_the_published_counts_of_mobilenet_v3(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["cost", "arch=mobilenet_v3_large"]) == 0
    assert re.search(r"total +5,483,032 +216.59 M", capsys.readouterr().out)


def test_the_exported_best_trains(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From a search's best.yaml to weights, and back into the report as a known network."""
    (here / "small.yaml").write_text(
        "name: small\nresolution: 8\nstem: {op: conv, width: 8}\nstages: [{op: conv, width: {one_of: [8, 16]}, stride: 2}]\n"
        "head: {op: classifier}\n"
    )
    assert run(["search", *FAST, "space=small.yaml", "trials=2", "run=r", "dataset.train_size=200"]) == 0
    assert run(["train", "arch=r/best.yaml", "run=t", "recipe.epochs=1", "recipe.warmup_epochs=0", "dataset.train_size=200"]) == 0
    shown = capsys.readouterr().out
    assert "test accuracy" in shown
    assert shown.count("images: 160 train, 40 valid, 359 test; 8x8, gray; 10 classes: 0, 1, 2, ") == 2
    assert shown.count("left out: 1,238 of 1,797 images of the train part by dataset.train_size") == 2
    assert {"weights.npz", "arch.yaml", "result.json"} <= {path.name for path in (here / "t").iterdir()}
    assert run(["train", "arch=r/best.yaml", "run=t"]) == 2
    assert "t holds a training with another recipe.epochs" in capsys.readouterr().err
    assert run(["report", "run=r", "references=[t]"]) == 0
    assert "known networks" in (here / "r" / "report.html").read_text()
