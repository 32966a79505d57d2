"""One measurement at a time on a machine, whichever process, run or user it belongs to."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from nas.latency.timing import DeviceError

try:
    import fcntl
except ImportError:  # Windows, where measurements are not kept apart
    fcntl = None

PATH = Path(tempfile.gettempdir()) / "nas-measuring.lock"
WAIT_S, ASK_S = 3600.0, 0.05


@contextlib.contextmanager
def machine_lock(path: Path = PATH, wait_s: float = WAIT_S) -> Iterator[None]:
    """Holds the machine's lock for measurements; the system frees it when its holder dies.

    Args:
        path: The lock file, the same for all users.
        wait_s: Seconds to wait for another holder.

    Raises:
        DeviceError: The lock cannot be had, or another measurement does not end.
    """
    if fcntl is None:
        yield
        return
    handle = _opened(path)
    try:
        _take(handle, path, wait_s)
        yield
    finally:
        os.close(handle)


def _opened(path: Path) -> int:
    """Opened for reading: enough for a lock, and all that is allowed where another user made the file."""
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise DeviceError(f"{path}: cannot be locked: {error.strerror}") from None


def _take(handle: int, path: Path, wait_s: float) -> None:
    assert fcntl is not None
    end = time.monotonic() + wait_s
    while True:
        try:
            return fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                raise DeviceError(
                    f"{path}: another measurement on this machine has not ended after {wait_s:g} s"
                ) from None
            time.sleep(ASK_S)
