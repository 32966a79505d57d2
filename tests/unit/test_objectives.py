import math
import re
from dataclasses import replace

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from nas.core.paths import CONF
from nas.objectives import (
    Objectives,
    TaskMetrics,
    absolute_reward,
    build_objectives,
    front,
    latest,
    mnas_reward,
    violated,
)
from nas.records import Measurement, Trial

NAN, INF = math.nan, math.inf
FRONT = {"accuracy": "max", "latency_ms/host": "min"}
EVERY = {"accuracy": "max", "latency_ms": "min"}


def built(*devices, **settings):
    return build_objectives({"metrics": FRONT, **settings}, devices or ("host", "pixel"))


@pytest.mark.parametrize(
    "accuracy, latency_ms, target_ms, alpha, beta, expected",
    [
        (0.752, 75, 75, -0.07, -0.07, 0.752),
        (0.752, 78, 75, -0.07, -0.07, 0.752 * (78 / 75) ** -0.07),
        (0.7, 150, 75, -0.07, -0.07, 0.7 * 2**-0.07),
        (0.7, 37.5, 75, -0.07, -0.07, 0.7 * 2**0.07),
        (0.7, 75, 75, 0, -1, 0.7),
        (0.7, 10, 75, 0, -1, 0.7),
        (0.7, 150, 75, 0, -1, 0.35),
        (0.5, 88, 80, 0, -1, 0.5 / 1.1),
    ],
)
def test_mnas_reward(accuracy, latency_ms, target_ms, alpha, beta, expected):
    assert mnas_reward(accuracy, latency_ms, target_ms, alpha, beta) == pytest.approx(expected, rel=1e-12)


def test_doubling_latency_is_worth_five_percent_of_accuracy():
    """The rule by which the paper chose -0.07: Reward(M2) = a (1 + 5 %) (2 l / T)^w = Reward(M1) = a (l / T)^w."""
    slow, fast = mnas_reward(0.70 * 1.05, 160, 80), mnas_reward(0.70, 80, 80)
    assert slow == pytest.approx(fast, rel=3e-3)
    assert math.log(1 / 1.05, 2) == pytest.approx(-0.07, abs=5e-4)


@pytest.mark.parametrize(
    "quality, cost, target, expected",
    [(0.75, 84, 84, 0.75), (0.75, 168, 84, 0.65), (0.75, 42, 84, 0.70), (0.75, 88.2, 84, 0.745)],
)
def test_absolute_reward(quality, cost, target, expected):
    assert absolute_reward(quality, cost, target) == pytest.approx(expected, rel=1e-12)


def test_the_absolute_reward_is_steeper_above_the_target():
    np.testing.assert_allclose(absolute_reward(0.5, [40, 80, 88], 80, -0.1, 5), [0.45, 0.5, 0.45])


def test_rewards_broadcast():
    np.testing.assert_allclose(mnas_reward([0.5, 0.5], [40, 160], 80, 0, -1), [0.5, 0.25])
    np.testing.assert_allclose(absolute_reward(0.5, [80, 120], 80), [0.5, 0.45])


@given(st.floats(0, 1), st.floats(1e-3, 1e6), st.floats(1e-3, 1e6))
def test_hard_never_rewards_speed_and_soft_always_does(accuracy, latency_ms, target_ms):
    hard = mnas_reward(accuracy, latency_ms, target_ms, 0, -1)
    assert hard <= accuracy
    assert mnas_reward(accuracy, latency_ms, target_ms) >= mnas_reward(accuracy, 2 * latency_ms, target_ms)


@pytest.mark.parametrize(
    "metrics, expected",
    [
        ({"accuracy": 0.7, "predicted_ms/host": 20.0, "params": 5.0}, [-0.7, 20]),
        ({"accuracy": 0.7}, [-0.7, INF]),
        ({"accuracy": NAN, "predicted_ms/host": 20}, [INF, 20]),
        ({}, [INF, INF]),
        ({"accuracy": 0, "predicted_ms/host": INF}, [0, INF]),
    ],
)
def test_values_are_minimized(metrics, expected):
    np.testing.assert_array_equal(built().values(metrics), expected)


GOOD = {"accuracy": 0.7, "predicted_ms/host": 40.0, "predicted_ms/pixel": 10.0, "params": 4e6}


@pytest.mark.parametrize(
    "settings, expected",
    [
        ({"target_ms": 20}, 0.7 * 2**-0.07),
        ({"target_ms": 80, "exponent": -0.15}, 0.7 * 2**0.15),
        ({"reward": "mnas_hard", "target_ms": 20}, 0.35),
        ({"reward": "mnas_hard", "target_ms": 80}, 0.7),
        ({"reward": "mnas_hard", "target_ms": 20, "exponent": -2}, 0.7 / 4),
        ({"reward": "absolute", "target_ms": 20}, 0.2),
        ({"reward": "absolute", "target_ms": 20, "over": 1}, 0.65),
        ({"reward": "absolute", "target": 80, "beta": -0.2}, 0.6),
        ({"target_ms": 20, "cost": "latency_ms/pixel"}, 0.7 * 2**0.07),
        ({"target": 2e6, "cost": "params"}, 0.7 * 2**-0.07),
        ({"reward": "first"}, 0.7),
        ({"reward": "first", "metrics": {"params": "min", "accuracy": "max"}}, -4e6),
        ({"target_ms": 20, "metrics": {"latency_ms": "min", "accuracy": "max"}}, 0.7 * 2**-0.07),
    ],
)
def test_reward_of(settings, expected):
    reward = built(**settings).reward_of(GOOD)
    assert isinstance(reward, float)
    assert reward == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("reward", ["mnas_soft", "mnas_hard", "absolute", "first"])
@pytest.mark.parametrize(
    "changes", [{"accuracy": NAN}, {"accuracy": None}, {"predicted_ms/host": NAN}, {"predicted_ms/host": 0.0},
                {"predicted_ms/host": -1.0}, {"predicted_ms/host": None}],
)  # fmt: skip
def test_no_reward_without_the_metrics_it_needs(reward, changes):
    metrics = {name: value for name, value in {**GOOD, **changes}.items() if value is not None}
    expected = 0.7 if reward == "first" and "accuracy" not in changes else NAN
    np.testing.assert_equal(built(reward=reward, target_ms=20).reward_of(metrics), expected)


def test_a_target_can_be_filled_in_later():
    objectives = built()
    assert objectives.needs_target
    assert not built(reward="first").needs_target
    with pytest.raises(AssertionError, match="latency_ms/host"):
        objectives.reward_of(GOOD)
    filled = replace(objectives, target=20.0)
    assert not filled.needs_target
    assert filled == built(target_ms=20)


@pytest.mark.parametrize(
    "metrics, expected",
    [
        ({"params": 2.31e6}, ["params 2.31 M > constraint 2.00 M"]),
        ({"params": 2_000_001.0}, ["params 2000001 > constraint 2000000"]),
        ({"params": 2e6, "accuracy": 0.6, "predicted_ms/pixel": 12.5}, []),
        ({"accuracy": 0.55}, ["accuracy 0.55 < constraint 0.6"]),
        ({"accuracy": 0.5, "params": 4e9}, ["params 4.00 G > constraint 2.00 M", "accuracy 0.5 < constraint 0.6"]),
        ({"predicted_ms/pixel": NAN}, ["predicted_ms/pixel nan > constraint 12.5"]),
        ({"predicted_ms/host": 1e9}, []),
        ({}, []),
    ],
)  # fmt: skip
def test_violations_in_words(metrics, expected):
    limits = {"params": 2e6, "latency_ms/pixel": 12.5, "accuracy": 0.6, "macs": None}
    assert built(constraints=limits).violations(metrics) == expected


def test_the_mask_of_feasible_candidates():
    objectives = built(constraints={"params": 2e6, "latency_ms": 10, "accuracy": 0.5})
    costs = {"params": np.array([1e6, 2e6, 3e6, 1e6, NAN]), "predicted_ms/host": np.array([1, 10, 1, 11, 1])}
    np.testing.assert_array_equal(objectives.feasible_mask(costs), [True, True, False, False, False])
    np.testing.assert_array_equal(objectives.feasible_mask({"accuracy": [0.4, 0.5]}), [False, True])
    np.testing.assert_array_equal(objectives.feasible_mask({"macs": np.ones(3)}), [True] * 3)


@given(st.dictionaries(st.sampled_from(["accuracy", "params", "predicted_ms/host"]), st.floats(), min_size=1))
def test_the_mask_agrees_with_the_words(metrics):
    objectives = built(constraints={"params": 2e6, "latency_ms": 10, "accuracy": 0.5})
    mask = objectives.feasible_mask({name: np.array([value]) for name, value in metrics.items()})
    assert mask.tolist() == [not objectives.violations(metrics)]


def test_names_are_resolved():
    objectives = built(constraints={"latency_ms": 30, "params": None}, metrics={**FRONT, "macs": "min", "params": None})
    assert objectives == Objectives(
        metrics=(("accuracy", "max"), ("latency_ms/host", "min"), ("macs", "min")),
        constraints=(("latency_ms/host", 30.0),),
        cost="latency_ms/host",
        target=30.0,
        trained=(("accuracy", "max"), ("loss", "min")),
    )
    assert objectives.names == ("accuracy", "latency_ms/host", "macs")


def test_every_device_has_an_axis():
    devices = ["litert", "host"]
    objectives = build_objectives({"metrics": EVERY, "constraints": {"latency_ms": 3}}, devices)
    assert objectives.names == ("accuracy", "latency_ms/litert", "latency_ms/host")
    assert objectives.constraints == (("latency_ms/litert", 3.0),)
    assert objectives.cost == "latency_ms/litert"
    without = build_objectives({"metrics": {**EVERY, "latency_ms/host": None}}, devices)
    assert without.names == ("accuracy", "latency_ms/litert")
    with pytest.raises(ValueError, match=r"metrics\.latency_ms/host: latency_ms/host is there twice"):
        build_objectives({"metrics": {**EVERY, "latency_ms/host": "min"}}, ["host"])


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"metrics": {}}, "objective.metrics: empty"),
        ({"metrics": {"accuracy": None}}, "objective.metrics: empty"),
        ({"metrics": {"acuracy": "max"}}, "metrics.acuracy: unknown metric 'acuracy'; did you mean accuracy? (known: "),
        ({"metrics": {"accuracy": "maximize"}}, "objective.metrics.accuracy: expected "),
        ({"metrics": {"accuracy": "min"}}, "objective.metrics.accuracy: expected max, got min"),
        ({"metrics": {"loss": "max"}}, "objective.metrics.loss: expected min, got max"),
        ({"metrics": ["accuracy"]}, "objective.metrics: expected a mapping"),
        ({"metrics": {**FRONT, "latency_ms/pixle": "min"}}, "; did you mean latency_ms/pixel?"),
        ({"constraints": {"parms": 1}}, "objective.constraints.parms: unknown metric 'parms'; did you mean params?"),
        ({"constraints": {"parms": None}}, "objective.constraints.parms: unknown metric 'parms'; did you mean params?"),
        ({"constraints": {"params": 0}}, "objective.constraints.params: expected a positive number, got 0"),
        ({"constraints": {"params": -1}}, "objective.constraints.params: expected a positive number, got -1"),
        ({"constraints": {"params": INF}}, "objective.constraints.params: expected a positive number, got inf"),
        ({"constraints": {"params": "small"}}, "objective.constraints.params: expected "),
        ({"constraints": {"accuracy": 70}}, "objective.constraints.accuracy: expected a fraction of at most 1, got 70"),
        ({"target_ms": 0}, "objective.target_ms: expected a positive number, got 0"),
        ({"target": -5}, "objective.target: expected a positive number, got -5"),
        ({"target": 5, "target_ms": 5}, "objective.target_ms: set together with target"),
        ({"target_ms": 5, "cost": "params"}, "objective.target_ms: the target of a latency, but cost is params"),
        ({"cost": "param"}, "objective.cost: unknown metric 'param'; did you mean params?"),
        ({"cost": "accuracy"}, "objective.cost: expected a cost"),
        ({"cost": "loss"}, "objective.cost: expected a cost"),
        ({"reward": "mnas_sof"}, "; did you mean mnas_soft?"),
        ({"metrics": {"params": "min"}}, "objective.reward: mnas_soft needs a metric to maximize"),
        ({"exponent": 0.07}, "objective.exponent: expected a number of at most 0"),
        ({"beta": 0.1}, "objective.beta: expected a number of at most 0"),
        ({"over": 0}, "objective.over: expected a positive number, got 0"),
        ({"target_mss": 5}, "objective.target_mss: unknown key; did you mean target_ms?"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line_naming_the_key(settings, message):
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        built(**settings)
    assert str(caught.value).startswith("objective.")
    assert "\n" not in str(caught.value)


def test_latency_needs_a_device():
    with pytest.raises(ValueError, match=r"objective\.metrics\.latency_ms: latency_ms needs a device"):
        build_objectives({"metrics": EVERY}, [])
    free = {"metrics": {"accuracy": "max", "params": "min", "latency_ms": None}, "cost": "params"}
    assert build_objectives(free, []).names == ("accuracy", "params")


SHIPPED = {
    "mnas_soft": (["accuracy", "latency_ms/host"], "mnas_soft", -0.07, "latency_ms/host"),
    "mnas_hard": (["accuracy", "latency_ms/host"], "mnas_hard", -1.0, "latency_ms/host"),
    "absolute": (["accuracy", "latency_ms/host"], "absolute", -0.07, "latency_ms/host"),
    "params": (["accuracy", "params"], "mnas_soft", -0.07, "params"),
    "macs": (["accuracy", "macs"], "mnas_soft", -0.07, "macs"),
}


def test_every_shipped_objective_is_listed_here():
    assert {file.stem for file in (CONF / "objective").glob("*.yaml")} == set(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_objectives(name):
    text = (CONF / "objective" / f"{name}.yaml").read_text()
    objectives = build_objectives(yaml.safe_load(text), ["host"])
    metrics, reward, exponent, cost = SHIPPED[name]
    assert text.startswith("# ")
    assert list(objectives.names) == metrics
    assert (objectives.reward, objectives.exponent, objectives.beta, objectives.cost) == (reward, exponent, -0.05, cost)
    assert objectives.needs_target
    assert objectives.constraints == ()


RMSE = TaskMetrics("regression", {"mae": "min", "rmse": "min"}, "rmse")


def test_objectives_of_another_task():
    settings = {"metrics": {"rmse": "min", "latency_ms": "min", "accuracy": None}, "constraints": {"accuracy": None, "rmse": 2.0}}
    objectives = build_objectives({**settings, "reward": "first"}, ["host"], RMSE)
    assert (objectives.quality, objectives.direction("mae")) == ("rmse", "min")
    assert objectives.reward_of({"rmse": 1.5}) == -1.5
    assert objectives.violations({"rmse": 2.5}) == ["rmse 2.5 > constraint 2"]
    with pytest.raises(ValueError, match=r"objective\.metrics\.accuracy: unknown metric 'accuracy' .known: rmse, mae, params"):
        build_objectives({"metrics": {"accuracy": "max"}, "reward": "first"}, ["host"], RMSE)
    with pytest.raises(ValueError, match=r"objective\.metrics\.rmse: expected min, got max"):
        build_objectives({"metrics": {"rmse": "max"}, "reward": "first"}, ["host"], RMSE)


def test_a_usual_metric_that_another_task_has_under_a_longer_name_may_be_null():
    task = TaskMetrics("embedding", {"auc": "max", "knn_accuracy": "max"}, "auc")
    settings = {"metrics": {"auc": "max", "params": "min", "accuracy": None, "loss": None}, "reward": "first"}
    assert build_objectives(settings, [], task).quality == "auc"
    with pytest.raises(ValueError, match=r"objective\.metrics\.acuracy: unknown metric 'acuracy'; did you mean knn_accuracy"):
        build_objectives({**settings, "metrics": {"auc": "max", "acuracy": None}}, [], task)


def test_the_front_and_constraints_violated_by_measurement():
    points = [(0.9, 8.0), (0.8, 9.0), (0.7, 3.0), (0.95, NAN)]
    trials = [Trial(i, (i,), str(i), outcome="ok", metrics={"accuracy": a, "predicted_ms/host": ms}) for i, (a, ms) in enumerate(points)]
    objectives = built(constraints={"latency_ms/host": 4.0, "params": 10.0})
    assert [trial.number for trial in front(trials, objectives)] == [0, 2]
    assert front([], objectives) == []
    times = latest([Measurement("2", device, "f", ms, ms, ms, 1) for device, ms in (("host", 3.5), ("pixel", 9.0), ("host", 4.5))])
    measured = {device: m.latency_ms for device, m in times["2"].items()}
    assert measured == {"host": 4.5, "pixel": 9.0}
    assert violated(measured, objectives) == ("measured_ms/host 4.5 > constraint 4",)
    assert violated({"pixel": 9.0}, objectives) == violated({}, objectives) == ()


def test_accuracy_stands_for_the_first_metric_of_a_task_without_it() -> None:
    masks = TaskMetrics("segmentation", {"miou": "max", "pixel_accuracy": "max", "loss": "min"}, "miou")
    usual = {"metrics": {"accuracy": "max", "macs": "min"}, "constraints": {"accuracy": None}, "reward": "first"}
    assert build_objectives(usual, [], masks).names == ("miou", "macs")
    both = {**usual, "metrics": {"accuracy": "max", "miou": "max", "macs": "min"}}
    assert build_objectives(both, [], masks).names == ("miou", "macs")
    numbers = TaskMetrics("regression", {"error": "min", "loss": "min"}, "error")
    with pytest.raises(ValueError, match=r"objective\.metrics\.accuracy: unknown metric"):
        build_objectives(usual, [], numbers)
