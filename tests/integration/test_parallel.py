"""Data parallel training: on two simulated devices the losses are those of one."""

import json
import os
import subprocess
import sys

import pytest

from places import HELPERS, ROOT

SCRIPT = """
import dataclasses, json, sys
sys.path.insert(0, {tests!r})
import jax
from small_training import RECIPE, SMALL, dataset
from nas.train import DeviceMesh, fit
assert len(jax.local_devices()) == 2
recipe = dataclasses.replace(RECIPE, epochs=2, lr=0.05)
print(json.dumps([[e["train_loss"] for e in fit(SMALL, dataset(), recipe, 0, mesh=DeviceMesh(n)).curve] for n in (1, 2)]))
try:
    fit(SMALL, dataset(), recipe, 0, mesh=DeviceMesh(3))
except ValueError as error:
    print(json.dumps(str(error)))
"""


def test_two_devices_give_the_losses_of_one() -> None:
    env = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    code = SCRIPT.format(tests=str(HELPERS))
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    losses, error = (json.loads(line) for line in done.stdout.splitlines())
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert losses[0][1] < losses[0][0]
    assert error.startswith("devices: expected 3, this machine has 2")
