"""One measurement of a user at a time on a machine, whichever process or run it belongs to."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from nas.core.process import own_folder
from nas.latency.timing import DeviceError

try:
    import fcntl
except ImportError:  # Windows, where measurements are not kept apart
    fcntl = None

WAIT_S, ASK_S = 3600.0, 0.05


@contextlib.contextmanager
def machine_lock(path: Path | None = None, wait_s: float = WAIT_S) -> Iterator[None]:
    """Holds the machine's lock for measurements; the system frees it when its holder dies.

    Args:
        path: The lock file; by default one of this user for this machine.
        wait_s: Seconds to wait for another holder.

    Raises:
        DeviceError: The lock cannot be had, or another measurement does not end.
    """
    if fcntl is None:
        yield
        return
    path = path or _usual()
    handle = _opened(path)
    try:
        _take(handle, path, wait_s)
        yield
    finally:
        os.close(handle)


def _usual() -> Path:
    """In a folder that nobody else can write; the machine's name is in it, as homes are shared by machines."""
    try:
        return own_folder() / f"measuring-{socket.gethostname()}.lock"
    except OSError as error:
        raise DeviceError(f"{error.filename}: cannot hold the lock for measurements: {error.strerror}") from None


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
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
