"""The number of proposals ahead of results: what the user gave, or what the run began with; and what Ray is asked for."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from nas.journal import Journal
from nas.runtime import ray as ray_executor
from nas.runtime.ray import RayExecutor
from nas.workflows.run_folder import open_run
from nas.workflows.search.in_flight import choose_in_flight


@pytest.mark.parametrize(
    "given, known, capacity, on_cluster, chosen, line",
    [
        (None, None, 2, False, 4, ""),
        (None, None, 16, False, 4, "keeps 5 of 16 workers busy"),
        (None, None, 200, True, 200, "search.in_flight=200, what the cluster runs at once"),
        (None, None, 0, True, 1, "search.in_flight=1,"),
        (4, None, 200, True, 4, "keeps 5 of 200 workers busy"),
        (None, 200, 2, False, 200, ""),
        (None, 4, 200, True, 4, "keeps 5 of 200"),
        (200, 200, 8, True, 200, ""),
    ],
)
def test_what_is_chosen_and_said(
    tmp_path: Path, given: int | None, known: int | None, capacity: int, on_cluster: bool, chosen: int, line: str
) -> None:
    identity = {"seed": 0, "search": {"in_flight": known, "threads": 1}}
    with Journal.create(tmp_path / "journal.sqlite", {"identity": identity}) as journal:
        got, text = choose_in_flight(given, journal, capacity, on_cluster)
        assert got == chosen
        assert line in text
        assert bool(line) == bool(text)
        assert journal.get("identity") == {"seed": 0, "search": {"in_flight": chosen, "threads": 1}}


@pytest.mark.parametrize(
    "given, on_cluster, chosen, line",
    [(None, False, 15, ""), (None, True, 32, "search.in_flight=32"), (4, False, 4, "lets a worker train 5 of 16 trials together")],
)
def test_as_many_as_a_worker_trains_together(tmp_path: Path, given: int | None, on_cluster: bool, chosen: int, line: str) -> None:
    with Journal.create(tmp_path / "journal.sqlite", {"identity": {}}) as journal:
        got, text = choose_in_flight(given, journal, 2, on_cluster, group=16)
    assert got == chosen
    assert line in text
    assert bool(line) == bool(text)


def test_a_run_keeps_its_number(tmp_path: Path) -> None:
    def identity(in_flight: int | None) -> dict[str, Any]:
        return {"seed": 0, "search": {"in_flight": in_flight}}

    with open_run(tmp_path, identity(None), {}) as journal:
        assert choose_in_flight(None, journal, 8, True)[0] == 8
        journal.put("preparation", {})  # so that it is not empty
    with open_run(tmp_path, identity(None), {}) as journal:
        assert choose_in_flight(None, journal, 2, False)[0] == 8
    with open_run(tmp_path, identity(8), {}):
        pass
    with pytest.raises(ValueError, match=r"search.in_flight: the run in .* began with 8, this command has 4"):
        open_run(tmp_path, identity(4), {})


class Fake(RayExecutor):
    """An executor without Ray, whose clock and nodes are set by the test."""

    def __init__(self, address: str | None, workers: int | None = None, nodes: int = 1):
        self.asked: list[int] = []
        self._cluster = cast("Any", SimpleNamespace(demand=self.asked.append, capacity=lambda: nodes))
        self._settings = cast("Any", SimpleNamespace(address=address, workers=workers))
        self._demand, self._demanded, self._looked, self._nodes_hold = 0, -1e9, -1e9, 0.0
        self._failed_starts, self._pause_until = 0, 0.0
        self._members, self._queue = [], cast("Any", [])
        self.buried: list[Any] = []

    def _bury(self, member: Any) -> None:
        self.buried.append(member)
        self._members.remove(member)


@pytest.mark.parametrize(
    "address, workers, members, queue, asked",
    [(None, None, 1, 9, []), ("auto", None, 1, 9, [10]), ("auto", 4, 1, 9, [4]), ("auto", None, 0, 0, [])],
)
def test_an_autoscaler_is_informed_of_the_trials_at_hand(
    address: str | None, workers: int | None, members: int, queue: int, asked: list[int]
) -> None:
    executor = Fake(address, workers)
    executor._members, executor._queue = cast("Any", [object()] * members), cast("Any", [object()] * queue)
    for _ in range(2):  # once, not at every poll
        executor._ask_for_nodes()
    assert executor.asked == asked


def test_a_worker_that_never_greets_is_given_up(monkeypatch: Any) -> None:
    now = [1000.0]
    monkeypatch.setattr(ray_executor, "time", SimpleNamespace(monotonic=lambda: now[0]))
    executor, member = Fake("auto"), cast("Any", SimpleNamespace(ready=False, since=1000.0))
    executor._members = [member]
    now[0] += ray_executor.GREET_S - 1
    executor._give_up(member)
    assert not executor.buried
    now[0] += 2
    executor._give_up(member)
    assert executor.buried == [member]


def test_a_worker_that_waits_for_a_node_is_not_given_up(monkeypatch: Any) -> None:
    now = [1000.0]
    monkeypatch.setattr(ray_executor, "time", SimpleNamespace(monotonic=lambda: now[0]))
    executor, member = Fake("auto", nodes=0), cast("Any", SimpleNamespace(ready=False, since=1000.0))
    executor._members = [member]
    now[0] += ray_executor.GREET_S + 1
    executor._give_up(member)
    assert not executor.buried
    assert member.since == now[0]
