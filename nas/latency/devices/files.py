"""Devices that are files: a published table of operations, and networks that were measured by any means.

`table` reads the CSV of `nas.latency.predictors.table`; `samples` one with the columns `ms` and `genome` (options of the space's
genes, separated by spaces) or `arch` (block strings, a file or a known name).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from nas.arch import Arch
from nas.arch.blocks import arch_id
from nas.arch.blockstrings import looks_like, parse
from nas.arch.files import load_arch
from nas.latency.devices.base import DeviceDefaults
from nas.latency.devices.measure import Failed, info_fingerprint
from nas.latency.predictors.base import Progress
from nas.latency.predictors.learned.predictor import LearnedPredictor, fit_predictor
from nas.latency.predictors.table import TablePredictor, read_rows, read_table
from nas.latency.timing import DeviceError
from nas.records import JSON, Measurement
from nas.space import Space


@dataclass(frozen=True)
class FileDevice(DeviceDefaults):
    """What devices that are a file have in common. `path` is the file; reading it takes no time that `timeout_s` could limit."""

    path: str
    timeout_s: float = 300.0
    predictor: str | None = None

    NAME: ClassVar[str] = ""

    @property
    def file(self) -> Path:
        """`path`, with `~` replaced."""
        return Path(self.path).expanduser()

    def info(self) -> dict[str, JSON]:
        """The file's name and digest."""
        return {"device": self.NAME, "machine": f"times of {self.file.name}", "path": self.file.name, "sha256": digest(self.file)}

    def looked_up(
        self, archs: Arch | Sequence[Arch], look_up: Callable[[Arch], float], failed: Failed | None
    ) -> Iterator[Measurement]:
        """Records of what the file has: one value, which is the median and the 95th percentile too."""
        info = self.info()
        for arch in [archs] if isinstance(archs, Arch) else archs:
            try:
                ms = look_up(arch)
            except DeviceError as error:
                if failed is None:
                    raise
                failed(arch, error)
                continue
            yield Measurement(arch_id(arch), self.NAME, info_fingerprint(info), ms, ms, ms, 1, dict(info))


@dataclass(frozen=True)
class Table(FileDevice):
    """A published look-up table of operations."""

    NAME: ClassVar[str] = "table"

    def measure(self, archs: Arch | Sequence[Arch], failed: Failed | None = None) -> list[Measurement]:
        """See `Device.measure`."""
        return list(self.looked_up(archs, self._predictor().predict_arch, failed))

    def fit(self, space: Space, seed: int, progress: Progress | None = None) -> TablePredictor:
        """The table itself; nothing is fitted."""
        return self._predictor()

    def _predictor(self) -> TablePredictor:
        return read_table(self.file, self.fingerprint())


@dataclass(frozen=True)
class Samples(FileDevice):
    """Networks with their latencies, measured by any means; a predictor is fitted to them."""

    NAME: ClassVar[str] = "samples"

    def bind(self, space: Space) -> BoundSamples:
        """The device for networks of one space, without which genomes in the file mean nothing."""
        return BoundSamples(self.path, self.timeout_s, self.predictor, space=space)

    def measure(self, archs: Arch | Sequence[Arch], failed: Failed | None = None) -> list[Measurement]:
        """See `Device.measure`. Raises DeviceError: `bind` comes first."""
        raise DeviceError(f"{self.path}: bind the device to the space of its genomes before it measures")

    def fit(self, space: Space, seed: int, progress: Progress | None = None) -> LearnedPredictor:
        """A predictor learned from all networks in the file. Raises DeviceError naming the line that is wrong."""
        genomes, times = zip(*self._rows(space), strict=True)
        return fit_predictor(
            space, genomes, times, device=self.NAME, fingerprint=self.fingerprint(), info=self.info(), seed=seed
        )  # fmt: skip

    def _rows(self, space: Space) -> list[tuple[tuple[int, ...], float]]:
        rows = read_rows(self.file, ("ms",))
        return [(_genome(space, cells, f"{self.file}: line {line}"), ms) for line, cells, ms in rows]


@dataclass(frozen=True)
class BoundSamples(Samples):
    """Samples of networks of one space."""

    space: Space = field(kw_only=True)

    def measure(self, archs: Arch | Sequence[Arch], failed: Failed | None = None) -> list[Measurement]:
        """See `Device.measure`; an architecture that is not in the file cannot be measured."""
        known = {arch_id(self.space.decode(genome)): ms for genome, ms in self._rows(self.space)}

        def look_up(arch: Arch) -> float:
            if (found := known.get(arch_id(arch))) is None:
                raise DeviceError(f"{arch.name} ({arch_id(arch)}): not among the networks of {self.path}")
            return found

        return list(self.looked_up(archs, look_up, failed))


def _genome(space: Space, cells: Mapping[str, str], where: str) -> tuple[int, ...]:
    try:
        if cells.get("genome"):
            return space.canonical(tuple(int(part) for part in cells["genome"].replace(",", " ").split()))
        text = cells.get("arch", "")
        if not text:
            raise ValueError("expected a genome or an arch")
        return space.encode(parse(text, where="arch") if looks_like(text) else load_arch(text))
    except ValueError as error:
        raise DeviceError(f"{where}: {error}") from None


def digest(path: Path) -> str:
    """12 hex digits of a file's content. Raises DeviceError where it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    except OSError as error:
        raise DeviceError(f"{path}: {error.strerror}") from None
