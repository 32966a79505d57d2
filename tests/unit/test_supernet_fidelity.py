"""How well shared weights rank networks: the published coefficients, and the line where they rank no better than multiply-adds."""

import numpy as np
import pytest
from scipy import stats

from nas.supernet.fidelity import kendall, rank_fidelity, spearman, warning

RNG = np.random.default_rng(0)
TRUTH = RNG.normal(size=40)
MACS = TRUTH + RNG.normal(size=40)
GOOD, BAD = TRUTH + 0.1 * RNG.normal(size=40), RNG.normal(size=40)


@pytest.mark.parametrize("values", [GOOD, BAD, np.round(GOOD), np.round(BAD)], ids=["good", "bad", "good, tied", "bad, tied"])
def test_coefficients_are_those_of_scipy(values: np.ndarray) -> None:
    assert kendall(values, TRUTH) == pytest.approx(stats.kendalltau(values, TRUTH).statistic)
    assert spearman(values, TRUTH) == pytest.approx(stats.spearmanr(values, TRUTH).statistic)


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
