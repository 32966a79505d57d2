"""A small network, its images and its table of times, and the command that adapts it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nas.arch.blocks import lower
from nas.arch.files import load_arch
from nas.core.yamlio import dump_yaml
from nas.nn.network import init
from nas.nn.weights import save_weights

NET = {"name": "net", "resolution": 8, "channels": 1, "classes": 2, "stem": {"op": "conv", "width": 8}, "head": {"op": "classifier"},
       "stages": [{"op": "mbconv", "hidden": 40, "kernel": 5, "width": 16, "stride": 2}]}  # fmt: skip

QUICK = ["recipe.batch=8", "recipe.lr=0.05", "dataset=npz", "dataset.path=images.npz", "adapt.final_epochs=2",
         "adapt.final_recipe={label_smoothing: 0.1}", "target=0.85"]  # fmt: skip

TABLE = """op,input,output,kernel,stride,expansion,se,activation,ms
conv,,,,,,,,0.1
classifier,,,,,,,,0.1
"""


def make(folder: Path) -> None:
    """Images of two classes, a network with untrained weights, and a table of times that knows every width of it."""
    rng = np.random.default_rng(0)
    np.savez(folder / "images.npz", x_train=rng.integers(0, 256, (64, 8, 8, 1), np.uint8), y_train=np.arange(64) % 2)
    (folder / "net.yaml").write_text(dump_yaml(NET))
    save_weights(folder / "net.npz", init(lower(load_arch(str(folder / "net.yaml"))), 0))
    write_table(folder / "table.csv")


def write_table(path: Path) -> None:
    """Times that depend on no clock, for every width and kernel that such a network can shrink to."""
    rows = [
        f"mbconv,8x8x8,,{kernel},,{hidden / 8:g},0,,{0.02 * hidden / 8 + 0.01 * kernel}"
        for kernel in (3, 5) for hidden in range(8, 41, 8)
    ]  # fmt: skip
    path.write_text(TABLE + "\n".join(rows) + "\n")


def command(name: str, *args: str) -> list[str]:
    device = ["device=table", "device.table.path=table.csv", "adapt.step=0.05"]
    return ["adapt", "weights=net.npz", "arch=net.yaml", f"run={name}", *QUICK, *device, *args]
