"""Shrinking opens options in phases, and sorts hidden channels before widths open."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nas.arch.blocks import lower
from nas.nn.network import apply, init
from nas.nn.weights import Arrays
from nas.recipe import Recipe
from nas.space import Genome, Space
from nas.supernet.paths import Paths
from nas.supernet.programs import Programs
from nas.supernet.scoring import Scoring
from nas.supernet.sorting import hidden_orders, with_orders
from nas.supernet.strategies import (
    Candidates,
    Changes,
    Shrinking,
    StepContext,
)
from nas.supernet.training import Supernet
from nas.supernet.weights import SharedWeights
from nas.train.loop import silent
from small_supernet import elastic, start_of
from small_training import dataset

SPACE = elastic()
AMONG = Candidates(SPACE)
LARGE = AMONG.largest
PROGRAMS = Programs()
PROJECT = "stages.0.0/project.conv"


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
            genomes = strategy.genomes(StepContext(AMONG, seed, step, 70))
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
        context = StepContext(AMONG, 0, step, 7)
        assert strategy.teacher(context) == (LARGE if step >= 2 else None)
        changed[step] = strategy.changes(context)
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


def test_a_training_sorts_the_channels_of_its_weights_and_of_their_average() -> None:
    @dataclasses.dataclass(frozen=True)
    class Largest(Shrinking):
        shares: tuple[float, ...] = (1, 0, 0, 0, 1, 0)

        def genomes(self, context: StepContext) -> list[Genome]:
            return [self.full(context.among)]

    for ema in (0.0, 0.5):
        still = Recipe(epochs=1, batch=32, lr=1e-9, weight_decay=0.0, norm_warmup=False, ema=ema)
        net = Supernet(Space.from_dict(HIDDEN, "hidden").fit(6, 1, 3), dataset(), still, programs=PROGRAMS)
        before, largest = start_of(net.paths, net.candidates), Largest().full(net.candidates)
        found = net.fit(
            Largest(), 0, report=silent, checkpoint=None, scoring=Scoring(calibration_images=32, batch=32), start=before
        )
        expected = with_orders(before, largest, hidden_orders(before, largest, largest))
        ours = SharedWeights.of(net.paths, {"params": found.params, "stats": {}})
        assert (
            np.abs(before.params_of(largest)[PROJECT]["kernel"] - ours.params_of(largest)[PROJECT]["kernel"]).max()
            > 0.01
        )
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), ours.variables(), expected.variables())


def network_of(space: Space, genome: Genome) -> Callable[[Arrays], np.ndarray]:
    """Weights -> logits, with statistics of the batch."""
    graph = lower(space.decode(genome))
    stats, images = init(graph, 0)["stats"], jnp.array(np.random.default_rng(0).normal(size=(8, 6, 6, 1)), jnp.float32)
    run = jax.jit(lambda params: apply(graph, params, stats, images, train=True, momentum=0)[0])
    return lambda params: np.asarray(run(params))
