"""The file of a journal: one writer's lock, SQLite as we open it, and its errors as one line each."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows, where a second writer is then not noticed
    fcntl = None

from nas.journal.rows import META, TABLES, add_columns, to_json
from nas.records import JSON

SCHEMA = 2
APPLICATION = 0x6E617301  # "nas" in the file's header: `file journal.sqlite` shows it


class JournalError(ValueError):
    """The journal cannot be used; one line that names the file and the reason."""


@contextlib.contextmanager
def clear_errors(path: Path) -> Iterator[None]:
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


def beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def lock(path: Path, held: contextlib.ExitStack) -> bool:
    """Keep other writers out while this process lives; the system frees the lock when it dies, however that happens.

    False where the file system has no locks.

    A POSIX lock, because children made by fork do not inherit it, and on a separate file, because closing any other
    handle on the database would drop SQLite's own locks.
    """
    if not path.parent.is_dir():
        raise JournalError(f"{path}: its folder does not exist")
    try:
        file = held.enter_context(beside(path, "-lock").open("a+"))
    except OSError as error:
        raise JournalError(f"{path}: its folder cannot be written: {error.strerror}") from error
    if fcntl is None:
        return False
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        file.seek(0)
        raise JournalError(f"{path}: being written by another process (pid {file.read().strip() or '?'})") from None
    except OSError:
        return False  # a file system without locks
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return True


def connect(path: Path, mode: str, held: contextlib.ExitStack) -> sqlite3.Connection:
    uri = f"{path.as_uri()}?mode={mode}"
    return held.enter_context(contextlib.closing(sqlite3.connect(uri, uri=True, isolation_level=None, timeout=30.0)))


def write_schema(path: Path, meta: Mapping[str, JSON]) -> None:
    with contextlib.ExitStack() as held:
        database = connect(path, "rwc", held)
        database.execute("PRAGMA synchronous = FULL")
        database.execute("BEGIN")
        for table in (*TABLES.values(), META):
            database.execute(f"CREATE TABLE {table}")
        database.executemany("INSERT INTO meta VALUES (?, ?)", [(key, to_json(meta[key])) for key in meta])
        database.execute(f"PRAGMA application_id = {APPLICATION}")
        database.execute(f"PRAGMA user_version = {SCHEMA}")
        database.execute("COMMIT")


def sync_folder(folder: Path) -> None:
    """A rename is on disk when its folder is. Systems that cannot open folders do without."""
    with contextlib.suppress(PermissionError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def open_to_write(path: Path, held: contextlib.ExitStack) -> sqlite3.Connection:
    database = connect(path, "rw", held)
    _check_schema(path, database)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    # SQLite opens a read-only file without an error; this fails now rather than at the first trial.
    database.execute("BEGIN IMMEDIATE")
    database.execute(f"PRAGMA user_version = {SCHEMA}")
    database.execute("ROLLBACK")
    add_columns(database)
    return database


def open_to_read(path: Path, held: contextlib.ExitStack) -> sqlite3.Connection:
    """A connection inside one read transaction, so that all it reads belongs together."""
    database = connect(path, "ro", held)
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
    if beside(path, "-wal").exists():
        shutil.copyfile(beside(path, "-wal"), beside(copy, "-wal"))
    database = connect(copy, "ro", held)
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
        raise JournalError(
            f"{path}: written by an older nas (schema {version}, this one reads {SCHEMA}): resume it with the nas that wrote it,"
            " or start a new run in another folder"
        )
