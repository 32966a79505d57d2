"""A limit on the memory of a worker: what a trial takes beyond it becomes its outcome, before the machine runs out."""

from __future__ import annotations

import resource
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from nas.records import Job, Outcome

LOOK_S = 0.1
GIB = 2**30


def resident_bytes() -> int:
    """Memory that this process holds now; where the system does not tell, the most that it ever held."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def run_within(limit: int, jobs: Sequence[Job], work: Callable[[], Sequence[Outcome]]) -> tuple[list[Outcome], bool]:
    """(outcomes, whether this process must end): `work` in a thread, left alone as soon as the process outgrows `limit` bytes.

    A limit of 0 is none. Native code cannot be stopped from outside, so a process that gave up on it has to go.
    """
    if not limit:
        return list(work()), False
    done: list[Sequence[Outcome]] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            done.append(work())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    while thread.is_alive():
        if (held := resident_bytes()) > limit:
            error = f"took {held / GIB:.3g} GiB of memory, the limit is {limit / GIB:.3g}"
            return [Outcome(job.number, "oom", error) for job in jobs], True
        thread.join(LOOK_S)
    if failed:
        raise failed[0]
    return list(done[0]), False
