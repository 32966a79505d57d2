"""The LSTM policy and its PPO: probabilities that are probabilities, numpy and JAX agreeing, learning in the right direction."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Literal

import jax
import numpy as np
import pytest

from nas.controllers import make_controller
from nas.controllers.mnasnet import Mnasnet, State
from nas.controllers.policy import Layout, Params, init_params, layout_of, rollout, to_genomes, to_tokens
from nas.controllers.ppo import Batch, Ppo, _loss, _walk, init_optimizer, update
from nas.core.paths import CONF
from nas.core.yamlio import read_yaml
from nas.objectives import Objectives
from nas.problem import Problem
from nas.records import Trial
from nas.space import Genome, Space

gradient = jax.jit(jax.grad(_loss), static_argnums=2)
PPO = Ppo(clip=0.2, passes=1, learning_rate=0.01, entropy=0.0, imitation=0.0)


@pytest.fixture(scope="module")
def space() -> Space:
    """Conditions in a chain, the deciding gene last in the file's order of one of them."""
    stage = {
        "op": {"one_of": ["sepconv", "mbconv"]},
        "expand": {"one_of": [2, 3, 4], "when": {"op": "mbconv"}},
        "se": {"one_of": [0, 0.25], "when": {"kernel": 5}},
        "kernel": {"one_of": [3, 5]},
    }
    return Space.from_dict(
        {
            "name": "chain",
            "resolution": 16,
            "stem": {"op": "conv", "kernel": 3, "stride": 1, "width": 8, "act": "relu"},
            "stages": [{**stage, "width": 8, "stride": 1, "act": "relu"}],
            "head": {"op": "classifier", "width": 16, "act": "relu", "dropout": 0},
        },
        "chain",
    )


@pytest.fixture(scope="module")
def layout(space: Space) -> Layout:
    return layout_of(space)


@pytest.fixture(scope="module")
def params(layout: Layout) -> Params:
    """Weights large enough for a policy far from uniform."""
    rng = np.random.default_rng(3)
    drawn = init_params(layout, hidden=8, embedding=4, scale=1.0, rng=rng)
    return {**drawn, "head_bias": rng.normal(size=drawn["head_bias"].shape).astype(np.float32)}


def batch_of(layout: Layout, params: Params, tokens: np.ndarray, advantages: list[float]) -> Batch:
    walked = rollout(params, layout, len(tokens), given=tokens)
    ones = np.ones(len(tokens), np.float32)
    return Batch(
        tokens.astype(np.int32),
        walked.active.astype(np.float32),
        walked.log_probs,
        np.array(advantages, np.float32),
        ones,
        0 * ones,
    )


def data_of(layout: Layout, batch: Batch) -> dict[str, np.ndarray]:
    return {**vars(batch), "options": layout.options}


def test_decisions_come_after_those_they_depend_on(space: Space, layout: Layout) -> None:
    assert sorted(layout.order) == list(range(len(space.genes)))
    for t, gene in enumerate(layout.order):
        assert all(other in layout.order[:t] for rule in space.genes[gene].when for other, _ in rule)


def test_probabilities_of_all_genomes_sum_to_one(space: Space, layout: Layout, params: Params) -> None:
    tokens = to_tokens(layout, [*space.enumerate()])
    log_probs = rollout(params, layout, len(tokens), given=tokens).log_probs.sum(axis=1)
    assert np.exp(log_probs).sum() == pytest.approx(1, abs=1e-5)


def test_samples_come_with_these_probabilities(space: Space, layout: Layout, params: Params) -> None:
    n = 20_000
    found = Counter(to_genomes(layout, rollout(params, layout, n, np.random.default_rng(0)).tokens))
    genomes = [*space.enumerate()]
    expected = np.exp(rollout(params, layout, len(genomes), given=to_tokens(layout, genomes)).log_probs.sum(axis=1))
    assert set(found) <= set(genomes)
    np.testing.assert_allclose([found[g] / n for g in genomes], expected, atol=0.015)


def test_active_decisions_are_the_spaces_active_genes(space: Space, layout: Layout, params: Params) -> None:
    walked = rollout(params, layout, 50, np.random.default_rng(1))
    for genome, active in zip(to_genomes(layout, walked.tokens), walked.active, strict=True):
        assert space.canonical(genome) == genome
        assert [space.active(genome)[gene] for gene in layout.order] == active[: len(layout.order)].tolist()
        assert not active[len(layout.order) :].any()


def test_jax_and_numpy_walk_alike(layout: Layout, params: Params) -> None:
    walked = rollout(params, layout, 50, np.random.default_rng(1))
    batch = batch_of(layout, params, walked.tokens, [0.0] * 50)
    log_probs, entropies = _walk(params, data_of(layout, batch))
    np.testing.assert_allclose(log_probs * batch.active, walked.log_probs, atol=1e-5)
    assert (np.asarray(entropies) > -1e-6).all()


def test_inactive_decisions_teach_nothing(space: Space, layout: Layout, params: Params) -> None:
    """Neither the head of an inactive decision nor what it would have fed on has a gradient, in any term of the loss."""
    genome = space.canonical([0] * len(space.genes))
    batch = batch_of(layout, params, to_tokens(layout, [genome]), [1.0])
    batch = dataclasses.replace(batch, learned=np.ones(1, np.float32))
    ppo = dataclasses.replace(PPO, entropy=0.1, imitation=0.1)
    grads = gradient(params, data_of(layout, batch), ppo)
    for t, gene in enumerate(layout.order):
        on = space.active(genome)[gene]
        assert np.any(np.asarray(grads["head"][t]) != 0) == on
        if not on:
            assert not np.asarray(grads["embed"][t]).any()


def test_padding_rows_teach_nothing(layout: Layout, params: Params) -> None:
    tokens = rollout(params, layout, 4, np.random.default_rng(1)).tokens
    batch = batch_of(layout, params, tokens, [1.0, -1.0, 5.0, 5.0])
    padded = dataclasses.replace(batch, weights=np.array([1, 1, 0, 0], np.float32))
    alone = batch_of(layout, params, tokens[:2], [1.0, -1.0])
    both = [gradient(params, data_of(layout, b), PPO) for b in (padded, alone)]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), *both)


@pytest.mark.parametrize("advantage", [1.0, -1.0])
def test_an_update_moves_the_probability_the_right_way(layout: Layout, params: Params, advantage: float) -> None:
    tokens = rollout(params, layout, 1, np.random.default_rng(1)).tokens
    batch = batch_of(layout, params, tokens, [advantage])
    learned, _ = update(PPO, layout, params, init_optimizer(PPO, params), batch)
    after = rollout(learned, layout, 1, given=tokens).log_probs.sum()
    assert (after - batch.old.sum()) * advantage > 1e-3


@pytest.mark.parametrize(
    "shift, advantage, clipped", [(-1.0, 1.0, True), (1.0, 1.0, False), (1.0, -1.0, True), (-1.0, -1.0, False)]
)
def test_ratios_beyond_the_clip_have_no_gradient(
    layout: Layout, params: Params, shift: float, advantage: float, clipped: bool
) -> None:
    """Only where the policy has already gone further the way the advantage points; the way back is open."""
    tokens = rollout(params, layout, 1, np.random.default_rng(1)).tokens
    batch = batch_of(layout, params, tokens, [advantage])
    batch = dataclasses.replace(batch, old=batch.old + np.float32(shift))
    grads = gradient(params, data_of(layout, batch), PPO)
    assert np.any(np.asarray(grads["head_bias"]) != 0) == (not clipped)


def test_entropy_keeps_the_policy_open(layout: Layout, params: Params) -> None:
    def entropy(of: Params) -> float:
        walked = rollout(of, layout, 200, np.random.default_rng(0))
        return -float(walked.log_probs.sum(axis=1).mean())

    tokens = rollout(params, layout, 8, np.random.default_rng(1)).tokens
    ppo = dataclasses.replace(PPO, entropy=1.0, passes=20)
    learned, _ = update(ppo, layout, params, init_optimizer(ppo, params), batch_of(layout, params, tokens, [0.0] * 8))
    assert entropy(learned) > entropy(params) + 0.1


def test_parameters_stay_numpy(layout: Layout, params: Params) -> None:
    tokens = rollout(params, layout, 2, np.random.default_rng(1)).tokens
    batch = batch_of(layout, params, tokens, [1.0, -1.0])
    out = update(PPO, layout, params, init_optimizer(PPO, params), batch)
    assert all(isinstance(leaf, np.ndarray) and leaf.dtype != np.float64 for leaf in jax.tree.leaves(out))


def problem_of(space: Space) -> Problem:
    objectives = Objectives((("accuracy", "max"),), reward="first")
    return Problem(space, objectives, lambda genomes: {"params": np.ones(len(genomes))})


def observed(settings: Mnasnet, space: Space, rewards: Sequence[float | None]) -> State:
    """The state after trials with these rewards; None is a failed one."""
    state = settings.init(problem_of(space), 0)
    for n, (genome, reward) in enumerate(zip(space.enumerate(), rewards, strict=False)):
        state = settings.tell(state, trial_of(n, genome, reward), np.random.default_rng([0, n, 1]))
    return state


def trial_of(number: int, genome: Genome, reward: float | None) -> Trial:
    if reward is None:
        return Trial(number, genome, "", outcome="oom")
    return Trial(number, genome, "", outcome="ok", metrics={"accuracy": reward})


@pytest.mark.parametrize(
    "rewards, baseline",
    [
        ([0.5], None),  # the batch is not full
        ([None, None], None),  # nothing to learn from
        ([0.5, 0.7], 0.625),  # 0.6 the mean, toward 0.5, toward 0.7
        ([0.5, 0.7, 0.4, 0.6], 0.55625),
        ([0.5, 0.7, None, 0.6], 0.58125),  # a failed one counts like the worst
    ],
)
def test_the_baseline_is_an_average_that_decays(
    space: Space, rewards: list[float | None], baseline: float | None
) -> None:
    state = observed(Mnasnet(batch=2, window=2, passes=1, baseline=0.5), space, rewards)
    assert state.baseline == (None if baseline is None else pytest.approx(baseline))


@pytest.mark.parametrize("failed, expected", [("worst", [0.5, 0.3, 0.3, 0.6]), (0.0, [0.5, 0.0, 0.3, 0.6])])
def test_failed_trials_count_as_set(space: Space, failed: float | Literal["worst"], expected: list[float]) -> None:
    settings = Mnasnet(failed=failed)
    state = observed(settings, space, [0.5, None, 0.3, 0.6])
    assert settings._rewards(state.history).tolist() == expected


def test_learns_to_avoid_what_fails(space: Space) -> None:
    """Half of the space always fails; after some updates far fewer than half of the draws lie there."""
    settings, gene = Mnasnet(), [g.name for g in space.genes].index("stages[0].kernel")
    state = settings.init(problem_of(space), 0)
    for n in range(60):
        genome = space.sample(np.random.default_rng(n))
        trial = trial_of(n, genome, None if genome[gene] else 0.5 + 0.01 * (n % 5))
        state = settings.tell(state, trial, np.random.default_rng([0, n, 1]))
    drawn = to_genomes(state.layout, rollout(state.params, state.layout, 500, np.random.default_rng(0)).tokens)
    assert np.mean([genome[gene] for genome in drawn]) < 0.25


def test_the_papers_settings() -> None:
    """NASNet, to which MnasNet refers: arXiv:1707.07012, appendix A.2."""
    paper = make_controller(read_yaml(CONF / "controller" / "mnasnet_paper.yaml"))
    assert isinstance(paper, Mnasnet)
    assert (paper.hidden, paper.init_scale, paper.learning_rate) == (100, 0.1, 3.5e-4)
    assert (paper.entropy, paper.baseline, paper.batch) == (1e-5, 0.95, 20)
    assert (paper.window, paper.clip, paper.passes, paper.imitation) == (20, 0.2, 10, 0)


def test_jax_is_loaded_by_the_controller_that_needs_it_alone() -> None:
    code = (
        "import sys; from nas.controllers import CONTROLLERS, make_controller\n"
        "for name in CONTROLLERS: make_controller({'name': name})\n"
        "assert not {'jax', 'optax'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=CONF.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
