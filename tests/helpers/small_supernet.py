"""A space with every kind of elastic choice, small enough to train in a second, and a strategy that always runs the same candidates."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nas.arch.blocks import lower
from nas.nn.network import init
from nas.space import Genome, Space
from nas.supernet.paths import Paths
from nas.supernet.strategies import Candidates, StepContext, Strategy
from nas.supernet.weights import SharedWeights

ELASTIC: dict[str, Any] = {
    "name": "elastic",
    "resolution": 6,
    "min_feature_map": 2,
    "stem": {"op": "conv", "width": 4, "act": "relu"},
    "stages": [
        {
            "op": "mbconv", "repeat": {"one_of": [1, 2]}, "width": {"one_of": [4, 6]}, "stride": 2, "act": {"one_of": ["relu", "hswish"]},
            "kernel": {"one_of": [3, 5], "per": "layer"}, "expand": {"one_of": [1, 2, 3], "per": "layer"},
            "se": {"one_of": [0, 0.5], "per": "layer"},
        },
        {"block": {"one_of": [{"op": "identity"}, {"op": "mbconv", "kernel": 3, "expand": 2}, {"op": "sepconv", "kernel": 3}]}, "width": 6},
    ],
    "head": {"op": "classifier", "width": {"one_of": [8, 12]}},
}  # fmt: skip

FEW = {
    "name": "few",
    "resolution": 6,
    "min_feature_map": 2,
    "stem": {"op": "conv", "width": 4, "act": "relu"},
    "stages": [{"op": "conv", "width": {"one_of": [4, 6]}, "kernel": {"one_of": [1, 3]}, "stride": 2}],
    "head": {"op": "classifier"},
}


def few() -> Space:
    """Four networks, fitted as `elastic` is, whose programs are compiled in a second."""
    return Space.from_dict(FEW, "few").fit(6, 1, 3)


def elastic(dropping: bool = False) -> Space:
    """Fitted to the images of `small_training.dataset`; `dropping`: with dropout and stochastic depth."""
    drops = {"drop_path": 0.2, "head": {**ELASTIC["head"], "dropout": 0.3}} if dropping else {}
    return Space.from_dict({**ELASTIC, **drops}, "elastic").fit(6, 1, 3)


@dataclass(frozen=True)
class Only(Strategy):
    """Runs these candidates in every step."""

    listed: tuple[Genome, ...]

    def genomes(self, context: StepContext) -> Sequence[Genome]:
        return self.listed


def start_of(paths: Paths, among: Candidates) -> SharedWeights:
    """Initial values with a classifier that is not 0."""
    network = init(lower(among.space.decode(among.largest)), 1)["params"]
    return SharedWeights.initial(paths, 0).with_network(among.largest, network)
