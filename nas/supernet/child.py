"""One candidate out of shared weights: its own network, with weights cut from them and statistics computed anew."""

from __future__ import annotations

from pathlib import Path

from nas.arch import Arch
from nas.core.settings import build
from nas.data.dataset import Dataset
from nas.nn.weights import HostVariables
from nas.recipe import Recipe
from nas.space import Space
from nas.supernet.file import SupernetFile, load_supernet
from nas.supernet.paths import Paths
from nas.supernet.programs import Programs
from nas.supernet.scoring import Scorer, Scoring
from nas.supernet.weights import SharedWeights
from nas.tasks import task_of
from nas.train.precision import with_dtype


def child_of(where: str | Path, arch: Arch, dataset: Dataset, scoring: Scoring | None = None) -> HostVariables:
    """The variables of a candidate's own network, by its own names.

    Args:
        where: The shared weights: a run's folder, or the file.
        arch: The candidate, fitted to any dataset.
        dataset: Whose training images the statistics of batch norms are computed from; normalized as the weights know images.
        scoring: How many images; None: 500.

    Returns:
        Weights equal bit for bit to the shared ones, for the classes of the space, and statistics.

    Raises:
        ValueError: The file is missing or damaged, the architecture is none of the space, or the images have other channels.
    """
    found = load_supernet(where)
    space = found.space
    genome = space.encode(arch)
    if dataset.channels != found.data.channels:
        raise ValueError(f"{found.path}: is for {found.data.channels} channels, {dataset.name} has {dataset.channels}")
    weights = _weights(found, space)
    recipe = with_dtype(build(Recipe, found.record["recipe"], "recipe"))
    scorer = Scorer(weights.paths, Programs(), dataset, recipe, task_of(space), scoring or Scoring())
    return {"params": weights.params_of(genome), "stats": scorer.stats_of(weights.slots, genome)}


def _weights(found: SupernetFile, space: Space) -> SharedWeights:
    """In the shapes of candidates: a single one needs no masks."""
    return SharedWeights.of(Paths.of(space, masked=False, matrices=found.matrices), {"params": found.params})
