"""The process that runs XLA's programs for a CPU: what it answers, how it ends, and what is said when it does."""

import gc
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from nas.arch.blocks import lower
from nas.convert import stablehlo_bytes
from nas.latency import DeviceError
from nas.latency.devices import xla_process
from nas.latency.devices.timed import typical_values
from nas.latency.devices.xla_process import XlaProcess
from nas.latency.timing import Program, Rounds
from nas.space import load_space

SPACE = load_space("tiny").fit(8, 1, 10)
GRAPH = lower(SPACE.decode([0] * len(SPACE.genes)))
IMAGES = np.zeros((1, *GRAPH.input_shape), np.float32)


@pytest.fixture(scope="module")
def model() -> bytes:
    return stablehlo_bytes(GRAPH, typical_values(GRAPH))


@pytest.fixture(scope="module")
def shared() -> Iterator[XlaProcess]:
    process = XlaProcess()
    yield process
    process.close()


def pid(process: XlaProcess) -> int:
    assert process._process is not None
    return process._process.pid


def switches(process: XlaProcess) -> int:
    """How often a thread of the process has waited for another one, or for a message."""
    found = [path.read_text() for path in Path(f"/proc/{pid(process)}/task").glob("*/status")]
    return sum(int(line.split()[1]) for text in found for line in text.splitlines() if line.startswith("voluntary_ctxt"))


def test_its_programs_run_in_the_calling_thread(shared: XlaProcess, model: bytes):
    """Handed to another thread, a run is two waits."""
    loaded = shared.load(model, IMAGES)
    loaded()
    assert loaded.memory_bytes is not None
    before = switches(shared)
    runs = loaded.burst()
    assert switches(shared) - before < 20 + runs / 10


def test_what_is_wrong_is_one_line_and_the_next_request_is_answered(shared: XlaProcess, model: bytes):
    with pytest.raises(RuntimeError, match=r"^.+$"):
        shared.load(b"no program", IMAGES)
    loaded = shared.load(model, IMAGES)
    timing = shared.time({"a": (loaded.number, "a fails")}, Rounds(1, 2, 2), None)["a"]
    assert 0 < timing.latency_ms <= timing.p95_ms
    with pytest.raises(DeviceError, match=f"^there is no program {loaded.number + 99}$"):
        shared.time({"a": (loaded.number + 99, "a fails")}, Rounds(1, 2, 2), None)


def test_a_program_that_nobody_holds_is_dropped(shared: XlaProcess, model: bytes):
    kept, dropped = shared.load(model, IMAGES), shared.load(model, IMAGES).number
    gc.collect()
    kept()
    with pytest.raises(RuntimeError, match=f"^there is no program {dropped}$"):
        shared.ask({"run": dropped})


def test_a_death_is_said_and_costs_the_programs_of_that_process_alone(model: bytes):
    process = XlaProcess()
    try:
        lost = process.load(model, IMAGES)
        os.kill(pid(process), signal.SIGKILL)
        program = Program(lost, "net: fails on XLA")
        with pytest.raises(DeviceError, match=r"^net: fails on XLA: the process that runs it ended with signal 9$"):
            program()
        process.load(model, IMAGES)()
        with pytest.raises(DeviceError, match=r"^net: fails on XLA: the process that had compiled it has ended$"):
            program.burst()
    finally:
        process.close()


def test_an_interrupted_request_does_not_answer_the_next_one(model: bytes, monkeypatch: pytest.MonkeyPatch):
    process = XlaProcess()
    try:
        loaded = process.load(model, IMAGES)
        with monkeypatch.context() as interrupted:
            interrupted.setattr(xla_process, "_exchanged", interrupt)
            with pytest.raises(KeyboardInterrupt):
                loaded.burst()
        again = process.load(model, IMAGES)
        assert again.memory_bytes is not None
        assert again.burst() >= 1
    finally:
        process.close()


def interrupt(process: subprocess.Popen[bytes], message: bytes) -> bytes:
    """Ctrl-C while the answer is awaited."""
    assert process.stdin is not None
    process.stdin.write(message)
    process.stdin.flush()
    raise KeyboardInterrupt


ASKING = """
import os, signal
from nas.latency.devices.xla_process import XlaProcess
process = XlaProcess()
try:
    process.load(b"no program", __import__("numpy").zeros((1, 8, 8, 1), "float32"))
except RuntimeError:
    print(process._process.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_it_ends_with_the_process_that_asks():
    """Whoever inherited its standard error would be told of the end too: that pipe is at its end when all holders are gone."""
    asking = subprocess.Popen([sys.executable, "-c", ASKING], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, _ = asking.communicate()  # until the last holder of standard error, which is that process, has ended
    assert asking.returncode == -signal.SIGKILL
    assert int(out) > 0
