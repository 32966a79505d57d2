"""What JAX trains on in worker processes of this machine, found out without taking an accelerator that is theirs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from typing import NamedTuple

from nas.core.once import Once

BACKEND_S = 120.0  # that JAX may take to start in another process
ASKED_S = 20.0  # that nvidia-smi may take
ACCELERATED = {"cuda": "gpu", "rocm": "gpu", "gpu": "gpu", "tpu": "tpu", "cpu": "cpu"}  # by value of JAX_PLATFORMS
ASK_BACKEND = "import jax; print(jax.default_backend(), jax.local_device_count())"


class Backend(NamedTuple):
    """What trainings use: `cpu`, `gpu`, `tpu` or what a plugin of JAX calls it, and how many devices there are."""

    name: str
    devices: int = 1


def training_backend() -> Backend:
    """The backend that trainings in workers will use.

    Where a plugin of JAX for accelerators is installed, or `JAX_PLATFORMS` names one, another process is asked: this one
    must not take an accelerator that is the workers'. The devices of a CPU are counted as one.
    """
    platform = chosen_platform()
    name = ACCELERATED.get(platform, platform)
    if name == "cpu" or not (name or _accelerator_plugins()):
        return Backend("cpu")
    found = _asked_backend()
    return Backend("cpu") if found.name == "cpu" and not name else Backend(name or found.name, found.devices)


def chosen_platform() -> str:
    """The first platform that the user named for workers by `JAX_PLATFORMS`, in small letters; empty: JAX chooses."""
    return os.environ.get("NAS_WORKER_PLATFORMS", os.environ.get("JAX_PLATFORMS", "")).split(",")[0].lower()


def idle_gpus() -> int:
    """GPUs of this machine that no worker can use, as JAX here has no support for them; 0 where the user chose the platform."""
    if chosen_platform() or _accelerator_plugins() or not (command := shutil.which("nvidia-smi")):
        return 0
    try:
        asked = subprocess.run([command, "-L"], capture_output=True, text=True, timeout=ASKED_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return sum(line.startswith("GPU ") for line in asked.stdout.splitlines())


def _accelerator_plugins() -> bool:
    from importlib.metadata import entry_points

    return any(find_spec(module) for module in ("libtpu", "jax_plugins")) or bool(entry_points(group="jax_plugins"))


@Once
def _asked_backend() -> Backend:
    """From another process, once; of one that cannot tell, as where this process holds the accelerator, from this one."""
    free = {**os.environ, "JAX_PLATFORMS": "", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    try:
        asked = subprocess.run([sys.executable, "-c", ASK_BACKEND], env=free, capture_output=True, text=True, timeout=BACKEND_S)
        if asked.returncode == 0 and len(words := asked.stdout.split()) > 1 and words[-1].isdigit():
            return Backend(words[-2], int(words[-1]))
    except subprocess.TimeoutExpired:
        pass
    jax = sys.modules.get("jax")
    return Backend(jax.default_backend(), jax.local_device_count()) if jax is not None else Backend("cpu")
