"""Data parallel training: on simulated devices the losses are those of one, and nothing of the batch travels but sums."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from places import HELPERS, ROOT

SCRIPT = """
import dataclasses, json, sys
sys.path.insert(0, {tests!r})
import jax
from small_training import RECIPE, SMALL, dataset
from nas.train import DeviceMesh, fit
from nas.arch.blocks import lower
from nas.nn.network import init
from nas.tasks import task_of
from nas.train.optim import Layout
from nas.train.trainer import Trainer
assert len(jax.local_devices()) == 8
recipe = dataclasses.replace(RECIPE, epochs=2, lr=0.05)
print(json.dumps([[e["train_loss"] for e in fit(SMALL, dataset(), recipe, 0, mesh=DeviceMesh(n)).curve] for n in (1, 8)]))
try:
    fit(SMALL, dataset(), recipe, 0, mesh=DeviceMesh(9))
except ValueError as error:
    print(json.dumps(str(error)))
graph, recipe = lower(SMALL), dataclasses.replace(recipe, dtype="float32")
start = init(graph, 0)
layouts = Layout.of(start["params"]), Layout.of(start["stats"])
trainer = Trainer(graph, dataset(), recipe, 0, task_of(SMALL), *layouts, mesh=DeviceMesh(8))
update = trainer.optimizer(trainer.transfer.phases[0])
step = jax.jit(trainer.feed.wrap(trainer.step(update)), donate_argnums=0, out_shardings=trainer.mesh.everywhere())
text = step.lower(trainer.start(start, update), *trainer.feed.shapes()).compile().as_text()
print(json.dumps([line.strip().split(", channel_id")[0] for line in text.splitlines() if " all-" in line or "collective" in line]))
norms = sum(node.op == "norm" for node in graph.nodes)
print(json.dumps([norms, len(jax.tree.leaves(start["params"])), "callback" in text]))
"""


def said_on(devices: int, script: str) -> list[Any]:
    """What a script prints, a line of JSON each, in a process with so many simulated devices."""
    env = {**os.environ, "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"}
    code = script.format(tests=str(HELPERS))
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_eight_devices_give_the_losses_of_one_and_exchange_sums_alone() -> None:
    losses, error, exchanged, (norms, params, callback) = said_on(8, SCRIPT)
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert losses[0][1] < losses[0][0]
    assert error.startswith("devices: expected 9, this machine has 8")
    assert all(" all-reduce(" in line for line in exchanged)  # no activation is gathered
    arrays = sum(line.split(" all-reduce(")[0].split(" = ")[1].count("f32[") for line in exchanged)
    assert arrays == 2 * norms + params + 1  # mean and variance of each norm, gradients, the loss
    assert not callback


SHARED = """
import json, sys
sys.path.insert(0, {tests!r})
import numpy as np
from small_supernet import few
from small_training import dataset
from nas.recipe import Recipe
from nas.supernet.scoring import Scoring
from nas.supernet.strategies import Rl, Sandwich, Strategy
from nas.supernet.training import Supernet
from nas.train import DeviceMesh
from nas.train.loop import silent
net = Supernet(few(), dataset(), Recipe(epochs=1, batch=32, lr=0.05, ema=0.9, norm_warmup=False))
def trained(devices: int, strategy: Strategy = Sandwich(random=1)):
    mesh = DeviceMesh(devices)
    return net.fit(strategy, 0, report=silent, checkpoint=None, scoring=Scoring(64, batch=32), whole=True, dispatch=0, mesh=mesh)
found = [trained(devices) for devices in (1, 2)]
flat = [np.concatenate([array.ravel() for own in one.params.values() for array in own.values()]) for one in found]
text = next(made[0].as_text() for (_, key), made in net.programs.kept.items() if key[0] == "whole" and key[-1].size == 2)
gathered = [line for line in text.splitlines() if " all-gather" in line]
print(json.dumps([[entry["train_loss"] for entry in one.curve] for one in found]))
print(json.dumps([one.metrics["loss"] for one in found]))
print(json.dumps(float(np.abs(flat[0] - flat[1]).max())))
print(json.dumps([text.count(" all-reduce"), gathered]))
try:
    trained(2, Rl())
except ValueError as error:
    print(json.dumps(str(error)))
"""


@pytest.mark.nightly
def test_two_devices_train_the_shared_weights_that_one_does() -> None:
    losses, valid, away, (reduced, gathered), error = said_on(2, SHARED)
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert valid[1] == pytest.approx(valid[0], rel=1e-3)
    assert away < 1e-3
    assert reduced > 0
    assert not gathered  # no activation of the whole batch on a device
    assert error.endswith("several devices need one")
