"""A limit on the memory of a worker: a trial that exceeds it has the outcome `oom`, before the machine runs out of memory."""

from __future__ import annotations

import resource
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from nas.core.memory import machine_memory
from nas.records import Job, Outcome

LOOK_S = 0.1
GIB = 2**30
USED = 0.9  # of the memory; the rest is for what grows between two looks, and for others
EMPTY_BYTES = 150 * 2**20  # of a worker that has done nothing yet
LEAST_GIB = 0.1


def check_memory(gib: float | None) -> None:
    """Raises ValueError for a limit below 0.1 GiB."""
    if gib is not None and not LEAST_GIB <= gib <= 100_000:
        raise ValueError(f"memory_gib: expected 0.1 to 100000, or null, got {gib:g}")


def bytes_of_each(workers: int) -> int:
    """What a trial may take by default: its part of what this process' machine or container has.

    So that trials that grow end one by one as `oom`, and the system, which would end the run's own process too, need not.

    Args:
        workers: How many run at once.

    Returns:
        Bytes beside what a worker holds before its first trial; 0.1 GiB at least.
    """
    free = USED * machine_memory() - resident_bytes()
    return int(max(free / workers - EMPTY_BYTES, LEAST_GIB * GIB))


def resident_bytes() -> int:
    """Memory that this process holds now; its highest value so far where the system does not report it."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def run_within(limit: int, jobs: Sequence[Job], work: Callable[[], Sequence[Outcome]], before: int = 0) -> tuple[list[Outcome], bool]:
    """Runs `work` in a thread, and abandons it as soon as the process holds `limit` bytes more than before.

    Args:
        limit: Bytes; 0 is no limit.
        before: Bytes that the process held when it had done no work yet.
        jobs: What `work` does.
        work: Returns the outcomes of the jobs.

    Returns:
        The outcomes, and whether this process must end: native code cannot be stopped, so an abandoned thread still runs.
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
        if (held := resident_bytes() - before) > limit:
            error = f"took {held / GIB:.3g} GiB of memory, the limit is {limit / GIB:.3g}"
            return [Outcome(job.number, "oom", error) for job in jobs], True
        thread.join(LOOK_S)
    if failed:
        raise failed[0]
    return list(done[0]), False
