"""The laws that each strategy of a supernet draws candidates by, and the settings that it refuses."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nas.arch.blocks import lower
from nas.core.yamlio import read_yaml
from nas.nn.network import apply, init
from nas.nn.weights import Arrays
from nas.recipe import Recipe
from nas.space import Genome, Space, load_space
from nas.supernet.paths import Paths
from nas.supernet.scoring import Scoring
from nas.supernet.sorting import hidden_orders, with_orders
from nas.supernet.strategies import (
    STRATEGIES,
    Attentive,
    Candidates,
    Changes,
    Fair,
    Kept,
    Rl,
    Sandwich,
    Shrinking,
    Strategy,
    Turn,
    Uniform,
    strategy_from,
)
from nas.supernet.strategies.rl import filters_of
from nas.supernet.training import Supernet
from nas.supernet.weights import SharedWeights
from nas.train import Checkpoints
from nas.train.loop import Fit
from small_supernet import FEW, Only, elastic, few
from small_training import dataset

CONF = Path(__file__).parents[2] / "conf" / "strategy"
SPACE = elastic()
AMONG = Candidates(SPACE)
PROJECT = "stages.0.0/project.conv"
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
        ({}, "strategy: no None; expected uniform, fair, sandwich, attentive, rl, shrinking"),
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


def test_shrinking_opens_kernels_then_depths_then_widths() -> None:
    strategy = Shrinking(shares=(2, 1, 1, 1, 1, 1))
    phases = [strategy.phase(step, 70) for step in range(70)]
    assert np.bincount(phases).tolist() == [20, 10, 10, 10, 10, 10]
    assert phases == sorted(phases)
    full = strategy.full(AMONG)
    assert full == LARGE
    seen: dict[int, set[tuple[str, Any]]] = {phase: set() for phase in range(6)}
    for seed in range(5):
        for step in range(70):
            genomes = strategy.genomes(Turn(AMONG, seed, step, 70))
            assert len(genomes) == strategy.candidates[phases[step]]
            for genome in genomes:
                seen[phases[step]] |= named(genome)
    kernels, depths = {("kernel", 3), ("kernel", 5)}, {("repeat", 1), ("repeat", 2)}
    widths = {("width", 4), ("width", 6), ("width", 8), ("width", 12), *(("expand", one) for one in (1, 2, 3))}
    largest = named(full)
    assert seen[0] == largest
    assert kernels <= seen[1]
    assert not (seen[1] - largest) & (depths | widths)
    assert depths <= seen[2]
    assert not (seen[2] - largest) & widths
    assert seen[4] & widths == widths - {("expand", 1)}
    assert widths <= seen[5]


def named(genome: Genome) -> set[tuple[str, Any]]:
    """(key, option) of each choice that a candidate has, those of whole blocks left out."""
    chosen = zip(SPACE.genes, genome, SPACE.active(genome), strict=True)
    return {
        (gene.name.rsplit(".", 1)[-1], gene.options[option])
        for gene, option, on in chosen
        if on and "block" not in gene.name
    }


def test_the_teacher_is_kept_after_the_first_phase_and_channels_are_sorted_where_widths_open() -> None:
    strategy, changed = Shrinking(shares=(2, 1, 1, 1, 1, 1)), {}
    for step in range(7):
        turn = Turn(AMONG, 0, step, 7)
        assert strategy.teacher(turn) == (LARGE if step >= 2 else None)
        changed[step] = strategy.changes(turn)
    inner = strategy.full(AMONG, 4)
    expected = {2: Changes(teacher=True), 5: Changes(inner=LARGE), 6: Changes(inner=inner)}
    assert changed == {**dict.fromkeys(range(7), Changes()), **expected}
    expands = [
        SPACE.genes[i].options[option] for i, option in enumerate(inner) if SPACE.genes[i].name.endswith("expand")
    ]
    assert set(expands) == {2}


HIDDEN = {
    "name": "hidden",
    "resolution": 6,
    "stem": {"op": "conv", "width": 4, "act": "relu"},
    "stages": [{"op": "mbconv", "width": 4, "kernel": {"one_of": [3, 5]}, "expand": {"one_of": [2, 3, 4]}, "se": 0.5}],
    "head": {"op": "classifier", "width": {"one_of": [8, 12]}},
}


def test_sorted_channels_change_no_function_and_the_most_read_come_first() -> None:
    space = Space.from_dict(HIDDEN, "hidden").fit(6, 1, 3)
    among, strategy = Candidates(space), Shrinking()
    largest, inner = strategy.full(among), strategy.full(among, 4)
    weights = start_of(Paths.of(space, False), among)
    networks = {genome: network_of(space, genome) for genome in (largest, inner)}
    for kept, unchanged in ((largest, [largest]), (inner, [largest, inner])):
        after = with_orders(weights, largest, hidden_orders(weights, largest, kept))
        for genome in unchanged:
            before, ours = (networks[genome](one.params_of(genome)) for one in (weights, after))
            np.testing.assert_allclose(ours, before, atol=1e-4)
        read = np.abs(after.params_of(largest)[PROJECT]["kernel"]).sum((0, 1, 3))
        width = weights.params_of(kept)[PROJECT]["kernel"].shape[2]
        assert (width, len(read)) == (16 if kept == largest else 12, 16)
        assert all((np.diff(part) <= 0).all() for part in (read[:width], read[width:]))
        assert sorted(read) == pytest.approx(
            sorted(np.abs(weights.params_of(largest)[PROJECT]["kernel"]).sum((0, 1, 3)))
        )


def network_of(space: Space, genome: Genome) -> Callable[[Arrays], np.ndarray]:
    """Weights -> logits, with statistics of the batch."""
    graph = lower(space.decode(genome))
    stats, images = init(graph, 0)["stats"], jnp.array(np.random.default_rng(0).normal(size=(8, 6, 6, 1)), jnp.float32)
    run = jax.jit(lambda params: apply(graph, params, stats, images, train=True, momentum=0)[0])
    return lambda params: np.asarray(run(params))


def start_of(paths: Paths, among: Candidates) -> SharedWeights:
    """Initial values with a classifier that is not 0."""
    network = init(lower(among.space.decode(among.largest)), 1)["params"]
    return SharedWeights.initial(paths, 0).with_network(among.largest, network)


@pytest.mark.parametrize("name", STRATEGIES)
def test_the_file_of_a_strategy_lists_its_settings_as_they_are_by_default(name: str) -> None:
    listed = read_yaml(CONF / f"{name}.yaml")
    assert strategy_from(listed) == STRATEGIES[name]()
    assert listed.keys() == {"name", *dataclasses.asdict(STRATEGIES[name]())}


def turn_of(strategy: Rl, step: int, kept: Kept | None = None, **options: Any) -> Turn:
    return Turn(AMONG, 0, step, 100, 64, kept or strategy.start(AMONG), **options)


def test_warm_ups_fall_to_nothing_over_the_first_quarter_and_then_the_policy_moves() -> None:
    strategy = Rl()
    assert [strategy.warm(turn_of(strategy, step)) for step in (0, 5, 20, 25, 99)] == pytest.approx([1, 0.8, 0.2, 0, 0])
    rates = [strategy.rate(turn_of(strategy, step)) for step in (0, 24, 25, 100)]
    assert rates == pytest.approx([0, 0, 3e-4 * 64 / 256, 10 * 3e-4 * 64 / 256])
    seen = [strategy.warming(Turn(AMONG, seed, 10, 100)) for seed in range(400)]
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
        turn = turn_of(strategy, step)
        genomes, drawn, warm = strategy.genomes(turn), strategy.drawn(turn), strategy.warming(turn)
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


@pytest.fixture(scope="module")
def net() -> Supernet:
    return Supernet(few(), dataset(), Recipe(epochs=2, batch=32, lr=0.05, norm_warmup=False, schedule="constant"))


def trained(net: Supernet, strategy: Strategy, **options: Any) -> Fit:
    scoring = Scoring(calibration_images=64, batch=32)
    return net.fit(strategy, 0, **{"report": lambda *_: None, "checkpoint": None, "scoring": scoring, **options})


LEARNING = [Attentive(draws=2), Rl(learning_rate=3), Shrinking(shares=(1, 1, 0, 0, 1, 1))]


@pytest.mark.parametrize("strategy", LEARNING, ids=lambda one: type(one).__name__)
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
    if strategy.scheduled:
        longer = Supernet(net.space, net.dataset, dataclasses.replace(net.recipe, epochs=3), programs=net.programs)
        with pytest.raises(ValueError, match="checkpoints of another training, steps was"):
            trained(longer, strategy, checkpoint=kept)


def test_candidates_learn_from_labels_and_from_the_largest_network_as_it_was(net: Supernet) -> None:
    """With next to no learning rate that is the network itself, which adds nothing, and something for another candidate."""
    still = Supernet(
        net.space, net.dataset, dataclasses.replace(net.recipe, lr=1e-9, weight_decay=0.0), programs=net.programs
    )
    largest, smallest = still.candidates.largest, still.candidates.smallest
    begun = start_of(still.paths, still.candidates)

    @dataclasses.dataclass(frozen=True)
    class Taught(Shrinking):
        shares: tuple[float, ...] = (1, 1, 0, 0, 0, 0)
        only: Genome = ()

        def genomes(self, turn: Turn) -> list[Genome]:
            return [self.only]

    for genome in (largest, smallest):
        taught, alone = (trained(still, one, start=begun).curve for one in (Taught(only=genome), Only((genome,))))
        assert taught[0]["train_loss"] == pytest.approx(alone[0]["train_loss"], rel=1e-5)
        more = taught[1]["train_loss"] - alone[1]["train_loss"]
        assert more == pytest.approx(0, abs=1e-4) if genome == largest else more > 1e-3
