"""Is the latency that a search states the latency of the file that a user exports?

    python benchmarks/latency_truth.py [--devices onnxruntime litert host] [--runs 5] [--trials 24] [--only quiet] [--out FILE]
                                       [--set dataset.resolution=16]

Fresh default searches on each device, quiet, and again while this script keeps one core busy for 2 of every 10 seconds. Of every
member of a front: predicted against measured latency, and the exported file timed afterwards in another process by the
runtime's own API, one thread, 5th percentile as nas has it. A run is a row of FILE as soon as it is there; a second call does
the runs that are missing. Each row holds what `first_search.py` says of the front too.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

BUSY_S, IDLE_S = 2.0, 8.0
SUFFIX = {"onnxruntime": ".onnx", "litert": ".tflite", "host": ".stablehlo"}


def burn() -> None:
    """Keeps one core busy for a while, again and again."""
    while True:
        end = time.perf_counter() + BUSY_S
        while time.perf_counter() < end:
            sum(range(10_000))
        time.sleep(IDLE_S)


def searched(device: str, seed: int, trials: int, folder: Path, settings: Sequence[str]) -> dict[str, Any]:
    """One default search, and its exported files timed."""
    run = folder / "run"
    command = [sys.executable, "-m", "nas", "search", f"device={device}", f"seed={seed}", f"trials={trials}", f"run={run}", *settings]
    began = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    seconds = time.monotonic() - began
    import nas

    members = [
        {"id": one.id, "predicted": one.predicted_ms[device], "measured": one.measured_ms.get(device)}
        for one in nas.load_run(run).front
    ]
    for one, member in zip(nas.load_run(run).front, members, strict=True):
        (folder / f"{member['id']}{SUFFIX[device]}").write_bytes(exported(device, one.arch))
    files = [str(folder / f"{member['id']}{SUFFIX[device]}") for member in members]
    side, channels = nas.load_run(run).front[0].arch.resolution, nas.load_run(run).front[0].arch.channels
    timing = [sys.executable, __file__, "--time", json.dumps([side, channels]), *files]
    alone = {**os.environ, "NPROC": "1"}  # XLA's threads, as a search has them
    times = json.loads(subprocess.run(timing, check=True, capture_output=True, text=True, env=alone).stdout)
    marks = (run / "report.html").read_text(encoding="utf-8")
    for member, ms in zip(members, times, strict=True):
        member["file"] = ms
    from first_search import figures_of

    from nas.journal import Journal
    from nas.report import summarize

    with Journal.open(run / "journal.sqlite", read_only=True) as journal:
        front = dataclasses.asdict(figures_of(summarize(journal)))
    return {"seconds": seconds, "members": members, "not confirmed": marks.count("not confirmed"), "front": front}


def exported(device: str, arch: Any) -> bytes:
    """The file that `nas export` writes, with weights as a training leaves them: XLA drops scales of 1 and biases of 0."""
    from nas.arch.blocks import lower
    from nas.convert import onnx_bytes, stablehlo_bytes, tflite_bytes
    from nas.latency.devices.timed import typical_values

    graph = lower(arch)
    write = {"onnxruntime": onnx_bytes, "litert": tflite_bytes, "host": stablehlo_bytes}[device]
    return write(graph, typical_values(graph))


def timed(files: Sequence[str], shape: Sequence[int], rounds: int = 60, repeats: int = 15) -> list[float]:
    """Milliseconds of each file, in turns, by the runtimes alone: this process does not import nas."""
    side, channels = shape
    runs, times = [opened(file, side, channels) for file in files], [[] for _ in files]
    for run in runs:
        for _ in range(5):
            run()
    for _ in range(rounds):
        for run, found in zip(runs, times, strict=True):
            for _ in range(repeats):
                start = time.perf_counter()
                run()
                found.append(time.perf_counter() - start)
        time.sleep(0.1)
    return [float(np.percentile(found, 5)) * 1000 for found in times]


def opened(file: str, side: int, channels: int) -> Callable[[], object]:
    images = np.random.default_rng(0).standard_normal((1, side, side, channels)).astype(np.float32)
    if file.endswith(".onnx"):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        planes = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
        return lambda: session.run(None, {"images": planes})
    if file.endswith(".tflite"):
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(model_path=file, num_threads=1)
        interpreter.allocate_tensors()
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], images)
        return interpreter.invoke
    import jax
    from jax import export

    jax.config.update("jax_cpu_enable_async_dispatch", False)  # in another thread a run takes 10 to 80 us longer, by chance
    call = jax.jit(export.deserialize(bytearray(Path(file).read_bytes())).call)
    on_device = jax.device_put(images)
    return lambda: call(on_device).block_until_ready()


def show(rows: Sequence[dict[str, Any]]) -> None:
    """A line for each device and load."""
    print("device       load    runs members  |predicted-measured|  file/measured            over 25 %  not confirmed  s a run")
    print("                                   median     worst      median   within 10 %")
    for key in dict.fromkeys((row["device"], row["load"]) for row in rows):
        mine = [row for row in rows if (row["device"], row["load"]) == key]
        members = [one for row in mine for one in row["members"] if one["measured"]]
        errors = [abs(one["predicted"] - one["measured"]) / one["measured"] for one in members]
        files = [one["file"] / one["measured"] for one in members]
        within = sum(abs(ratio - 1) <= 0.1 for ratio in files)
        print(
            f"{key[0]:12} {key[1]:7} {len(mine):4} {len(members):7}  {100 * statistics.median(errors):6.1f} %  {100 * max(errors):6.1f} %"
            f"   {statistics.median(files):7.3f}   {within:3} of {len(files):3}   {sum(e > 0.25 for e in errors):9}"
            f"   {sum(row['not confirmed'] for row in mine):12}   {statistics.fmean(row['seconds'] for row in mine):6.0f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", nargs="+", default=list(SUFFIX), choices=list(SUFFIX))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--only", choices=["quiet", "loaded"])
    parser.add_argument("--out", type=Path, default=Path("latency_truth.jsonl"))
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="settings of all searches")
    parser.add_argument("--time", nargs="+", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.time:
        print(json.dumps(timed(asked.time[1:], json.loads(asked.time[0]))))
        return
    rows = [json.loads(line) for line in asked.out.read_text().splitlines()] if asked.out.exists() else []
    for load in ("quiet", "loaded") if asked.only is None else (asked.only,):
        for device in asked.devices:
            for seed in range(asked.runs):
                if any((row["device"], row["load"], row["seed"]) == (device, load, seed) for row in rows):
                    continue
                burner = multiprocessing.get_context("spawn").Process(target=burn, daemon=True)  # JAX has threads by then
                if load == "loaded":
                    burner.start()
                try:
                    with tempfile.TemporaryDirectory() as folder:
                        found = searched(device, seed, asked.trials, Path(folder), asked.set)
                finally:
                    if load == "loaded":
                        burner.kill()
                rows.append({"device": device, "load": load, "seed": seed, **found})
                with open(asked.out, "a", encoding="utf-8") as file:
                    file.write(json.dumps(rows[-1]) + "\n")
                front = ", ".join(f"{key} {value:.3g}" for key, value in found["front"].items())
                print(f"{device}, {load}, seed {seed}: {found['seconds']:.0f} s, {len(found['members'])} members: {front}", flush=True)
    show(rows)


if __name__ == "__main__":
    main()
