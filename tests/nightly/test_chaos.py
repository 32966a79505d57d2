"""The chaos suite in short (the long one: `python -m tests.chaos`), and a node that is killed in the middle of a trial."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from nas.journal import Journal
from nas.report import page, summarize
from tests.chaos.cluster import FakeCluster
from tests.chaos.drive import differences, disturbed, undisturbed

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture(scope="module")
def cluster() -> Iterator[FakeCluster]:
    with FakeCluster(nodes=3) as cluster:
        yield cluster


def test_nothing_is_lost_whatever_dies(cluster: FakeCluster, tmp_path: Path) -> None:
    undisturbed(tmp_path / "calm", 16)
    story = disturbed(tmp_path / "rough", cluster, kills=3, trials=16, seed=3, seconds=0.0, kinds=("worker", "driver"))
    assert story.starts == 1 + story.killed["driver"] + story.fell
    assert differences(tmp_path / "calm", tmp_path / "rough") == (0, 0, [])


def test_a_node_killed_in_the_middle_of_a_trial_is_a_retry_in_the_report(cluster: FakeCluster, tmp_path: Path) -> None:
    disturbed(tmp_path / "run", cluster, kills=1, trials=8, seed=0, seconds=0.0, kinds=("node",), busy=True)
    with Journal.open(tmp_path / "run" / "journal.sqlite", read_only=True) as journal:
        assert all(trial.done and trial.outcome != "lost" for trial in journal.trials())
        retries = journal.events("retry")
        assert [event.data["cause"] for event in retries] == ["node"] * len(retries)
        assert retries
        text = page(summarize(journal))
    assert f"number {retries[0].data['number']}" in text
    assert "the node of worker" in text
