"""What the cases of hostile_cases.py are made with, and the usual files that each of them spoils."""

from __future__ import annotations

import json
import pickle
import sqlite3
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

SHELL = "touch RAN"
PYTHON = "import os; os.system('touch RAN')"
NAME = f'"""; __import__("os").system("{SHELL}"); """y'
TAG = f"!!python/object/apply:os.system ['{SHELL}']"
HEAD = "name: x\nresolution: 32\nstem: {op: conv, width: 8}\nhead: {op: classifier}\n"
STAGE = "{op: mbconv, width: 8, expand: 2}"
NET = HEAD + f"stages: [{STAGE}]\n"
DEEP = "[" * 100_000


class Bomb:
    """What a pickle can do."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        import os

        return os.system, (SHELL,)


@dataclass(frozen=True)
class Case:
    """A hostile file, and the command that reads it; `fine`: the command may succeed, as long as nothing is executed."""

    kind: str
    name: str
    spoil: Callable[[Path], object]
    command: tuple[str, ...]
    fine: bool = False


def write(path: str, content: str | bytes) -> Callable[[Path], object]:
    """Puts a file."""
    return lambda folder: (folder / path).write_bytes(content.encode() if isinstance(content, str) else content)


def changed(path: str, **values: Any) -> Callable[[Path], object]:
    """Sets keys of a JSON file."""

    def spoil(folder: Path) -> None:
        data = json.loads((folder / path).read_text())
        (folder / path).write_text(json.dumps({**data, **values}))

    return spoil


def both(*spoils: Callable[[Path], object]) -> Callable[[Path], object]:
    """One after the other."""
    return lambda folder: [spoil(folder) for spoil in spoils]


def unsigned(folder: Path) -> None:
    """A bundle whose author made the digests anew, here: left them out."""
    changed("bundle/bundle.json", sha256={})(folder)


def sql(*statements: str) -> Callable[[Path], object]:
    """Statements in the run's journal."""

    def spoil(folder: Path) -> None:
        with sqlite3.connect(folder / "run" / "journal.sqlite") as database:
            for statement in statements:
                database.execute(statement)
        database.close()

    return spoil


def meta(key: str, value: Any) -> Callable[[Path], object]:
    text = value if isinstance(value, str) and value[:1] in "[{" else json.dumps(value)
    return sql(f"INSERT OR REPLACE INTO meta VALUES ('{key}', '{text.replace(chr(39), chr(39) * 2)}')")


def arrays(path: str, **values: Any) -> Callable[[Path], object]:
    return lambda folder: np.savez(folder / path, **values)


def bomb(levels: int = 30) -> str:
    """Aliases that would be 2^30 values written out."""
    rows = ["a0: &a0 [1, 2]"] + [f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, levels)]
    return "\n".join(rows) + f"\nstages: *a{levels - 1}\n" + HEAD


def npz_of(path: str, member: str, content: bytes, compression: int = zipfile.ZIP_STORED) -> Callable[[Path], object]:
    def spoil(folder: Path) -> None:
        with zipfile.ZipFile(folder / path, "w", compression) as archive:
            archive.writestr(member, content)

    return spoil


def npy(header: str, body: bytes = b"") -> bytes:
    text = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + body


def safetensors(header: str | bytes) -> bytes:
    text = header.encode() if isinstance(header, str) else header
    return len(text).to_bytes(8, "little") + text


def png(width: int, height: int) -> bytes:
    """A valid head of a picture of that size, with hardly any data."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


def idx(*sizes: int) -> bytes:
    return bytes([0, 0, 8, len(sizes)]) + b"".join(struct.pack(">I", size) for size in sizes)


def parquet_pickle(folder: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = pa.table({"image": [pickle.dumps(Bomb())] * 20, "label": [0, 1] * 10})
    pq.write_table(rows, folder / "parquet" / "train-0.parquet")


def class_folder(folder: Path) -> None:
    """Classes named like code, in the folder data set."""
    for i, path in enumerate(sorted(path for path in (folder / "images").iterdir() if path.is_dir())):
        path.rename(folder / "images" / f"{i}{NAME.replace('/', '_')}")


def usual(folder: Path) -> None:
    """What commands read, as nas writes it."""
    from PIL import Image

    import nas
    from nas.arch import arch_from_dict
    from nas.arch.blocks import lower
    from nas.data import Dataset, Split
    from nas.nn.network import init
    from nas.nn.weights import save_weights
    from nas.workflows.export import make_bundle

    net = {"name": "net", "resolution": 8, "channels": 1, "classes": 3, "stem": {"op": "conv", "width": 4},
           "stages": [{"op": "conv", "width": 4}], "head": {"op": "classifier"}}  # fmt: skip
    arch = arch_from_dict(net)
    images, labels = np.zeros((30, 8, 8, 1), np.uint8), np.arange(30, dtype=np.int32) % 3
    part = Split(images, labels)
    for name in ("net", "images/a", "images/b", "images/c", "idx", "parquet", "conf/recipe", "macro"):
        (folder / name).mkdir(parents=True)
    (folder / "net" / "arch.yaml").write_text(arch.to_yaml())
    weights = init(lower(arch), 0)
    save_weights(folder / "net" / "weights.npz", weights)
    make_bundle(folder / "bundle", arch, weights, Dataset("noise", ("a", "b", "c"), part, part, part, 8, 1, (0.5,), (0.3,)), ["source"])
    np.savez(folder / "data.npz", x_train=images, y_train=labels)
    Image.fromarray(images[0, :, :, 0]).save(folder / "x.png")
    for i in range(30):
        Image.fromarray(images[i, :, :, 0] + i).save(folder / "images" / "abc"[i % 3] / f"{i}.png")
    for prefix in ("train", "t10k"):
        (folder / "idx" / f"{prefix}-images-idx3-ubyte").write_bytes(idx(30, 8, 8) + images.tobytes())
        (folder / "idx" / f"{prefix}-labels-idx1-ubyte").write_bytes(idx(30) + labels.astype(np.uint8).tobytes())
    for name in ("run", "run2"):
        nas.search("tiny", "digits", evaluate=evaluate, objectives={"accuracy": "max", "params": "min"}, trials=4, run=str(folder / name))


def evaluate(arch: Any) -> dict[str, float]:
    """In place of a training."""
    return {"accuracy": 0.5 + 0.01 * len(arch.stages)}
