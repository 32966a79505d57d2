"""Accel-NASBench (Ahmad et al. 2024, arXiv:2404.08005): models of its records stand for the whole space.

4,623 of the 104,485,552,128 networks were trained on ImageNet; the best reaches 67.05 %, so predictions above that are
extrapolations. The published file is `anb_dataset_jsons.tar.gz` (github.com/afzalxo/Accel-NASBench).
"""

from __future__ import annotations

import math
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import kendalltau

from nas.core.jsonio import parse_json
from nas.core.settings import did_you_mean
from nas.cost import Costs
from nas.objectives import PREDICTED
from nas.space import Genome, Space, load_space
from nas.surrogates.models import Model, Pairs, StageCosts, trees
from nas.tabular.base import Metrics, Table

ARCHIVE = "anb_dataset_jsons.tar.gz"
SEED_NOISE = 0.0031  # standard deviation of the accuracy between the records that stand twice
SURROGATES = ("pairs", "trees")
KEYS = {"repeat": "l", "kernel": "k", "expand": "e", "se": "se"}
DEVICES = {
    "a100": "throughput_a100",
    "3090": "throughput_3090",
    "tpuv2": "throughput_tpuv2",
    "tpuv3": "throughput_tpuv3",
    "zcu102": "latency_zcu102",
    "vck190": "latency_vck190",
}
COLUMNS = (*DEVICES.values(), "throughput_zcu102", "throughput_vck190")


def load(path: Path, surrogate: str = "pairs", held_out: bool = False) -> Table:
    """The table in the folder or archive `path`; `held_out` also measures the models on a fifth of the records.

    Device times are milliseconds an image where the throughput was published, milliseconds of one image else.
    Raises ValueError where the file is missing or the surrogate unknown.
    """
    if surrogate not in SURROGATES:
        raise ValueError(f"surrogate: expected pairs or trees, got {surrogate!r}{did_you_mean(surrogate, SURROGATES)}")
    space = load_space("accel_nasbench")
    costs = Costs(space)
    records = list(read(path, space))
    genomes = np.array([genome for genome, _ in records])
    accuracy = np.array([record["metrics"]["val_top1"] for _, record in records]) / 100
    model = _accuracy(surrogate, genomes, accuracy, space)
    measured = {device: milliseconds(records, field) for device, field in DEVICES.items()}
    devices = {
        f"{PREDICTED}/{device}": StageCosts.fit(costs.features, genomes[~np.isnan(ms)], ms[~np.isnan(ms)])
        for device, ms in measured.items()
    }

    def times(rows: np.ndarray) -> Metrics:
        features = costs.features(rows)
        return {name: device.of(features) for name, device in devices.items()}

    quality = tuple(_held_out(surrogate, genomes, accuracy, measured, space, costs)) if held_out else ()
    return Table("accel_nasbench", space, costs, model, times, tuple, SEED_NOISE, quality)


def read(path: Path, space: Space) -> Iterator[tuple[Genome, Mapping[str, Any]]]:
    """The published records with their genomes."""
    file = path / ARCHIVE if path.is_dir() else path
    if not file.is_file():
        raise ValueError(f"path: no file {file}; expected the folder that holds the published {ARCHIVE}")
    with tarfile.open(file) as archive:
        for member in archive:
            if (content := archive.extractfile(member)) is not None:
                record = parse_json(content.read())
                yield tuple(_option(gene.name, gene.options, record["architecture"]) for gene in space.genes), record


def _option(name: str, options: tuple[Any, ...], published: Mapping[str, Any]) -> int:
    stage, key = name.removeprefix("stages[").split("].")
    value = published[f"block{stage}_{KEYS[key]}"]
    return options.index(0.25 * value if key == "se" else value)


def milliseconds(records: list[tuple[Genome, Mapping[str, Any]]], field: str) -> np.ndarray:
    """(n,) milliseconds of one of `COLUMNS`, those of an image where it is a throughput; NaN where a record has none."""
    kind = field.partition("_")[0]
    found = [(record["platform_perf"].get(field) or {}).get(f"{kind}_mean") for _, record in records]
    values = np.array([math.nan if value is None else value for value in found], float)
    return 1000 / values if kind == "throughput" else values


def _accuracy(surrogate: str, genomes: np.ndarray, accuracy: np.ndarray, space: Space) -> Model:
    if surrogate == "trees":
        return trees(genomes, accuracy)
    return Pairs.fit(genomes, accuracy, space.option_counts)


def _held_out(
    surrogate: str, genomes: np.ndarray, accuracy: np.ndarray, measured: Metrics, space: Space, costs: Costs
) -> Iterator[str]:
    """Lines on models fitted to four fifths of the networks; a network that stands twice is on one side."""
    _, group = np.unique(genomes, axis=0, return_inverse=True)
    test = np.random.default_rng(0).permutation(group.max() + 1)[group.reshape(-1)] % 5 == 0
    yield _line("accuracy", accuracy[test], _accuracy(surrogate, genomes[~test], accuracy[~test], space)(genomes[test]))
    for device, ms in measured.items():
        known = ~np.isnan(ms)
        model = StageCosts.fit(costs.features, genomes[~test & known], ms[~test & known])
        yield _line(device, ms[test & known], model(genomes[test & known]))


def _line(name: str, true: np.ndarray, found: np.ndarray) -> str:
    tau = float(np.asarray(kendalltau(true, found))[0])
    error = np.abs(found / true - 1)
    r2 = 1 - np.mean((true - found) ** 2) / np.var(true)
    return f"{name}: Kendall tau {tau:.3f}, R2 {r2:.3f}, mean error {error.mean():.2%}, within 5 % {np.mean(error <= 0.05):.1%}"
