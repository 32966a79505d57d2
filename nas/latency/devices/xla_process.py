"""Programs of XLA for a CPU, run in the thread that calls them: in a process of their own, where JAX is set up so before it starts.

In JAX's default state a run on a CPU is handed to another thread. Waking it takes 10 to 80 microseconds, by where the system puts
the two threads, which is as much as a small network takes and says nothing about it. JAX reads `jax_cpu_enable_async_dispatch`
when its CPU client starts (the variable of that name it does not read, in 0.10), which in the process that asks for a measurement
was long ago. This module is both ends of the pipe: `XlaProcess` asks, `main` answers. Requests are a line of JSON and bytes,
answers a line of JSON.
"""

from __future__ import annotations

import atexit
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from functools import cache
from typing import IO, TYPE_CHECKING

import numpy as np

from nas.latency.timing import DeviceError, Program, Rounds, Timing, first_line, time_programs
from nas.records import JSON

if TYPE_CHECKING:
    import jax

MEMORY_PARTS = ("temp_size_in_bytes", "argument_size_in_bytes", "output_size_in_bytes", "generated_code_size_in_bytes")
ENVIRONMENT = {"JAX_PLATFORMS": "cpu"}
BURST_S = 0.05  # of runs that are counted, not timed one by one


def loaded(model: bytes, images: np.ndarray) -> Callable[[], object]:
    """One inference of the images by JAX's default backend, in this process. Raises whatever JAX raises."""
    import jax
    from jax import export

    placed, call = jax.device_put(images), jax.jit(export.deserialize(bytearray(model)).call)
    memory = _memory(call.lower(placed).compile())

    def run() -> object:
        """Through `jax.jit`, as users do: a bare executable takes 10 us more to start."""
        return call(placed).block_until_ready()

    def run_several() -> object:
        return jax.block_until_ready(call(placed))

    once = run if isinstance(call(placed), jax.Array) else run_several
    setattr(once, "memory_bytes", memory)  # noqa: B010  an attribute of a function
    return once


def _memory(compiled: jax.stages.Compiled) -> int | None:
    """Bytes of workspace, images, results and code; weights are constants in the code."""
    try:
        sizes = compiled.memory_analysis()
    except Exception:  # backends that do not know raise errors of several types
        return None
    return None if sizes is None else int(sum(getattr(sizes, part, 0) for part in MEMORY_PARTS))


class Loaded:
    """A program in the other process. A call runs it once, there, and takes a message more than the run."""

    def __init__(self, process: XlaProcess, number: int, memory_bytes: int | None):
        self.process, self.number, self.memory_bytes = process, number, memory_bytes
        weakref.finalize(self, process.forget, number)

    def __call__(self) -> None:
        """Raises RuntimeError with what the runtime said, or how the process ended."""
        self.process.ask({"run": self.number})

    def burst(self) -> int:
        """Runs it for a while. Returns how often. Raises as a call does."""
        return int(self.process.ask({"burst": self.number})["runs"])


class XlaProcess:
    """The process, which is started by the first request, and again by the first one after it died. Threads may share it.

    It ends with this process, however this one ends: it reads the end of its standard input.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._process: subprocess.Popen[bytes] | None = None
        self._loaded = 0
        self._lost = 0  # programs up to this number were in a process that is dead
        self._dropped: queue.SimpleQueue[int] = queue.SimpleQueue()

    def load(self, model: bytes, images: np.ndarray) -> Loaded:
        """Compiles a serialized StableHLO export for (batch, height, width, channels) images. Raises RuntimeError."""
        with self._lock:
            number = self._loaded = self._loaded + 1
            shape = list(images.shape)
            answer = self.ask({"load": number, "shape": shape}, [model, np.ascontiguousarray(images, np.float32).tobytes()])
            return Loaded(self, number, answer["memory_bytes"])

    def time(
        self, programs: Mapping[str, tuple[int, str]], how: Rounds, limits_s: Mapping[str, float] | None
    ) -> dict[str, Timing]:
        """See `nas.latency.timing.time_programs`; programs are their numbers and how an error begins. Raises DeviceError."""
        limits = None if limits_s is None else dict(limits_s)
        try:
            answer = self.ask({"time": {name: list(one) for name, one in programs.items()}, "how": asdict(how), "limits_s": limits})
        except RuntimeError as error:
            raise DeviceError(str(error)) from error
        return {name: Timing(**timing) for name, timing in answer["timings"].items()}

    def forget(self, number: int) -> None:
        """The program is dropped before the next request. For finalizers, which may run anywhere: it takes no lock."""
        self._dropped.put(number)

    def close(self) -> None:
        """Ends the process."""
        with self._lock:
            if self._process is not None:
                self._process.kill()
                self._ended()

    def ask(self, request: dict[str, JSON], blobs: list[bytes] | None = None) -> Mapping[str, JSON]:
        """The answer to a request. Raises RuntimeError with the error that is the answer, or how the process ended."""
        with self._lock:
            if any(number <= self._lost for number in _numbers(request)):
                raise RuntimeError("the process that had compiled it has ended")
            if self._process is None:
                self._process = _started()
            line = json.dumps({**request, "drop": list(self._taken()), "bytes": [len(blob) for blob in blobs or ()]})
            try:
                answered = _exchanged(self._process, b"".join([line.encode(), b"\n", *(blobs or ())]))
            except BaseException:  # Ctrl-C: its answer, still to come, would be taken for that of the next request
                self.close()
                raise
            if not answered.endswith(b"\n"):
                raise RuntimeError(f"the process that runs it ended with {self._ended()}")
            answer = json.loads(answered)
            if "error" in answer:
                raise RuntimeError(answer["error"])
            return answer

    def _taken(self) -> Iterator[int]:
        while not self._dropped.empty():
            yield self._dropped.get()

    def _ended(self) -> str:
        process, self._process, self._lost = self._process, None, self._loaded
        assert process is not None
        code = process.wait()
        for pipe in (process.stdin, process.stdout):
            try:
                pipe.close() if pipe else None
            except OSError:  # what could not be written any more
                continue
        return f"signal {-code}" if code < 0 else f"exit code {code}"


def _exchanged(process: subprocess.Popen[bytes], message: bytes) -> bytes:
    """The line that answers a message; without its end where the process has died."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(message)
        process.stdin.flush()
        return process.stdout.readline()
    except OSError:
        return b""


def _numbers(request: Mapping[str, JSON]) -> list[int]:
    """Of the programs that a request runs."""
    return [request[key] for key in ("run", "burst") if key in request] + [number for number, _ in request.get("time", {}).values()]


@cache
def xla_process() -> XlaProcess:
    """The one of this process: starting JAX takes a second, and measurements are one at a time on a machine."""
    process = XlaProcess()
    atexit.register(process.close)
    return process


def _started() -> subprocess.Popen[bytes]:
    path = os.pathsep.join(part for part in sys.path if part)
    environment = {"TF_CPP_MIN_LOG_LEVEL": "2", **os.environ, **ENVIRONMENT, "PYTHONPATH": path}
    command = [sys.executable, "-P", "-c", f"from {__name__} import main; main()"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)


class _Answers:
    """The other end: programs by number."""

    def __init__(self) -> None:
        self._runs: dict[int, Callable[[], object]] = {}

    def answer(self, request: Mapping[str, JSON], blobs: list[bytes]) -> dict[str, JSON]:
        for number in request["drop"]:
            self._runs.pop(number, None)
        try:
            if "load" in request:
                return self._load(request["load"], blobs[0], np.frombuffer(blobs[1], np.float32).reshape(request["shape"]))
            if "time" in request:
                return self._time(request)
            if "burst" in request:
                return {"runs": self._burst(request["burst"])}
            self._program(request["run"])()
            return {}
        except Exception as error:  # the runtime raises what it likes
            return {"error": str(error) if isinstance(error, DeviceError) else first_line(error)}

    def _load(self, number: int, model: bytes, images: np.ndarray) -> dict[str, JSON]:
        run = self._runs[number] = loaded(model, images)
        return {"memory_bytes": getattr(run, "memory_bytes", None)}

    def _time(self, request: Mapping[str, JSON]) -> dict[str, JSON]:
        programs = {name: Program(self._program(number), failure) for name, (number, failure) in request["time"].items()}
        timings = time_programs(programs, time.perf_counter, Rounds(**request["how"]), request["limits_s"])
        return {"timings": {name: asdict(timing) for name, timing in timings.items()}}

    def _burst(self, number: int) -> int:
        program, end, runs = self._program(number), time.perf_counter() + BURST_S, 0
        while not runs or time.perf_counter() < end:
            program()
            runs += 1
        return runs

    def _program(self, number: int) -> Callable[[], object]:
        if number not in self._runs:
            raise LookupError(f"there is no program {number}")
        return self._runs[number]


def main() -> None:
    """Answers requests until standard input ends, also in the middle of a run."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that asks
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    requests: queue.SimpleQueue[tuple[Mapping[str, JSON], list[bytes]]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(sys.stdin.buffer, requests), daemon=True).start()
    import jax

    from nas.core.process import use_compile_cache

    jax.config.update("jax_cpu_enable_async_dispatch", False)  # before anything starts the client
    use_compile_cache()
    answers = _Answers()
    while True:
        request, blobs = requests.get()
        out.write(json.dumps(answers.answer(request, blobs)) + "\n")


def _listen(source: IO[bytes], requests: queue.SimpleQueue[tuple[Mapping[str, JSON], list[bytes]]]) -> None:
    while line := source.readline():
        request = json.loads(line)
        requests.put((request, [source.read(size) for size in request["bytes"]]))
    os._exit(0)
