"""Which genes matter: main effects of options, and the part of the variance that each gene explains."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nas.estimates.run import RunModels

BASES = 64  # networks in which each option of each gene is tried, by the model


@dataclass(frozen=True)
class Effect:
    """What one gene does to a metric.

    Attributes:
        gene: its name.
        options: in words.
        changes: (options,) by how much each moves the metric from its mean over the gene's options, on average over networks
            in which the gene matters.
        importance: the part of the variance of the predictions over the space that the gene alone explains, 0 to 1: a first-order
            Sobol index (Sobol 2001).
    """

    gene: str
    options: tuple[str, ...]
    changes: np.ndarray
    importance: float


def effects(models: RunModels, name: str, seed: int = 0) -> list[Effect]:
    """Main effects on a metric by the run's model of it, the most important gene first.

    Args:
        models: Of the run.
        name: A metric in `models.names`.
        seed: Of the networks in which options are tried.

    Returns:
        One entry for each gene with a choice. Genes that only matter with certain options of others are judged where they matter.
    """
    space, quantity = models.space, models[name]
    bases = space.arrays.sample(BASES, np.random.default_rng(seed))
    variance = float(quantity.mean(space.arrays.sample(20 * BASES, np.random.default_rng(seed + 1))).var())
    active, found = space.arrays.active(bases), list[Effect]()
    for i, gene in enumerate(space.genes):
        here = bases[active[:, i]]
        if len(gene.options) < 2 or not len(here):
            continue
        variants = np.repeat(here[None], len(gene.options), axis=0)
        variants[:, :, i] = np.arange(len(gene.options))[:, None]
        values = quantity.mean(space.arrays.canonical(variants.reshape(-1, len(space.genes)))).reshape(len(gene.options), -1)
        changes = values.mean(axis=1) - values.mean()
        part = float((changes**2).mean()) * float(active[:, i].mean()) / variance if variance > 0 else 0.0
        found.append(Effect(gene.name, tuple(_shown(option) for option in gene.options), changes, min(part, 1.0)))
    return sorted(found, key=lambda effect: -effect.importance)


def _shown(option: object) -> str:
    if isinstance(option, dict):
        return ", ".join(f"{key} {_shown(value)}" for key, value in option.items())
    return f"{option:g}" if isinstance(option, float) else str(option)
