"""Writes the safetensors format, and names its arrays as those of a network; `nas.core.safetensors` reads it."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np

from nas.core.safetensors import from_bytes
from nas.nn.weights import HostVariables, Variables

__all__ = ["flat", "from_bytes", "nested", "to_bytes"]


def to_bytes(arrays: Mapping[str, np.ndarray]) -> bytes:
    """float32 arrays in the order of their names."""
    header, parts, start = {}, [], 0
    for name in sorted(arrays):
        data = np.ascontiguousarray(arrays[name], "<f4")
        header[name] = {"dtype": "F32", "shape": list(data.shape), "data_offsets": [start, start + data.nbytes]}
        parts.append(data.tobytes())
        start += data.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + b"".join(parts)


def flat(variables: Variables) -> dict[str, np.ndarray]:
    """Arrays by `node/array`; names of parameters and of batch statistics do not meet."""
    return {f"{n}/{a}": np.asarray(v) for nodes in variables.values() for n, arrays in nodes.items() for a, v in arrays.items()}


def nested(arrays: Mapping[str, np.ndarray], like: Variables, where: str) -> HostVariables:
    """The variables of a network with the form of `like`. Raises ValueError naming what is missing or has another shape."""
    out: HostVariables = {}
    for part, nodes in like.items():
        for node, own in nodes.items():
            for name, array in own.items():
                got = arrays.get(f"{node}/{name}")
                if got is None or got.shape != array.shape:
                    shape = "nothing" if got is None else f"shape {got.shape}"
                    raise ValueError(f"{where}: {node}/{name}: expected shape {array.shape}, got {shape}")
                out.setdefault(part, {}).setdefault(node, {})[name] = got
    return out
