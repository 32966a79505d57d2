"""`device=auto`, the default: the device that fits what JAX trains on here, resolved once and recorded in the run."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from nas.core.accelerators import training_backend
from nas.journal import Journal
from nas.records import JSON
from nas.workflows.defaults import device_settings

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

AUTO = "auto"
ON_CPU, ELSEWHERE = "onnxruntime", "host"  # the exported .onnx; XLA, which alone runs on the accelerator


class Measured(Protocol):
    """A command with devices."""

    @property
    def device(self) -> Mapping[str, JSON]: ...


Command = TypeVar("Command", bound="DataclassInstance")


def with_device(command: Command, folder: Path | None = None) -> tuple[Command, str]:
    """A command whose device `auto` is a device, and a line on it where it is not that of a CPU.

    A run keeps the devices that it began with, so that it resumes on a machine with another backend too.

    Args:
        command: With a field `device`, settings by name.
        folder: Of the run, which need not be there.

    Returns:
        The command itself where nothing in it is `auto`.
    """
    devices: Mapping[str, JSON] = getattr(command, "device")  # noqa: B009  of a dataclass that has it
    found, line = resolved(devices, folder)
    return (command, "") if found is devices else (dataclasses.replace(command, **{"device": found}), line)


def resolved(devices: Mapping[str, JSON], folder: Path | None = None) -> tuple[Mapping[str, JSON], str]:
    """Settings of devices by name without `auto`, and a line on what it stands for; see `with_device`."""
    if not any(settings.get("name") == AUTO for settings in devices.values()):
        return devices, ""
    if kept := kept_settings(folder, "device"):
        return kept, ""
    backend = training_backend().name
    name = ON_CPU if backend == "cpu" else ELSEWHERE
    others = {key: settings for key, settings in devices.items() if settings.get("name") != AUTO}
    line = "" if backend == "cpu" else (
        f"device {name}: JAX trains on a {backend} here, so latency is that of XLA on it; device=[..] chooses another"
    )  # fmt: skip
    return {name: device_settings(name), **others}, line


def kept_settings(folder: Path | None, group: str) -> Mapping[str, JSON]:
    """A group of settings, such as `device`, that the run in a folder began with; empty where there is none."""
    path = folder / "journal.sqlite" if folder is not None else None
    if path is None or not path.is_file():
        return {}
    with Journal.open(path, read_only=True) as journal:
        return (journal.get("identity") or {}).get(group) or {}
