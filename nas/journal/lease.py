"""Who writes a journal: a lease in its `meta` table, renewed by a heartbeat, so that a dead writer differs from a busy one.

A lock on the file system keeps a second writer on the same machine out; the lease does where that lock does not reach
(another machine, a file system without locks). A lease whose heartbeat stopped is taken over, and the writer that lost it
can commit nothing more: every transaction looks whether the lease is still its own.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from nas.journal import shapes
from nas.journal.database import JournalError, connect
from nas.journal.rows import from_json, insert, put, to_json
from nas.records import JSON, Event

BEAT_S = 5.0
STALE_S = 30.0
CLOCK_S = 2.0  # between the clocks of processes and of the system


@dataclass(frozen=True)
class Lease:
    """The writer of a journal; `time` is its last heartbeat, Unix seconds."""

    host: str
    pid: int
    token: str
    since: float
    time: float

    @property
    def alive(self) -> bool:
        """Whether the heartbeat was heard of late, and the process, if it was one of this machine, is still there."""
        return abs(time.time() - self.time) < STALE_S and self.gone is not True

    @property
    def gone(self) -> bool | None:
        """Whether the process has ended; None where it is one of another machine."""
        return not _runs(self.pid, self.since) if self.host == socket.gethostname() else None


def _runs(pid: int, since: float) -> bool:
    """Whether a process of this machine runs that began before `since`: numbers are used again."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # another user's
        return True
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        began = next(int(line.split()[1]) for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime"))
        return state not in "ZX" and began + int(fields[18]) / os.sysconf("SC_CLK_TCK") < since + CLOCK_S
    except (OSError, ValueError, StopIteration, IndexError):  # a system without /proc
        return True


def read_lease(database: sqlite3.Connection) -> Lease | None:
    """The lease as it stands; None where the last writer gave it back."""
    row = database.execute("SELECT value FROM meta WHERE key = 'lease'").fetchone()
    try:
        return Lease(**shapes.checked("lease", from_json(row[0]))) if row else None
    except (TypeError, ValueError) as error:
        raise JournalError(f"the lease is damaged: {error}") from None


def take(path: Path, database: sqlite3.Connection, locked: bool) -> Holder:
    """Takes the lease of a journal, for as long as `Holder` is not closed.

    `locked`: this process holds the file system's lock, so whoever wrote on this machine is dead. Raises JournalError where
    another writer's heart beats.
    """
    before = read_lease(database)
    if before and not (locked and before.host == socket.gethostname()):
        _check_dead(path, database, before)
    now = time.time()
    lease = Lease(socket.gethostname(), os.getpid(), secrets.token_hex(8), now, now)
    database.execute("BEGIN IMMEDIATE")
    if (last := read_lease(database)) != before:
        database.execute("ROLLBACK")
        raise _refusal(path, last or lease)
    if before:
        insert(database, Event(before.time, "killed", {"pid": before.pid, "host": before.host}))
    put(database, "lease", asdict(lease))
    database.execute("COMMIT")
    return Holder(path, lease)


def _check_dead(path: Path, database: sqlite3.Connection, before: Lease) -> None:
    """Clocks of machines differ: a heart that seems to have stopped is watched for a beat before it is believed."""
    if not before.alive:
        time.sleep(1.2 * BEAT_S)
    if before.alive or read_lease(database) != before:
        raise _refusal(path, read_lease(database) or before)


def _refusal(path: Path, lease: Lease) -> JournalError:
    who = f"pid {lease.pid} on {lease.host}, heartbeat {max(time.time() - lease.time, 0):.0f} s ago"
    return JournalError(f"{path}: being written by another process ({who}); a dead one is taken over {STALE_S:.0f} s after its last")


class Holder:
    """Renews a lease from a separate thread until `close`; `status` is what the run reports with each heartbeat."""

    def __init__(self, path: Path, lease: Lease):
        self._path, self._lease = path, lease
        self.status: Callable[[], JSON] = dict
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="journal-heartbeat", daemon=True)
        self._thread.start()

    def check(self, database: sqlite3.Connection) -> None:
        """Within a transaction. Raises JournalError where another writer took the lease over."""
        ours = "SELECT 1 FROM meta WHERE key = 'lease' AND instr(value, ?)"
        if database.execute(ours, [self._lease.token]).fetchone() is None:
            raise JournalError(f"{self._path}: another process took this run over; this one stops and writes nothing more")

    def close(self, database: sqlite3.Connection) -> None:
        """Stops the heartbeat and gives the lease back."""
        self._stop.set()
        self._thread.join()
        with contextlib.suppress(sqlite3.Error):  # a full disk: then it is taken over like a dead one's
            database.execute("DELETE FROM meta WHERE key = 'lease' AND instr(value, ?)", [self._lease.token])

    def _beat(self) -> None:
        with contextlib.ExitStack() as held:
            database = None
            while not self._stop.wait(BEAT_S):
                with contextlib.suppress(sqlite3.Error):  # a busy or full disk: the next beat may come through
                    database = database or _for_beats(self._path, held)
                    self._renew(database)

    def _renew(self, database: sqlite3.Connection) -> None:
        renewed = {**asdict(self._lease), "time": time.time()}
        mine = "UPDATE meta SET value = ? WHERE key = 'lease' AND instr(value, ?)"
        if database.execute(mine, [to_json(renewed), self._lease.token]).rowcount == 1:
            put(database, "status", self.status())


def _for_beats(path: Path, held: contextlib.ExitStack) -> sqlite3.Connection:
    database = connect(path, "rw", held)
    database.execute("PRAGMA synchronous = OFF")  # losing a beat loses nothing
    return database
