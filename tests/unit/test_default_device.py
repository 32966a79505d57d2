"""`device=auto`, the default: what JAX trains on chooses it, once for a run; another machine's choice does not change it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import nas
from fake_bench import FakeBench
from nas.cli.hydra_door import named_devices
from nas.core import accelerators
from nas.core.accelerators import Backend
from nas.journal import Journal
from nas.latency import Host, OnnxRuntime
from nas.workflows import default_device
from nas.workflows.default_device import resolved
from nas.workflows.defaults import compose, device_settings

AUTO = {"auto": {"name": "auto"}}


@pytest.mark.parametrize("command, given", [("search", {}), ("profile", {}), ("adapt", {"weights": "w"}), ("search", {"device": "auto"})])
@pytest.mark.parametrize("backend, name", [("cpu", "onnxruntime"), ("gpu", "host"), ("tpu", "host")])
def test_the_default_is_what_jax_trains_on(
    monkeypatch: pytest.MonkeyPatch, command: str, given: dict[str, Any], backend: str, name: str
) -> None:
    monkeypatch.setattr(default_device, "training_backend", lambda: Backend(backend))
    devices = compose(command, given)["device"]
    assert devices == AUTO
    found, line = resolved(devices)
    assert found == {name: device_settings(name)}
    assert line.startswith(f"device {name}: JAX trains on a {backend} here") == (backend != "cpu")


def test_what_was_named_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(default_device, "training_backend", lambda: Backend("gpu"))
    named = compose("search", {"device": ["onnxruntime", "litert"]})["device"]
    assert resolved(named) == (named, "")
    assert list(resolved(AUTO | {"litert": {"name": "litert"}})[0]) == ["host", "litert"]


def test_a_run_keeps_the_device_that_it_began_with(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(default_device, "training_backend", lambda: Backend("gpu"))
    began = {"onnxruntime": {"name": "onnxruntime", "rounds": 3}}
    Journal.create(tmp_path / "journal.sqlite", {"identity": {"device": began}}).close()
    assert resolved(AUTO, tmp_path) == (began, "")
    assert list(resolved(AUTO, tmp_path / "none")[0]) == ["host"]


def test_a_search_measures_on_it_says_so_and_records_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(default_device, "training_backend", lambda: Backend("gpu"))
    monkeypatch.setattr(Host, "bench", lambda self: FakeBench())
    monkeypatch.setattr(Host, "info", lambda self: {"device": "host"})
    monkeypatch.setattr(OnnxRuntime, "bench", lambda self: pytest.fail("measured on the CPU"))
    heard: list[str] = []
    monkeypatch.setattr(default_device, "device_settings", lambda name: {**device_settings(name), "over_s": 0.0, "windows": 1})
    result = nas.search(
        "tiny", evaluate=lambda arch: {"accuracy": 0.5}, device=AUTO, objective="mnas_soft", resolution=8, trials=2, run=tmp_path,
        progress=lambda update: heard.append(update.text),
    )  # fmt: skip
    assert set(result.front[0].measured_ms) == {"host"}
    assert any(text.startswith("device host: JAX trains on a gpu here") for text in heard)
    with Journal.open(tmp_path / "journal.sqlite", read_only=True) as journal:
        assert list((journal.get("settings") or {})["device"]) == ["host"]
    assert "device:\n  host:\n" in (tmp_path / "config.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "platforms, plugins, printed, expected",
    [
        ("cpu", True, "gpu 2", Backend("cpu")),
        ("cuda,cpu", False, "gpu 4", Backend("gpu", 4)),
        ("tpu", False, "tpu 8", Backend("tpu", 8)),
        ("", False, "gpu 2", Backend("cpu")),  # no plugin of JAX, so no question
        ("", True, "gpu 2", Backend("gpu", 2)),
        ("", True, "cpu 8", Backend("cpu")),
        ("", True, None, Backend("cpu")),  # the process could not tell: this one, whose JAX the tests keep on the CPU, is asked
    ],
)
def test_the_backend_is_asked_of_another_process(
    monkeypatch: pytest.MonkeyPatch, platforms: str, plugins: bool, printed: str | None, expected: Backend
) -> None:
    def run(args: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        assert args[0] == sys.executable
        return subprocess.CompletedProcess(args, printed is None, f"noise\n{printed or ''}\n", "")

    monkeypatch.setenv("NAS_WORKER_PLATFORMS", platforms)
    monkeypatch.setattr(accelerators, "_accelerator_plugins", lambda: plugins)
    monkeypatch.setattr(subprocess, "run", run)
    accelerators._asked_backend.cache_clear()
    assert accelerators.training_backend() == expected
    accelerators._asked_backend.cache_clear()


@pytest.mark.parametrize(
    "args, implied",
    [
        (["trials=3"], []),
        (["device.onnxruntime.samples=5", "device.onnxruntime.rounds=2"], ["device=[onnxruntime]"]),
        (["device.host.rounds=1", "device=[host,litert]"], []),
        (["~device.onnxruntime"], ["device=[onnxruntime]"]),
        (["+device.phone.name=litert"], []),
    ],
)
def test_a_key_of_a_device_chooses_it(args: list[str], implied: list[str]) -> None:
    assert named_devices(args) == implied
