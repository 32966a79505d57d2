"""What weights were trained with, from the files beside them."""

from __future__ import annotations

from pathlib import Path

from nas.core.jsonio import parse_json
from nas.data.record import KEY, DataRecord, record_from
from nas.journal import Journal
from nas.nn.weights import BUNDLED, SUPERNET, split_source
from nas.supernet.file import load_supernet
from nas.workflows.trained import RESULT

JOURNAL, INDEX = "journal.sqlite", "bundle.json"


def recorded(weights: str | Path) -> DataRecord | None:
    """The record of the training that left a file of weights: in it, in result.json or an index beside it, or in its run's journal.

    None where there is neither, as for weights from elsewhere. Raises ValueError, one line, where it cannot be read.
    """
    origin, path = split_source(str(weights))
    if origin == SUPERNET:
        return load_supernet(path).data
    if origin or not path.is_file():
        return None
    if path.name == BUNDLED and (index := path.with_name(INDEX)).is_file():
        return _of_training(index, "no index of a bundle")
    if (result := path.with_name(RESULT)).is_file():
        return _of_training(result)
    return _of_run(found) if (found := path.parent.parent / JOURNAL).is_file() else None


def _of_training(path: Path, fault: str = "not a result of nas train") -> DataRecord:
    try:
        return record_from(parse_json(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: {fault}: {error}") from None


def _of_run(path: Path) -> DataRecord | None:
    with Journal.open(path, read_only=True) as journal:
        kept = journal.get(KEY)
    try:
        return None if kept is None else record_from(kept)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: damaged: {KEY}: {error}") from None
