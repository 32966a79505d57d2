"""Devices that are files: a published table of operations, and networks that were measured by any means.

`table` reads the CSV of `nas.latency.predictors.lookup`; `samples` one with the columns `ms` and `genome` (options of the space's genes,
separated by spaces) or `arch` (block strings, a file or a known name).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from nas.arch import Arch
from nas.arch.blocks import arch_id
from nas.arch.blockstrings import looks_like, parse
from nas.arch.files import load_arch
from nas.latency.devices.measure import Failed, info_fingerprint
from nas.latency.predictors.learned import fit_predictor
from nas.latency.predictors.lookup import TablePredictor, read_rows, read_table
from nas.latency.timing import DeviceError
from nas.records import Measurement
from nas.space import Space


@dataclass(frozen=True)
class FileDevice:
    """What devices that are a file have in common; nothing of theirs takes long, whatever `timeout_s` says."""

    path: str
    timeout_s: float = 300.0
    predictor: str | None = None

    NAME: ClassVar[str] = ""

    @property
    def file(self) -> Path:
        return Path(self.path).expanduser()

    def info(self) -> dict[str, Any]:
        return {"device": self.NAME, "path": self.file.name, "sha256": digest(self.file)}

    def fingerprint(self) -> str:
        return info_fingerprint(self.info())

    def told(
        self, archs: Arch | Sequence[Arch], look_up: Callable[[Arch], float], failed: Failed | None
    ) -> Iterator[Measurement]:
        """Records without a clock: what the file says, once, without spread."""
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
    """A look-up table of operations."""

    NAME: ClassVar[str] = "table"

    def measure(self, archs: Arch | Sequence[Arch], failed: Failed | None = None) -> list[Measurement]:
        return list(self.told(archs, self._predictor().predict_arch, failed))

    def fit(self, space: Space, seed: int, progress: Any = None) -> TablePredictor:
        return self._predictor()

    def _predictor(self) -> TablePredictor:
        return read_table(self.file, self.fingerprint())


@dataclass(frozen=True)
class Samples(FileDevice):
    """Networks with their times; the predictor is fitted to them."""

    NAME: ClassVar[str] = "samples"

    def bound(self, space: Space) -> SamplesOf:
        """The device for the networks of one space, without which genomes say nothing."""
        return SamplesOf(self.path, self.timeout_s, self.predictor, space)


@dataclass(frozen=True)
class SamplesOf(Samples):
    """Samples of one space."""

    space: Space | None = None

    def measure(self, archs: Arch | Sequence[Arch], failed: Failed | None = None) -> list[Measurement]:
        assert self.space is not None
        known = {arch_id(self.space.decode(genome)): ms for genome, ms in self._rows(self.space)}

        def look_up(arch: Arch) -> float:
            if (found := known.get(arch_id(arch))) is None:
                raise DeviceError(f"{arch.name} ({arch_id(arch)}): not among the networks of {self.path}")
            return found

        return list(self.told(archs, look_up, failed))

    def fit(self, space: Space, seed: int, progress: Any = None) -> Any:
        genomes, times = zip(*self._rows(space), strict=True)
        return fit_predictor(
            space, genomes, times, device=self.NAME, fingerprint=self.fingerprint(), info=self.info(), seed=seed
        )  # fmt: skip

    def _rows(self, space: Space) -> list[tuple[tuple[int, ...], float]]:
        rows = read_rows(self.file, ("ms",))
        return [(_genome(space, cells, f"{self.file}: line {line}"), ms) for line, cells, ms in rows]


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
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    except OSError as error:
        raise DeviceError(f"{path}: {error.strerror}") from None
