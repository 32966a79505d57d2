"""Latency learned from measured networks: the columns, the candidates, what is promised, and what is refused."""

import functools
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from nas.arch.blocks import lower
from nas.arch.graph import node_macs
from nas.cost import FEATURES, HARDWARE, Costs, hardware_row
from nas.latency import (
    Budget,
    LearnedPredictor,
    fit_predictor,
    good_enough,
    load_predictor,
    next_to_measure,
)
from nas.latency.predictors.base import scores
from nas.latency.predictors.learned.features import Features, LayerCounts
from nas.latency.predictors.learned.models import CENTERS, MODELS
from nas.latency.predictors.learned.predictor import LEAST_NETWORKS
from nas.space import Space, load_space
from nas.surrogates.bottleneck import Bottleneck
from nas.surrogates.models import blend
from nas.surrogates.process import Process, Term, choose
from nas.workflows.workers import doubt


@functools.cache
def space() -> Space:
    return load_space("accel_nasbench")


@functools.cache
def counts() -> LayerCounts:
    return LayerCounts(space())


def drawn(count: int, seed: int = 0, of: Space | None = None) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.array([(of or space()).sample(rng) for _ in range(count)])


def device_ms(genomes: np.ndarray, floor: float = 0.0, seed: int | None = None) -> np.ndarray:
    """A device whose time follows padded elements and kernels, not under a floor, with half a percent of noise."""
    layers = counts().layers(genomes)
    totals = dict(zip((*FEATURES, *HARDWARE), counts().sums(layers).sum(axis=1).T, strict=True))
    ms = (
        1e-7 * totals["padded_elements_32"]
        + 1e-9 * totals["pointwise_macs"]
        + 0.01 * totals["kernels"]
        + 0.2 * totals["se_count"]
    )
    noise = np.random.default_rng(seed).normal(0, 0.005, len(ms)) if seed is not None else 0.0
    return np.maximum(ms, floor) * (1 + noise)


@functools.cache
def predictor() -> LearnedPredictor:
    genomes = drawn(60)
    return fit_predictor(
        space(),
        genomes,
        device_ms(genomes, seed=1),
        device="fake",
        fingerprint="f" * 12,
        info={"batch": 1},
        counts=counts(),
    )


# Costs.


def test_layers_of_genomes_are_those_of_their_architectures():
    costs, genomes = Costs(space()), drawn(5)
    layers = costs.layers(genomes)
    assert len(costs.position_groups) == len(layers)
    for genome, numbers in zip(genomes.tolist(), layers.T.tolist(), strict=True):
        whole = lower(space().decode(genome))
        ours = [node for number in numbers for node in costs.layer_graph(number).nodes[1:]]
        assert [(n.op, n.shape) for n in ours] == [(n.op, n.shape) for n in whole.nodes[1:] if n.op != "drop_path"]


def test_hardware_features_by_hand():
    from nas.arch.builder import Builder
    from nas.arch.graph import Graph

    g = Builder()
    x = g.input((4, 4, 12))
    y = g.conv(x, 40, name="a")
    graph = Graph(tuple(g.nodes))
    found = dict(zip(HARDWARE, hardware_row(graph.nodes), strict=True))
    macs = node_macs(graph.nodes[y], [(4, 4, 12)])
    assert found["padded_elements_32"] == 16 * (32 + 64)
    assert found["padded_macs_8"] == 16 * 16 * 40
    assert found["padded_depthwise_macs_8"] == 0
    assert found["roofline_4"] == max(16 * 52, macs / 4)
    assert found["roofline_256"] == 16 * 52
    assert (found["kernels"], found["added_elements"]) == (1, 0)


# The regressors.


def smooth_function(rows: int, seed: int = 0) -> tuple[dict[str, np.ndarray], np.ndarray]:
    x = np.random.default_rng(seed).normal(size=(rows, 3))
    y = x[:, 0] - 0.5 * x[:, 1] * x[:, 2] + np.sin(2 * x[:, 0])
    return {"a": x / 3**0.5}, (y - y.mean()) / y.std()


TERMS = (Term("linear", "a"), Term("pairs", "a"), Term("matern", "a"))


@pytest.mark.parametrize("rows", [60, CENTERS + 100])
def test_a_process_learns_a_smooth_function(rows: int):
    inputs, y = smooth_function(rows + 50)
    seen, fresh = {"a": inputs["a"][:rows]}, {"a": inputs["a"][rows:]}
    hyper = choose(TERMS, seen, y[:rows], np.random.default_rng(0))
    process = Process(TERMS, hyper, seen, y[:rows], CENTERS)
    assert np.sqrt(np.mean((process.mean(fresh) - y[rows:]) ** 2)) < (0.6 if rows < 100 else 0.1)
    assert (process.sd(fresh) > 0).all()
    far = process.sd({"a": 20 * fresh["a"]}, noise=False)
    assert np.median(far) > np.median(process.sd(fresh, noise=False))


def test_left_out_is_what_a_fit_without_the_fold_says():
    inputs, y = smooth_function(30)
    hyper = choose(TERMS, inputs, y, np.random.default_rng(0))
    folds = np.arange(30) % 4
    mean, sd = Process(TERMS, hyper, inputs, y).left_out(folds)
    out = folds == 1
    rest = Process(TERMS, hyper, {"a": inputs["a"][~out]}, y[~out])
    np.testing.assert_allclose(mean[out], rest.mean({"a": inputs["a"][out]}), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(sd[out], rest.sd({"a": inputs["a"][out]}), rtol=1e-3)


def test_a_bottleneck_finds_the_floor():
    x = np.random.default_rng(0).uniform(-1, 1, size=(200, 2))
    y = np.maximum(2.0, 2.0 + 3 * x[:, 0] + x[:, 1])
    model = Bottleneck.fit(x, y, 1e-4)
    assert np.abs(model(x) / y - 1).mean() < 0.02


@pytest.mark.parametrize(
    "noises, expected", [((0.01, 0.5), (1.0, 0.0)), ((0.5, 0.01), (0.0, 1.0)), ((0.1, 0.1), (0.5, 0.5))]
)
def test_blends_trust_the_better_model(noises: tuple[float, float], expected: tuple[float, float]):
    rng = np.random.default_rng(0)
    y = rng.uniform(1, 2, 500)
    predictions = np.stack([y * (1 + noise * rng.normal(size=500)) for noise in noises], axis=1)
    np.testing.assert_allclose(blend(predictions, y), expected, atol=0.1)


# The predictor.


def test_a_device_is_learned_from_sixty_networks():
    fresh = drawn(300, seed=7)
    ms = device_ms(fresh)
    found = scores(predictor().predict(fresh), ms)
    assert found["tau"] > 0.97
    assert found["mape"] < 0.02
    assert set(predictor().record.candidates) == set(MODELS) - {"calibrated"}
    assert sum(predictor().record.weights.values()) == pytest.approx(1)


def test_a_floor_under_small_networks_is_learned():
    genomes, fresh = drawn(100), drawn(200, seed=7)
    floor = float(np.median(device_ms(genomes)))
    learned = fit_predictor(space(), genomes, device_ms(genomes, floor, seed=1), counts=counts())
    ms = device_ms(fresh, floor)
    assert np.abs(learned.predict(fresh) / ms - 1).mean() < 0.03


def test_intervals_hold_and_the_error_promised_is_the_error_found():
    fresh = drawn(400, seed=8)
    ms = device_ms(fresh, seed=9)
    for coverage in (0.8, 0.95):
        low, high = predictor().interval(fresh, coverage)
        held = ((low <= ms) & (ms <= high)).mean()
        assert coverage - 0.12 < held <= 1.0
    error = np.abs(predictor().predict(fresh) / ms - 1).mean()
    assert 0.5 * error < predictor().mape < 2 * error
    assert predictor().errors()["networks"] == 60
    with pytest.raises(ValueError, match=r"coverage: expected more than 0 and less than 1, got 1"):
        predictor().interval(fresh, 1.0)


def test_what_was_never_measured_alike_is_said_to_lie_outside():
    small = np.array([g for g in drawn(600).tolist() if sum(g[0::4]) <= 5][:40])
    learned = fit_predictor(space(), small, device_ms(small, seed=1), counts=counts())
    largest = [len(gene.options) - 1 for gene in space().genes]
    assert learned.outside([largest])[0]
    assert "measured networks have" in learned.why_outside(largest)
    assert predictor().outside(drawn(200, seed=3)).mean() < 0.1
    inside = predictor().record.genomes[0]
    assert not predictor().outside([inside])[0]
    assert predictor().why_outside(inside) == ""


def test_architectures_are_as_good_as_genomes():
    archs = [space().decode(genome) for genome in drawn(12).tolist()]
    ms = device_ms(drawn(12))
    one, other = (fit_predictor(space(), rows, ms, counts=counts()) for rows in (archs, drawn(12)))
    assert one.record == other.record
    assert one.predict_arch(archs[0]) == one.predict(drawn(12)[:1])[0]


@pytest.mark.parametrize("name", ["tiny", "mobilenet_v3"])
def test_any_space_will_do(name: str):
    other = load_space(name).fit(64, 3, 10)
    genomes, fresh = drawn(40, of=other), drawn(100, seed=5, of=other)
    costs = Costs(other)

    def ms(rows: np.ndarray) -> np.ndarray:
        return 0.1 + 1e-8 * costs(rows)["macs"] + 1e-7 * costs(rows)["memory_bytes"]

    learned = fit_predictor(other, genomes, ms(genomes))
    assert scores(learned.predict(fresh), ms(fresh))["mape"] < 0.1
    assert learned.predict(fresh[:0]).shape == (0,)


def test_equal_measurements_give_equal_predictors():
    again = fit_predictor(
        space(), drawn(60), device_ms(drawn(60), seed=1), device="fake", fingerprint="f" * 12, info={"batch": 1}
    )
    assert again.record == predictor().record


@pytest.mark.parametrize(
    "networks, ms, line",
    [
        (drawn(6), [1.0] * 5, r"accel_nasbench: 6 networks but 5 times"),
        (drawn(3), [1.0] * 3, rf"expected {LEAST_NETWORKS} measured networks or more to learn from, got 3"),
        (drawn(6), [1.0] * 5 + [float("nan")], r"ms\[5\]: expected a time of more than 0 ms, got nan"),
        (drawn(6), [1.0] * 5 + [-2.0], r"ms\[5\]: expected a time of more than 0 ms, got -2.0"),
        (np.full((6, 28), 9), [1.0] * 6, r"expected an option from 0 to"),
    ],
)
def test_wrong_measurements_are_named(networks: Any, ms: Any, line: str):
    with pytest.raises(ValueError, match=line):
        fit_predictor(space(), networks, ms)


def test_one_network_measured_many_times_over_is_no_crash():
    genomes = np.repeat(drawn(2), 4, axis=0)
    learned = fit_predictor(space(), genomes, [1.0, 1.01, 0.99, 1.0, 2.0, 2.02, 1.98, 2.0], counts=counts())
    assert np.isfinite(learned.predict(drawn(10))).all()


# On disk.


def saved() -> dict[str, Any]:
    return json.loads(json.dumps(predictor().to_dict(), allow_nan=False))


def test_round_trip_through_json():
    read = load_predictor(saved(), space())
    assert isinstance(read, LearnedPredictor)
    assert read.record == predictor().record
    fresh = drawn(50, seed=4)
    np.testing.assert_allclose(read.predict(fresh), predictor().predict(fresh), rtol=1e-5)
    assert read.interval(fresh)[0] == pytest.approx(predictor().interval(fresh)[0], rel=1e-5)


@pytest.mark.parametrize(
    "change, line",
    [
        (lambda d: d.pop("ms"), r"file: missing key 'ms'"),
        (lambda d: d.update(version=0), r"file.version: expected 1, got 0; fit the predictor again"),
        (lambda d: d["ms"].__setitem__(2, -1.0), r"file.ms\[2\]: expected a number of more than 0, got -1.0"),
        (lambda d: d["ms"].pop(), r"file.ms: expected 60 numbers, got 59"),
        (lambda d: d["weights"].update(proces=0.1), r"file.weights: unknown model 'proces'; did you mean process\?"),
        (lambda d: d["hyper"].update(noise="low"), r"file.hyper.noise: expected a number of more than 0, got 'low'"),
        (lambda d: d["check"].__setitem__(0, 2 * d["check"][0]), r"file: stale: fitted again it predicts"),
    ],
)
def test_damaged_data_is_refused(change: Callable[[dict[str, Any]], object], line: str):
    data = saved()
    change(data)
    with pytest.raises(ValueError, match=line):
        load_predictor(data, space(), "file")


def test_a_foreign_predictor_is_refused_with_the_reason():
    predictor().check("f" * 12, space())
    with pytest.raises(ValueError, match=r"file: made for another space than tiny"):
        load_predictor(saved(), load_space("tiny"), "file")
    with pytest.raises(ValueError, match=r"file: made on another device or with other settings \(fake: batch 1\)"):
        predictor().check("0" * 12, space(), "file")
    with pytest.raises(ValueError, match=r"fake: made for another space than tiny"):
        predictor().predict_many(load_space("tiny"), [])


# Few samples.


def test_another_device_helps_when_few_networks_were_measured():
    few, fresh = drawn(8, seed=11), drawn(300, seed=12)
    alone = fit_predictor(space(), few, 3 * device_ms(few), counts=counts())
    helped = fit_predictor(space(), few, 3 * device_ms(few), priors=[predictor()], counts=counts())
    with_help, without = (scores(p.predict(fresh), 3 * device_ms(fresh)) for p in (helped, alone))
    assert with_help["tau"] > 0.95
    assert with_help["mape"] < min(0.05, without["mape"])
    read = load_predictor(json.loads(json.dumps(helped.to_dict())), space())
    assert (read.predict_many(space(), fresh[:20]) == helped.predict(fresh[:20])).all()


def test_sums_of_measured_layers_are_a_prior():
    from fake_bench import FakeBench, additive_ms
    from nas.latency import fit_layerwise

    small, bench = load_space("tiny").fit(8, 1, 10), FakeBench()
    layers = fit_layerwise(small, 0, bench, Budget(40, 4, 1e9), "fake", "f", {}, clock=bench.clock)
    genomes, fresh = drawn(8, of=small), drawn(50, seed=3, of=small)

    def ms(rows: np.ndarray) -> list[float]:
        return [2 * additive_ms(lower(small.decode(row))) for row in rows.tolist()]

    learned = fit_predictor(small, genomes, ms(genomes), priors=[layers])
    assert scores(learned.predict(fresh), np.array(ms(fresh)))["mape"] < 0.05
    assert isinstance(load_predictor(learned.to_dict(), small), LearnedPredictor)


@pytest.mark.parametrize("measured", [0, 3, 12])
def test_what_to_measure_next_is_new_distinct_and_repeatable(measured: int):
    genomes = drawn(measured)
    ms = device_ms(genomes) if measured else []
    first, again = (next_to_measure(space(), genomes, ms, np.random.default_rng(3), 6, counts=counts()) for _ in range(2))
    assert first == again
    assert len(set(first)) == 6
    assert not set(first) & set(map(tuple, genomes.tolist()))
    assert all(space().canonical(genome) == genome for genome in first)


def test_a_small_space_runs_out_of_networks():
    from nas.space import Space

    arch = load_space("tiny").fit(8, 1, 10).decode([0] * len(load_space("tiny").genes))
    one = Space.from_dict(arch.to_dict(), "one")
    assert next_to_measure(one, [], [], np.random.default_rng(0), 3) == [()]
    assert next_to_measure(one, [()], [1.0], np.random.default_rng(0), 3) == []


def test_chosen_networks_cover_what_random_ones_leave_open():
    genomes = drawn(12)
    pool = drawn(200, seed=21)
    chosen = np.array(next_to_measure(space(), genomes, device_ms(genomes), np.random.default_rng(3), 15, counts=counts()))
    deviations = []
    for more in (chosen, drawn(15, seed=22)):
        rows = np.concatenate([genomes, more])
        deviations.append(fit_predictor(space(), rows, device_ms(rows), counts=counts()).std(pool).mean())
    assert deviations[0] < 1.1 * deviations[1]


def test_enough_is_said_by_held_out_networks():
    assert good_enough(predictor(), 0.05)
    assert not good_enough(predictor(), 1e-4)
    assert not good_enough(predictor(), 0.05, least=61)
    with pytest.raises(ValueError, match=r"error: expected more than 0 and less than 1"):
        good_enough(predictor(), 5)


def test_blocks_of_columns_are_scaled_by_what_was_measured():
    genomes = drawn(30)
    blocks = Features(space(), genomes, counts=counts())(genomes)
    assert {"total", "stage", "layer", "gene", "log"} == set(blocks)
    for name in ("total", "gene", "log"):
        assert np.mean((blocks[name] ** 2).sum(axis=1)) == pytest.approx(1.0)
    assert all(np.abs(rows.mean(axis=0)).max() < 1e-9 for rows in blocks.values())


@pytest.mark.parametrize("error, doubted", [(None, False), (0.06, False), (0.28, True)])
def test_people_hear_of_a_predictor_that_is_far_off(error: float | None, doubted: bool) -> None:
    line = doubt("litert", error)
    assert (line is not None) is doubted
    assert line is None or line.startswith("latency on litert: 28% is too much to choose by")
