"""Peak memory of `nas train` on datasets that are read while they are used, several times larger than the memory allowed.

    python benchmarks/stream_memory.py [--images 4000 16000] [--side 160] [--mib 64] [--json FILE]

Writes made-up JPEG files, as a folder and as Parquet files with row groups of 100 images, and trains a small network on them for
one epoch, each in a process of its own: streamed with `--mib` MiB for reading ahead and shuffling, for each number of
images, and the largest number once in memory. Peak memory is the process's own (ru_maxrss), JAX and the compiler included; images
a second count all of the training, with the look at the images before it.
"""

from __future__ import annotations

import argparse
import io
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

NET = """
name: net
resolution: 32
stem: {op: conv, kernel: 3, stride: 2, width: 8}
stages:
  - {op: sepconv, kernel: 3, width: 16, stride: 2}
head: {op: classifier}
"""
DISTINCT = 64
GROUP = 100


def pictures(side: int) -> list[bytes]:
    """JPEG files of waves and noise, which take about as long to decode as photographs of the size."""
    rng, made = np.random.default_rng(0), []
    y, x = (plane[..., None] / side for plane in np.mgrid[:side, :side])
    for _ in range(DISTINCT):
        waves = np.sin(rng.uniform(5, 40, 3) * x + rng.uniform(5, 40, 3) * y + rng.uniform(0, 6, 3))
        pixels = np.clip(127 + 90 * waves + rng.normal(0, 12, (side, side, 3)), 0, 255).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=85)
        made.append(buffer.getvalue())
    return made


def write(root: Path, kind: str, count: int, side: int) -> None:
    """`count` training images and 200 of each other part, in two classes."""
    files = pictures(side)
    for part, n in (("train", count), ("valid", 200), ("test", 200)):
        if kind == "folder":
            for i in range(n):
                path = root / part / f"class{i % 2}" / f"{i:06d}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(files[i % DISTINCT])
            continue
        rows = [files[i % DISTINCT] for i in range(n)]
        table = pa.table({"image": pa.array(rows, pa.binary()), "label": np.arange(n) % 2})
        root.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, root / f"{part}.parquet", row_group_size=GROUP, compression="none", use_dictionary=False)


def serve(arguments: list[str]) -> None:
    from nas.cli import run

    began = time.perf_counter()
    code = run(["train", *arguments])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"code": code, "peak_mib": peak, "seconds": time.perf_counter() - began}))


def measured(root: Path, kind: str, run: str, stream: bool, mib: int) -> dict[str, Any]:
    settings = [
        f"arch={root / 'net.yaml'}", "resolution=32", f"dataset={kind}", f"dataset.path={root / run}",
        f"dataset.stream={str(stream).lower()}", f"dataset.stream_mib={mib}", "recipe=quick", "recipe.epochs=1",
        "recipe.augment.flip=true", f"run={root / 'out' / run}-{stream}",
    ]  # fmt: skip
    done = subprocess.run([sys.executable, __file__, "--serve", *settings], capture_output=True, text=True, check=False)
    found = json.loads(done.stdout.splitlines()[-1]) if done.stdout else {"code": 1}
    if found["code"]:
        raise SystemExit(done.stderr)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, nargs="+", default=[4000, 16000])
    parser.add_argument("--side", type=int, default=160)
    parser.add_argument("--mib", type=int, default=64)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--serve", nargs=argparse.REMAINDER)
    arguments = parser.parse_args()
    if arguments.serve is not None:
        serve(arguments.serve)
        return
    rows = []
    with tempfile.TemporaryDirectory(dir=".") as folder:
        root = Path(folder).absolute()
        (root / "net.yaml").write_text(NET)
        for kind in ("folder", "parquet"):
            for count in arguments.images:
                write(root / f"{kind}{count}", kind, count, arguments.side)
                for stream in (True, False) if count == max(arguments.images) else (True,):
                    found = measured(root, kind, f"{kind}{count}", stream, arguments.mib)
                    decoded = count * arguments.side**2 * 3 / 2**20
                    rows.append({"kind": kind, "images": count, "streamed": stream, "decoded_mib": decoded, **found})
                    print(f"{kind:<8} {count:>7} images, {decoded:7.0f} MiB decoded, {'streamed' if stream else 'in memory':<9}  "
                          f"peak {found['peak_mib']:6.0f} MiB  {count / found['seconds']:6.0f} images/s", flush=True)  # fmt: skip
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
