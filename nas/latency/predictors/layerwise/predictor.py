"""The predictor that sums layers: plain data, the same numbers wherever it is loaded.

    predictor = device.fit(space, seed=0)
    predictor.predict_arch(arch)                             # ms
    predictor.predict_many(space, genomes)               # (n,) ms, equal to predict_arch(space.decode(genome))
    LayerwisePredictor.from_dict(json.loads(text)) == predictor   # text = json.dumps(predictor.to_dict())

What a layer takes is looked up once for each block and input shape; memos are no part of the value.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from nas.arch import Arch
from nas.arch.blocks import lower
from nas.arch.graph import Graph
from nas.cost import FEATURES, Costs
from nas.latency.predictors.base import check_origin
from nas.latency.predictors.layerwise.layers import cut, inputs, layer_graphs
from nas.latency.predictors.layerwise.regression import LEAST_MS, Layer, Model
from nas.records import JSON
from nas.space import Space

VERSION = 2
T = TypeVar("T", "MeasuredBlock", "MeasuredNetwork")


@dataclass(frozen=True)
class MeasuredBlock:
    """A layer measured alone: the id of its graph, where it was seen first, its latency, and `ms`, what it adds to networks."""

    id: str
    scope: str
    alone_ms: float
    ms: float
    repeatability: float


@dataclass(frozen=True)
class MeasuredNetwork:
    """A network measured whole: its latency, the prediction, and the prediction of the same fit without it, in ms."""

    arch_id: str
    ms: float
    predicted_ms: float
    held_out_ms: float | None
    repeatability: float


@dataclass(frozen=True)
class LayerwisePredictor:
    """Milliseconds of any architecture of a space: `offset_ms + scale * sum over layers`.

    A layer takes its `MeasuredBlock.ms`, else its features (`nas.cost.FEATURES`) times `coefficients`, all at least 0.
    `fingerprint` names the device with its versions, batch, dtype and threads (`info`), `space` the space that the blocks
    were sampled from. `errors` has the mean relative errors over the networks measured whole: `in_sample`, and `mape` with
    each network left out of the fit that predicts it (None where there is one network).
    """

    device: str
    fingerprint: str
    info: Mapping[str, JSON]
    space: str
    seed: int
    blocks: tuple[MeasuredBlock, ...]
    networks: tuple[MeasuredNetwork, ...]
    coefficients: Mapping[str, float]
    scale: float
    offset_ms: float
    dispatch_ms: float
    seconds: float
    errors: Mapping[str, float | None] = field(default_factory=dict)

    kind: ClassVar[str] = "layerwise"

    @property
    def mape(self) -> float | None:
        """Mean relative error on networks that the fit did not see."""
        return self.errors.get("mape")

    @cached_property
    def model(self) -> Model:
        table = {block.id: block.ms for block in self.blocks}
        return Model(table, tuple(self.coefficients[name] for name in FEATURES), self.scale, self.offset_ms)

    def predict_arch(self, arch: Arch) -> float:
        """Milliseconds of one network, of any space. Raises ValueError naming the part of it that cannot be lowered."""
        return self.model.network_ms([Layer.of(layer) for layer in layer_graphs(lower(arch)).values()])

    def predict_many(self, space: Space, genomes: ArrayLike) -> np.ndarray:
        """(n, genes) options -> (n,) milliseconds, each equal to `predict_arch(space.decode(genome))` to the last bit.

        The space may be any, not only the one that was sampled. Raises ValueError for what is no genome of it.
        """
        if space.fingerprint not in self._spaces:
            self._spaces[space.fingerprint] = Costs(space), []
        costs, table = self._spaces[space.fingerprint]
        layers = costs.layers(genomes)
        table += [self._layer_ms(costs.layer_graph(i)) for i in range(len(table), int(layers.max(initial=0)) + 1)]
        total, ms = np.full(layers.shape[1], self.offset_ms), np.array(table)
        for row in layers:
            total += ms[row]
        return np.maximum(total, LEAST_MS)

    def _layer_ms(self, layer: Graph) -> float:
        if len(layer.nodes) == inputs(layer):
            return 0.0
        return self.model.layer_ms(Layer.of(cut(layer.nodes, layer.outputs.values())))

    @cached_property
    def _spaces(self) -> dict[str, tuple[Costs, list[float]]]:
        return {}

    def __getstate__(self) -> dict[str, object]:
        # Memos stay behind when a predictor is sent to a worker.
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}

    def to_dict(self) -> dict[str, JSON]:
        """Plain data for JSON; floats survive it to the last bit."""
        plain = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        plain["info"], plain["coefficients"], plain["errors"] = (
            dict(self.info),
            dict(self.coefficients),
            dict(self.errors),
        )
        plain["blocks"] = [dataclasses.asdict(block) for block in self.blocks]
        plain["networks"] = [dataclasses.asdict(network) for network in self.networks]
        return {"version": VERSION, "kind": self.kind, **plain}

    @classmethod
    def from_dict(cls, data: object, where: str = "predictor") -> LayerwisePredictor:
        """Reads `to_dict`'s data. Raises ValueError naming what is missing, foreign, negative or not a number."""
        if not isinstance(data, Mapping):
            raise ValueError(f"{where}: expected the data of a latency predictor, got {type(data).__name__}")
        if (data.get("kind"), data.get("version")) != (cls.kind, VERSION):
            got = f"{data.get('kind')!r} {data.get('version')!r}"
            raise ValueError(f"{where}.version: expected {cls.kind!r} {VERSION}, got {got}; fit the predictor again")
        names = [f.name for f in dataclasses.fields(cls)]
        for name in names:
            if name not in data:
                raise ValueError(f"{where}: missing key {name!r}")
        values: dict[str, JSON] = {name: data[name] for name in names}
        values["blocks"] = _records(MeasuredBlock, data["blocks"], f"{where}.blocks")
        values["networks"] = _records(MeasuredNetwork, data["networks"], f"{where}.networks")
        _check_numbers(values, where)
        return cls(**values)

    def check(self, fingerprint: str, space: Space, where: str = "predictor") -> None:
        """See `Predictor.check`; a predictor is used for the space that its layers were sampled from."""
        check_origin(self, fingerprint, space, where)


def _records(cls: type[T], rows: object, where: str) -> tuple[T, ...]:
    names = {f.name for f in dataclasses.fields(cls)}
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) and set(row) == names for row in rows):
        raise ValueError(f"{where}: expected a list of mappings with {', '.join(sorted(names))}")
    return tuple(cls(**row) for row in rows)


def _check_numbers(values: Mapping[str, JSON], where: str) -> None:
    coefficients = values["coefficients"]
    if not isinstance(coefficients, Mapping) or set(coefficients) != set(FEATURES):
        raise ValueError(
            f"{where}.coefficients: made with other features than {', '.join(FEATURES)}; fit the predictor again"
        )
    numbers = {f"coefficients.{name}": value for name, value in coefficients.items()}
    numbers |= {f"blocks[{i}].ms": block.ms for i, block in enumerate(values["blocks"])}
    numbers |= {name: values[name] for name in ("scale", "offset_ms", "dispatch_ms", "seconds")}
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not (math.isfinite(value) and value >= 0):
            raise ValueError(f"{where}.{name}: expected a number of 0 and more, got {value!r}")
