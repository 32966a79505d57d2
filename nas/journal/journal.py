"""The journal itself: every write is one transaction, every read one moment."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from nas.journal import shapes
from nas.journal.database import (
    JournalError,
    beside,
    clear_errors,
    lock,
    open_to_read,
    open_to_write,
    sync_folder,
    write_schema,
)
from nas.journal.lease import Lease, read_lease, take
from nas.journal.rows import from_json, insert, insert_evaluations, metrics_json, put, select, table, text, to_json
from nas.records import JSON, OUTCOMES, Evaluation, Event, Measurement, Purpose, Record, Trial


class Journal:
    """An open journal; made by `create` or `open`, closed by `close` or the end of a `with`."""

    def __init__(self, path: Path, database: sqlite3.Connection, held: contextlib.ExitStack, locked: bool | None):
        self.path, self.read_only = path, locked is None
        self._database = database
        self._holder = None if locked is None else take(path, database, locked)
        if self._holder:
            held.callback(self._holder.close, database)
        self._held = held.pop_all()

    @classmethod
    def create(cls, path: str | os.PathLike[str], meta: Mapping[str, JSON] | None = None) -> Self:
        """A new journal holding `meta`, there at once and complete or, after a crash, not at all; open for writing.

        Raises JournalError where the file exists already, or its folder is missing or read-only.
        """
        path = Path(path).absolute()
        with contextlib.ExitStack() as held, clear_errors(path):
            locked = lock(path, held)
            if path.exists():
                raise JournalError(f"{path}: exists already")
            fresh = beside(path, ".new")
            # SQLite would replay the log of a deleted journal into its successor.
            for left_over in (fresh, beside(fresh, "-journal"), beside(path, "-wal"), beside(path, "-shm")):
                left_over.unlink(missing_ok=True)
            write_schema(fresh, meta or {})
            os.replace(fresh, path)
            sync_folder(path.parent)
            return cls(path, open_to_write(path, held), held, locked)

    @classmethod
    def open(cls, path: str | os.PathLike[str], read_only: bool = False) -> Self:
        """An existing journal, to continue writing or, read-only, as it stands at this moment.

        Raises JournalError where the file is missing, foreign, damaged or of a newer schema; for writing also where it
        is read-only or another process is writing it.
        """
        path = Path(path).absolute()
        with contextlib.ExitStack() as held, clear_errors(path):
            if not path.exists():
                raise JournalError(f"{path}: no such file")
            if path.is_dir():
                raise JournalError(f"{path}: a folder, expected the journal file in it")
            if read_only:
                return cls(path, open_to_read(path, held), held, None)
            locked = lock(path, held)
            return cls(path, open_to_write(path, held), held, locked)

    def close(self) -> None:
        self._held.close()

    def lease(self) -> Lease | None:
        """Who writes, and when it was last heard; None where nobody does, and nobody was killed while writing."""
        with clear_errors(self.path):
            return read_lease(self._database)

    def show(self, status: Callable[[], JSON]) -> None:
        """From now on, `status()` is written under the key `status` with every heartbeat; it is called in a thread."""
        assert self._holder, f"{self.path} is open for reading"
        self._holder.status = status

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def get(self, key: str, default: JSON = None) -> JSON:
        """The value kept under a key of the run's own: identity, settings, versions, predictor, .. Raises JournalError."""
        with clear_errors(self.path):
            row = self._database.execute("SELECT value FROM meta WHERE key = ?", [key]).fetchone()
        try:
            return shapes.checked(key, from_json(row[0])) if row else default
        except ValueError as error:
            raise JournalError(f"{self.path}: {error}") from None

    def put(self, key: str, value: JSON) -> None:
        with self._transaction() as database:
            put(database, key, value)

    @property
    def next_number(self) -> int:
        """The number that the next trial must have: how many there are."""
        with clear_errors(self.path):
            return self._database.execute("SELECT coalesce(max(number) + 1, 0) FROM trial").fetchone()[0]

    def begin(self, trial: Trial, arch: JSON = None) -> Trial:
        """Commit a pending trial, before any work on it; its architecture is kept under `arch/<id>` where it is new."""
        assert not trial.done, f"trial {trial.number} begins with the outcome {trial.outcome}"
        return self._add_trial(trial, arch=arch)

    def finish(self, trial: Trial, evaluations: Iterable[Evaluation] = ()) -> Trial:
        """Commit outcome, error, metrics and `repeat_of` of a pending trial together with its evaluations."""
        number = trial.number
        assert trial.outcome in OUTCOMES, f"trial {number}: outcome {trial.outcome!r}"
        with self._transaction() as database:
            insert_evaluations(database, trial, evaluations)
            changed = database.execute(
                "UPDATE trial SET outcome = ?, error = ?, metrics = ?, repeat_of = ?"
                " WHERE number = ? AND outcome IS NULL",
                [trial.outcome, text(trial.error), metrics_json(trial.metrics), trial.repeat_of, number],
            )
            assert changed.rowcount == 1, f"trial {number} is unknown or finished already"
        return self.trial(number)

    def settle(self, trial: Trial, evaluations: Iterable[Evaluation] = (), arch: JSON = None) -> Trial:
        """`begin` and `finish` in one commit, for trials that need no work: infeasible, or answered by an earlier result."""
        assert trial.outcome in OUTCOMES, f"trial {trial.number}: outcome {trial.outcome!r}"
        return self._add_trial(trial, evaluations, arch)

    def retry(self, number: int, error: str, cause: str = "worker", counts: bool = True) -> Trial:
        """One more loss of a pending trial, as an event `retry`; added to its `attempts` where it `counts`."""
        with self._transaction() as database:
            changed = database.execute(
                "UPDATE trial SET attempts = attempts + ? WHERE number = ? AND outcome IS NULL", [int(counts), number]
            )
            assert changed.rowcount == 1, f"trial {number} is unknown or finished already"
            insert(database, Event(time.time(), "retry", {"number": number, "error": error, "cause": cause}))
        return self.trial(number)

    def trials(self, first: int = 0, end: int | None = None) -> list[Trial]:
        """Trials first .. end - 1, or all, in order of number."""
        return self._read(Trial, "WHERE number >= ? AND number < ? ORDER BY number", [first, 2**62 if end is None else end])

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
            insert(database, evaluation)

    def measurements(self) -> list[Measurement]:
        return self._read(Measurement, "ORDER BY rowid")

    def add_measurement(self, measurement: Measurement) -> None:
        with self._transaction() as database:
            insert(database, measurement)

    def events(self, kind: str | None = None) -> list[Event]:
        """Events in order of writing, all or those of one kind."""
        return self._read(Event, "WHERE ?1 IS NULL OR kind = ?1 ORDER BY rowid", [kind])

    def add_event(self, kind: str, /, **data: JSON) -> None:
        with self._transaction() as database:
            insert(database, Event(time.time(), kind, data))

    def _add_trial(self, trial: Trial, evaluations: Iterable[Evaluation] = (), arch: JSON = None) -> Trial:
        with self._transaction() as database:
            assert trial.number == self.next_number, f"trial {trial.number} is not the next, {self.next_number}"
            insert(database, trial)
            insert_evaluations(database, trial, evaluations)
            if arch is not None:
                database.execute("INSERT OR IGNORE INTO meta VALUES (?, ?)", [f"arch/{trial.arch_id}", to_json(arch)])
        return self.trial(trial.number)

    def _read(self, record: type[Record], rest: str, arguments: Iterable[Any] = ()) -> list[Record]:
        with clear_errors(self.path):
            try:
                return select(self._database, record, rest, arguments)
            except (ValueError, TypeError) as error:
                raise JournalError(f"{self.path}: damaged: table {table(record)}: {error}") from error

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        assert self._holder, f"{self.path} is open for reading"
        with clear_errors(self.path), self._database:  # which commits, or takes back what an error leaves half done
            self._database.execute("BEGIN IMMEDIATE")
            self._holder.check(self._database)
            yield self._database


def diff(a: Journal, b: Journal) -> list[str]:
    """What differs between the trials of two journals, a line each, for people; nothing where they are equal.

    Numbers, proposals, architectures, outcomes, metrics and repeats count; attempts, messages, times, workers do not.
    """
    ours, theirs = a.trials(), b.trials()
    lines = [f"trials: {len(ours)} != {len(theirs)}"] if len(ours) != len(theirs) else []
    for mine, other in zip(ours, theirs, strict=False):
        for name in ("number", "genome", "fidelity", "parent", "note", "arch_id", "outcome", "metrics", "repeat_of"):
            left, right = (to_json(getattr(trial, name), sort_keys=True) for trial in (mine, other))
            if left != right:
                lines.append(f"trial {mine.number}: {name}: {left} != {right}")
    return lines
