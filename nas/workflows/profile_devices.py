"""Networks of a space measured on devices, a latency predictor of each, and how good it is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from nas.core.settings import check_ranges
from nas.core.versions import versions
from nas.core.yamlio import write_text
from nas.latency import make_device
from nas.latency.profile import draw
from nas.records import JSON
from nas.report.profile import profile_page
from nas.runtime.device_executors import DeviceExecutors
from nas.runtime.processes import ProcessesSettings
from nas.runtime.spec import WorkerSpec
from nas.space import Space, load_space
from nas.workflows.custom import NOTHING, Custom
from nas.workflows.default_device import with_device
from nas.workflows.log import logged
from nas.workflows.profile import Profile, profile_device
from nas.workflows.progress import SILENT, Progress
from nas.workflows.run_folder import Run, open_run, use_plugins, with_paths
from nas.workflows.workers import worker_spec

AT_FIRST = 20  # networks drawn before samples=auto chooses


@dataclass(frozen=True)
class ProfileCommand:
    """The keys of conf/profile.yaml."""

    space: str
    device: Mapping[str, JSON] = field(default_factory=dict)
    samples: int | Literal["auto"] = 100
    error: float = 0.05
    holdout: int = 20
    resolution: int | None = None
    channels: int = 3
    classes: int = 1000
    divisor: int | None = None
    seed: int = 0
    threads: int = 1
    out: str | None = None
    run: str | None = None
    plugins: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_ranges(
            self, samples=(2, 10**6), holdout=(2, 10**5), resolution=(1, 8192), channels=(1, 1024),
            classes=(1, 10**6), divisor=(1, 256), seed=(0, 2**31 - 1), threads=(1, 1024),
        )  # fmt: skip
        if not 0 < self.error < 1:
            raise ValueError(f"error: expected more than 0 and less than 1 (0.05 is 5 %), got {self.error:g}")
        if not self.device:
            raise ValueError("device: expected at least one")


@dataclass(frozen=True)
class Profiled:
    """What was found of a device.

    Args:
        profile: Its predictor, with the errors on networks left out, and the repeatability of the device.
        predictor: File of the predictor, for `device.<name>.predictor` of a search.
        page: The report.
    """

    profile: Profile
    predictor: Path
    page: Path


def profile(command: ProfileCommand, run: Run, progress: Progress = SILENT, custom: Custom = NOTHING) -> list[Profiled]:
    """Measures networks of a space on devices and fits predictors, or resumes it.

    Raises:
        ValueError: For a mistake of the user, and where too few networks could be measured.
        KeyboardInterrupt: After Ctrl-C, with what resumes in its text.
    """
    use_plugins(command.plugins)
    command, line = with_device(command, run.folder)
    devices = {name: make_device(settings, f"device.{name}") for name, settings in command.device.items()}
    space = _space(command, custom)
    until = command.error if command.samples == "auto" else None
    drawn = draw(space, command.seed, AT_FIRST if isinstance(command.samples, str) else command.samples, command.holdout)
    meta = {"command": run.again, "versions": versions()}
    with open_run(run.folder, _identity(command, space), meta) as journal, logged(run.folder):
        progress.message(f"nas profile  {space.name} on {', '.join(devices)}  ({run.shown})")
        if line:
            progress.message(line)
        spec = _spec(command, space, run.folder)
        executor = ProcessesSettings(1).start(spec)
        placed = DeviceExecutors(executor, spec, devices)
        try:
            return [
                _written(profile_device(
                    journal, placed[name], space, name, drawn, command.seed, device.timeout_s, progress.message, until,
                ), command, space, run)
                for name, device in devices.items()
            ]  # fmt: skip
        except KeyboardInterrupt:
            raise run.stopped("stopped") from None
        finally:
            placed.close()
            executor.close()


def _space(command: ProfileCommand, custom: Custom) -> Space:
    space = custom.space or load_space(command.space)
    space = space.with_divisor(command.divisor) if command.divisor else space
    return space.fit(command.resolution, command.channels, command.classes)


def _identity(command: ProfileCommand, space: Space) -> dict[str, JSON]:
    keys = ("seed", "resolution", "channels", "classes", "divisor", "holdout", "threads")
    about = {"name": space.name, "fingerprint": space.fingerprint}
    return {**{key: getattr(command, key) for key in keys}, "space": about, "device": dict(command.device)}


def _spec(command: ProfileCommand, space: Space, folder: Path) -> WorkerSpec:
    devices = {name: with_paths(settings) for name, settings in command.device.items()}
    return worker_spec({"device": devices}, space.to_plain(), command.plugins, folder, command.threads)


def _written(found: Profile, command: ProfileCommand, space: Space, run: Run) -> Profiled:
    out = _out(found.device, command, run.folder)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, json.dumps(found.predictor.to_dict(), allow_nan=False) + "\n")
    write_text(run.folder / f"profile-{found.device}.json", json.dumps(found.to_dict(), indent=1) + "\n")
    page = run.folder / f"profile-{found.device}.html"
    write_text(page, profile_page(found, space.name, run.again))
    return Profiled(found, out, page)


def _out(device: str, command: ProfileCommand, folder: Path) -> Path:
    if command.out is None:
        return folder / f"predictor-{device}.json"
    path = Path(command.out)
    return path if len(command.device) == 1 else path.with_name(f"{path.stem}-{device}{path.suffix}")
