"""How well shared weights rank networks: the published coefficients, and the line where they rank no better than multiply-adds."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from nas.arch import arch_from_dict
from nas.cost import Costs
from nas.journal import Journal
from nas.records import Job, Outcome
from nas.supernet.fidelity import kendall, rank_fidelity, spearman, warning
from nas.tabular import Table
from nas.workflows.progress import Callback
from nas.workflows.supernet.fidelity import Sampled, trained_alone
from search_fakes import Shuffled
from small_supernet import few

RNG = np.random.default_rng(0)
TRUTH = RNG.normal(size=40)
MACS = TRUTH + RNG.normal(size=40)
GOOD, BAD = TRUTH + 0.1 * RNG.normal(size=40), RNG.normal(size=40)


@pytest.mark.parametrize("values", [GOOD, BAD, np.round(GOOD), np.round(BAD)], ids=["good", "bad", "good, tied", "bad, tied"])
def test_coefficients_are_those_of_scipy(values: np.ndarray) -> None:
    tau: Any = stats.kendalltau(values, TRUTH)
    rho: Any = stats.spearmanr(values, TRUTH)
    assert kendall(values, TRUTH) == pytest.approx(tau.statistic)
    assert spearman(values, TRUTH) == pytest.approx(rho.statistic)


def test_what_says_nothing_ranks_nothing() -> None:
    assert (kendall(np.ones(5), TRUTH[:5]), spearman(np.ones(5), TRUTH[:5])) == (0, 0)
    assert rank_fidelity({"loss": [1, 2]}, {"loss": "min"}, [1, 2], [1, 2]) == {}
    assert warning({}, 2) is None


@pytest.mark.parametrize(
    "scores, count, line",
    [
        ({"accuracy": GOOD, "loss": BAD}, 40, None),
        ({"accuracy": BAD, "loss": -GOOD}, 40, None),
        ({"accuracy": BAD, "loss": BAD}, 40, "these weights rank no better than multiply-adds alone (tau 0."),
        ({"accuracy": MACS}, 40, "these weights rank no better than multiply-adds alone"),
        ({"accuracy": MACS}, 5, "; 5 networks are few to tell"),
    ],
)
def test_people_hear_where_multiply_adds_rank_as_well(scores: dict[str, np.ndarray], count: int, line: str | None) -> None:
    kept = {name: values[:count].tolist() for name, values in scores.items()}
    found = rank_fidelity(kept, {"accuracy": "max", "loss": "min"}, TRUTH[:count].tolist(), MACS[:count].tolist())
    said = warning(found, count)
    assert (said is None) == (line is None)
    assert (line or "") in (said or "")
    assert ("few to tell" in (said or "")) == (count < 30)


def test_seeds_of_a_network_are_averaged_and_compared(memory_path: Path) -> None:
    """With made-up trainings: accuracies are known, and a network whose second seed failed is left out."""
    alone = {number: 0.5 + 0.1 * (number // 2) + 0.02 * (number % 2) for number in range(8)}

    def made(job: Job) -> Outcome:
        if job.number == 5:
            return Outcome(job.number, "nan", "made up")
        own = {"accuracy": alone[job.number], "loss": 1.0}
        return Outcome(job.number, "ok", metrics={**own, "inherited_accuracy": job.number // 2, "inherited_loss": 0.0})

    heard: list[str] = []
    progress = Callback(lambda update: heard.append(update.text))
    with Journal.create(memory_path / "j") as journal:
        found = trained_alone(Sampled(few(), 4, 0, seeds=2), {"epochs": 3}, journal, Shuffled(0, 2, make=made), progress, None)
    assert (found["networks"], found["epochs"], found["seeds"]) == (3, 3, 2)
    assert found["deviation"] == pytest.approx(0.02 / 2**0.5)
    assert found["between_seeds"] == 1
    assert found["rankings"]["accuracy"]["kendall"] == 1
    assert found["rankings"]["loss"]["kendall"] == 0
    assert sum(line.startswith("network 2: accuracy nan: made up") or "made up" in line for line in heard) == 1
    assert any("over 2 seeds of a network accuracy has a standard deviation of 0.0141" in line for line in heard)


def test_published_results_are_the_truth_where_there_is_a_table_and_nothing_is_trained(memory_path: Path) -> None:
    space = few()
    table = Table("made up", space, Costs(space), lambda rows: rows.sum(1) / 4, lambda rows: {}, tuple, 0.0)
    asked: list[dict[str, Any]] = []

    def made(job: Job) -> Outcome:
        asked.append(dict(job.data))
        return Outcome(job.number, "ok", metrics={"accuracy": sum(space.encode(arch_from_dict(dict(job.arch)))) / 8, "loss": 1.0})

    heard: list[str] = []
    progress = Callback(lambda update: heard.append(update.text))
    with Journal.create(memory_path / "j") as journal:
        found = trained_alone(Sampled(space, 9, 0, table=table), {"epochs": 3}, journal, Shuffled(0, 2, make=made), progress, None)
    assert (found["networks"], found["epochs"], found["table"]) == (4, None, "made up")  # the space has no more
    assert found["rankings"]["accuracy"]["kendall"] == 1
    assert not any("alone" in data or "recipe" in data for data in asked)
    assert any(re.fullmatch(r"network 0: accuracy .* in made up, .* inherited \(. of 4.*\)", line) for line in heard)
