"""Devices that run networks, devices that are files, and what becomes of those that hang, fail or lie."""

import json
import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any, cast

import jax
import numpy as np
import pytest

from nas.arch import Arch
from nas.arch.blocks import arch_id, lower
from nas.cli import run
from nas.convert import stablehlo_bytes
from nas.journal import Journal
from nas.latency import DeviceError, fit_predictor, load_predictor, make_device
from nas.latency.devices.energy import energy_mj
from nas.latency.devices.host import processor
from nas.latency.devices.lock import machine_lock
from nas.latency.devices.timed import typical_values
from nas.latency.profile import accuracy, draw
from nas.records import Measurement
from nas.report import front_text, page, summarize
from nas.runtime import dispatch
from nas.runtime.base import Executor
from nas.runtime.device_executors import DeviceExecutors
from nas.runtime.measure import measure_all
from nas.runtime.processes import ProcessesSettings
from nas.runtime.spec import WorkerSpec
from nas.space import Space, load_space
from nas.testing import check_device
from nas.workflows.export.formats import FORMATS, Trained
from report_makers import add, new_journal

QUICK = {"warmup": 1, "rounds": 2, "repeats": 2}
HEADER = "op,input,output,kernel,stride,expansion,se,activation,ms\n"


def tiny() -> Space:
    return load_space("tiny").fit(8, 1, 10)


def first() -> Arch:
    return tiny().decode((0,) * len(tiny().genes))


@pytest.mark.parametrize("name", ["litert", "onnxruntime"])
def test_a_runtime_measures_and_fits(name: str):
    settings = {"name": name, **QUICK, "networks": 2, "samples": 0, "seconds": 0}
    check_device(settings, tiny())
    (row,) = make_device(settings).measure(first())
    assert {"batch", "dtype", "threads", "processor", "repeatability"} <= set(row.info)


@pytest.mark.parametrize("name", ["litert", "onnxruntime"])
def test_a_runtime_that_is_not_installed_is_one_line(name: str, monkeypatch: pytest.MonkeyPatch):
    module, install = {"litert": ("ai_edge_litert.interpreter", r"'nas\[mobile\]'"), "onnxruntime": ("onnxruntime", name)}[name]
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ValueError, match=rf"device {name}: needs the package .*: pip install {install}"):
        make_device({"name": name}).measure(first())


MACHINES = {"host": "XLA on {}", "onnxruntime": "ONNX Runtime on {}", "litert": "LiteRT on {}, not a phone"}


@pytest.mark.parametrize("name", MACHINES)
def test_what_is_timed_is_what_export_writes(name: str):
    """The same file, but for the names in it; and the machine is named as what it is."""
    device: Any = make_device({"name": name})
    graph = lower(first())
    values = typical_values(graph)
    written = FORMATS[device.FORMAT].write(Trained("network", graph, values, tuple("0123456789"), (0.0,), (1.0,)))
    assert essence(name, device.bench().artifact(graph, values)) == essence(name, written)
    assert device.info()["machine"] == MACHINES[name].format(processor())


@pytest.mark.parametrize("name", MACHINES)
def test_the_machine_is_named_where_a_latency_is_shown(name: str, tmp_path: Path):
    device = make_device({"name": name})
    info = device.info()
    with new_journal(tmp_path) as journal:
        trial = add(journal, {"accuracy": 0.5, "predicted_ms/host": 1.0})
        journal.add_measurement(Measurement(trial.arch_id, name, device.fingerprint(), 1.0, 1.0, 1.0, 9, info))
        summary = summarize(journal)
    assert f"latency on {name}: {info['machine']}" in front_text(summary)
    assert f"{name}, {info['machine']}: 1 measured" in page(summary)


def essence(name: str, model: bytes) -> object:
    """What a runtime computes of a file: labels that it carries beside are left out."""
    if name == "onnxruntime":
        import onnx

        return onnx.load_model_from_string(model).graph.SerializeToString()
    if name == "litert":
        from ai_edge_litert.interpreter import Interpreter

        return [(op["op_name"], *op["inputs"].tolist()) for op in Interpreter(model_content=model)._get_ops_details()]
    text = jax.export.deserialize(bytearray(model)).mlir_module()
    return [re.sub(r"loc\(.*\)", "", line) for line in text.splitlines() if not line.startswith("#loc")]


def test_the_exported_program_for_a_cpu_is_the_portable_form():
    """XLA's own convolutions are ten times slower there, and native kernels are in no file."""
    graph = lower(depthwise())
    exported = jax.export.deserialize(bytearray(stablehlo_bytes(graph, typical_values(graph), ("cpu",))))
    text, wide = exported.mlir_module(), [n for n in graph.nodes if n.op == "conv" and n.attr["kernel"] > 1]
    assert "@nas." not in text
    assert text.count("stablehlo.convolution") == sum(node.attr["groups"] == 1 for node in wide) < len(wide)


def depthwise() -> Arch:
    """A network of the space with depthwise convolutions."""
    space, rng = tiny(), np.random.default_rng(0)
    drawn = (space.decode(space.sample(rng)) for _ in range(50))
    return next(a for a in drawn if any(n.op == "conv" and n.attr["groups"] > 1 for n in lower(a).nodes))


# Files.


def rows_of(arch: Arch, ms: float = 0.5) -> list[str]:
    """A row for each layer of an architecture, by op and shapes alone."""
    from nas.cost import cost

    shape, rows = (arch.resolution, arch.resolution, arch.channels), []
    for layer in cost(arch).layers:
        sizes = ["x".join(map(str, size)) for size in (shape, layer.output)]
        rows.append(f"{layer.op},{sizes[0]},{sizes[1]},,,,,,{ms}")
        shape = layer.output
    return list(dict.fromkeys(rows))


def test_a_table_is_summed(tmp_path: Path):
    path = tmp_path / "lut.csv"
    path.write_text(HEADER + "\n".join(rows_of(first())) + "\n")
    device = make_device({"name": "table", "path": str(path)})
    predictor = device.fit(tiny(), 0)
    check_device({"name": "table", "path": str(path)}, tiny())
    layers = sum(1 for _ in first().layers())
    assert predictor.predict_arch(first()) == pytest.approx(0.5 * layers, rel=0.5)
    (row,) = device.measure(first())
    assert row.latency_ms == predictor.predict_arch(first())
    assert predictor.predict_many(tiny(), [[0] * len(tiny().genes)]).tolist() == [row.latency_ms]
    read = load_predictor(json.loads(json.dumps(predictor.to_dict())), tiny())
    assert read.predict_arch(first()) == row.latency_ms
    read.check(device.fingerprint(), tiny())
    path.write_text(path.read_text().replace("0.5", "0.7"))
    with pytest.raises(ValueError, match="made of another table"):
        read.check(device.fingerprint(), tiny())


def test_knobs_of_a_row_must_fit(tmp_path: Path):
    path = tmp_path / "lut.csv"
    rows = rows_of(first())
    op, given, out = rows[0].split(",")[:3]
    path.write_text(HEADER + f"{op},{given},{out},99,,,,,7\n" + "\n".join(rows) + "\n")
    (row,) = make_device({"name": "table", "path": str(path)}).measure(first())
    assert row.latency_ms < 7


@pytest.mark.parametrize(
    "text, line",
    [
        ("", r"missing column 'op'"),
        (HEADER, r"no rows"),
        ("op,ms\nconv,1\n", r"missing column 'input'"),
        (HEADER + "conv,8x8x1,4x4x8,3,2,,,relu,-1\n", r"line 2: ms: expected a time of more than 0, got '-1'"),
        (HEADER + "conv,8x8x1,4x4x8,3,2,,,relu,nan\n", r"line 2: ms: expected a time of more than 0, got 'nan'"),
        (HEADER + "conv,8x8x1,4x4x8,3,2,,,relu,\n", r"line 2: ms: expected a time of more than 0, got ''"),
        (HEADER + "warp,8x8x1,8x8x8,3,1,,,relu,1\n", r"no row for stem: op conv, input 8x8x1"),
    ],
)
def test_a_wrong_table_is_named(tmp_path: Path, text: str, line: str):
    path = tmp_path / "lut.csv"
    path.write_text(text)
    with pytest.raises(DeviceError, match=rf"lut.csv.*{line}|{line}"):
        make_device({"name": "table", "path": str(path)}).measure(first())


def test_samples_are_fitted_and_looked_up(tmp_path: Path):
    space = tiny()
    drawn = list(draw(space, 0, 10, 1).samples.values())
    path = tmp_path / "mine.csv"
    path.write_text("genome,ms\n" + "".join(f"{' '.join(map(str, g))},{1 + i / 10}\n" for i, g in enumerate(drawn)))
    device: Any = make_device({"name": "samples", "path": str(path)})
    bound = device.bind(space)
    assert [m.latency_ms for m in bound.measure([space.decode(g) for g in drawn[:2]])] == [1.0, 1.1]
    assert bound.fit(space, 0).predict_arch(space.decode(drawn[0])) > 0
    failures: list[str] = []
    other = space.decode(next(iter(draw(space, 0, 10, 1).holdout.values())))
    assert bound.measure([other], lambda arch, error: failures.append(str(error))) == []
    assert failures == [f"tiny ({arch_id(other)}): not among the networks of {path}"]


@pytest.mark.parametrize(
    "text, line",
    [
        ("genome,ms\n", r"no rows"),
        ("genome,ms\n0 1,1\n", r"line 2: tiny: expected a genome of \d+ genes, got 2"),
        ("arch,ms\nnothing_like_it,1\n", r"line 2: unknown space or architecture"),
        ("arch,ms\n,1\n", r"line 2: expected a genome or an arch"),
        ("genome\n1\n", r"missing column 'ms'"),
    ],
)
def test_wrong_samples_are_named(tmp_path: Path, text: str, line: str):
    path = tmp_path / "mine.csv"
    path.write_text(text)
    device: Any = make_device({"name": "samples", "path": str(path)})
    with pytest.raises(DeviceError, match=rf"mine.csv.*{line}"):
        device.bind(tiny()).fit(tiny(), 0)


@pytest.mark.parametrize("ms", [-1.0, float("nan"), float("inf"), 0.0])
def test_times_that_are_none_are_not_fitted_to(ms: float):
    drawn = list(draw(tiny(), 0, 5, 1).samples.values())
    with pytest.raises(ValueError, match=r"ms\[1\]: expected a time of more than 0 ms"):
        fit_predictor(tiny(), drawn, [1.0, ms, 1.0, 1.0, 1.0])


def test_an_unknown_resource_setting_is_one_line():
    with pytest.raises(ValueError, match=r"device.device.name: expected a device that measures, got remote"):
        make_device({"name": "remote", "resource": "pixel", "device": {"name": "remote"}})


# One at a time, and energy.


HOLDER = """
import sys, pathlib
from nas.latency.devices.lock import machine_lock
with machine_lock(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_one_measurement_at_a_time(tmp_path: Path):
    path = tmp_path / "lock"
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout
            assert other.stdout.readline() == "held\n"
            with (
                pytest.raises(DeviceError, match="another measurement on this machine has not ended"),
                machine_lock(path, 0),
            ):
                pass
        finally:
            other.kill()
    with machine_lock(path, 10):
        pass


def test_energy_is_counted_or_absent(tmp_path: Path):
    assert energy_mj(lambda: 1, tmp_path) is None
    package, core = tmp_path / "intel-rapl:0", tmp_path / "intel-rapl:0:0"
    for folder in (package, core):
        folder.mkdir()
        (folder / "energy_uj").write_text("900")
        (folder / "max_energy_range_uj").write_text("1000")
    now = [0.0]

    def burst(energy: int = 50) -> int:
        now[0] += 0.2
        (package / "energy_uj").write_text(str((int((package / "energy_uj").read_text()) + 2 * energy) % 1000))
        return 2

    assert energy_mj(burst, tmp_path, lambda: now[0]) == pytest.approx(0.05)
    assert energy_mj(lambda: burst(0), tmp_path, lambda: now[0]) is None


# What hangs, dies or cannot be compiled.

HANGING = """
import os, time
from dataclasses import dataclass
from nas.arch.blocks import arch_id
from nas.latency import DeviceDefaults, DeviceError
from nas.records import Measurement

@dataclass(frozen=True)
class Board(DeviceDefaults):
    marks: str = ""
    hangs: str = ""
    dies: str = ""
    refuses: str = ""
    timeout_s: float = 5.0
    predictor: str | None = None
    def info(self): return {"device": "board"}
    def measure(self, archs, failed=None):
        out = []
        for arch in archs:
            i = arch_id(arch)
            if i == self.hangs:
                open(f"{self.marks}/hung-{os.getpid()}", "w").close()
                time.sleep(600)
            if i == self.dies: os._exit(3)
            if i == self.refuses:
                failed(arch, DeviceError(f"{arch.name} ({i}): cannot be compiled"))
                continue
            out.append(Measurement(i, "board", "f" * 12, 1.0, 1.0, 1.0, 1, {}))
        return out

DEVICES = {"board": Board}
"""


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize(
    "how, line",
    [
        ("hangs", "timeout: took longer than"),
        ("dies", "lost: the worker process ended with exit code 3"),
        ("refuses", "cannot be compiled"),
    ],
)
def test_one_bad_network_costs_itself_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, line: str):
    """The driver's clock advances while a network hangs, at each look, and stands still otherwise."""
    now = [0.0]

    def clock() -> float:
        # A step for each look: the driver may hear of the start of a job after it hangs.
        now[0] += 1e4 * any(is_alive(int(mark.name.removeprefix("hung-"))) for mark in tmp_path.glob("hung-*"))
        return now[0]

    monkeypatch.setattr(dispatch, "Dispatcher", partial(dispatch.Dispatcher, clock=clock))
    (tmp_path / "hanging.py").write_text(HANGING)
    space = tiny()
    archs = [(i, space.decode(g).to_dict()) for i, g in draw(space, 0, 2, 1).samples.items()]
    settings = {"device": {"board": {"name": "board", how: archs[1][0], "marks": str(tmp_path)}}}
    path = (str(tmp_path), *(p or os.getcwd() for p in sys.path))
    executor = ProcessesSettings(1).start(WorkerSpec(settings, space.to_plain(), ("hanging",), path))
    kept: list[Measurement] = []
    failures: dict[str, str] = {}
    try:
        measure_all(executor, "board", archs, 600.0, kept.append, failures.__setitem__)
    finally:
        executor.close()
    assert [m.arch_id for m in kept] == [archs[0][0]]
    assert list(failures) == [archs[1][0]]
    assert line in failures[archs[1][0]]
    assert archs[1][0] in failures[archs[1][0]]


@pytest.mark.ray
def test_a_remote_device_is_the_node_with_the_resource(ray_cluster: Any, tmp_path: Path):
    settings = {"name": "remote", "resource": "board", "device": {"name": "onnxruntime", **QUICK}, "address": None}
    space, devices = tiny(), {"remote": make_device(settings)}
    spec = WorkerSpec({"device": {"remote": settings}}, space.to_plain(), path=tuple(p or os.getcwd() for p in sys.path))
    kept: list[Measurement] = []
    placed = DeviceExecutors(cast(Executor, Nothing()), spec, devices)
    try:
        network = (arch_id(first()), first().to_dict())
        measure_all(placed["remote"], "remote", [network], 120, kept.append, lambda i, error: pytest.fail(error))
    finally:
        placed.close()
    assert [(m.device, m.info["resource"]) for m in kept] == [("remote", "board")]


class Nothing:
    """An executor that nothing may be sent to."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name}: the search's own executor was used for a remote device")


# The command.


def test_profile_measures_fits_and_resumes(run_nas: Any, here: Path, capsys: pytest.CaptureFixture[str]):
    args = ("profile", "space=tiny", "device=onnxruntime", "resolution=8", "channels=1", "classes=10", "holdout=4", "run=p",
            "device.onnxruntime.rounds=4", "device.onnxruntime.limit_s=0.05", "out=mine.json")  # fmt: skip
    done = run_nas(*args, "samples=6")
    assert done.returncode == 0, done.stderr
    assert "measured twice (the noise floor): tau" in done.stdout
    page = (here / "p" / "profile-onnxruntime.html").read_text()
    assert "measured before" in page
    assert run([*args, "samples=8"]) == 0, capsys.readouterr().err
    with Journal.open(here / "p" / "journal.sqlite", read_only=True) as journal:
        assert len(journal.measurements()) == 8 + 2 * 4
    data = json.loads((here / "mine.json").read_text())
    assert (data["kind"], len(data["ms"])) == ("learned", 8)
    result = json.loads((here / "p" / "profile-onnxruntime.json").read_text())
    assert (result["samples"], result["holdout"]) == (8, 4)
    assert run([*args, "samples=8", "seed=1"]) == 2


def test_a_killed_profile_loses_nothing_measured(here: Path):
    args = ["profile", "space=tiny", "device=onnxruntime", "resolution=8", "channels=1", "classes=10", "holdout=2", "samples=12",
            "run=p", "device.onnxruntime.limit_s=0.02"]  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "nas", *args], cwd=here, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert process.stdout
        for line in process.stdout:
            if " measured, " in line:
                break
    finally:
        process.kill()
        process.wait()
        process.stdout.close()  # type: ignore[union-attr]
    with Journal.open(here / "p" / "journal.sqlite", read_only=True) as journal:
        before = [(m.arch_id, m.median_ms) for m in journal.measurements()]
    assert before
    assert run(args) == 0
    with Journal.open(here / "p" / "journal.sqlite", read_only=True) as journal:
        after = [(m.arch_id, m.median_ms) for m in journal.measurements()]
    assert after[: len(before)] == before
    assert len(after) == 12 + 2 * 2


def test_accuracy_of_a_perfect_and_of_a_reversed_prediction():
    good, bad = accuracy([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]), accuracy([3.0, 2.0, 1.0], [1.0, 2.0, 3.0])
    assert (good.tau, good.spearman, good.mape, good.within_10) == pytest.approx((1, 1, 0, 1))
    assert (bad.tau, bad.within_10) == pytest.approx((-1, 1 / 3))
    assert np.isnan(accuracy([1.0], [1.0]).tau)
