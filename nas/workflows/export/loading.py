"""Loading a bundle, checked before it is used: `bundle.json` has the SHA-256 of every file."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nas.arch import Arch, arch_from_dict
from nas.arch.blocks import lower
from nas.core.jsonio import parse_json
from nas.core.yamlio import parse_yaml
from nas.data.record import DataRecord, record_from
from nas.records import JSON
from nas.workflows.export import safetensors
from nas.workflows.export.formats import Trained

VERSION = 1
INDEX = "bundle.json"
WEIGHTS = "weights.safetensors"


@dataclass(frozen=True)
class Bundle:
    """A loaded bundle; `data` is what it was trained with, whose images the network may resize.

    `numbered`: its classes have no names, as those of a library's weights; those of a dataset with as many are taken for them.
    """

    folder: Path
    arch: Arch
    trained: Trained
    data: DataRecord
    facts: Mapping[str, JSON] = field(default_factory=dict)
    numbered: bool = False

    @property
    def resolution(self) -> int:
        """Side of its images in pixels."""
        return self.data.resolution


def digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def load_bundle(folder: Path) -> Bundle:
    """Raises ValueError naming the file that is missing, changed or not what it should be."""
    from nas.nn.network import init

    try:
        index = parse_json((folder / INDEX).read_text(encoding="utf-8"))
        if index["version"] != VERSION:
            raise ValueError(f"of version {index['version']}, this nas reads {VERSION}")
        digests = dict(index["sha256"])
        data = record_from(index)
    except OSError as error:
        raise ValueError(f"{folder / INDEX}: {error.strerror}; expected a folder of nas export") from None
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{folder / INDEX}: no index of a bundle: {error}") from None
    for name, expected in digests.items():
        if Path(name).name != name:
            raise ValueError(f"{folder / INDEX}: {name!r} is no file of the folder")
        try:
            if digest(folder / name) != expected:
                raise ValueError(f"{folder / name}: changed since it was exported (its SHA-256 differs)")
        except OSError as error:
            raise ValueError(f"{folder / name}: {error.strerror}") from None
    where = str(folder / WEIGHTS)
    arch = arch_from_dict(parse_yaml((folder / "arch.yaml").read_text(encoding="utf-8"), str(folder / "arch.yaml")))
    sizes = (len(data.classes), data.channels)
    if sizes != (arch.classes if data.classes else 0, arch.channels):
        raise ValueError(f"{folder / INDEX}: {sizes[0]} classes and {sizes[1]} channels do not fit the network in arch.yaml")
    graph, arrays = lower(arch), safetensors.from_bytes((folder / WEIGHTS).read_bytes(), where)
    variables = safetensors.nested(arrays, init(graph, 0), where)
    return Bundle(folder, arch, Trained(arch.name, graph, variables, data.classes, data.mean, data.std), data, index)
