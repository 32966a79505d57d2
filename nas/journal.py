"""The journal of a run: every trial, evaluation, measurement and event, in one SQLite file.

    with Journal.create(path, meta={"seed": 7}) as journal:
        trial = journal.begin(Trial(0, genome=(1, 0, 2), arch_id="3f9a"))                      # on disk before training
        journal.finish(replace(trial, outcome="ok", metrics={"accuracy": 0.71}), evaluations)  # all of it, or nothing

One process writes, any number read meanwhile; `Journal.open(path, read_only=True)` shows one moment of it. What a call
has returned from is on disk (WAL, synchronous=FULL). The tables are for people too:

    sqlite3 journal.sqlite "select number, outcome, metrics from trial"

Genomes and mappings are JSON text, in which a nan or an infinity is written {"$float": "nan"}. Calls that write return
the record as it will be read back (lists for tuples, floats for numpy's scalars), so that a controller told now and one
told after a resume are told the same. WAL does not work on network file systems.

What users and machines can do to the file (missing, foreign, damaged, read-only, full disk, in use) raises
JournalError; wrong calls (finishing twice, skipping a number) raise AssertionError.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

try:
    import fcntl
except ImportError:  # Windows, where a second writer is then not noticed
    fcntl = None

SCHEMA = 1
APPLICATION = 0x6E617301  # "nas" in the file's header: `file journal.sqlite` shows it
OUTCOMES = ("ok", "infeasible", "oom", "nan", "compile_error", "timeout", "lost", "error")

JSON = Any
Purpose = Literal["search", "test"]


class JournalError(ValueError):
    """The journal cannot be used; one line that names the file and the reason."""


@dataclass(frozen=True)
class Proposal:
    """What a controller asks for. `fidelity` is a rung number; `note` is its own JSON and comes back with the trial."""

    genome: tuple[int, ...]
    fidelity: int = 0
    parent: int | None = None
    note: Mapping[str, JSON] = field(default_factory=dict)


@dataclass(frozen=True)
class Trial:
    """A numbered proposal and what became of it; `outcome` is one of OUTCOMES, or None while in flight.

    `metrics` holds what the controller is told: deterministic values only, never a clock. `repeat_of` names the trial
    whose result answered this one; `attempts` counts those that were lost before.
    """

    number: int
    genome: tuple[int, ...]
    arch_id: str
    fidelity: int = 0
    parent: int | None = None
    note: Mapping[str, JSON] = field(default_factory=dict)
    outcome: str | None = None
    error: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    repeat_of: int | None = None
    attempts: int = 0

    @classmethod
    def of(cls, number: int, proposal: Proposal, arch_id: str, **rest: Any) -> Self:
        """The trial that carries out a proposal."""
        return cls(number, proposal.genome, arch_id, proposal.fidelity, proposal.parent, proposal.note, **rest)

    @property
    def proposal(self) -> Proposal:
        return Proposal(self.genome, self.fidelity, self.parent, self.note)

    @property
    def done(self) -> bool:
        return self.outcome is not None

    @property
    def ok(self) -> bool:
        return self.outcome == "ok"


@dataclass(frozen=True)
class Evaluation:
    """One training of a trial's architecture: times in seconds, `memory_bytes` the peak where the backend tells."""

    trial: int
    fidelity: int
    seed: int
    metrics: Mapping[str, float]
    compile_s: float
    train_s: float
    worker: str = ""
    outcome: str = "ok"
    error: str = ""
    memory_bytes: int | None = None
    purpose: Purpose = "search"


@dataclass(frozen=True)
class Measurement:
    """Latency of a whole architecture, in ms; the fingerprint tells device, versions, batch, dtype and threads."""

    arch_id: str
    device: str
    fingerprint: str
    median_ms: float
    p95_ms: float
    repeats: int
    info: Mapping[str, JSON] = field(default_factory=dict)


@dataclass(frozen=True)
class Event:
    """Something that happened to the run; `time` in Unix seconds."""

    time: float
    kind: str
    data: Mapping[str, JSON] = field(default_factory=dict)


Record = TypeVar("Record", Trial, Evaluation, Measurement, Event)

# Columns stand in the order of the dataclasses' fields.
_TABLES = {
    Trial: "trial(number INTEGER PRIMARY KEY, genome TEXT NOT NULL, arch_id TEXT NOT NULL, fidelity INTEGER NOT NULL,"
    " parent INTEGER, note TEXT NOT NULL, outcome TEXT, error TEXT NOT NULL, metrics TEXT NOT NULL, repeat_of INTEGER,"
    " attempts INTEGER NOT NULL)",
    Evaluation: "evaluation(trial INTEGER NOT NULL, fidelity INTEGER NOT NULL, seed INTEGER NOT NULL,"
    " metrics TEXT NOT NULL, compile_s REAL, train_s REAL, worker TEXT NOT NULL, outcome TEXT NOT NULL,"
    " error TEXT NOT NULL, memory_bytes INTEGER, purpose TEXT NOT NULL)",
    Measurement: "measurement(arch_id TEXT NOT NULL, device TEXT NOT NULL, fingerprint TEXT NOT NULL, median_ms REAL,"
    " p95_ms REAL, repeats INTEGER NOT NULL, info TEXT NOT NULL)",
    Event: "event(time REAL, kind TEXT NOT NULL, data TEXT NOT NULL)",
}
_META = "meta(key TEXT PRIMARY KEY, value TEXT NOT NULL)"


class Journal:
    """An open journal; made by `create` or `open`, closed by `close` or the end of a `with`."""

    def __init__(self, path: Path, database: sqlite3.Connection, held: contextlib.ExitStack, read_only: bool):
        self.path, self.read_only = path, read_only
        self._database, self._held = database, held

    @classmethod
    def create(cls, path: str | os.PathLike[str], meta: Mapping[str, JSON] | None = None) -> Self:
        """A new journal holding `meta`, there at once and complete or, after a crash, not at all; open for writing.

        Raises JournalError where the file exists already, or its folder is missing or read-only.
        """
        path = Path(path).absolute()
        with contextlib.ExitStack() as held, _clear_errors(path):
            _lock(path, held)
            if path.exists():
                raise JournalError(f"{path}: exists already")
            fresh = _beside(path, ".new")
            # SQLite would replay the log of a deleted journal into its successor.
            for left_over in (fresh, _beside(fresh, "-journal"), _beside(path, "-wal"), _beside(path, "-shm")):
                left_over.unlink(missing_ok=True)
            _write_schema(fresh, meta or {})
            os.replace(fresh, path)
            _sync_folder(path.parent)
            return cls(path, _open_to_write(path, held), held.pop_all(), read_only=False)

    @classmethod
    def open(cls, path: str | os.PathLike[str], read_only: bool = False) -> Self:
        """An existing journal, to go on writing or, read-only, as it stands at this moment.

        Raises JournalError where the file is missing, foreign, damaged or of a newer schema; for writing also where it
        is read-only or another process is writing it.
        """
        path = Path(path).absolute()
        with contextlib.ExitStack() as held, _clear_errors(path):
            if not path.exists():
                raise JournalError(f"{path}: no such file")
            if path.is_dir():
                raise JournalError(f"{path}: a folder, wanted the journal file in it")
            if not read_only:
                _lock(path, held)
            database = (_open_to_read if read_only else _open_to_write)(path, held)
            return cls(path, database, held.pop_all(), read_only)

    def close(self) -> None:
        self._held.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def get(self, key: str, default: JSON = None) -> JSON:
        """The value kept under a key of the run's own: identity, settings, versions, predictor, ..."""
        with _clear_errors(self.path):
            row = self._database.execute("SELECT value FROM meta WHERE key = ?", [key]).fetchone()
            return _from_json(row[0]) if row else default

    def put(self, key: str, value: JSON) -> None:
        with self._transaction() as database:
            database.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", [key, _to_json(value)])

    @property
    def next_number(self) -> int:
        """The number that the next trial must have: how many there are."""
        with _clear_errors(self.path):
            return self._database.execute("SELECT coalesce(max(number) + 1, 0) FROM trial").fetchone()[0]

    def begin(self, trial: Trial) -> Trial:
        """Commit a pending trial, before any work on it."""
        assert not trial.done, f"trial {trial.number} begins with the outcome {trial.outcome}"
        return self._add_trial(trial)

    def finish(self, trial: Trial, evaluations: Iterable[Evaluation] = ()) -> Trial:
        """Commit outcome, error, metrics and `repeat_of` of a pending trial together with its evaluations."""
        number = trial.number
        assert trial.outcome in OUTCOMES, f"trial {number}: outcome {trial.outcome!r}"
        with self._transaction() as database:
            _add_evaluations(database, trial, evaluations)
            changed = database.execute(
                "UPDATE trial SET outcome = ?, error = ?, metrics = ?, repeat_of = ?"
                " WHERE number = ? AND outcome IS NULL",
                [trial.outcome, _text(trial.error), _metrics(trial.metrics), trial.repeat_of, number],
            )
            assert changed.rowcount == 1, f"trial {number} is unknown or finished already"
        return self.trial(number)

    def settle(self, trial: Trial, evaluations: Iterable[Evaluation] = ()) -> Trial:
        """`begin` and `finish` in one commit, for trials that need no work: screened out, or answered by a repeat."""
        assert trial.outcome in OUTCOMES, f"trial {trial.number}: outcome {trial.outcome!r}"
        return self._add_trial(trial, evaluations)

    def retry(self, number: int, error: str) -> Trial:
        """Count one more lost attempt of a pending trial, with an event `retry`."""
        with self._transaction() as database:
            changed = database.execute(
                "UPDATE trial SET attempts = attempts + 1 WHERE number = ? AND outcome IS NULL", [number]
            )
            assert changed.rowcount == 1, f"trial {number} is unknown or finished already"
            _insert(database, Event(time.time(), "retry", {"number": number, "error": error}))
        return self.trial(number)

    def trials(self) -> list[Trial]:
        """All trials, in order of number."""
        return self._read(Trial, "ORDER BY number")

    def trial(self, number: int) -> Trial:
        found = self._read(Trial, "WHERE number = ?", [number])
        assert found, f"trial {number} is unknown"
        return found[0]

    def evaluations(self, purpose: Purpose | None = None) -> list[Evaluation]:
        """Evaluations in order of writing, all or those of one purpose."""
        return self._read(Evaluation, "WHERE ?1 IS NULL OR purpose = ?1 ORDER BY rowid", [purpose])

    def add_evaluation(self, evaluation: Evaluation) -> None:
        """One more evaluation of a trial, such as that on the test split."""
        with self._transaction() as database:
            known = database.execute("SELECT 1 FROM trial WHERE number = ?", [evaluation.trial]).fetchone()
            assert known, f"trial {evaluation.trial} is unknown"
            _insert(database, evaluation)

    def measurements(self) -> list[Measurement]:
        return self._read(Measurement, "ORDER BY rowid")

    def add_measurement(self, measurement: Measurement) -> None:
        with self._transaction() as database:
            _insert(database, measurement)

    def events(self, kind: str | None = None) -> list[Event]:
        """Events in order of writing, all or those of one kind."""
        return self._read(Event, "WHERE ?1 IS NULL OR kind = ?1 ORDER BY rowid", [kind])

    def add_event(self, kind: str, /, **data: JSON) -> None:
        with self._transaction() as database:
            _insert(database, Event(time.time(), kind, data))

    def _add_trial(self, trial: Trial, evaluations: Iterable[Evaluation] = ()) -> Trial:
        with self._transaction() as database:
            assert trial.number == self.next_number, f"trial {trial.number} is not the next, {self.next_number}"
            _insert(database, trial)
            _add_evaluations(database, trial, evaluations)
        return self.trial(trial.number)

    def _read(self, record: type[Record], rest: str, arguments: Iterable[Any] = ()) -> list[Record]:
        columns = [column.name for column in fields(record)]
        decoders = [_DECODERS.get(column, _as_is) for column in columns]
        with _clear_errors(self.path):
            rows = self._database.execute(
                f"SELECT {', '.join(columns)} FROM {_table(record)} {rest}", tuple(arguments)
            ).fetchall()
            try:
                return [record(*[decode(v) for decode, v in zip(decoders, row, strict=True)]) for row in rows]
            except (ValueError, TypeError) as error:
                raise JournalError(f"{self.path}: damaged: table {_table(record)}: {error}") from error

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        assert not self.read_only, f"{self.path} is open for reading"
        with _clear_errors(self.path):
            try:
                self._database.execute("BEGIN IMMEDIATE")
                yield self._database
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise


def diff(a: Journal, b: Journal) -> list[str]:
    """What differs between the trials of two journals, a line each, for people; nothing where they tell the same story.

    Numbers, proposals, architectures, outcomes, metrics and repeats count; attempts, messages, times, workers do not.
    """
    ours, theirs = a.trials(), b.trials()
    lines = [f"trials: {len(ours)} != {len(theirs)}"] if len(ours) != len(theirs) else []
    for mine, other in zip(ours, theirs, strict=False):
        for name in ("number", "genome", "fidelity", "parent", "note", "arch_id", "outcome", "metrics", "repeat_of"):
            left, right = (_to_json(getattr(trial, name), sort_keys=True) for trial in (mine, other))
            if left != right:
                lines.append(f"trial {mine.number}: {name}: {left} != {right}")
    return lines


def _table(record: type) -> str:
    return _TABLES[record].partition("(")[0]


def _insert(database: sqlite3.Connection, record: Trial | Evaluation | Measurement | Event) -> None:
    columns = [column.name for column in fields(record)]
    values = [_ENCODERS.get(name, _text)(getattr(record, name)) for name in columns]
    database.execute(f"INSERT INTO {_table(type(record))} VALUES ({', '.join('?' * len(values))})", values)


def _add_evaluations(database: sqlite3.Connection, trial: Trial, evaluations: Iterable[Evaluation]) -> None:
    for evaluation in evaluations:
        assert evaluation.trial == trial.number, f"trial {trial.number} with an evaluation of {evaluation.trial}"
        _insert(database, evaluation)


def _to_json(value: JSON, sort_keys: bool = False) -> str:
    settings: dict[str, Any] = {"separators": (",", ":"), "allow_nan": False, "sort_keys": sort_keys}
    try:
        return json.dumps(value, default=_plain, **settings)
    except ValueError:
        return json.dumps(_tag_floats(value), **settings)


def _plain(value: Any) -> JSON:
    """Mappings of other kinds, and numpy's scalars and arrays."""
    if isinstance(value, Mapping):
        return dict(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} {value!r} is not JSON")


def _tag_floats(value: Any) -> JSON:
    if isinstance(value, float):
        return value if math.isfinite(value) else {"$float": repr(float(value))}
    if value is None or isinstance(value, (str, int)):
        return value
    if isinstance(value, Mapping):
        return {key: _tag_floats(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_tag_floats(item) for item in value]
    return _tag_floats(_plain(value))


def _from_json(text: str) -> JSON:
    return json.loads(text, object_hook=_untag_float if '"$float"' in text else None)


def _untag_float(value: dict[str, JSON]) -> JSON:
    return float(value["$float"]) if value.keys() == {"$float"} else value


def _metrics(metrics: Mapping[str, float]) -> str:
    return _to_json({name: float(value) for name, value in metrics.items()})


def _text(value: Any) -> Any:
    """Messages of strange exceptions may hold what SQLite's UTF-8 text cannot."""
    return value.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0") if isinstance(value, str) else value


def _as_is(value: Any) -> Any:
    return value


def _real(value: float | None) -> float:
    return math.nan if value is None else value  # SQLite keeps a nan as NULL


_ENCODERS = dict.fromkeys(("genome", "note", "info", "data"), _to_json) | {"metrics": _metrics}
_DECODERS = {
    **dict.fromkeys(("note", "metrics", "info", "data"), _from_json),
    **dict.fromkeys(("compile_s", "train_s", "median_ms", "p95_ms"), _real),
    "genome": lambda text: tuple(json.loads(text)),
}


@contextlib.contextmanager
def _clear_errors(path: Path) -> Iterator[None]:
    """SQLite's and the system's errors as one line naming the file; wrong SQL and broken constraints stay our bugs."""
    try:
        yield
    except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
        raise
    except sqlite3.DatabaseError as error:
        reason = next((ours for theirs, ours in _REASONS.items() if theirs in str(error)), str(error))
        raise JournalError(f"{path}: {reason}") from error
    except OSError as error:
        raise JournalError(f"{path}: {error.strerror or error}") from error


_REASONS = {
    "not a database": "not a journal, or damaged at its beginning",
    "malformed": "damaged",
    "no such table": "damaged: a table is missing",
    "no such column": "damaged: a column is missing",
    "disk is full": "the disk is full",
    "readonly": "cannot be written: the file or its folder is read-only",
    "unable to open": "cannot be opened: is its folder there, and may it be written?",
    "locked": "in use by another process",
}


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _lock(path: Path, held: contextlib.ExitStack) -> None:
    """Keep other writers out while this process lives; the system frees the lock when it dies, however that happens.

    A POSIX lock, because children made by fork do not inherit it, and on a file of its own, because closing any other
    handle on the database would drop SQLite's own locks.
    """
    if not path.parent.is_dir():
        raise JournalError(f"{path}: its folder does not exist")
    try:
        file = held.enter_context(_beside(path, "-lock").open("a+"))
    except OSError as error:
        raise JournalError(f"{path}: its folder cannot be written: {error.strerror}") from error
    if fcntl is None:
        return
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        file.seek(0)
        raise JournalError(f"{path}: being written by another process (pid {file.read().strip() or '?'})") from None
    except OSError:
        return  # a file system without locks
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()


def _connect(path: Path, mode: str, held: contextlib.ExitStack) -> sqlite3.Connection:
    uri = f"{path.as_uri()}?mode={mode}"
    return held.enter_context(contextlib.closing(sqlite3.connect(uri, uri=True, isolation_level=None, timeout=30.0)))


def _write_schema(path: Path, meta: Mapping[str, JSON]) -> None:
    with contextlib.ExitStack() as held:
        database = _connect(path, "rwc", held)
        database.execute("PRAGMA synchronous = FULL")
        database.execute("BEGIN")
        for table in (*_TABLES.values(), _META):
            database.execute(f"CREATE TABLE {table}")
        database.executemany("INSERT INTO meta VALUES (?, ?)", [(key, _to_json(meta[key])) for key in meta])
        database.execute(f"PRAGMA application_id = {APPLICATION}")
        database.execute(f"PRAGMA user_version = {SCHEMA}")
        database.execute("COMMIT")


def _sync_folder(folder: Path) -> None:
    """A rename is on disk when its folder is. Systems that cannot open folders do without."""
    with contextlib.suppress(PermissionError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _open_to_write(path: Path, held: contextlib.ExitStack) -> sqlite3.Connection:
    database = _connect(path, "rw", held)
    _check_schema(path, database)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    # SQLite opens what it may not write without a word; this tells now rather than at the first trial.
    database.execute("BEGIN IMMEDIATE")
    database.execute(f"PRAGMA user_version = {SCHEMA}")
    database.execute("ROLLBACK")
    return database


def _open_to_read(path: Path, held: contextlib.ExitStack) -> sqlite3.Connection:
    """A connection inside one read transaction, so that all it reads belongs together."""
    database = _connect(path, "ro", held)
    database.execute("BEGIN")
    try:
        _check_schema(path, database)
        return database
    except sqlite3.OperationalError as error:
        if "unable to open" not in str(error) and "readonly" not in str(error):
            raise
    return _open_copy(path, held)


def _open_copy(path: Path, held: contextlib.ExitStack) -> sqlite3.Connection:
    """SQLite reads a WAL database only where it may make its index file: in a read-only folder, read a copy."""
    copy = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="nas-journal-"))) / "journal.sqlite"
    shutil.copyfile(path, copy)
    if _beside(path, "-wal").exists():
        shutil.copyfile(_beside(path, "-wal"), _beside(copy, "-wal"))
    database = _connect(copy, "ro", held)
    database.execute("BEGIN")
    _check_schema(path, database)
    return database


def _check_schema(path: Path, database: sqlite3.Connection) -> None:
    (application,) = database.execute("PRAGMA application_id").fetchone()
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION:
        raise JournalError(f"{path}: not a journal of nas")
    if version > SCHEMA:
        raise JournalError(f"{path}: written by a newer nas (schema {version}, this one knows {SCHEMA}); upgrade nas")
    if version < SCHEMA:
        raise JournalError(f"{path}: schema {version} is not understood, wanted {SCHEMA}")
