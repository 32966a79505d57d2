"""Energy of a program where the platform counts it (the RAPL counters of Linux); it is not estimated elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
LEAST_S = 0.3  # RAPL counts in steps of about a millisecond


def packages(root: Path = POWERCAP) -> list[Path]:
    """Folders of the counters of whole processor packages, whose sub-domains are counted in them; readable ones alone."""
    found = []
    for folder in sorted(root.glob("*-rapl:*")):
        if folder.name.count(":") == 1:
            try:
                _read(folder, "energy_uj")
            except (OSError, ValueError):
                continue
            found.append(folder)
    return found


def energy_mj(
    burst: Callable[[], int], root: Path = POWERCAP, clock: Callable[[], float] = time.perf_counter
) -> float | None:
    """Millijoules of one run, with everything else on the processor package; None without counters, or where they do not move.

    burst: runs the program once or several times, and returns how often.
    """
    counters = packages(root)
    if not counters:
        return None
    before, start, runs = [_read(folder, "energy_uj") for folder in counters], clock(), 0
    while clock() - start < LEAST_S or not runs:
        runs += burst()
    total = sum(_spent(folder, first) for folder, first in zip(counters, before, strict=True))
    return total / runs / 1e3 if total > 0 else None


def _spent(folder: Path, before: int) -> int:
    """Microjoules since `before`; the counter starts again from 0 at its highest value."""
    now = _read(folder, "energy_uj")
    return now - before if now >= before else now - before + _read(folder, "max_energy_range_uj")


def _read(folder: Path, name: str) -> int:
    return int((folder / name).read_text())
