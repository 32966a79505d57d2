"""Small made-up files in the formats of the published tables."""

from __future__ import annotations

import io
import itertools
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np

from nas.tabular.nas_bench_macro import canonical

DEVICE_FIELDS = [
    "latency_zcu102",
    "latency_vck190",
    "throughput_a100",
    "throughput_3090",
    "throughput_tpuv2",
    "throughput_tpuv3",
]


def record(rng: np.random.Generator, number: int) -> dict[str, Any]:
    """A record whose accuracy and times rise with its depths; every tenth has no A100 time."""
    architecture: dict[str, Any] = {}
    for stage in range(7):
        architecture |= {
            f"block{stage}_e": int(rng.choice([1, 4, 6])), f"block{stage}_k": int(rng.choice([3, 5])),
            f"block{stage}_l": int(rng.integers(1, 4)), f"block{stage}_se": bool(rng.integers(2)),
        }  # fmt: skip
    depth = sum(architecture[f"block{stage}_l"] for stage in range(7))
    perf: dict[str, Any] = {
        field: {field.partition("_")[0] + "_mean": 1000 / depth if "throughput" in field else float(depth)}
        for field in DEVICE_FIELDS
    }
    if number % 10 == 0:
        perf["throughput_a100"] = None
    return {"architecture": architecture, "metrics": {"val_top1": 50 + depth}, "platform_perf": perf}


def write_accel(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    with tarfile.open(folder / "anb_dataset_jsons.tar.gz", "w:gz") as archive:
        for number in range(300):
            data = json.dumps(record(rng, number)).encode()
            info = tarfile.TarInfo(f"anb_dataset_jsons/result_{number}.json")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return folder


def write_macro(folder: Path) -> Path:
    """80 % and a point for each digit of the key."""
    records = {}
    for key in itertools.product(range(3), repeat=8):
        accuracy = 80 + sum(map(int, canonical(key)))
        records["".join(map(str, key))] = {"test_acc": [accuracy - 0.2, accuracy, accuracy + 0.2]}
    (folder / "nas-bench-macro_cifar10.json").write_text(json.dumps(records))
    return folder
