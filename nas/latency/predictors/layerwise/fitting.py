"""Fits the predictor that sums layers, within a budget of seconds: a few whole networks, then as many layers as time allows."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from nas.arch import Arch
from nas.arch.blocks import lower
from nas.arch.graph import Graph, Node, node_macs
from nas.cost import FEATURES
from nas.latency.predictors.base import Progress
from nas.latency.predictors.layerwise.layers import inputs, layer_graphs
from nas.latency.predictors.layerwise.predictor import LayerwisePredictor, MeasuredBlock, MeasuredNetwork
from nas.latency.predictors.layerwise.regression import Layer, fit_model, held_out, relative_errors
from nas.latency.timing import Program, Timing, pause, pooled
from nas.records import JSON
from nas.space import Space

# Networks that are lowered to see which layers a space has, and tries at finding that many different ones.
SAMPLED, TRIES = 64, 256
# The parts of the budget after which no further network, and no further layer, is compiled; the rest is for the clock.
NETWORK_FRACTION, BLOCK_FRACTION = 0.45, 0.8
# Measured however slow the compiler is: an error on two networks left out said 8 % where predictions were off by 17 %.
LEAST_NETWORKS = 6
# In which whole networks are measured, apart in time: a machine's slow phase is in one of them at most.
FIT_WINDOWS = 3
EMPTY = Graph((Node("input", "input", (), (1, 1, 1)),))


class Bench(Protocol):
    """Compiles and times graphs on a device; both methods raise `DeviceError` naming the program that failed."""

    def compile(self, graph: Graph, what: str) -> Program:
        """A program that runs once when called, and returns when its result is there."""
        ...

    def time(self, programs: Mapping[str, Program], limits_s: Mapping[str, float] | None = None) -> dict[str, Timing]:
        """Timings of programs run in turns, each for about as many seconds at most as `limits_s` has for it."""
        ...


@dataclass(frozen=True)
class Budget:
    """Layers and whole networks measured at most, and the seconds after which no more are begun."""

    samples: int
    networks: int
    seconds: float


@dataclass(frozen=True)
class Sample:
    """Networks of a space, distinct, by rising MACs, and their layers in the order they are to be measured."""

    networks: tuple[Graph, ...]
    blocks: tuple[tuple[str, Graph], ...]  # (where it was seen first, the layer)
    groups: int  # stem, stages and head: as many of the first blocks as there are parts of the network


def drawn(space: Space, seed: int) -> Iterator[Arch]:
    """Networks drawn from the space, some of them more than once, in an order that the seed decides."""
    rng = np.random.default_rng([seed, 0x1A7E])
    for _ in range(TRIES):
        yield space.decode(space.sample(rng))


def sample_space(space: Space, seed: int) -> Sample:
    """Networks drawn from the space; layers take turns, group by group, those of most networks first."""
    graphs: dict[str, Graph] = {}
    for arch in drawn(space, seed):
        if len(graphs) == min(SAMPLED, space.size):
            break
        graph = lower(arch)
        graphs.setdefault(graph.id, graph)
    counts: dict[str, int] = {}
    groups: dict[str, dict[str, tuple[str, Graph]]] = {}
    for graph in graphs.values():
        for scope, layer in layer_graphs(graph).items():
            if inputs(layer) > 1:
                continue
            counts[layer.id] = counts.get(layer.id, 0) + 1
            if counts[layer.id] == 1:
                groups.setdefault(scope.rsplit(".", 1)[0], {})[layer.id] = (scope, layer)
    ordered = [[g[i] for i in sorted(g, key=lambda i: (-counts[i], i))] for _, g in sorted(groups.items())]
    turns = [group[turn] for turn in range(max(map(len, ordered))) for group in ordered if turn < len(group)]
    return Sample(tuple(sorted(graphs.values(), key=_macs)), tuple(turns), len(ordered))


def _macs(graph: Graph) -> int:
    return sum(node_macs(node, graph.in_shapes(node)) for node in graph.nodes[1:])


def evenly_spaced(count: int, expected: int) -> list[int]:
    """Indices of `expected` of `count` sorted items: the median, both ends, then wherever the gap is widest."""
    chosen: list[int] = []
    expected = min(expected, count)
    grid = sorted({round(i * (count - 1) / max(expected - 1, 1)) for i in range(expected)})
    while grid:
        at = max(grid, key=lambda i: min((abs(i - j) for j in chosen), default=-abs(i - (count - 1) / 2)))
        grid.remove(at)
        chosen.append(at)
    return chosen


def fit_layerwise(
    space: Space,
    seed: int,
    bench: Bench,
    budget: Budget,
    device: str,
    fingerprint: str,
    info: Mapping[str, JSON],
    progress: Progress | None = None,
    clock: Callable[[], float] = time.monotonic,
    gap_s: float = 0.0,
    wait: Callable[[float], object] = pause,
) -> LayerwisePredictor:
    """Samples layers and networks of a space, measures them until the budget is spent, and fits a predictor.

    Six networks, or `budget.networks` where that is fewer, and a layer of each stage are measured in any case (of a smaller
    space, what there is of them). Networks are measured in three windows, `gap_s` apart. Equal measurements give equal
    predictors.

    Args:
        space: The space that networks are sampled from.
        seed: Of the sample.
        bench: Compiles and times graphs on the device.
        budget: How much is measured at most.
        device, fingerprint, info: What the predictor records of the device.
        progress: Called with (what is done, step, of how many).
        clock: Seconds, for the budget.
        gap_s: Seconds between the windows in which networks are measured; beside the budget.
        wait: Waits for so many seconds.

    Raises:
        DeviceError: A layer or network that cannot be compiled or timed, by name.
    """
    start = clock()
    report = progress or (lambda what, done, total: None)
    sample = sample_space(space, seed)
    chosen = [sample.networks[i] for i in evenly_spaced(len(sample.networks), budget.networks)]
    empty = bench.compile(EMPTY, "empty program")
    layers = [layer for _, layer in sample.blocks[: budget.samples]]
    compiler = _Compiler(bench, clock, report)
    networks = compiler("network", chosen, start + NETWORK_FRACTION * budget.seconds, LEAST_NETWORKS)
    blocks = compiler("layer", layers, start + BLOCK_FRACTION * budget.seconds, sample.groups)
    left = max(start + budget.seconds - clock(), 0.1 * budget.seconds)
    report("measure", 0, 1)
    limits = {name: 0.5 * left / (1 + len(blocks)) for name in ("empty program", *blocks)}
    limits |= {name: 0.5 * left / len(networks) for name in networks}
    times = bench.time({"empty program": empty, **blocks, **networks}, limits)
    windows = [times]
    for _ in range(FIT_WINDOWS - 1):
        wait(gap_s)
        windows.append(bench.time(networks, {name: limits[name] / FIT_WINDOWS for name in networks}))
    times = {**times, **{name: pooled([window[name] for window in windows]) for name in networks}}
    report("measure", 1, 1)
    measured = [graph for graph in chosen if graph.id in networks]
    return _predictor(space, seed, sample, measured, times, (device, fingerprint, info), clock() - start)


@dataclass(frozen=True)
class _Compiler:
    """Compiles graphs until a point in time, beginning none that would end after it if it took as long as the last one."""

    bench: Bench
    clock: Callable[[], float]
    report: Progress

    def __call__(self, what: str, graphs: Sequence[Graph], until: float, least: int) -> dict[str, Program]:
        programs: dict[str, Program] = {}
        last = 0.0
        for i, graph in enumerate(graphs):
            before = self.clock()
            if i >= least and before + last > until:
                break
            programs[graph.id] = self.bench.compile(graph, f"{what} {graph.id}")
            last = self.clock() - before
            self.report(f"compile {what}s", i + 1, len(graphs))
        return programs


def _predictor(
    space: Space,
    seed: int,
    sample: Sample,
    measured: Sequence[Graph],
    times: Mapping[str, Timing],
    device: tuple[str, str, Mapping[str, JSON]],
    seconds: float,
) -> LayerwisePredictor:
    dispatch_ms = times["empty program"].latency_ms
    blocks = [(scope, Layer.of(layer), times[layer.id]) for scope, layer in sample.blocks if layer.id in times]
    alone = [(layer, timing.latency_ms) for _, layer, timing in blocks]
    whole = [([Layer.of(x) for x in layer_graphs(g).values()], times[g.id].latency_ms) for g in measured]
    model = fit_model(alone, whole, dispatch_ms)
    inside = [model.network_ms(layers) for layers, _ in whole]
    outside = held_out(alone, whole, dispatch_ms)
    expected = [ms for _, ms in whole]
    return LayerwisePredictor(
        *device,
        space=space.fingerprint,
        seed=seed,
        blocks=tuple(
            MeasuredBlock(at.id, scope, t.latency_ms, model.table[at.id], t.repeatability) for scope, at, t in blocks
        ),
        networks=tuple(
            MeasuredNetwork(g.id, expected[i], inside[i], outside[i] if outside else None, times[g.id].repeatability)
            for i, g in enumerate(measured)
        ),
        coefficients=dict(zip(FEATURES, model.coefficients, strict=True)),
        scale=model.scale,
        offset_ms=model.offset_ms,
        dispatch_ms=dispatch_ms,
        seconds=seconds,
        errors={
            "in_sample": relative_errors(inside, expected),
            "mape": relative_errors(outside, expected[: len(outside)]),
        },
    )
