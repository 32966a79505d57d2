"""A phone behind adb and a board behind ssh, both played by a script: files are copied there and timed by benchmark_model."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from nas.arch import Arch
from nas.arch.blocks import arch_id
from nas.latency import DeviceError, make_device
from nas.latency.devices import shell
from nas.latency.devices.shell import Shell
from nas.space import load_space
from places import ROOT

# Plays adb, ssh and scp: keeps what it is called with, copies files into its folder, and times by a file's size.
SCRIPT = """#!/bin/sh
echo "$(basename "$0") $*" >> "$FAKE/calls"
for last; do :; done
case "$(basename "$0") $*" in
  *getprop*|*device-tree*) echo "Fake 8"; exit 0 ;;
  "adb "*push*) shift $(($# - 2)); cp "$1" "$FAKE/$(basename "$2")"; exit 0 ;;
  "scp "*) shift $(($# - 2)); cp "$1" "$FAKE/$(basename "${2#*:}")"; exit 0 ;;
esac
[ -n "$BROKEN" ] && { echo "error: no devices/emulators found" >&2; exit 1; }
name=$(echo "$last" | sed 's/.*--graph=\\([^ ]*\\).*/\\1/')
size=$(wc -c < "$FAKE/$(basename "$name")")
echo "INFO: count=5 first=90000 curr=90000 min=90000 max=90000 avg=90000 std=0"
[ -n "$SILENT" ] || echo "INFO: count=15 first=9 curr=9 min=9 max=9 avg=$size std=0"
"""


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("adb", "ssh", "scp"):
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(SCRIPT)
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE", str(tmp_path))
    shell._model.cache_clear()
    return tmp_path


def network() -> Arch:
    space = load_space("tiny").fit(8, 1, 10)
    return space.decode((0,) * len(space.genes))


RECIPES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "a phone": ({}, ["adb push", "adb shell /data/local/tmp/benchmark_model --graph=/data/local/tmp/nas-{id}.tflite --num_threads=1"]),
    "one of two phones": ({"host": "R58"}, ["adb -s R58 push", "adb -s R58 shell /data/local/tmp/benchmark_model"]),
    "a Raspberry Pi": (
        {"reach": "ssh", "host": "pi@raspberrypi", "tool": "/home/pi/benchmark_model", "folder": "/tmp"},
        ["scp -q -o BatchMode=yes", "ssh -o BatchMode=yes pi@raspberrypi /home/pi/benchmark_model --graph=/tmp/nas-{id}.tflite"],
    ),
}


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_machine_behind_a_shell_measures(fake: Path, recipe: str) -> None:
    settings, calls = RECIPES[recipe]
    device = make_device({"name": "shell", "rounds": 2, "repeats": 15, **settings})
    (row,) = device.measure(network())
    size = (fake / f"nas-{arch_id(network())}.tflite").stat().st_size
    assert row.latency_ms == pytest.approx(size / 1e3)
    assert row.fingerprint == device.fingerprint()
    assert row.info["machine"] == f"LiteRT on Fake 8, by {settings.get('reach', 'adb')}"
    said = (fake / "calls").read_text()
    for call in calls:
        assert call.format(id=arch_id(network())) in said


@pytest.mark.parametrize(
    "variable, line",
    [
        ("BROKEN", "adb: error: no devices/emulators found"),
        ("SILENT", "benchmark_model reported no average: INFO: count=5"),  # it ended after its warm-up
    ],
)
def test_a_machine_that_fails_is_named(fake: Path, monkeypatch: pytest.MonkeyPatch, variable: str, line: str) -> None:
    monkeypatch.setenv(variable, "1")
    device = make_device({"name": "shell", "rounds": 2})
    with pytest.raises(DeviceError, match=rf"tiny \({arch_id(network())}\): fails on the device: {line}"):
        device.measure(network())


def test_a_shell_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    shell._model.cache_clear()
    with pytest.raises(DeviceError, match="device shell: adb: No such file or directory; it must be on the PATH"):
        make_device({"name": "shell"}).info()


@pytest.mark.parametrize("settings, line", [({"reach": "ssh"}, "host: expected the board"), ({"host": "-oX"}, "host: expected a name")])
def test_wrong_settings_are_named(settings: dict[str, Any], line: str) -> None:
    with pytest.raises(ValueError, match=line):
        make_device({"name": "shell", **settings})


def test_the_file_has_the_defaults() -> None:
    assert make_device(yaml.safe_load((ROOT / "conf/device/shell.yaml").read_text())) == Shell()
