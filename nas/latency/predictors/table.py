"""A published table of operations as a predictor: a network takes the sum of its layers.

The CSV has the columns `op,input,output,kernel,stride,expansion,se,activation,ms`, a row a layer of the architecture: `op` is
the name of its block (`conv`, `mbconv`, `classifier`, ..), `input` and `output` are its shapes as `height x width x channels`
(`48x48x24`), the rest its knobs. An empty cell fits anything; the first row that fits counts.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from nas.arch import Arch, Block
from nas.arch.blocks import lower_alone, reads_taps
from nas.arch.blocks.registry import knob_values
from nas.arch.graph import Shape
from nas.latency.timing import DeviceError
from nas.records import JSON
from nas.space import Space

COLUMNS = ("op", "input", "output", "kernel", "stride", "expansion", "se", "activation", "ms")
MAX_ROWS = 1_000_000

Row = tuple[tuple[str, ...], float]  # cells of a layer as text, milliseconds


def read_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str], float]]:
    """(line, cells, milliseconds) of a CSV. Raises DeviceError naming the file and the line that is wrong."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = [name for name in columns if name not in (reader.fieldnames or ())]
            if missing:
                raise DeviceError(f"{path}: missing column {missing[0]!r}; expected {','.join(columns)}")
            count = 0
            for row in reader:
                count += 1
                if count > MAX_ROWS:
                    raise DeviceError(f"{path}: more than {MAX_ROWS:,} rows")
                yield (
                    reader.line_num,
                    {k: (v or "").strip() for k, v in row.items() if k},
                    _ms(path, reader.line_num, row["ms"]),
                )
            if not count:
                raise DeviceError(f"{path}: no rows")
    except FileNotFoundError:
        raise DeviceError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DeviceError(f"{path}: cannot be read: {error}") from None


def _ms(path: Path, line: int, text: str | None) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise DeviceError(f"{path}: line {line}: ms: expected a time of more than 0, got {text!r}")
    return value


@dataclass(frozen=True)
class TablePredictor:
    """Sums of a table's rows. `fingerprint` is the digest of the file, `source` its name, for errors."""

    device: str
    fingerprint: str
    source: str
    rows: tuple[Row, ...]

    kind: ClassVar[str] = "table"

    @property
    def mape(self) -> None:
        """None: nothing was fitted."""
        return None

    @cached_property
    def _index(self) -> dict[str, list[Row]]:
        index: dict[str, list[Row]] = {}
        for row in self.rows:
            index.setdefault(row[0][0], []).append(row)
        return index

    @cached_property
    def _memo(self) -> dict[Hashable, tuple[float, Shape]]:
        return {}

    def predict_arch(self, arch: Arch) -> float:
        """Milliseconds of one network. Raises DeviceError naming the layer that has no row."""
        if arch.output_stride or reads_taps(arch.head.op):
            what = "dilated layers" if arch.output_stride else f"the head {arch.head.op}, which reads several layers"
            raise DeviceError(f"{self.source}: a table has no rows for {what}; measure on a device")
        total, shape = 0.0, (arch.resolution, arch.resolution, arch.channels)
        for scope, block, stride in arch.layers():
            key = (
                scope == "head",
                block,
                stride,
                shape,
                arch.defaults,
                arch.padding,
                arch.classes if scope == "head" else 0,
            )
            if key not in self._memo:
                self._memo[key] = self._layer(arch, scope, block, stride, shape)
            ms, shape = self._memo[key]
            total += ms
        return total

    def predict_many(self, space: Space, genomes: ArrayLike) -> np.ndarray:
        """(n, genes) options -> (n,) milliseconds. Raises DeviceError naming a layer that has no row."""
        return np.array(
            [self.predict_arch(space.decode(tuple(genome))) for genome in np.asarray(genomes).tolist()], float
        )

    def check(self, fingerprint: str, space: Space, where: str = "predictor") -> None:
        """Raises ValueError where the file is not the one that the predictor was made of; a table serves any space."""
        if self.fingerprint != fingerprint:
            raise ValueError(f"{where}: made of another table than {self.source} as it is now")

    def to_dict(self) -> dict[str, JSON]:
        """Plain data for JSON: every row of the table."""
        rows = [[list(cells), ms] for cells, ms in self.rows]
        return {
            "kind": self.kind,
            "device": self.device,
            "fingerprint": self.fingerprint,
            "source": self.source,
            "rows": rows,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, JSON]) -> TablePredictor:
        """Reads what `to_dict` gave."""
        rows = tuple((tuple(cells), float(ms)) for cells, ms in data["rows"])
        return cls(data["device"], data["fingerprint"], data["source"], rows)

    def _layer(self, arch: Arch, scope: str, block: Block, stride: int, shape: Shape) -> tuple[float, Shape]:
        nodes, outputs = lower_alone(arch, scope, block, stride, shape)
        if (last := max(outputs.values())) == 0:
            return 0.0, shape
        knobs = {} if scope == "head" else knob_values(block, dict(arch.defaults), scope)
        cells = _cells(block.op, shape, nodes[last].shape, stride, knobs)
        for row, ms in self._index.get(block.op, ()):
            if all(theirs in ("", ours) for theirs, ours in zip(row, cells, strict=True)):
                return ms, nodes[last].shape
        text = ", ".join(f"{name} {cell}" for name, cell in zip(COLUMNS, cells, strict=False) if cell)
        raise DeviceError(f"{self.source}: no row for {scope}: {text}")


def _cells(op: str, given: Shape, out: Shape, stride: int, knobs: Mapping[str, JSON]) -> tuple[str, ...]:
    expansion = knobs["hidden"] / given[2] if knobs.get("hidden") else knobs.get("expand", "")
    rest = (knobs.get("kernel", ""), stride, expansion, knobs.get("se", ""), knobs.get("act", ""))
    return (op, _size(given), _size(out), *map(_text, rest))


def _size(shape: Shape) -> str:
    return "x".join(map(str, shape))


def _text(value: str | float) -> str:
    """`6` and `6.0` are one number."""
    try:
        return f"{float(value):.6g}"
    except (TypeError, ValueError):
        return str(value)


def read_table(path: Path, fingerprint: str) -> TablePredictor:
    """The predictor in a CSV. Raises DeviceError naming the line that is wrong."""
    rows = []
    for _, cells, ms in read_rows(path, COLUMNS):
        given = [cells[name] for name in COLUMNS[:-1]]
        rows.append(((*given[:3], *(_text(cell) if cell else "" for cell in given[3:])), ms))
    return TablePredictor("table", fingerprint, str(path), tuple(rows))
