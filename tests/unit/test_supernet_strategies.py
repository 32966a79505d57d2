"""The laws that each strategy of a supernet draws candidates by, and the settings that it refuses."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas.arch.blocks import lower
from nas.core.yamlio import read_yaml
from nas.space import Genome, Space, load_space
from nas.supernet.strategies import (
    STRATEGIES,
    Attentive,
    Candidates,
    Fair,
    Kept,
    Rl,
    Sandwich,
    StepContext,
    Uniform,
    strategy_from,
)
from nas.supernet.strategies.rl import filters_of
from small_supernet import FEW, elastic

CONF = Path(__file__).parents[2] / "conf" / "strategy"
SPACE = elastic()
AMONG = Candidates(SPACE)
SMALL, LARGE = AMONG.smallest, AMONG.largest


@pytest.mark.parametrize("name", ["nas_bench_macro", "proxylessnas"])
def test_every_option_comes_equally_often_in_a_fair_step(name: str) -> None:
    space = load_space(name)
    for step in range(5):
        genomes = Fair().genomes(StepContext(Candidates(space), 0, step))
        counts = space.option_counts
        assert len(genomes) == counts.max()
        for gene in range(len(counts)):
            if all(space.active(genome)[gene] for genome in genomes):
                seen = np.bincount([genome[gene] for genome in genomes], minlength=counts[gene])
                assert seen.max() - seen.min() <= bool(counts.max() % counts[gene])


def test_a_sandwich_has_both_ends_and_random_ones_between() -> None:
    largest, *between, smallest = Sandwich(random=2).genomes(StepContext(AMONG, 0, 7))
    assert (largest, smallest, len(between)) == (LARGE, SMALL, 2)
    macs = [SPACE.decode(genome) for genome in (largest, *between, smallest)]
    assert len({lower(arch).id for arch in macs}) >= 2


def test_draws_depend_on_the_seed_and_the_step_alone() -> None:
    for strategy in (Uniform(), Fair(), Sandwich(), Attentive(draws=1)):
        assert strategy.genomes(StepContext(AMONG, 3, 5)) == strategy.genomes(StepContext(AMONG, 3, 5))
        assert strategy.genomes(StepContext(AMONG, 3, 5)) != strategy.genomes(StepContext(AMONG, 3, 6))


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"name": "fare"}, "strategy: no 'fare'; did you mean 'fair'"),
        ({}, "strategy: no None; expected uniform, fair, sandwich, attentive, rl, shrinking, taught"),
        ({"name": "sandwich", "random": -1}, "random: expected 0 or more candidates, got -1"),
        ({"name": "attentive", "random": -1}, "strategy.random: expected 0 or more candidates, got -1"),
        ({"name": "rl", "target": 0}, "strategy.target: expected a positive cost, got 0"),
        ({"name": "rl", "fraction": 1.5}, "strategy.fraction: expected more than 0, at most 1, got 1.5"),
        ({"name": "rl", "slope": -0.1}, "strategy.slope: expected 0 to .*, got -0.1"),
        ({"name": "rl", "learning_rate": -1}, "strategy.learning_rate: expected 0 to .*, got -1"),
        ({"name": "rl", "warmup": 1}, "strategy.warmup: expected 0 to less than 1, got 1"),
        ({"name": "rl", "baseline": 1.0}, "strategy.baseline: expected 0 to less than 1, got 1"),
        ({"name": "rl", "validation": 0}, "strategy.validation: expected 1 to .*, got 0"),
        (
            {"name": "shrinking", "shares": [1, 1]},
            "strategy.shares: expected 6 numbers, for largest, kernel, .*, got 2",
        ),
        ({"name": "shrinking", "shares": [0] * 6}, "strategy.shares: expected 0 or more each, and not 0 alone"),
        ({"name": "shrinking", "candidates": [1, 1, 1, 1, 1, 0]}, "strategy.candidates: expected 1 or more each"),
        ({"name": "attentive", "draws": 0}, "strategy.draws: expected 1 or more, got 0"),
        ({"name": "attentive", "bins": 0}, "strategy.bins: expected 1 or more, got 0"),
        ({"name": "attentive", "keep": "bets"}, "strategy.keep: .*best"),
    ],
)
def test_faults_of_a_strategy_name_it(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        strategy_from(settings)


@pytest.mark.parametrize("keep, best", [("best", min), ("worst", max)])
def test_of_candidates_of_one_size_the_best_or_the_worst_is_trained(keep: Any, best: Any) -> None:
    """By a made-up loss; sizes are of one bin, the nearest where a bin has too few, and every bin comes as often as any other."""
    strategy = Attentive(keep=keep, bins=8)
    low, high = AMONG.macs([SMALL, LARGE]).tolist()
    starts = low + (high - low) / 8 * np.arange(8)
    seen: list[Genome] = []

    def loss(genome: Genome) -> float:
        seen.append(genome)
        return float(np.random.default_rng(genome).random())

    for step in range(20):
        seen.clear()
        largest, *chosen, smallest = strategy.genomes(StepContext(AMONG, 0, step, loss=loss))
        assert (largest, smallest, len(chosen), len(seen)) == (LARGE, SMALL, 2, 6)
        for genome, three in zip(chosen, (seen[:3], seen[3:]), strict=True):
            assert len(set(three)) == 3
            assert genome == best(three, key=lambda one: float(np.random.default_rng(one).random()))
            away = [np.abs(AMONG.macs(three) - start - (high - low) / 16).max() for start in starts]
            assert min(away) <= (high - low) / 8


def test_targets_of_size_are_uniform_over_the_range() -> None:
    strategy, rng = Attentive(draws=1, bins=4), np.random.default_rng(0)
    pool = [*(SPACE.sample(rng) for _ in range(300)), SMALL, LARGE]
    low, high = AMONG.macs([SMALL, LARGE]).tolist()
    found = AMONG.macs([strategy.sized(AMONG, pool, rng)[0] for _ in range(400)])
    share = np.bincount(np.minimum((found - low) / (high - low) * 4, 3).astype(int), minlength=4) / 400
    assert share == pytest.approx([0.25] * 4, abs=0.08)


@pytest.mark.parametrize("name", STRATEGIES)
def test_the_file_of_a_strategy_lists_its_settings_as_they_are_by_default(name: str) -> None:
    listed = read_yaml(CONF / f"{name}.yaml")
    assert strategy_from(listed) == STRATEGIES[name]()
    assert listed.keys() == {"name", *dataclasses.asdict(STRATEGIES[name]())}


def turn_of(strategy: Rl, step: int, kept: Kept | None = None, **options: Any) -> StepContext:
    return StepContext(AMONG, 0, step, 100, 64, kept or strategy.start(AMONG), **options)


def test_warm_ups_fall_to_nothing_over_the_first_quarter_and_then_the_policy_moves() -> None:
    strategy = Rl()
    assert [strategy.warm(turn_of(strategy, step)) for step in (0, 5, 20, 25, 99)] == pytest.approx([1, 0.8, 0.2, 0, 0])
    rates = [strategy.rate(turn_of(strategy, step)) for step in (0, 24, 25, 100)]
    assert rates == pytest.approx([0, 0, 3e-4 * 64 / 256, 10 * 3e-4 * 64 / 256])
    seen = [strategy.warming(StepContext(AMONG, seed, 10, 100)) for seed in range(400)]
    for what in ("filters", "operations"):
        assert np.mean([one[what] for one in seen]) == pytest.approx(0.6, abs=0.08)
    for step in range(25, 35):
        assert strategy.genomes(turn_of(strategy, step)) == [strategy.drawn(turn_of(strategy, step))]


def test_in_warm_ups_widths_are_the_widest_and_operations_come_equally_often() -> None:
    strategy, counts, widest = Rl(), SPACE.option_counts, filters_of(SPACE)
    operations = [gene for gene in range(len(counts)) if gene not in widest]
    assert {SPACE.genes[gene].options[option] for gene, option in widest.items()} == {3, 6, 12}
    seen = set()
    for step in range(25):
        context = turn_of(strategy, step)
        genomes, drawn, warm = strategy.genomes(context), strategy.drawn(context), strategy.warming(context)
        seen.add(tuple(warm.values()))
        for gene in range(len(counts)):
            options = [genome[gene] for genome in genomes if SPACE.active(genome)[gene]]
            if gene in widest:
                expected = widest[gene] if warm["filters"] else drawn[gene]
                assert not SPACE.active(drawn)[gene] or set(options) <= {expected}
            elif warm["operations"] and len(options) == len(genomes):
                dealt = np.bincount(options, minlength=counts[gene])
                assert dealt.max() - dealt.min() <= bool(len(genomes) % counts[gene])
        assert len(genomes) == (counts[operations].max() if warm["operations"] else 1)
    assert len(seen) >= 3


def learned(strategy: Rl, quality: Any, cost: Any, steps: int = 100) -> Genome:
    """What the policy chooses after so many made-up rewards."""
    kept = strategy.start(AMONG)
    for step in range(steps):
        kept = strategy.learned(turn_of(strategy, step, kept, quality=lambda genome, _: quality(genome), cost=cost))
    return strategy.chosen(AMONG, kept)


def test_the_policy_prefers_an_option_that_is_plainly_better_and_a_cost_near_the_target() -> None:
    strategy = Rl(learning_rate=0.4)
    kernel = next(i for i, gene in enumerate(SPACE.genes) if gene.name.endswith("kernel"))
    for option in (0, 1):
        assert (
            learned(strategy, lambda genome, option=option: 0.5 * (genome[kernel] == option), lambda _: 1.0)[kernel]
            == option
        )
    low, high = AMONG.macs([SMALL, LARGE]).tolist()
    for fraction in (low / high, 1.0):
        cheap = Rl(learning_rate=0.4, fraction=fraction, slope=1)
        found = learned(cheap, lambda _: 0.0, lambda genome: float(AMONG.macs([genome])[0]))
        assert abs(AMONG.macs([found])[0] - fraction * high) < 0.25 * (high - low)


def test_a_reward_moves_the_choices_that_a_candidate_has_and_none_before_the_first_quarter_is_over() -> None:
    strategy, kept = Rl(learning_rate=1), Rl().start(AMONG)
    shallow = next(
        one for one in map(SPACE.sample, map(np.random.default_rng, range(50))) if not all(SPACE.active(one))
    )
    for reward in (0.5, 1.0):
        kept = strategy.updated(turn_of(strategy, 20, kept), shallow, reward)
    assert not kept["logits"].any()
    kept = strategy.updated(turn_of(strategy, 50, kept), shallow, 1.0)
    np.testing.assert_array_equal((kept["logits"] != 0).any(1), SPACE.active(shallow))
    assert (kept["logits"][np.arange(len(shallow)), list(shallow)] >= 0).all()
    assert kept["average"] / (1 - 0.95**3) == pytest.approx((0.5 * 0.95**2 + 0.95 + 1) / (1 + 0.95 + 0.95**2))


def test_what_the_policy_ends_with_is_never_a_forbidden_combination() -> None:
    forbidding = Candidates(Space.from_dict({**FEW, "forbid": [{"stages[0].width": 6, "stages[0].kernel": 3}]}, "few"))
    strategy, best = Rl(), np.array([[0, 9], [0, 8]], np.float32)
    kept = {**strategy.start(forbidding), "logits": best}
    assert strategy.chosen(forbidding, {**kept, "logits": best[:, ::-1]}) == (0, 0)
    assert strategy.chosen(forbidding, kept) in ((0, 1), (1, 0))
