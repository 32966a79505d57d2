"""The log of a run: what the logger "nas" gets while the run is open, in the run's folder; the root logger is the caller's."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

FILE = "log.txt"
_log = logging.getLogger("nas")
_lock, _open = Lock(), [0]  # runs of this process, in any thread


class _Handler(logging.FileHandler):
    def handleError(self, record: logging.LogRecord) -> None:
        """A full disk has an error line of its own; complaints of the log would bury it."""


@contextmanager
def logged(folder: Path) -> Iterator[None]:
    """Writes the log of a run to `log.txt` in its folder; a failure's traceback too, which a note on the error states."""
    folder.mkdir(parents=True, exist_ok=True)
    handler = _Handler(folder / FILE, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    _attach(handler)
    try:
        yield
    except Exception as error:
        _log.error("%s", type(error).__name__, exc_info=error)
        error.add_note(f"the traceback is in {os.path.relpath(folder / FILE)}")
        raise
    finally:
        _detach(handler)


def _attach(handler: logging.Handler) -> None:
    with _lock:
        _open[0] += 1
        _log.addHandler(handler)
        if _log.level == logging.NOTSET:
            _log.setLevel(logging.INFO)


def _detach(handler: logging.Handler) -> None:
    with _lock:
        _open[0] -= 1
        _log.removeHandler(handler)
        if not _open[0]:
            _log.setLevel(logging.NOTSET)
    handler.close()
