"""Programs that are compiled while another training runs: the same results, and no training waits for another's program."""

import dataclasses
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from nas.arch import Block
from nas.arch.blocks import arch_id
from nas.evaluators import evaluator_settings
from nas.records import Job
from nas.runtime import make_executor_settings
from nas.runtime.dispatch import run_all
from nas.runtime.pool import Member, Pool
from nas.runtime.spec import WorkerSpec
from nas.train import fit
from nas.train.ahead import KEPT, Ahead
from nas.train.loop import compile_ahead
from nas.train.trainer import Program
from small_training import RECIPE, SMALL, dataset

DATA = dataset()
SHORT = dataclasses.replace(RECIPE, epochs=1)


def program(compile_s: float = 1.0) -> Program:
    nothing: Any = None
    return Program(nothing, nothing, compile_s, None)


def test_a_program_is_taken_once_and_by_its_own_key_alone() -> None:
    ahead = Ahead()
    ahead.begin("a", lambda: program(2.0))
    assert ahead.take("b") is None
    while (found := ahead.take("a")) is None:  # not begun yet: it is cancelled, and a training compiles at once
        ahead.begin("a", lambda: program(2.0))
    assert (found.compile_s, 0 <= found.hidden_s <= 2.0) == (2.0, True)
    assert ahead.take("a") is None


def test_a_training_waits_for_a_program_on_its_way_and_not_for_one_that_is_not_begun() -> None:
    ahead, begun, go = Ahead(), threading.Event(), threading.Event()

    def slow() -> Program:
        begun.set()
        go.wait(60)
        return program()

    ahead.begin("slow", slow)
    begun.wait(60)
    ahead.begin("next", lambda: pytest.fail("it was taken back"))
    assert ahead.take("next") is None  # one thread compiles at a time
    threading.Timer(0.01, go.set).start()
    assert ahead.take("slow") is not None


def test_a_failure_is_left_to_the_training_and_few_programs_are_kept() -> None:
    ahead, done = Ahead(), threading.Event()

    def wrong() -> Program:
        done.set()
        raise RuntimeError("no memory")

    ahead.begin("wrong", wrong)
    done.wait(60)
    assert ahead.take("wrong") is None
    for key in range(KEPT + 3):
        ahead.begin(key, program)
    assert len(ahead._programs) == KEPT


@pytest.mark.parametrize("more", [{}, {"ema": 0.9, "class_weights": "balanced"}])
def test_a_training_with_a_program_compiled_ahead_ends_with_the_same_weights(more: dict[str, Any]) -> None:
    ahead, recipe = Ahead(), dataclasses.replace(SHORT, **more)
    plain = fit(SMALL, DATA, recipe, 3)
    compile_ahead(ahead, SMALL, DATA, recipe)
    [waiting] = ahead._programs.values()
    waiting.result(60)
    found = fit(SMALL, DATA, recipe, 3, ahead=ahead)
    assert found.hidden_s > 0
    assert plain.hidden_s == 0
    assert not ahead._programs
    jax.tree.map(np.testing.assert_array_equal, found.params, plain.params)
    assert found.metrics == plain.metrics


def test_another_network_or_recipe_takes_no_program_of_this_one() -> None:
    ahead = Ahead()
    compile_ahead(ahead, SMALL, DATA, SHORT)
    wider = dataclasses.replace(SMALL, stem=Block.of("conv", width=8))
    for arch, recipe in ((wider, SHORT), (SMALL, dataclasses.replace(SHORT, lr=0.2))):
        assert fit(arch, DATA, recipe, 0, ahead=ahead).hidden_s == 0
    assert len(ahead._programs) == 1


class Hinted(Pool[Member]):
    """Workers that keep what they were given; `free` says which may begin."""

    compiles_ahead = True

    def __init__(self, count: int):
        super().__init__()
        self._members = [Member(name=str(i)) for i in range(count)]
        self.hints: list[tuple[str, int]] = []

    def _free(self) -> Member | None:
        return next((member for member in self._members if member.ticket is None), None)

    def _give(self, member: Member, jobs: Sequence[Job]) -> None: ...

    def _hint(self, member: Member, job: Job) -> None:
        self.hints.append((member.name, job.number))

    def _end(self, member: Member) -> None: ...

    def done(self, name: str) -> int:
        """Ends what a worker does; the number of the job that it has next."""
        member = next(one for one in self._members if one.name == name)
        member.ticket = None
        self._feed()
        return member.jobs[0].number


def test_a_worker_takes_the_job_that_it_compiled_for() -> None:
    pool = Hinted(2)
    for number in range(5):
        pool.submit([Job(number, "train")])
    assert pool.hints == [("0", 2), ("1", 3)]
    assert pool.done("1") == 3  # 2 waits for the worker that compiles for it
    assert pool.hints[2:] == [("1", 4)]
    assert pool.done("0") == 2
    assert pool.done("0") == 4  # nothing else is left, so that no worker is idle
    pool = Hinted(1)
    pool.submit([Job(0, "train")])
    pool.submit([Job(1, "train")])
    pool.kill(2)
    assert pool.done("0") == 0  # nothing new: the job that it compiled for is gone


def test_worker_processes_that_compile_ahead_give_the_same_outcomes(tmp_path: Path) -> None:
    found = []
    images, recipe = {"name": "digits", "resolution": 6, "train_size": 64}, {"epochs": 1, "batch": 16, "norm_warmup": False}
    settings = {"dataset": images, "recipe": recipe, "evaluator": {"name": "scratch", "keep_weights": False}}
    for asked in ({"name": "local"}, {"name": "processes", "workers": 1, "ahead": True}):
        executor = make_executor_settings(asked).start(WorkerSpec(settings, {}, storage=str(tmp_path)))
        jobs = []
        for number, width in enumerate((4, 5, 6)):
            arch = dataclasses.replace(SMALL, stem=Block.of("conv", width=width)).with_io(channels=1, classes=10)
            jobs.append(Job(number, "train", arch.to_dict(), arch_id(arch), 0, number))
        try:
            outcomes = run_all(executor, jobs)
        finally:
            executor.close()
        assert [outcome.outcome for outcome in outcomes] == ["ok"] * 3, outcomes[0].error
        found.append([outcome.metrics for outcome in outcomes])
    assert found[0] == found[1]


@pytest.mark.parametrize(
    "evaluator, executor, message",
    [
        ("layerwise", {"name": "processes", "ahead": True}, "executor.ahead: evaluator=layerwise compiles nothing ahead; leave it out"),
        ("switched", {"name": "ray", "gpus": 2}, "executor: evaluator=switched trains on one accelerator, got 2 a worker"),
        ("scratch", {"name": "processes", "ahead": True}, None),
        ("scratch", {"name": "ray", "gpus": 2}, None),
    ],
)
def test_an_evaluator_that_cannot_do_what_its_workers_should_is_named(
    evaluator: str, executor: dict[str, Any], message: str | None
) -> None:
    asked, capabilities = make_executor_settings(executor), evaluator_settings({"name": evaluator}).capabilities
    if message is None:
        capabilities.check_workers(asked.devices, asked.asks_ahead, evaluator)
        return
    with pytest.raises(ValueError, match=message):
        capabilities.check_workers(asked.devices, asked.asks_ahead, evaluator)
