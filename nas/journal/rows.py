"""Records as rows of SQLite and back: the tables, and JSON text in which a nan or an infinity is written {"$float": "nan"}."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from nas.core.jsonio import parse_json
from nas.journal import shapes
from nas.records import JSON, Evaluation, Event, Measurement, Record, Trial

# Columns stand in the order of the dataclasses' fields.
TABLES = {
    Trial: "trial(number INTEGER PRIMARY KEY, genome TEXT NOT NULL, arch_id TEXT NOT NULL, fidelity INTEGER NOT NULL,"
    " parent INTEGER, note TEXT NOT NULL, outcome TEXT, error TEXT NOT NULL, metrics TEXT NOT NULL, repeat_of INTEGER,"
    " attempts INTEGER NOT NULL)",
    Evaluation: "evaluation(trial INTEGER NOT NULL, fidelity INTEGER NOT NULL, seed INTEGER NOT NULL,"
    " metrics TEXT NOT NULL, compile_s REAL, train_s REAL, worker TEXT NOT NULL, outcome TEXT NOT NULL,"
    " error TEXT NOT NULL, memory_bytes INTEGER, purpose TEXT NOT NULL, native INTEGER, hidden_s REAL)",
    Measurement: "measurement(arch_id TEXT NOT NULL, device TEXT NOT NULL, fingerprint TEXT NOT NULL, latency_ms REAL,"
    " median_ms REAL, p95_ms REAL, repeats INTEGER NOT NULL, info TEXT NOT NULL)",
    Event: "event(time REAL, kind TEXT NOT NULL, data TEXT NOT NULL)",
}
# Columns that a journal may lack, the last of their tables: nothing is known then.
ADDED = {Evaluation: {"native": "INTEGER", "hidden_s": "REAL"}}
META = "meta(key TEXT PRIMARY KEY, value TEXT NOT NULL)"


def select(database: sqlite3.Connection, record: type[Record], rest: str, arguments: Iterable[Any] = ()) -> list[Record]:
    """Records of a kind; `rest` is what follows the table's name. Raises ValueError or TypeError for what is no record."""
    names = [column.name for column in fields(record) if not _lacks(database, record, column.name)]
    rows = database.execute(f"SELECT {', '.join(names)} FROM {table(record)} {rest}", tuple(arguments)).fetchall()
    columns = [_DECODERS.get(name, _as_is)(column) for name, column in zip(names, zip(*rows, strict=True), strict=bool(rows))]
    if len(names) < len(fields(record)):
        return [record(**dict(zip(names, row, strict=True))) for row in zip(*columns, strict=True)]
    return [record(*row) for row in zip(*columns, strict=True)]


def _lacks(database: sqlite3.Connection, record: type, column: str) -> bool:
    """Whether a column was added since this journal was made."""
    if column not in ADDED.get(record, {}):
        return False
    return column not in {row[1] for row in database.execute(f"PRAGMA table_info({table(record)})")}


def add_columns(database: sqlite3.Connection) -> None:
    """Brings a journal that was made before some columns were up to date."""
    for record, columns in ADDED.items():
        for column, kind in columns.items():
            if _lacks(database, record, column):
                database.execute(f"ALTER TABLE {table(record)} ADD COLUMN {column} {kind}")


def table(record: type) -> str:
    return TABLES[record].partition("(")[0]


def insert(database: sqlite3.Connection, record: Trial | Evaluation | Measurement | Event) -> None:
    columns = [column.name for column in fields(record)]
    values = [_ENCODERS.get(name, text)(getattr(record, name)) for name in columns]
    database.execute(f"INSERT INTO {table(type(record))} ({', '.join(columns)}) VALUES ({', '.join('?' * len(values))})", values)


def put(database: sqlite3.Connection, key: str, value: JSON) -> None:
    database.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", [key, to_json(value)])


def insert_evaluations(database: sqlite3.Connection, trial: Trial, evaluations: Iterable[Evaluation]) -> None:
    for evaluation in evaluations:
        assert evaluation.trial == trial.number, f"trial {trial.number} with an evaluation of {evaluation.trial}"
        insert(database, evaluation)


def to_json(value: JSON, sort_keys: bool = False) -> str:
    settings: dict[str, JSON] = {"separators": (",", ":"), "allow_nan": False, "sort_keys": sort_keys}
    try:
        plain = json.dumps(value, default=_plain, **settings)
    except ValueError:
        plain = None
    return plain if plain and '"$float"' not in plain else json.dumps(_tag_floats(value), **settings)


def _plain(value: JSON) -> JSON:
    """Mappings of other kinds, and numpy's scalars and arrays."""
    if isinstance(value, Mapping):
        return dict(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} {value!r} is not JSON")


def _tag_floats(value: JSON) -> JSON:
    if isinstance(value, float):
        return value if math.isfinite(value) else {"$float": repr(float(value))}
    if value is None or isinstance(value, (str, int)):
        return value
    if isinstance(value, Mapping):
        tagged = {key: _tag_floats(item) for key, item in value.items()}
        return {"$float": [tagged["$float"]]} if tagged.keys() == {"$float"} else tagged  # somebody's own key
    if isinstance(value, (list, tuple)):
        return [_tag_floats(item) for item in value]
    return _tag_floats(_plain(value))


def from_json(text: str) -> JSON:
    return parse_json(text, object_hook=_untag_float if '"$float"' in text else None)


def _from_jsons(column: Sequence[str]) -> list[JSON]:
    """One call of the parser for a column: a tenth of the time of one for each of 100,000 rows."""
    parsed = from_json(f"[{','.join(column)}]")
    if len(parsed) != len(column):
        raise ValueError("a value that is not one JSON value")
    return parsed


def _untag_float(value: dict[str, JSON]) -> JSON:
    if value.keys() != {"$float"}:
        return value
    tagged = value["$float"]
    return {"$float": tagged[0]} if isinstance(tagged, list) else float(tagged)


def metrics_json(metrics: Mapping[str, float]) -> str:
    wrong = [name for name in metrics if name.partition("/")[0] == "latency_ms"]
    assert not wrong, f"metric {wrong[0]}: a prediction is predicted_ms/<device>; latency_ms names an objective"
    return to_json({name: float(value) for name, value in metrics.items()})


def text(value: JSON) -> Any:
    """Messages of strange exceptions may hold what SQLite's UTF-8 text cannot."""
    return value.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0") if isinstance(value, str) else value


def _as_is(column: Sequence[Any]) -> Sequence[Any]:
    return column


def _reals(column: Sequence[float | None]) -> list[float]:
    return [math.nan if value is None else value for value in column]  # SQLite keeps a nan as NULL


def _genomes(column: Sequence[str]) -> list[tuple[int, ...]]:
    return [tuple(genome) for genome in _from_jsons(column)]


_ENCODERS = dict.fromkeys(("genome", "note", "info", "data"), to_json) | {"metrics": metrics_json}
# Whole columns at once.
_DECODERS: dict[str, Callable[[Sequence[Any]], Sequence[Any]]] = {
    "note": _from_jsons,
    "metrics": lambda column: shapes.metrics(_from_jsons(column)),
    **dict.fromkeys(("info", "data"), lambda column: shapes.mappings(_from_jsons(column))),
    **dict.fromkeys(("compile_s", "train_s", "latency_ms", "median_ms", "p95_ms"), _reals),
    "genome": _genomes,
    "native": lambda column: [None if value is None else bool(value) for value in column],
}
