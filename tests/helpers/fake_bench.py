"""A bench with a clock of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from nas.arch.graph import Graph, node_macs
from nas.latency import Timing
from nas.latency.timing import Program, Rounds, time_programs


class FakeBench:
    """A bench with its own clock: compiling takes a second, a run 5 us and then so much a layer, or what `ms` returns."""

    def __init__(self, ms: Callable[[Graph], float] | None = None):
        self.now, self.compiled, self.ms = 0.0, [], ms or additive_ms

    def clock(self) -> float:
        return self.now

    def compile(self, graph: Graph, what: str) -> Program:
        self.now += 1.0
        self.compiled.append(what)
        return Program(lambda: self._advance(self.ms(graph)), what)

    def _advance(self, ms: float) -> None:
        self.now += ms / 1e3

    def time(self, programs: Mapping[str, Program], limits_s: Mapping[str, float] | None = None) -> dict[str, Timing]:
        return time_programs(programs, self.clock, Rounds(1, 2, 2), limits_s)


def additive_ms(graph: Graph) -> float:
    """A start of 5 us, a microsecond a primitive, a nanosecond a multiply-add (three times that where depthwise)."""
    total = 0.005
    for node in graph.nodes[1:]:
        macs = node_macs(node, graph.in_shapes(node))
        total += 1e-3 + 1e-6 * macs * (3 if node.op == "conv" and node.attr["groups"] > 1 else 1)
    return total
