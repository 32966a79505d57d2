"""Memory: what a container may have counts where it is less, and a trial is measured by what it took itself."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import pytest

from nas.arch import Block
from nas.arch.blocks import arch_id
from nas.core.memory import machine_memory
from nas.records import Job, Outcome
from nas.runtime import memory, worker
from nas.runtime.base import JobEvent
from nas.runtime.memory import run_within
from nas.runtime.pool import Member, Pool
from nas.runtime.processes import ProcessesSettings
from nas.runtime.spec import WorkerSpec
from small_training import SMALL, dataset

GIB = 2**30
NONE = "9223372036854771712"


@pytest.mark.parametrize(
    "files, gib",
    [
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": f"{GIB}\n"}, 1),
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/memory.max": f"{GIB}\n", "sys/fs/cgroup/a/b/memory.max": "max\n"}, 1),
        ({"proc/self/cgroup": "0::/of/the/host\n", "sys/fs/cgroup/memory.max": f"{GIB}\n"}, 1),
        ({"proc/self/cgroup": "0::/../../x\n", "sys/fs/cgroup/memory.max": f"{GIB}\n", "memory.max": "1\n"}, 1),
        ({"proc/self/cgroup": "3:cpu,memory:/a\n", "sys/fs/cgroup/memory/a/memory.limit_in_bytes": f"{GIB}\n"}, 1),
        ({"proc/self/cgroup": "3:memory:/docker/x\n1:name=systemd:/\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{GIB}\n"}, 1),
        ({"proc/self/cgroup": "3:memory:/\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{NONE}\n"}, None),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "max\n"}, None),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "what?\n"}, None),
        ({"proc/self/cgroup": "nothing\n"}, None),
        ({}, None),
    ],
)  # fmt: skip
def test_limits_of_control_groups_count(tmp_path: Path, files: Mapping[str, str], gib: int | None) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    usual = machine_memory(tmp_path / "nowhere")
    assert machine_memory(tmp_path) == (usual if gib is None else min(gib * GIB, usual))


@pytest.mark.parametrize("machine, own, workers, gib", [(16, 0.4, 4, 3.5), (2, 0.2, 2, 0.8), (64, 1.6, 64, 0.875), (1, 0.9, 8, 0.1)])
def test_a_trial_gets_its_share_of_the_memory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, machine: float, own: float, workers: int, gib: float
) -> None:
    """All workers at their limit and the driver fit in what there is, as far as a trial may run at all."""
    monkeypatch.setattr(memory, "machine_memory", lambda: int(machine * GIB))
    monkeypatch.setattr(memory, "resident_bytes", lambda: int(own * GIB))
    with contextlib.closing(ProcessesSettings(workers).start(WorkerSpec({}, {}))) as executor:
        limit = executor._spec.memory_bytes
    assert limit == pytest.approx(max(gib - memory.EMPTY_BYTES / GIB, 0.1) * GIB, rel=1e-6)
    assert workers * (limit + memory.EMPTY_BYTES) + own * GIB <= machine * GIB or gib == 0.1
    with contextlib.closing(ProcessesSettings(workers, 5.0).start(WorkerSpec({}, {}))) as executor:
        assert executor._spec.memory_bytes == 5 * GIB


@dataclass(kw_only=True)
class Fake(Member):
    """A worker in which each trial leaves what it took."""

    held: int = 0


class FakePool(Pool[Fake]):
    """One worker, replaced when it has ended; a trial takes `sizes[number]`, and more than `limit` in a worker is too much.

    A worker that holds more than `grown` ends with its trial.
    """

    def __init__(self, sizes: Sequence[int], limit: int, grown: int = 10**9):
        super().__init__()
        self._sizes, self._limit, self._grown, self._names = sizes, limit, grown, itertools.count()

    def _free(self) -> Fake | None:
        if not self._members:
            self._members.append(Fake(name=str(next(self._names))))
        return next((member for member in self._members if member.ticket is None), None)

    def _give(self, member: Fake, jobs: Sequence[Job]) -> None:
        ticket, job = member.ticket or 0, jobs[0]
        member.ticket, member.held = None, member.held + self._sizes[job.number]
        spent = member.held > self._limit
        outcomes = (Outcome(job.number, "oom" if spent else "ok", worker=member.name),)
        ended = spent or member.held > self._grown
        self._events += self._spent(member, ticket, outcomes) if ended else [JobEvent(ticket, "done", outcomes)]

    def _hint(self, member: Fake, job: Job) -> None:
        raise AssertionError("nothing is compiled ahead")

    def _end(self, member: Fake) -> None:
        pass


@pytest.mark.parametrize(
    "sizes, expected",
    [
        ([1, 1, 1], "0 ok, 0 ok, 0 ok"),
        ([3, 3, 3], "0 ok, 1 ok, 2 ok"),
        ([1, 9, 1], "0 ok, 1 oom, 2 ok"),
        ([9, 1], "0 oom, 1 ok"),
        ([9, 9], "0 oom, 1 oom"),
        ([2, 2, 9, 4], "0 ok, 0 ok, 1 oom, 2 ok"),
    ],
)
def test_a_trial_runs_once_more_in_a_fresh_worker_before_it_is_too_large(sizes: Sequence[int], expected: str) -> None:
    pool = FakePool(sizes, 4)
    for number in range(len(sizes)):
        pool.submit([Job(number, "train")])
    done = [event.outcomes[0] for event in pool._taken_events() if event.kind == "done"]
    assert ", ".join(f"{outcome.worker} {outcome.outcome}" for outcome in done) == expected


def test_a_worker_that_has_grown_is_replaced_after_its_trial_which_counts() -> None:
    pool = FakePool([1, 1, 1, 1, 1], 100, grown=1)
    for number in range(5):
        pool.submit([Job(number, "train")])
    done = [event.outcomes[0] for event in pool._taken_events() if event.kind == "done"]
    assert [(outcome.number, outcome.worker, outcome.outcome) for outcome in done] == [
        (0, "0", "ok"), (1, "0", "ok"), (2, "1", "ok"), (3, "1", "ok"), (4, "2", "ok")
    ]  # fmt: skip


@pytest.mark.parametrize(
    "kinds, held, ended",
    [
        (["train"] * 4, [1.0, 1.5, 1.9, 2.1], [False, False, False, True]),
        (["train"] * 3, [5.0, 5.5, 4.0], [False] * 3),  # large networks from the first one on
        (["fit", "train", "measure", "train"], [0.5, 3.0, 3.5, 4.1], [False, False, False, True]),
        (["fit", "fit"], [0.5, 9.0], [False, False]),
    ],
)
def test_a_worker_ends_once_it_has_grown_by_a_gib_since_its_first_training(
    monkeypatch: pytest.MonkeyPatch, kinds: list[str], held: list[float], ended: list[bool]
) -> None:
    now = [0.4]
    monkeypatch.setattr(worker, "resident_bytes", lambda: int(now[0] * GIB))
    made = worker.Worker(WorkerSpec({}, {}))
    monkeypatch.setattr(made, "run", lambda jobs, report: [Outcome(job.number, "ok") for job in jobs])
    found = []
    for number, (kind, gib) in enumerate(zip(kinds, held, strict=True)):
        now[0] = gib
        outcomes, spent = made.run_within([Job(number, kind)], lambda *args: None)
        assert outcomes == [Outcome(number, "ok")]
        found.append(spent)
    assert found == ended


def test_a_worker_keeps_no_program_and_no_array_of_a_training(tmp_path: Path) -> None:
    """Each network is another one: what stays of the first training (the kernels' own checks) stays once."""
    settings = {"dataset": None, "recipe": {"epochs": 1, "batch": 32}, "evaluator": {"name": "scratch", "keep_weights": False}}
    made = worker.Worker(WorkerSpec(settings, {}, storage=str(tmp_path)), dataset())
    counts = []
    for number, width in enumerate((4, 5)):
        arch = dataclasses.replace(SMALL, stem=Block.of("conv", width=width))
        job = Job(number, "train", arch.to_dict(), arch_id(arch), 0, number)
        assert [outcome.outcome for outcome in made.run([job], lambda *args: None)] == ["ok"]
        gc.collect()
        counts.append((len(jax.devices()[0].client.live_executables()), len(jax.live_arrays())))
    assert counts[1] <= counts[0]


def test_free_memory_is_handed_back_where_a_worker_has_grown(monkeypatch: pytest.MonkeyPatch) -> None:
    held, calls = [0], []
    monkeypatch.setattr(worker, "resident_bytes", lambda: held[0])
    monkeypatch.setattr(worker, "give_back_memory", lambda: calls.append(held[0]))
    made = worker.Worker(WorkerSpec({}, {}))
    for mib in (10, 60, 70, 120, 200):
        held[0] = mib << 20
        made.run([Job(0, "measure")], lambda *args: None)
    assert calls == [70 << 20, 200 << 20]


@pytest.mark.parametrize("held, before, outcome", [(50, 0, "ok"), (150, 0, "oom"), (150, 100, "ok"), (250, 100, "oom")])
def test_what_a_worker_held_before_it_worked_is_not_counted(
    monkeypatch: pytest.MonkeyPatch, held: int, before: int, outcome: str
) -> None:
    looked = memory.threading.Event()

    def look() -> int:
        looked.set()
        return held

    def work() -> list[Outcome]:
        looked.wait(60)
        return [Outcome(0, "ok")]

    monkeypatch.setattr(memory, "resident_bytes", look)
    outcomes, spent = run_within(100, [Job(0, "train")], work, before)
    assert ([one.outcome for one in outcomes], spent) == ([outcome], outcome == "oom")
