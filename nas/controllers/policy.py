"""An LSTM policy over the decisions of a space: one token a gene, a softmax over the options of each.

Inactive genes are skipped: their token is 0 and feeds nothing on, they count in no log-probability and no entropy.
Sampling is plain numpy, a few milliseconds however many genomes are drawn; learning (nas.controllers.ppo) is JAX, with
the same `cell`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from nas.space import Genome, GenomeArrays, Space

Params: TypeAlias = Mapping[str, np.ndarray]
Numpy: TypeAlias = Any  # the module numpy or jax.numpy
Array: TypeAlias = Any  # an array of that module
MASKED = np.float32(-1e9)


@dataclass(frozen=True)
class Layout:
    """A space as a list of decisions, each after those its conditions name.

    `order` holds gene indices, `options` (T, O) marks which options a decision has, `arrays` knows when a gene is active.
    T and O are rounded up, so that spaces of similar size share a compiled program; decisions beyond `order` are never active.
    """

    order: tuple[int, ...]
    options: np.ndarray
    arrays: GenomeArrays


def layout_of(space: Space) -> Layout:
    order: list[int] = []
    waiting = list(range(len(space.genes)))
    while waiting:
        ready = next(i for i in waiting if all(g in order for when in space.genes[i].when for g, _ in when))
        order.append(ready)
        waiting.remove(ready)
    rows, columns = -(-max(len(order), 1) // 8) * 8, -(-int(space.option_counts.max(initial=1)) // 4) * 4
    options = np.zeros((rows, columns), bool)
    options[:, 0] = True
    for t, gene in enumerate(order):
        options[t, : space.option_counts[gene]] = True
    return Layout(tuple(order), options, space.arrays)


def init_params(layout: Layout, hidden: int, embedding: int, scale: float, rng: np.random.Generator) -> Params:
    """Weights from U(-scale, scale), biases 0."""
    decisions, options = layout.options.shape

    def weights(*shape: int) -> np.ndarray:
        return rng.uniform(-scale, scale, shape).astype(np.float32)

    return {
        "start": weights(embedding),
        "embed": weights(decisions, options, embedding),  # what choosing an option feeds to the next decision
        "lstm": weights(embedding + hidden, 4 * hidden),
        "lstm_bias": np.zeros(4 * hidden, np.float32),
        "head": weights(decisions, hidden, options),
        "head_bias": np.zeros((decisions, options), np.float32),
    }


def cell(xp: Numpy, params: Mapping[str, Array], x: Array, h: Array, c: Array) -> tuple[Array, Array]:
    """One LSTM step for (n, embedding) inputs, in numpy or jax.numpy: the new (n, hidden) output and memory."""
    gates = xp.concatenate([x, h], axis=1) @ params["lstm"] + params["lstm_bias"][None, :]
    n, opened = h.shape[1], 0.5 + 0.5 * xp.tanh(0.5 * gates)  # the sigmoid that never overflows
    i, f, o = opened[:, :n], opened[:, n : 2 * n], opened[:, 3 * n :]
    c = f * c + i * xp.tanh(gates[:, 2 * n : 3 * n])
    return o * xp.tanh(c), c


def log_softmax(xp: Numpy, logits: Array) -> Array:
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - xp.log(xp.exp(shifted).sum(axis=1, keepdims=True))


@dataclass(frozen=True)
class Rollout:
    """n walks through the decisions: tokens, whether they are active, and their log-probabilities (0 where not), all (n, T)."""

    tokens: np.ndarray
    active: np.ndarray
    log_probs: np.ndarray


def rollout(
    params: Params, layout: Layout, n: int, rng: np.random.Generator | None = None, given: np.ndarray | None = None
) -> Rollout:
    """Samples n walks with `rng`, or follows the (n, T) tokens `given`."""
    shape = (n, len(layout.options))
    tokens, active, log_probs = np.zeros(shape, np.int64), np.zeros(shape, bool), np.zeros(shape, np.float32)
    x = np.repeat(params["start"][None, :], n, axis=0)
    h = c = np.zeros((n, params["lstm"].shape[1] // 4), np.float32)
    columns, known = np.zeros((len(layout.order), n), np.int64), np.zeros((len(layout.order), n), bool)
    for t, gene in enumerate(layout.order):
        h, c = cell(np, params, x, h, c)
        logits = np.where(layout.options[t][None, :], h @ params["head"][t] + params["head_bias"][t], MASKED)
        on = layout.arrays.active_gene(gene, columns, known)
        if given is None:
            assert rng is not None
            chosen = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
        else:
            chosen = given[:, t]
        columns[gene], known[gene] = np.where(on, chosen, 0), on
        tokens[:, t], active[:, t] = columns[gene], on
        log_probs[:, t] = np.where(on, log_softmax(np, logits)[np.arange(n), chosen], 0)
        x = params["embed"][t][tokens[:, t]] * on[:, None].astype(np.float32)
    return Rollout(tokens, active, log_probs)


def to_tokens(layout: Layout, genomes: Sequence[Genome]) -> np.ndarray:
    """(n, T) tokens of canonical genomes."""
    tokens = np.zeros((len(genomes), len(layout.options)), np.int64)
    for row, genome in zip(tokens, genomes, strict=True):
        row[: len(layout.order)] = [genome[gene] for gene in layout.order]
    return tokens


def to_genomes(layout: Layout, tokens: np.ndarray) -> list[Genome]:
    """Canonical genomes of (n, T) tokens."""
    genomes = np.zeros((len(tokens), len(layout.order)), np.int64)
    genomes[:, list(layout.order)] = tokens[:, : len(layout.order)]
    return [tuple(row) for row in genomes.tolist()]
