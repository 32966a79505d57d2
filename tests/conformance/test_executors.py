"""One conformance suite for all executors: same jobs, same outcomes; a dead worker is reported; a killed ticket is gone."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from made_up import Stripes
from nas.records import DiskFullError, Job, Outcome, Report
from nas.runtime import make_executor_settings
from nas.runtime.base import Executor, JobEvent
from nas.runtime.cluster import check_address, check_seen, sees
from nas.runtime.dispatch import Dispatcher, run_all
from nas.runtime.spec import WorkerSpec
from nas.space import load_space
from places import HELPERS, ROOT

SPACE = load_space("tiny").fit(8, 1, 10)
KINDS = {"local": {"name": "local"}, "processes": {"name": "processes", "workers": 2}, "ray": {"name": "ray", "workers": 2}}
ALL = [pytest.param(kind, marks=pytest.mark.ray if kind == "ray" else ()) for kind in KINDS]
APART = [kind for kind in ALL if kind != "local"][1:]


@pytest.fixture
def start(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    opened: list[Executor] = []

    def open_executor(kind: str, memory_gib: float | None = None, **evaluator: Any) -> Executor:
        if kind == "ray":
            request.getfixturevalue("ray_cluster")
        settings = {"dataset": {"name": "stripes"}, "recipe": {}, "evaluator": {"name": "formula", **evaluator}, "device": {}}
        paths = (str(HELPERS), str(ROOT))
        spec = WorkerSpec(settings, SPACE.to_plain(), ("made_up",), paths, str(tmp_path), 1, "cpu")
        limit = {} if kind == "local" else {"memory_gib": memory_gib}
        opened.append(make_executor_settings({**KINDS[kind], **limit}).start(spec))
        return opened[-1]

    yield open_executor
    for executor in opened:
        executor.close()


def jobs(n: int) -> list[Job]:
    rng = np.random.default_rng(0)
    archs = [SPACE.decode(SPACE.sample(rng)) for _ in range(n)]
    return [Job(i, "train", arch.to_dict(), f"{i:012x}", 0, 100 + i) for i, arch in enumerate(archs)]


@pytest.mark.parametrize("kind", ALL)
def test_outcomes_are_those_of_the_jobs_in_order_and_an_exception_is_one(kind: str, start: Any) -> None:
    expected = [o.metrics for o in run_all(start("local"), jobs(6))]
    executor = start(kind)
    outcomes = run_all(executor, jobs(6))
    assert [o.number for o in outcomes] == list(range(6))
    assert [o.metrics for o in outcomes] == expected
    assert all(o.outcome == "ok" and o.worker for o in outcomes)
    (outcome,) = run_all(executor, [Job(0, "train", {"name": "x"}, "0" * 12)], retries=0)
    assert outcome.outcome in ("error", "lost")
    assert "missing key" in outcome.error


@pytest.mark.parametrize("kind", APART)
def test_a_worker_that_is_killed_is_told_with_its_cause_and_costs_a_retry(kind: str, start: Any, tmp_path: Path) -> None:
    executor, (lucky, *cursed) = start(kind, kill=0.5), jobs(3)
    ticket = executor.submit(cursed[:1])
    events: list[Any] = []
    while not events:
        events += [e for e in executor.poll(1.0) if e.kind not in ("started", "progress")]
    assert (events[0].ticket, events[0].kind) == (ticket, "lost")
    assert "died" in events[0].error or "signal 9" in events[0].error
    outcomes = run_all(executor, [lucky, *cursed], retries=1)
    assert [o.outcome for o in outcomes] == ["ok"] * 3
    assert {path.name for path in tmp_path.glob(".killed-*")} == {".killed-1", ".killed-2"}


@pytest.mark.parametrize("kind", APART)
def test_workers_run_at_the_same_time_and_others_run_when_they_are_killed(kind: str, start: Any) -> None:
    executor = start(kind, seconds=1000.0)
    tickets = [executor.submit([job]) for job in jobs(3)]
    workers: list[str] = []
    while len(workers) < 2:
        workers += [event.worker for event in executor.poll(1.0) if event.kind == "started"]
    assert len(set(workers)) == 2
    assert [event for event in executor.poll(0.1) if event.kind == "started"] == []  # the third waits for a free one
    for ticket in tickets:
        executor.kill(ticket)
    outcomes = run_all(executor, jobs(1), timeout_s=1.0)
    assert [o.outcome for o in outcomes] == ["timeout"]


@pytest.mark.parametrize("kind", ["processes", pytest.param("ray", marks=[pytest.mark.ray, pytest.mark.nightly])])
def test_a_trial_that_eats_memory_is_ended_and_the_next_one_runs(kind: str, start: Any) -> None:
    executor = start(kind, memory_gib=0.7, eats=True)
    hungry, modest = jobs(2)
    (outcome,) = run_all(executor, [hungry], retries=0)
    assert outcome.outcome == "oom"
    assert "GiB of memory, the limit is 0.7" in outcome.error
    (outcome,) = run_all(executor, [modest], retries=0)
    assert outcome.outcome == "ok"


@pytest.mark.nightly
@pytest.mark.parametrize("kind", APART)
def test_what_earlier_trials_left_in_a_worker_is_not_the_trials(kind: str, start: Any) -> None:
    executor = start(kind, memory_gib=0.7, leaves=0.3)
    assert [outcome.outcome for outcome in run_all(executor, jobs(6), retries=0)] == ["ok"] * 6


@pytest.mark.parametrize("kind", ALL)
def test_a_full_disk_stops_the_run_and_is_no_outcome(kind: str, start: Any, tmp_path: Path) -> None:
    executor = start(kind, full=True)
    with pytest.raises(DiskFullError, match="No space left on device"):
        run_all(executor, jobs(1))
    (tmp_path / "room").touch()
    assert [o.outcome for o in run_all(executor, jobs(1))] == ["ok"]


@pytest.mark.ray
def test_a_folder_that_a_node_does_not_see_is_an_error_that_names_both(tmp_path: Path) -> None:
    assert not sees(str(tmp_path), "token")
    with pytest.raises(ValueError, match=rf"storage: node \S+ does not see {tmp_path}"):
        check_seen(str(tmp_path), "token")


@pytest.mark.parametrize("cause, tries", [("worker", 3), ("memory", 3), ("node", 23)])
def test_losses_are_bounded_and_nodes_are_seldom_the_candidates_fault(cause: Any, tries: int) -> None:
    class Cursed:
        submitted = 0
        dashboard = ""
        notes = ()

        def capacity(self) -> int:
            return 1

        def submit(self, jobs: Any) -> int:
            self.submitted += 1
            return self.submitted

        def poll(self, timeout_s: float) -> list[JobEvent]:
            return [JobEvent(self.submitted, "lost", error="made up", cause=cause)]

        def kill(self, ticket: int) -> None: ...
        def close(self) -> None: ...

    executor, losses = Cursed(), []
    dispatcher = Dispatcher(executor, retries=2, lost=losses.append)
    dispatcher.add(jobs(1)[0])
    done = []
    while dispatcher:
        done += dispatcher.step(0)
    assert (executor.submitted, len(losses)) == (tries, tries)
    assert [outcome.outcome for _, outcome in done] == ["oom" if cause == "memory" else "lost"]


@pytest.mark.ray
def test_a_request_that_no_node_meets_is_an_error(start: Any, ray_cluster: Any) -> None:
    spec = WorkerSpec({}, {}, (), (), "", 1, "cpu")
    with pytest.raises(ValueError, match=r"a worker needs 64 CPUs"):
        make_executor_settings({"name": "ray", "cpus": 64, "wait_s": 1}).start(spec)


def test_a_cluster_that_is_not_there_is_an_error() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"ray://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(ValueError, match=f"executor.address: cannot reach {address}"):
            check_address(address)
    for unknown in ("auto", None):
        check_address(unknown)


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"name": "proceses"}, "processes"),
        ({"name": "ray", "adress": "auto"}, "address"),
        ({"name": "processes", "workers": 0}, "workers"),
        ({"name": "processes", "workers": "two"}, "workers"),
        ({"name": "processes", "memory_gib": 0.01}, "memory_gib"),
        ({"name": "ray", "gpus": 1.5}, "a fraction of one GPU or a whole number"),
        ({"name": "ray", "tpus": 3}, "tpus: expected 0, 1, 2, 4, 8 chips"),
    ],
)
def test_mistakes_name_the_key(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make_executor_settings(settings)


class Constant:
    """An evaluator that is an object: every network has the same accuracy."""

    group = 1

    def __call__(self, jobs: Sequence[Job], report: Report) -> Sequence[Outcome]:
        return [Outcome(job.number, "ok", metrics={"accuracy": 0.5}) for job in jobs]


def bare_spec(folder: Path) -> WorkerSpec:
    return WorkerSpec({"recipe": {}, "device": {}}, SPACE.to_plain(), (), (str(ROOT),), str(folder), 1, "cpu")


def test_the_local_executor_takes_an_evaluator_object(tmp_path: Path) -> None:
    executor = make_executor_settings({"name": "local"}).start(bare_spec(tmp_path), evaluator=Constant())
    assert [o.metrics for o in run_all(executor, jobs(2))] == [{"accuracy": 0.5}] * 2
    executor.close()


@pytest.mark.parametrize("kind", APART)
def test_other_executors_refuse_an_evaluator_object(kind: str, tmp_path: Path) -> None:
    settings = make_executor_settings(KINDS[kind])
    with pytest.raises(ValueError, match=rf"executor={kind}: .* use executor=local or name the module in plugins="):
        settings.start(bare_spec(tmp_path), evaluator=Constant())


def test_processes_refuse_a_dataset_that_no_settings_name(tmp_path: Path) -> None:
    settings = make_executor_settings(KINDS["processes"])
    with pytest.raises(ValueError, match="executor=processes: functions and objects run in the caller's process"):
        settings.start(bare_spec(tmp_path), Stripes().load())


def process_state() -> tuple[object, ...]:
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    return dict(os.environ), handlers, list(sys.argv), list(logging.root.handlers), logging.root.level


@pytest.mark.parametrize("threaded", [False, True], ids=["main", "thread"])
@pytest.mark.parametrize("kind", ALL)
def test_executors_leave_the_callers_process_as_it_was(
    kind: str, threaded: bool, start: Any, request: pytest.FixtureRequest
) -> None:
    if kind == "ray":
        request.getfixturevalue("ray_cluster")  # what importing and connecting to Ray changes by itself
    before = process_state()
    outcomes: list[Outcome] = []

    def use() -> None:
        executor = start(kind)
        outcomes.extend(run_all(executor, jobs(1)))
        executor.close()

    if threaded:
        thread = threading.Thread(target=use)
        thread.start()
        thread.join()
    else:
        use()
    assert [outcome.outcome for outcome in outcomes] == ["ok"]
    assert process_state() == before
