"""Devices, their clocks, and the frozen latency predictor."""

import dataclasses
import functools
import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fake_bench import FakeBench, additive_ms
from nas.arch.blocks import arch_id, lower
from nas.arch.graph import Graph, node_macs
from nas.cost import FEATURES, cost
from nas.latency import (
    Budget,
    DeviceDefaults,
    DeviceError,
    Host,
    LayerwisePredictor,
    LiteRT,
    OnnxRuntime,
    fit_layerwise,
    make_device,
)
from nas.latency.devices.measure import measure_networks
from nas.latency.predictors.layerwise.fitting import evenly_spaced, sample_space
from nas.latency.predictors.layerwise.layers import layer_graphs
from nas.latency.predictors.layerwise.regression import Layer, fit_model, held_out
from nas.latency.timing import Program, Rounds, summarize, time_programs
from nas.space import Space, load_space
from places import ROOT

BUDGET = Budget(samples=40, networks=4, seconds=1e9)


def tiny() -> Space:
    return load_space("tiny").fit(8, 1, 10)


def fitted(space: Space, bench: FakeBench | None = None, budget: Budget = BUDGET, seed: int = 0) -> LayerwisePredictor:
    bench = bench or FakeBench()
    return fit_layerwise(space, seed, bench, budget, "fake", "f" * 12, {"batch": 1}, clock=bench.clock)


@pytest.fixture(scope="module")
def predictor() -> LayerwisePredictor:
    return fitted(tiny())


def genomes(space: Space, count: int, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.array([space.sample(rng) for _ in range(count)])


# The clock.


@pytest.mark.parametrize(
    "rounds, latency, median, p95",
    [
        ([[2.0, 2.0], [2.0, 2.0]], 2.0, 2.0, 2.0),
        ([[1.0, 1.0], [9.0, 9.0], [9.0, 9.0]], 1.0, 9.0, 9.0),  # busy most of the time: the quiet runs count
        ([[1.0, 1.02, 0.98, 1.01, 50.0]], 0.984, 1.01, 40.204),
        ([[5.0]], 5.0, 5.0, 5.0),
    ],
)
def test_slow_runs_say_nothing_of_the_network(rounds: list[list[float]], latency: float, median: float, p95: float):
    timing = summarize(rounds)
    assert (timing.latency_ms, timing.median_ms, timing.p95_ms) == pytest.approx((latency, median, p95))
    assert timing.runs == sum(map(len, rounds))


@given(st.lists(st.floats(0.1, 10), min_size=10, max_size=30), st.lists(st.floats(10, 1000), max_size=10))
def test_interruptions_move_the_latency_only_up_and_within_the_quiet_runs(quiet: list[float], interrupted: list[float]):
    alone, together = summarize([quiet]), summarize([quiet + interrupted])
    assert together.latency_ms >= alone.latency_ms - 1e-9
    assert together.latency_ms <= max(quiet) + 1e-9


def test_repeatability_is_how_far_the_halves_lie_apart():
    assert summarize([[1.0, 1.0], [1.1, 1.1]]).repeatability == pytest.approx(0.1)
    assert summarize([[3.0, 3.0], [3.0]]).repeatability == 0
    assert summarize([[3.0, 3.5]]).repeatability == 0


def test_what_drifts_is_measured_again():
    now, runs = [0.0], {"steady": 0, "drifting": 0}

    def program(name: str, seconds: Callable[[int], float]) -> Program:
        def run() -> None:
            runs[name] += 1
            now[0] += seconds(runs[name])

        return Program(run)

    programs = {"steady": program("steady", lambda n: 1.0), "drifting": program("drifting", lambda n: 2.0 if n < 6 else 1.0)}
    timings = time_programs(programs, lambda: now[0], Rounds(1, 4, 2))
    assert timings["steady"].runs == 8
    assert 8 < timings["drifting"].runs <= 24
    assert timings["drifting"].latency_ms == pytest.approx(1e3)


def test_limits_end_the_rounds_of_a_machine_that_slows_down():
    now = [0.0]

    def run() -> None:
        now[0] += 0.001 if now[0] < 0.01 else 1.0

    timing = time_programs({"a": Program(run)}, lambda: now[0], Rounds(5, 20, 10), {"a": 0.4})["a"]
    assert timing.runs == 30  # three rounds, though the limit was spent after the first


@pytest.mark.parametrize("times", [[], [[]], [[math.nan, 1.0]], [[math.inf]], [[-1.0, 1.0]], [[0.0, 0.0]]])
def test_times_that_are_none_are_refused(times: list[list[float]]):
    with pytest.raises(DeviceError, match=r"abc: expected times of more than 0 ms, got"):
        summarize(times, "abc")


def test_programs_take_turns():
    calls: list[str] = []
    now = [0.0]

    def program(name: str, seconds: float) -> Program:
        def run() -> None:
            calls.append(name)
            now[0] += seconds

        return Program(run)

    programs = {"a": program("a", 0.001), "b": program("b", 1.0)}
    timings = time_programs(programs, lambda: now[0], Rounds(1, 2, 3), {"a": 9.0, "b": 0.5})
    assert "".join(calls) == "ab" + "aaab" * 2
    assert timings["a"].median_ms == pytest.approx(1.0)
    assert (timings["a"].runs, timings["b"].runs) == (6, 2)


# Layers.


@pytest.mark.parametrize("name", ["tiny", "mnasnet", "mobilenet_v3"])
def test_layers_add_up_to_the_network(name: str):
    space = load_space(name).fit(32, 3, 10)
    for genome in genomes(space, 5):
        arch = space.decode(genome.tolist())
        layers = layer_graphs(lower(arch))
        there = [layer for layer in cost(arch).layers if layer.primitives]  # an identity is none
        assert list(layers) == [layer.name for layer in there]
        macs = [sum(node_macs(n, g.in_shapes(n)) for n in g.nodes[1:]) for g in layers.values()]
        assert macs == [layer.macs for layer in there]
        shapes = [g.nodes[-1].shape for g in layers.values()]
        assert [g.input_shape for g in layers.values()][1:] == shapes[:-1]


def test_rates_of_dropping_do_not_make_another_layer():
    arch = tiny().decode([1] * len(tiny().genes))
    other = dataclasses.replace(arch, drop_path=0.3, head=arch.head.replace(dropout=0.5))
    assert arch_id(arch) != arch_id(other)
    ids = [[layer.id for layer in layer_graphs(lower(a)).values()] for a in (arch, other)]
    assert ids[0] == ids[1]


# The fit.


def test_an_additive_device_is_learned():
    space, bench = tiny(), FakeBench()
    predictor = fitted(space, bench)
    fresh = genomes(space, 40)
    truth = np.array([additive_ms(lower(space.decode(g.tolist()))) for g in fresh])
    predicted = predictor.predict_many(space, fresh)
    assert np.mean(np.abs(predicted - truth) / truth) < 0.05
    agree = np.sign(predicted[:, None] - predicted) * np.sign(truth[:, None] - truth)
    assert agree.sum() > 0.9 * len(fresh) * (len(fresh) - 1)
    assert predictor.mape is not None
    assert predictor.mape < 0.1
    assert len(predictor.networks) == 4
    assert len(predictor.blocks) == 40


def test_equal_times_give_equal_predictors(predictor: LayerwisePredictor):
    assert fitted(tiny()) == predictor
    assert fitted(tiny(), seed=1) != predictor


@pytest.mark.parametrize(
    "seconds, samples, networks, blocks",
    [(0, 40, 6, 5), (30, 40, 6, 17), (100, 12, 6, 12), (1e9, 0, 6, 0)],
)
def test_the_budget_ends_the_fit(seconds: float, samples: int, networks: int, blocks: int):
    bench = FakeBench()
    predictor = fitted(tiny(), bench, Budget(samples, 6, seconds))
    assert (len(predictor.networks), len(predictor.blocks)) == (networks, blocks)
    assert len(bench.compiled) == 1 + networks + blocks
    assert predictor.seconds == pytest.approx(bench.now)


def test_a_space_of_size_one_has_no_held_out_error():
    arch = tiny().decode([0] * len(tiny().genes))
    space = Space.from_dict(arch.to_dict(), "one")
    predictor = fitted(space)
    assert predictor.mape is None
    assert predictor.predict_arch(arch) == pytest.approx(additive_ms(lower(arch)), rel=0.02)


def test_progress_is_told():
    reported: list[tuple[str, int, int]] = []
    bench = FakeBench()

    def tell(what: str, done: int, total: int) -> None:
        reported.append((what, done, total))

    fit_layerwise(tiny(), 0, bench, Budget(5, 2, 1e9), "fake", "f", {}, tell, bench.clock)
    assert [t for t in reported if t[1] == t[2]] == [
        ("compile networks", 2, 2),
        ("compile layers", 5, 5),
        ("measure", 1, 1),
    ]


@functools.cache
def some_layers() -> tuple[list[list[Layer]], list[Layer]]:
    sample = sample_space(tiny(), 0)
    networks = [[Layer.of(x) for x in layer_graphs(g).values()] for g in sample.networks[:3]]
    return networks, [Layer.of(g) for _, g in sample.blocks[:3]]


@given(st.lists(st.floats(1e-3, 1e3), min_size=3, max_size=3), st.integers(0, 3), st.integers(1, 3))
def test_predictions_are_positive_whatever_was_measured(times: list[float], blocks: int, networks: int):
    sampled_networks, sampled_blocks = some_layers()
    whole = list(zip(sampled_networks, times, strict=False))
    alone = list(zip(sampled_blocks, reversed(times), strict=False))
    model = fit_model(alone[:blocks], whole[:networks], 0.005)
    assert min(model.coefficients) >= 0
    assert model.offset_ms >= 0
    assert model.scale > 0
    assert all(model.layer_ms(layer) >= 0 for layers, _ in whole for layer in layers)
    assert all(model.network_ms(layers) > 0 for layers, _ in whole)


def test_held_out_predictions_come_from_the_other_networks():
    networks, _ = some_layers()
    whole = list(zip(networks, (1.0, 2.0, 3.0), strict=True))
    wrong = [*whole[:2], (whole[2][0], 100.0)]
    assert held_out([], wrong, 0.005)[2] == held_out([], whole, 0.005)[2]
    assert held_out([], whole[:1], 0.005) == []


@pytest.mark.parametrize(
    "count, expected, places", [(64, 3, [32, 0, 63]), (5, 5, [2, 0, 4, 1, 3]), (2, 6, [0, 1]), (1, 3, [0]), (0, 3, [])]
)
def test_networks_are_spread_over_sizes(count: int, expected: int, places: list[int]):
    assert evenly_spaced(count, expected) == places


# The predictor.


@pytest.mark.parametrize("name, resolution", [("tiny", 8), ("tiny", 32), ("mnasnet", 32), ("mobilenet_v3", 48)])
def test_many_at_once_equal_one_by_one(predictor: LayerwisePredictor, name: str, resolution: int):
    space = load_space(name).fit(resolution, 1, 10)
    rng = np.random.default_rng(3)
    drawn = np.concatenate([genomes(space, 20), rng.integers(space.option_counts, size=(20, len(space.genes)))])
    many = predictor.predict_many(space, drawn)
    for genome, ms in zip(drawn.tolist(), many.tolist(), strict=True):
        arch = space.decode(genome)
        assert predictor.predict_arch(arch) == ms
        assert predictor.model.network_ms([Layer.of(g) for g in layer_graphs(lower(arch)).values()]) == ms
    assert (predictor.predict_many(space, drawn[::-1]) == many[::-1]).all()
    assert predictor.predict_many(space, np.zeros((0, len(space.genes)), int)).shape == (0,)


@pytest.mark.parametrize(
    "genome, line", [([[0] * 3], r"expected whole numbers of shape"), ([[9] * 18], r"expected an option from 0 to"), ([0], r"shape")]
)
def test_what_is_no_genome_is_refused(predictor: LayerwisePredictor, genome: Any, line: str):
    with pytest.raises(ValueError, match=line):
        predictor.predict_many(tiny(), genome)


def test_round_trip_through_json(predictor: LayerwisePredictor):
    read = LayerwisePredictor.from_dict(json.loads(json.dumps(predictor.to_dict(), allow_nan=False)))
    assert read == predictor
    drawn = genomes(tiny(), 10)
    assert (read.predict_many(tiny(), drawn) == predictor.predict_many(tiny(), drawn)).all()


@pytest.mark.parametrize(
    "change, line",
    [
        (lambda d: d.pop("scale"), r"run: missing key 'scale'"),
        (lambda d: d.update(version=0), r"run.version: expected 'layerwise' 2, got 'layerwise' 0; fit the predictor again"),
        (lambda d: d.update(offset_ms=-1.0), r"run.offset_ms: expected a number of 0 and more, got -1.0"),
        (lambda d: d.update(scale=math.nan), r"run.scale: expected a number of 0 and more, got nan"),
        (lambda d: d["coefficients"].pop(FEATURES[0]), r"run.coefficients: made with other features"),
        (lambda d: d["blocks"][0].update(ms="fast"), r"run.blocks\[0\].ms: expected a number of 0 and more, got 'fast'"),
        (lambda d: d["networks"][0].pop("ms"), r"run.networks: expected a list of mappings with arch_id"),
    ],
)
def test_damaged_data_is_refused(predictor: LayerwisePredictor, change: Callable[[dict[str, Any]], object], line: str):
    data = json.loads(json.dumps(predictor.to_dict()))
    change(data)
    with pytest.raises(ValueError, match=line):
        LayerwisePredictor.from_dict(data, "run")


def test_a_foreign_predictor_is_refused_with_the_reason(predictor: LayerwisePredictor):
    predictor.check("f" * 12, tiny())
    with pytest.raises(ValueError, match=r"run: made for another space than tiny"):
        predictor.check("f" * 12, load_space("tiny"), "run")
    with pytest.raises(ValueError, match=r"run: made on another device or with other settings \(fake: batch 1\)"):
        predictor.check("0" * 12, tiny(), "run")


# Devices.


@pytest.mark.parametrize(
    "settings, line",
    [
        ({}, r"device.name: missing; expected one of host"),
        ({"name": "hots"}, r"device.name: unknown 'hots'; did you mean host\?"),
        ({"name": "host", "repeat": 3}, r"device.repeat: unknown key; did you mean repeats\?"),
        ({"name": "host", "batch": 0}, r"device.batch: expected 1 or more, got 0"),
        ({"name": "host", "seconds": -1}, r"device.seconds: expected 0 or more, got -1"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, Any], line: str):
    with pytest.raises(ValueError, match=line):
        make_device(settings)


def test_the_files_have_the_defaults():
    for cls in (Host, LiteRT, OnnxRuntime):
        assert make_device(yaml.safe_load((ROOT / f"conf/device/{cls.NAME}.yaml").read_text())) == cls()


def test_fingerprints_tell_settings_apart():
    prints = {Host().fingerprint(), Host(batch=2).fingerprint()}
    assert len(prints) == 2
    assert Host(seconds=3).fingerprint() == Host().fingerprint()


def test_one_network_that_fails_does_not_lose_the_others():
    space = tiny()
    good, bad = (space.decode([i] * len(space.genes)) for i in (0, 1))
    bench = FakeBench()
    compile_one = bench.compile

    def refusing(graph: Graph, what: str) -> Program:
        if graph.id == arch_id(bad):
            raise DeviceError(f"{what}: no")
        return compile_one(graph, what)

    bench.compile = refusing
    failures: list[str] = []
    rows = measure_networks(bench, [good, bad, good], "fake", {}, lambda arch, error: failures.append(str(error)))
    assert [row.arch_id for row in rows] == [arch_id(good)] * 2
    assert failures == [f"tiny ({arch_id(bad)}): no"]
    with pytest.raises(DeviceError, match=arch_id(bad)):
        measure_networks(bench, [good, bad], "fake", {})


def test_the_host_names_the_network_it_cannot_compile(monkeypatch: pytest.MonkeyPatch):
    from nas.nn import network

    def broken(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("RESOURCE_EXHAUSTED: out of memory\nmore of it")

    monkeypatch.setattr(network, "apply", broken)
    arch = tiny().decode([0] * len(tiny().genes))
    line = rf"tiny \({arch_id(arch)}\): cannot be compiled for XLA: RESOURCE_EXHAUSTED: out of memory$"
    with pytest.raises(DeviceError, match=line):
        Host().measure(arch)


def test_times_that_are_none_name_the_network():
    arch = tiny().decode([0] * len(tiny().genes))
    with pytest.raises(DeviceError, match=f"{arch_id(arch)}: expected times of more than 0 ms, got nan"):
        measure_networks(FakeBench(lambda graph: math.nan), arch, "fake", {})


def test_the_host_measures():
    device = make_device({"name": "host", "batch": 2, "warmup": 1, "rounds": 2, "repeats": 2})
    arch = tiny().decode([0] * len(tiny().genes))
    (row,) = device.measure(arch)
    assert (row.arch_id, row.device, row.fingerprint) == (arch_id(arch), "host", device.fingerprint())
    assert row.repeats >= 4
    assert 0 < row.latency_ms <= row.median_ms <= row.p95_ms
    assert {"backend", "kind", "threads", "jax", "repeatability", "memory_bytes"} <= set(row.info)
    assert (row.info["batch"], row.info["dtype"]) == (2, "float32")
    assert json.loads(json.dumps(dict(row.info))) == row.info


def test_the_host_fits():
    space = tiny()
    device = Host(seconds=0, rounds=2, repeats=2, warmup=1, networks=2)
    predictor = device.fit(space, seed=0)
    predictor.check(device.fingerprint(), space)
    assert len(predictor.networks) == 2
    assert predictor.mape is not None
    assert (predictor.predict_many(space, genomes(space, 10)) > 0).all()


@pytest.mark.parametrize("method, call", [("info", lambda b: b.fingerprint()), ("measure", lambda b: b.verify([], []))])
def test_what_a_device_does_not_define_is_named(method: str, call: Any) -> None:
    class Board(DeviceDefaults): ...

    with pytest.raises(ValueError, match=rf"device: Board defines no {method}\(\): expected "):
        call(Board())
