"""Results as lines of JSON, appended as they come, so that a killed benchmark resumes."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.core.jsonio import parse_json
from nas.core.process import environment_kept
from nas.records import JSON

Task = Mapping[str, JSON]
Record = dict[str, JSON]


@dataclass(frozen=True)
class Store:
    """A file of records, each of them a task with its result. Without a path, records are kept nowhere."""

    path: Path | None = None

    def records(self) -> list[Record]:
        """All whole records; a line that a kill cut short is left out, and its task done again."""
        if self.path is None or not self.path.exists():
            return []
        lines = self.path.read_text(encoding="utf-8").splitlines()
        return [record for line in lines if (record := _read(line))]

    def append(self, record: Record) -> None:
        """Appends a record to the file, if there is one."""
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write("\n" * self._cut(self.path) + json.dumps(record) + "\n")

    @staticmethod
    def _cut(path: Path) -> bool:
        """Whether the last line was never finished."""
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(size - 1, 0))
            return file.read() not in (b"", b"\n")


def _read(line: str) -> Record:
    try:
        record = parse_json(line)
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def run_all(
    tasks: Sequence[Task], work: Callable[[Task], Mapping[str, JSON]], store: Store, workers: int = 1,
    start: Callable[..., object] | None = None, given: tuple[Any, ...] = (),
) -> Iterator[Record]:
    """The record of each task, those in the store first, the others in `workers` processes as they end.

    Args:
        tasks: Plain data; a record has the keys of its task.
        work: Returns what a record has besides its task.
        store: Where records are kept.
        workers: Processes; 1 works in this one.
        start: Called once in each process, before any work.
        given: Arguments of `start`.

    Yields:
        Records, as they are finished.
    """
    kept = {_key(record, task): record for task in tasks[:1] for record in store.records() if task.keys() <= record.keys()}
    waiting: list[Task] = []
    for task in tasks:
        if (record := kept.get(_key(task, task))) is not None:
            yield record
        else:
            waiting.append(task)
    for task, found in _done(waiting, work, min(workers, len(waiting)), start, given):
        record = {**task, **found}
        store.append(record)
        yield record


def _done(
    tasks: Sequence[Task], work: Callable[[Task], Mapping[str, JSON]], workers: int, start: Callable[..., object] | None,
    given: tuple[Any, ...],
) -> Iterator[tuple[Task, Mapping[str, JSON]]]:  # fmt: skip
    if workers <= 1:
        if tasks and start is not None:
            start(*given)
        yield from ((task, work(task)) for task in tasks)
        return
    context = multiprocessing.get_context("spawn")  # forks of a process with threads hang now and then
    with ProcessPoolExecutor(workers, context, start, given) as pool:
        with environment_kept("PYTHONSAFEPATH"):  # they start as `python -c`, which looks for modules in the working folder
            os.environ["PYTHONSAFEPATH"] = "1"
            futures = {pool.submit(work, dict(task)): task for task in tasks}
        try:
            yield from ((futures[future], future.result()) for future in as_completed(futures))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _key(record: Mapping[str, JSON], task: Task) -> str:
    return json.dumps({key: record[key] for key in task}, sort_keys=True)
