"""The laws that each strategy of a supernet draws candidates by, and the settings that it refuses."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from nas.arch.blocks import lower
from nas.core.yamlio import read_yaml
from nas.recipe import Recipe
from nas.space import Genome, load_space
from nas.supernet.scoring import Scoring
from nas.supernet.strategies import (
    STRATEGIES,
    Attentive,
    Candidates,
    Fair,
    Sandwich,
    Strategy,
    Turn,
    Uniform,
    strategy_from,
)
from nas.supernet.training import Supernet
from nas.train import Checkpoints
from nas.train.loop import Fit
from small_supernet import elastic, few
from small_training import dataset

CONF = Path(__file__).parents[2] / "conf" / "strategy"
SPACE = elastic()
AMONG = Candidates(SPACE)
SMALL, LARGE = AMONG.smallest, AMONG.largest


@pytest.mark.parametrize("name", ["nas_bench_macro", "proxylessnas"])
def test_every_option_comes_equally_often_in_a_fair_step(name: str) -> None:
    space = load_space(name)
    for step in range(5):
        genomes = Fair().genomes(Turn(Candidates(space), 0, step))
        counts = space.option_counts
        assert len(genomes) == counts.max()
        for gene in range(len(counts)):
            if all(space.active(genome)[gene] for genome in genomes):
                seen = np.bincount([genome[gene] for genome in genomes], minlength=counts[gene])
                assert seen.max() - seen.min() <= bool(counts.max() % counts[gene])


def test_a_sandwich_has_both_ends_and_random_ones_between() -> None:
    largest, *between, smallest = Sandwich(random=2).genomes(Turn(AMONG, 0, 7))
    assert (largest, smallest, len(between)) == (LARGE, SMALL, 2)
    macs = [SPACE.decode(genome) for genome in (largest, *between, smallest)]
    assert len({lower(arch).id for arch in macs}) >= 2


def test_draws_depend_on_the_seed_and_the_step_alone() -> None:
    for strategy in (Uniform(), Fair(), Sandwich(), Attentive(draws=1)):
        assert strategy.genomes(Turn(AMONG, 3, 5)) == strategy.genomes(Turn(AMONG, 3, 5))
        assert strategy.genomes(Turn(AMONG, 3, 5)) != strategy.genomes(Turn(AMONG, 3, 6))


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"name": "fare"}, "strategy: no 'fare'; did you mean 'fair'"),
        ({}, "strategy: no None; expected uniform, fair, sandwich, attentive"),
        ({"name": "sandwich", "random": -1}, "random: expected 0 or more candidates, got -1"),
        ({"name": "attentive", "random": -1}, "strategy.random: expected 0 or more candidates, got -1"),
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
        largest, *chosen, smallest = strategy.genomes(Turn(AMONG, 0, step, loss=loss))
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
    assert listed == {"name": name, **dataclasses.asdict(STRATEGIES[name]())}


@pytest.fixture(scope="module")
def net() -> Supernet:
    return Supernet(few(), dataset(), Recipe(epochs=2, batch=32, lr=0.05, norm_warmup=False))


def trained(net: Supernet, strategy: Strategy, **options: Any) -> Fit:
    scoring = Scoring(calibration_images=64, batch=32)
    return net.fit(strategy, 0, **{"report": lambda *_: None, "checkpoint": None, "scoring": scoring, **options})


@pytest.mark.parametrize("strategy", [Attentive(draws=2)], ids=lambda one: type(one).__name__)
def test_a_training_that_was_stopped_resumes_to_the_same_weights(
    net: Supernet, strategy: Strategy, tmp_path: Path
) -> None:
    """What a strategy sees of the weights and what it keeps are the same too."""

    class Killed(Exception):
        pass

    def kill(step: int, steps: int, metrics: dict[str, float]) -> None:
        if metrics.get("epoch") == 1:
            raise Killed

    kept = Checkpoints(tmp_path / "kept")
    with pytest.raises(Killed):
        trained(net, strategy, checkpoint=kept, report=kill)
    resumed, whole = trained(net, strategy, checkpoint=kept), trained(net, strategy)
    assert resumed.curve == whole.curve
    jax.tree.map(np.testing.assert_array_equal, (resumed.params, resumed.stats), (whole.params, whole.stats))
    assert net.chosen(strategy, resumed) == net.chosen(strategy, whole)
