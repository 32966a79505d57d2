"""What XLA's TPU compiler says of our programs, on a machine without a TPU: `make tpu`.

    python benchmarks/tpu.py [networks=mobilenet_v3_small,..] [batch=64] [limit=300] [chip=v5e] [keep=no] [--quick]

Compiles the training and the inference step of five networks in bfloat16, and the masked step of an elastic space's shared weights,
each in a process of its own that may take `limit` seconds, since compile times can explode. A row a program: seconds of compilation,
bytes on the device, FLOPs, bytes moved, and the milliseconds of the roofline. Padding is what the layout of arrays in tiles of 8 x 128
takes beside the arrays' own bytes, over all results of the program; the row names the array that wastes most. A program fails that calls
the host, computes in float64, does not compile or fit the chip's memory, or pads more than a tenth over what tpu_padding.json has.
keep=yes writes that file anew. --quick compiles one small program.
"""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from options import options_of, run

os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")  # there is no machine to ask
os.environ["JAX_PLATFORMS"] = "cpu"  # what this process computes with; programs are lowered for the TPU

NETWORKS = "mobilenet_v3_small", "mobilenet_v2", "efficientnet_lite0", "resnet18", "lenet5"
SPACE = "efficientnet_lite0_elastic"  # whose shared weights' masked step is compiled
CHIPS = {"v5e": ("v5e:2x2", 197e12, 819e9, 16 * 2**30)}  # topology, FLOP/s in bfloat16, bytes/s, bytes of memory
BASELINE = Path(__file__).with_name("tpu_padding.json")
SLACK, LEAST = 1.1, 1 << 16  # padding may grow by a tenth; smaller arrays are not counted
HOST = re.compile(r"callback|\b(?:infeed|outfeed|send|recv)\(|is_host_transfer=true")
RESULT = re.compile(r"^\s*(?:ROOT )?%[\w.-]+ = (\(?.*?) [\w-]+\(")
ARRAY = re.compile(r"(bf16|f32|f16|f64|s32|u32|s8|u8|pred)\[([\d,]+)\]\{([\d,]+):T\((\d+),(\d+)\)")
BYTES = {"bf16": 2, "f16": 2, "f32": 4, "s32": 4, "u32": 4, "f64": 8, "s8": 1, "u8": 1, "pred": 1}


def main(arguments: Sequence[str]) -> int:
    defaults = {"networks": ",".join(NETWORKS), "batch": "64", "limit": "300", "chip": "v5e", "keep": "no", "one": "", "quick": ""}
    options = options_of(arguments, defaults)
    if options["chip"] not in CHIPS:
        raise ValueError(f"chip: expected one of {', '.join(CHIPS)}, got {options['chip']!r}")
    if options["one"]:
        print(json.dumps(compiled(options["one"], int(options["batch"]), options["chip"])))
        return 0
    networks = filter(None, options["networks"].split(","))
    names = [f"{name}, {what}" for name in networks for what in ("training", "inference")]
    names = ["lenet5, inference"] if options["quick"] else [*names, f"{SPACE}, shared weights"]
    known: dict[str, float] = json.loads(BASELINE.read_text()) if BASELINE.is_file() else {}
    failed, padding = 0, dict(known)
    about = f"batch {options['batch']}, {options['chip']}"
    print(f"| program, {about} | compiled, s | memory, MiB | GFLOP | moved, MiB | roofline, ms | padding |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for name in names:
        row = _apart(name, options)
        faults = _faults(name, row, known, CHIPS[options["chip"]][3])
        failed += bool(faults)
        padding |= {name: row["padding"]} if "padding" in row else {}
        print(_line(name, row) + ("".join(f"\nFAILED: {name}: {fault}" for fault in faults)), flush=True)
        if options["keep"] == "yes":
            BASELINE.write_text(json.dumps(padding, indent=1) + "\n")
    return 1 if failed else 0


def _apart(name: str, options: dict[str, str]) -> dict[str, Any]:
    """A row by a process of its own, or what became of that."""
    asked = [sys.executable, __file__, f"one={name}", f"batch={options['batch']}", f"chip={options['chip']}"]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, timeout=float(options["limit"]), check=False)
    except subprocess.TimeoutExpired:
        return {"fault": f"not compiled within {options['limit']} s"}
    if done.returncode:
        return {"fault": (done.stderr.strip().splitlines() or ["ended without a word"])[-1][:300]}
    return json.loads(done.stdout.splitlines()[-1])


def _faults(name: str, row: dict[str, Any], known: dict[str, float], room: int) -> list[str]:
    if "fault" in row:
        return [row["fault"]]
    found = [f"calls the host: {line}" for line in row["host"]]
    found += ["computes in float64"] if row["float64"] else []
    found += [f"takes {row['memory'] / 2**30:.1f} GiB, more than the chip has"] if row["memory"] > room else []
    allowed = known.get(name, math.inf) * SLACK
    found += [f"padding is {row['padding']:.3f}, {known[name]:.3f} before"] if row["padding"] > allowed else []
    return found


def _line(name: str, row: dict[str, Any]) -> str:
    if "fault" in row:
        return f"| {name} | | | | | | |"
    mib, worst = 2**20, f"{row['padding']:.2f}, most for {row['worst']}" if row["worst"] else f"{row['padding']:.2f}"
    return (f"| {name} | {row['seconds']:.0f} | {row['memory'] / mib:.0f} | {row['flops'] / 1e9:.1f} | {row['moved'] / mib:.0f} | "
            f"{row['roofline_ms']:.3f} | {worst} |")  # fmt: skip


def compiled(name: str, batch: int, chip: str) -> dict[str, Any]:
    """The row of one program."""
    import jax
    from jax.experimental import topologies
    from jax.sharding import SingleDeviceSharding

    topology, speed, bandwidth, _ = CHIPS[chip]
    there = SingleDeviceSharding(topologies.get_topology_desc(platform="tpu", topology_name=topology).devices[0])
    network, what = name.split(", ")
    function, args = {"training": training, "inference": inference, "shared weights": shared}[what](network, batch)
    shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=there), args)
    began = time.perf_counter()
    program = jax.jit(function, donate_argnums=() if what == "inference" else 0).lower(*shapes).compile()
    seconds, text, cost, memory = time.perf_counter() - began, program.as_text(), program.cost_analysis(), program.memory_analysis()
    assert text is not None
    assert memory is not None
    padded, own, worst = padding(text)
    assert cost is not None
    flops, moved = cost["flops"], cost["bytes accessed"]
    held = memory.temp_size_in_bytes + memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    host = sorted({line.strip()[:120] for line in text.splitlines() if HOST.search(line)})
    return {"seconds": seconds, "memory": held, "flops": flops, "moved": moved, "padding": padded / max(own, 1), "worst": worst,
            "roofline_ms": 1e3 * max(flops / speed, moved / bandwidth), "host": host, "float64": "f64[" in text}  # fmt: skip


def padding(text: str) -> tuple[int, int, str]:
    """(bytes of the results of a program in tiles, their own bytes, the array that wastes most) of its text."""
    padded, own, wasted = 0, 0, dict[str, int]()
    for kind, shape, order, tile in _results(text):
        size, logical = BYTES[kind], math.prod(shape)
        full = list(shape)
        for dimension, step in zip(order, tile[::-1], strict=False):  # the most minor one first
            full[dimension] = -(-full[dimension] // step) * step
        if size * logical >= LEAST:
            padded, own = padded + size * math.prod(full), own + size * logical
            key = f"{kind}[{','.join(map(str, shape))}]"
            wasted[key] = wasted.get(key, 0) + size * (math.prod(full) - logical)
    most = max(wasted, key=lambda key: wasted[key], default="")
    return padded, own, most if wasted.get(most) else ""


def _results(text: str) -> Iterator[tuple[str, list[int], list[int], tuple[int, int]]]:
    """(type, shape, dimensions from the most minor one, tile) of each array that an instruction of the entry computation gives."""
    entry = text[text.index("\nENTRY ") :].split("\n}", 1)[0]
    for line in entry.splitlines():
        if result := RESULT.match(line):
            for kind, shape, order, rows, columns in ARRAY.findall(result[1]):
                yield kind, [int(one) for one in shape.split(",")], [int(one) for one in order.split(",")], (int(rows), int(columns))


def training(name: str, batch: int) -> tuple[Any, Any]:
    """(a step of the training, arrays of the shapes that it takes)."""
    import jax

    from nas.arch.blocks import lower
    from nas.nn.network import init
    from nas.recipe import Recipe
    from nas.tasks import task_of
    from nas.train.optim import Layout
    from nas.train.trainer import Trainer

    arch = _network(name)
    graph, recipe = lower(arch), Recipe(epochs=2, batch=batch, lr=0.05, dtype="bfloat16")
    start = init(graph, 0)
    layouts = Layout.of(start["params"]), Layout.of(start["stats"])
    trainer = Trainer(graph, _images(arch, batch), recipe, 0, task_of(arch), *layouts, implementation="portable")
    update = trainer.optimizer(trainer.transfer.phases[0])
    state = jax.eval_shape(lambda: trainer.start(start, update))
    return trainer.step(update), (state, *trainer.feed.shapes())


def inference(name: str, batch: int) -> tuple[Any, Any]:
    """(the forward pass, arrays of the shapes that it takes)."""
    import jax.numpy as jnp

    from nas.arch.blocks import lower
    from nas.nn.network import apply, init

    arch = _network(name)
    graph = lower(arch)

    def forward(variables: Any, images: Any) -> Any:
        return apply(graph, variables["params"], variables["stats"], images, train=False, dtype=jnp.bfloat16, implementation="portable")[0]

    return forward, (init(graph, 0), np.zeros((batch, arch.resolution, arch.resolution, arch.channels), jnp.bfloat16))


def shared(name: str, batch: int) -> tuple[Any, Any]:
    """(a step of shared weights whose widths are masks, arrays of the shapes that it takes)."""
    from nas.recipe import Recipe
    from nas.space import load_space
    from nas.supernet.strategies import Uniform
    from nas.supernet.training import Supernet

    space = load_space(name).fit(224, 3, 10)
    arch = space.decode(space.canonical([0] * len(space.genes)))
    net = Supernet(space, _images(arch, batch), Recipe(epochs=2, batch=batch, lr=0.05, dtype="bfloat16"), masked=True)
    return net.whole_step(Uniform(), 0)


def _network(name: str) -> Any:
    from nas.arch.find import find_arch

    return find_arch(name)


def _images(arch: Any, count: int) -> Any:
    from nas.data import Dataset, Split

    side, channels = arch.resolution, arch.channels
    split = Split(np.zeros((count, side, side, channels), np.uint8), np.arange(count, dtype=np.int32) % arch.classes)
    classes = tuple(str(i) for i in range(arch.classes))
    return Dataset("zeros", classes, split, split, split, side, channels, (0.5,) * channels, (0.5,) * channels)


if __name__ == "__main__":
    run(main)
