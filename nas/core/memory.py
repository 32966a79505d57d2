"""The memory that this process may have: the machine's, or less where a container or a job has less (cgroup v1 and v2)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

UNKNOWN = 64 * 2**30  # where the system does not tell


def machine_memory(root: Path = Path("/")) -> int:
    """The memory that processes like this one may have together.

    Args:
        root: Where `proc` and `sys` are.

    Returns:
        Bytes.
    """
    try:
        physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        physical = UNKNOWN
    return min([physical, *_limits(root)])


def _limits(root: Path) -> Iterator[int]:
    """Limits of this process' control group and of those that it is within; `max`, and version 1's huge number, are none."""
    for file in _files(root):
        try:
            text = file.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            continue
        if text.isdigit() and int(text) > 0:
            yield int(text)


def _files(root: Path) -> Iterator[Path]:
    """Inside a container the path that the system tells may be the host's: the mounted root counts in any case."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            base, name = root / "sys/fs/cgroup", "memory.max"
        elif "memory" in controllers.split(","):
            base, name = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes"
        else:
            continue
        parts = [part for part in path.split("/") if part not in ("", "..", ".")]
        yield from (base.joinpath(*parts[:end], name) for end in range(len(parts), -1, -1))
