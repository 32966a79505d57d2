"""Which accelerators workers see, on machines that have none, one or four, and what people read of it."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from nas.arch.blocks import arch_id
from nas.core import accelerators
from nas.core.accelerators import Backend
from nas.records import UNPREPARED, Job
from nas.runtime.cluster_settings import ClusterSettings
from nas.runtime.placement import EXPECTED, Placement, placed
from nas.runtime.spec import WorkerSpec
from nas.runtime.worker import Worker
from small_training import SMALL, dataset


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CUDA_VISIBLE_DEVICES", "TPU_VISIBLE_CHIPS", "XLA_PYTHON_CLIENT_MEM_FRACTION"):
        monkeypatch.delenv(name, raising=False)


GPU = {EXPECTED: "gpu"}


@pytest.mark.parametrize(
    "backend, asked, each, line, environments",
    [
        (Backend("cpu"), None, 1, "8 workers on the CPU", [{}] * 8),
        (Backend("cpu"), 1, 1, "1 worker on the CPU", [{}]),
        (Backend("gpu", 1), None, 1, "1 worker on 1 GPU", [{**GPU, "CUDA_VISIBLE_DEVICES": "0"}]),
        (Backend("gpu", 4), None, 1, "4 workers on 4 GPUs", [{**GPU, "CUDA_VISIBLE_DEVICES": str(i)} for i in range(4)]),
        (
            Backend("gpu", 4), None, 2, "2 workers on 4 GPUs, 2 each",
            [{**GPU, "CUDA_VISIBLE_DEVICES": "0,1"}, {**GPU, "CUDA_VISIBLE_DEVICES": "2,3"}],
        ),
        (
            Backend("gpu", 1), 3, 1, "3 workers on 1 GPU, 3 on each",
            [{**GPU, "CUDA_VISIBLE_DEVICES": "0", "XLA_PYTHON_CLIENT_MEM_FRACTION": "0.300"}] * 3,
        ),
        (
            Backend("gpu", 2), 3, 1, "3 workers on 2 GPUs, 2 on each",
            [{**GPU, "CUDA_VISIBLE_DEVICES": str(i % 2), "XLA_PYTHON_CLIENT_MEM_FRACTION": "0.450"} for i in range(3)],
        ),
        (Backend("gpu", 4), 1, 1, "1 worker on 1 GPU; 3 of 4 GPUs are not used", [{**GPU, "CUDA_VISIBLE_DEVICES": "0"}]),
        (
            Backend("tpu", 2), None, 1, "2 workers on 2 TPU chips",
            [
                {EXPECTED: "tpu", "TPU_VISIBLE_CHIPS": str(i), "TPU_CHIPS_PER_PROCESS_BOUNDS": "1,1,1", "TPU_PROCESS_BOUNDS": "1,1,1"}
                for i in range(2)
            ],
        ),
        (Backend("metal", 1), None, 1, "1 worker on 1 metal", [{EXPECTED: "metal"}]),
    ],
)  # fmt: skip
def test_each_worker_has_an_accelerator_of_its_own(
    backend: Backend, asked: int | None, each: int, line: str, environments: list[dict[str, str]]
) -> None:
    found = placed(backend, asked, each, cores=16, threads=2)
    assert found.line == line
    assert [found.environment(slot, {}) for slot in range(found.workers)] == environments
    fractions: dict[str, float] = {}
    for one in environments:
        if fraction := one.get("XLA_PYTHON_CLIENT_MEM_FRACTION"):
            device = one["CUDA_VISIBLE_DEVICES"]
            fractions[device] = fractions.get(device, 0) + float(fraction)
    assert all(total <= 0.91 for total in fractions.values())


def test_devices_that_the_user_left_visible_are_the_ones_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5, GPU-7f")
    found = placed(Backend("gpu", 2), None, 1, 16, 1)
    assert [found.environment(slot)["CUDA_VISIBLE_DEVICES"] for slot in range(2)] == ["5", "GPU-7f"]
    monkeypatch.setenv("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.2")
    assert "XLA_PYTHON_CLIENT_MEM_FRACTION" not in Placement("gpu", ("5",), 2).environment(1)


@pytest.mark.parametrize(
    "backend, asked, each, message",
    [
        (Backend("cpu"), None, 2, "^executor.gpus: expected 1 where JAX trains on the CPU, got 2"),
        (Backend("gpu", 1), None, 2, "^executor.gpus: expected at most 1, the GPUs of this machine, got 2"),
        (Backend("tpu", 4), 5, 1, "^executor.workers: one process holds a TPU chip; expected at most 4, got 5"),
        (Backend("tpu", 4), None, 3, "^executor.gpus: expected 1, 2, 4, 8 TPU chips a worker, got 3"),
        (Backend("gpu", 4), 3, 2, "^executor.workers: expected at most 2 with executor.gpus=2, got 3"),
    ],
)
def test_what_a_machine_does_not_have_is_refused(backend: Backend, asked: int | None, each: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        placed(backend, asked, each, 16, 1)


@pytest.mark.parametrize(
    "platform, plugins, printed, expected",
    [
        ("", False, "GPU 0: H100 (UUID: a)\nGPU 1: H100 (UUID: b)\n", 2),
        ("", False, "No devices were found\n", 0),
        ("", True, "GPU 0: H100 (UUID: a)\n", 0),
        ("cpu", False, "GPU 0: H100 (UUID: a)\n", 0),
    ],
)
def test_gpus_that_jax_cannot_use_are_counted_where_the_user_did_not_choose(
    monkeypatch: pytest.MonkeyPatch, platform: str, plugins: bool, printed: str, expected: int
) -> None:
    monkeypatch.setenv("NAS_WORKER_PLATFORMS", platform)
    monkeypatch.setattr(accelerators, "_accelerator_plugins", lambda: plugins)
    monkeypatch.setattr(accelerators.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(subprocess, "run", lambda args, **_: subprocess.CompletedProcess(args, 0, printed, ""))
    assert accelerators.idle_gpus() == expected


NODES: list[dict[str, float]] = [{"CPU": 8, "GPU": 4}, {"CPU": 8}]


@pytest.mark.parametrize(
    "given, nodes, workers, gpus, devices, environment, lines",
    [
        ({"gpus": 0}, [{"CPU": 4}], 4, 0, 1, {"JAX_PLATFORMS": "cpu"}, ["4 workers on the CPU"]),
        (
            {"gpus": 0}, NODES, 4, 0, 1, {"JAX_PLATFORMS": "cpu"},
            ["4 workers on the CPU", "4 of the nodes' 4 GPUs are not used: executor.gpus=0"],
        ),
        ({"gpus": "auto"}, [{"CPU": 4}], 4, 0, 1, {"JAX_PLATFORMS": "cpu"}, ["4 workers on the CPU"]),
        ({}, NODES, 4, 1, 1, {EXPECTED: "gpu"}, ["4 workers on 1 GPU each"]),
        (
            {"gpus": "auto", "workers": 1}, NODES, 1, 1, 1, {EXPECTED: "gpu"},
            ["1 worker on 1 GPU each", "3 of the nodes' 4 GPUs are not used: executor.gpus=1, executor.workers=1"],
        ),
        ({"gpus": 2}, NODES, 2, 2, 2, {EXPECTED: "gpu"}, ["2 workers on 2 GPUs each"]),
        (
            {"gpus": 0.25}, NODES, 16, 0.25, 1, {EXPECTED: "gpu", "XLA_PYTHON_CLIENT_MEM_FRACTION": "0.225"},
            ["16 workers on 0.25 GPU each"],
        ),
        (
            {"tpus": 4}, [{"CPU": 8, "GPU": 2, "TPU": 4}], 1, 0, 4, {EXPECTED: "tpu"},
            ["1 worker on 4 TPU chips each", "2 of the nodes' 2 GPUs are not used: executor.gpus=0"],
        ),
    ],
)  # fmt: skip
def test_ray_workers_take_a_gpu_where_nodes_have_them(
    given: dict[str, Any], nodes: list[dict[str, float]], workers: int, gpus: float, devices: int, environment: dict[str, str],
    lines: list[str],
) -> None:  # fmt: skip
    found = ClusterSettings(**given).chosen(nodes)
    assert (found.gpus, found.devices, found.environment(""), found.notes(nodes, workers)) == (
        gpus,
        devices,
        environment,
        lines,
    )


@pytest.mark.parametrize(
    "given, message", [({"gpus": "all"}, "gpus"), ({"gpus": 65}, "gpus: expected 0 to 64 or auto, got 65")]
)
def test_a_wrong_number_of_gpus_names_the_key(given: dict[str, Any], message: str) -> None:
    from nas.runtime import make_executor_settings

    with pytest.raises(ValueError, match=message):
        make_executor_settings({"name": "ray", **given})


@pytest.mark.parametrize("kind", ["train", "prepare"])
def test_a_worker_that_would_fall_back_to_the_cpu_blames_no_trial(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: Any
) -> None:
    monkeypatch.setenv(EXPECTED, "gpu")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    settings = {"dataset": None, "recipe": {"epochs": 1, "batch": 32}, "evaluator": {"name": "scratch"}}
    made = Worker(WorkerSpec(settings, {}, storage=str(tmp_path)), dataset())
    [outcome] = made.run([Job(0, kind, SMALL.to_dict(), arch_id(SMALL))], lambda *_: None)
    assert outcome.outcome == "error"
    assert (
        outcome.data[UNPREPARED]
        == "a worker for the gpu (device 3) got the cpu from JAX; see the log for what JAX says"
    )
