"""Files of rows, Parquet and Arrow, of a data set of Hugging Face; which part each is of, and how its row groups are read."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from nas.data.files import Found, counted, find_images, inventory, is_hidden, part_of

if TYPE_CHECKING:
    import pyarrow as pa

EXPECTED = (
    "train*.parquet and test*.parquet, <config>/train/*.parquet as the hub converts data sets, or a folder of save_to_disk (*.arrow)"
)
NUMBER = re.compile(r"([._-]?\d+(-of-\d+)?(-[0-9a-f]{8,})?)?$")  # what follows the name of a part: -00000-of-00002, 0, _1
SHARD = re.compile(r"(data|part)?[._-]?\d+(-of-\d+)?")  # names of files in a folder that has the name of a part

T = TypeVar("T")


def find_tables(root: Path) -> tuple[dict[str, list[Path]], list[str]]:
    """(files by part, lines on what is left out). Raises ValueError where there is no training part, listing what there is."""
    found = find_images(root)
    tables = [path for path in found.others if path.suffix in (".parquet", ".arrow")]
    parts: dict[str, list[Path]] = {}
    others: list[Path] = []
    for path in tables:
        part = _part(path, root)
        parts.setdefault(part, []).append(path) if part else others.append(path)
    if not parts and others and all(SHARD.fullmatch(path.stem) and path.suffix == ".arrow" for path in others):
        parts, others = {"train": others}, []  # save_to_disk of one part
    if "train" not in parts:
        raise ValueError(f"path: {root} has no train*.parquet; expected {EXPECTED}; found {_listed(root, others)}")
    for part, paths in parts.items():
        places = {path.parent for path in paths}
        if len(places) > 1:
            shown = ", ".join(sorted(str(place.relative_to(root)) for place in places))
            raise ValueError(f"path: {root} has the part {part} in several folders ({shown}); expected the path of one of them")
    return parts, _left_out(found, others)


def _part(path: Path, root: Path) -> str | None:
    """By the name of the file, train-00000-of-00002, or of the folder that it is in, default/train/0000."""
    stem = path.stem
    if (found := part_of(NUMBER.sub("", stem))) is not None:
        return found
    folder = path.parent.name.removeprefix("partial-") if path.parent != root else ""
    return part_of(folder) if SHARD.fullmatch(stem) else None


def _listed(root: Path, others: Sequence[Path]) -> str:
    return ", ".join(str(path.relative_to(root)) for path in others[:5]) or inventory(root)


def _left_out(found: Found, others: Sequence[Path]) -> list[str]:
    return [
        *counted("file that is of no part", others, "files that are of no part"),
        *counted("image beside the files", found.images, "images beside the files"),
        *counted("hidden file", [path for path in found.hidden if not is_hidden(Path(path.parent.name))]),
    ]


class ArrowFile:
    """A file of Arrow record batches, as `pyarrow.parquet.ParquetFile` is read: a batch stands for a row group."""

    def __init__(self, path: Path):
        import pyarrow as pa

        self._file = pa.memory_map(str(path))
        try:
            self._batches = list(pa.ipc.open_stream(self._file))
        except pa.ArrowInvalid:
            with pa.ipc.open_file(self._file) as reader:
                self._batches = [reader.get_batch(i) for i in range(reader.num_record_batches)]
        if not self._batches:
            raise pa.ArrowInvalid("no record batches")
        self.schema_arrow = self._batches[0].schema

    def __enter__(self) -> ArrowFile:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def sizes(self) -> list[tuple[int, int]]:
        """(rows, bytes) of each batch."""
        return [(batch.num_rows, batch.nbytes) for batch in self._batches]

    def read(self, column: str) -> pa.ChunkedArray:
        """A whole column."""
        import pyarrow as pa

        return pa.chunked_array([batch.column(column) for batch in self._batches])

    def read_group(self, group: int, column: str) -> pa.ChunkedArray:
        """A column of a batch, copied from the file."""
        import pyarrow as pa

        batch = pa.Table.from_batches([self._batches[group]]).select([column])
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.schema) as writer:
            writer.write_table(batch)
        return pa.ipc.open_stream(sink.getvalue()).read_all().column(column)


class ParquetFile:
    """A Parquet file, read by the same names."""

    def __init__(self, path: Path):
        import pyarrow.parquet as pq

        self._file = pq.ParquetFile(path)
        self.schema_arrow = self._file.schema_arrow

    def __enter__(self) -> ParquetFile:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def sizes(self) -> list[tuple[int, int]]:
        """(rows, bytes uncompressed) of each row group."""
        groups = (self._file.metadata.row_group(i) for i in range(self._file.num_row_groups))
        return [(group.num_rows, group.total_byte_size) for group in groups]

    def read(self, column: str) -> pa.ChunkedArray:
        """A whole column."""
        return self._file.read(columns=[column]).column(column)

    def read_group(self, group: int, column: str) -> pa.ChunkedArray:
        """A column of a row group; of a column of structs their `bytes` alone."""
        is_struct = self.schema_arrow.field(column).type.num_fields > 0
        return self._file.read_row_group(group, columns=[f"{column}.bytes" if is_struct else column]).column(column)


def guarded(path: Path, use: Callable[[Any], T]) -> T:
    """`use(opened file)`; what Arrow cannot read becomes a ValueError naming the file."""
    import pyarrow as pa

    kind = "Arrow" if path.suffix == ".arrow" else "Parquet"
    try:
        with ArrowFile(path) if path.suffix == ".arrow" else ParquetFile(path) as file:
            return use(file)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path}: not a readable {kind} file: {' '.join(str(error).split())[:160]}") from error
