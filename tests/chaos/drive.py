"""One search under fire: a driver process, kills drawn from a seed, and the same command again whenever the driver is gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nas.journal import Journal, diff
from tests.helpers.made_up import finished

from .cluster import FakeCluster

ROOT = Path(__file__).parents[2]
LOOK_S = 0.05
IN_FLIGHT = 6
OPEN = 10**9  # more trials than any search has
KINDS, FRACTIONS = ("worker", "node", "driver"), (0.5, 0.25, 0.25)
SEARCH = [
    "plugins=[made_up]", "evaluator=formula", "evaluator.fail=0.1", "device=[]", "objective=params", "controller=evolution",
    f"search.in_flight={IN_FLIGHT}", "search.retries=20", "seed=4",
]  # fmt: skip


@dataclass
class Story:
    """What was done to a search, and how often its driver was started.

    `fell`: drivers that ended with the node that they were connected to, as on a real cluster.
    """

    killed: Counter[str] = field(default_factory=Counter)
    starts: int = 0
    fell: int = 0


def search(folder: Path, trials: int, *args: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "nas", "search", f"run={folder}", f"trials={trials}", *SEARCH, *args]
    path = os.pathsep.join([str(ROOT / "tests" / "helpers"), str(ROOT)])
    with open(f"{folder}.txt", "ab") as log:
        return subprocess.Popen(
            command, cwd=folder.parent, env={**os.environ, "PYTHONPATH": path}, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )


def disturbed(
    folder: Path, cluster: FakeCluster, kills: int, trials: int, seed: int, seconds: float,
    report: Callable[[str], object] = lambda line: None, kinds: Sequence[str] = KINDS, deadline_s: float = 3600, busy: bool = False,
) -> Story:  # fmt: skip
    """Runs a search to its end while `kills` things die, spread over its trials. Raises AssertionError where it cannot end.

    No trial finishes once so many are done that a kill is due, and every kill is due while more trials are left than can be in
    work: so the search cannot end before them. `busy`: a kill waits until there is a trial on every node.
    """
    rng, story, end = np.random.default_rng(seed), Story(), time.monotonic() + deadline_s
    fractions = np.array([FRACTIONS[KINDS.index(kind)] for kind in kinds])
    drawn = [str(kind) for kind in rng.choice(kinds, kills, p=fractions / fractions.sum())]
    assert trials > IN_FLIGHT + 1, f"expected more than {IN_FLIGHT + 1} trials, got {trials}"
    plan = list(zip(np.sort(rng.integers(1, trials - IN_FLIGHT, kills)).tolist(), drawn, strict=True))
    gate = _Gate(Path(f"{folder}.gate"))
    arguments = ["executor=ray", f"executor.address={cluster.address}", f"evaluator.seconds={seconds}", f"evaluator.gate={gate.path}"]
    driver, nodes_before = None, 0
    while True:
        gate.set(plan[0][0] if plan else OPEN)
        assert time.monotonic() < end, f"not done in {deadline_s:g} s: {_tail(folder)}"
        if driver is None or driver.poll() is not None:
            if driver is not None and driver.returncode == 0:
                break
            if driver is not None and driver.returncode != -signal.SIGKILL:
                assert nodes_before < story.killed["node"], f"exit {driver.returncode}: {_tail(folder)}"
                story.fell += 1
            driver, story.starts = search(folder, trials, *arguments), story.starts + 1
            nodes_before = story.killed["node"]
        done = finished(folder / "journal.sqlite")
        if plan and done >= plan[0][0] and (not busy or len(gate.waiting() & {*cluster.workers()}) == cluster.nodes):
            if victim := _kill(plan[0][1], driver, cluster, rng):
                story.killed[plan.pop(0)[1]] += 1
                report(f"{done} trials done: killed {victim}")
        else:
            time.sleep(LOOK_S)  # the driver commits to its journal and tells nobody: this asks again, and no result depends on when
    assert not plan, f"the search ended before {len(plan)} of its kills"
    return story


@dataclass(frozen=True)
class _Gate:
    """Holds trials back, see `made_up.Formula`."""

    path: Path

    def set(self, done: int) -> None:
        """From `done` trials on, the others wait."""
        new = Path(f"{self.path}.new")
        new.write_text(str(done))
        new.replace(self.path)

    def waiting(self) -> set[int]:
        """Processes that wait, and some that were killed there."""
        return {int(path.name.rpartition("-")[2]) for path in self.path.parent.glob(f"{self.path.name}-*")}


def _kill(kind: str, driver: subprocess.Popen[bytes], cluster: FakeCluster, rng: np.random.Generator) -> str:
    if kind == "worker":
        return cluster.kill_worker(rng)
    if kind == "node":
        return cluster.kill_node(rng)
    driver.kill()
    driver.wait()
    return f"driver {driver.pid}"


def undisturbed(folder: Path, trials: int) -> None:
    """The same search in one process, left in peace."""
    assert search(folder, trials, "executor=local", "evaluator.seconds=0").wait() == 0, _tail(folder)


def differences(calm: Path, rough: Path) -> tuple[int, int, list[str]]:
    """(trials lost, evaluations too many, what else differs) between a search left in peace and one under fire."""
    with Journal.open(calm / "journal.sqlite", read_only=True) as one, Journal.open(rough / "journal.sqlite", read_only=True) as other:
        expected, got = one.trials(), other.trials()
        lost = sum(not trial.done or trial.outcome == "lost" for trial in got) + max(len(expected) - len(got), 0)
        evaluated = Counter(evaluation.trial for evaluation in other.evaluations("search"))
        twice = sum(count - 1 for count in evaluated.values()) + max(len(got) - len(expected), 0)
        return lost, twice, diff(one, other)


def _tail(folder: Path) -> str:
    return Path(f"{folder}.txt").read_text(errors="replace")[-2000:]
