"""Channels taken away: the rest makes up for what it has in common with them, in one layer and in whole networks."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from nas.arch import Block
from nas.arch.blocks import lower
from nas.convert.inherit import inherit
from nas.convert.surgeon import Reader, Seen, kept_of
from nas.train.seen import seen_by_layers
from nas.workflows.adapt import absolute, changes
from networks import logits, settled
from small_training import SMALL, dataset

DATA = dataset(train=24, valid=6)


def drawn(x: np.ndarray, kernel: np.ndarray) -> Reader:
    return Reader(kernel, Seen(x.mean(0), np.cov(x.T, bias=True)))


def test_copies_go_first_and_the_rest_takes_their_weight_over() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((500, 6)) + 1
    x = np.concatenate([x, x[:, :3] @ rng.standard_normal((3, 4))], 1)  # the last four tell nothing new
    readers = [drawn(x, rng.standard_normal((10, 5))), drawn(x, 100 * rng.standard_normal((10, 2)))]
    kept = kept_of(readers, 6)
    assert len(kept) == 6
    assert {3, 4, 5} <= set(kept.tolist())
    for reader in readers:
        left, whole = x[:, kept] @ reader.reduced(kept).kernel, x @ reader.kernel
        lost = (left - left.mean(0)) - (whole - whole.mean(0))
        assert lost.std() < 0.02 * whole.std()
        np.testing.assert_allclose(reader.reduced(kept).given()[1], left.var(0), rtol=1e-6)


def test_what_is_lost_with_one_channel_is_what_a_regression_leaves() -> None:
    rng = np.random.default_rng(1)
    x = rng.standard_normal((400, 5)) @ (np.eye(5) + 0.2 * rng.standard_normal((5, 5)))
    reader = drawn(x, rng.standard_normal((5, 3)))
    y, found = (x - x.mean(0)) @ reader.kernel, reader.losses(np.arange(5))
    for i in range(5):
        rest = np.delete(x - x.mean(0), i, 1)
        left = y - rest @ np.linalg.lstsq(rest, y, rcond=None)[0]
        assert found[i] == pytest.approx(np.square(left).sum() / np.square(y).sum(), rel=0.05)


@pytest.mark.parametrize("kind", ["expansion", "bottleneck"])
def test_a_network_without_copied_channels_answers_the_same(kind: str) -> None:
    """A norm is behind the layer that reads the expansion, a classifier with a bias reads the bottleneck."""
    stage = dataclasses.replace(SMALL.stages[0], layers=(Block.of("mbconv", width=16, expand=1, force_expand=True),))
    arch = absolute(dataclasses.replace(SMALL, stages=(stage,), stem=SMALL.stem.replace(width=16)))
    graph = lower(arch)
    values = settled(graph)
    nodes = ("expand.conv", "expand.norm", "depthwise.conv", "depthwise.norm") if kind == "expansion" else ("project.conv", "project.norm")
    for own in (values[part].get(f"stages.0.0/{node}", {}) for part in ("params", "stats") for node in nodes):
        for array in own.values():
            array[..., 8:] = array[..., :8]
    (change,) = (one for one in changes(arch, (kind,)) if "stages[0]" in one.name)
    child = lower(next(change.smaller()))
    images, seen = (np.asarray(DATA.train.images, np.float32) / 255 - 0.3) / 0.3, seen_by_layers(graph, values, DATA)
    before = logits(graph, values, images)
    with_seen, without = (np.abs(logits(child, inherit(graph, child, values, 0, one), images) - before).max() for one in (seen, None))
    assert with_seen < 0.01 * before.std()
    assert without > 0.05 * before.std()
