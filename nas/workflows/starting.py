"""Where a training starts from: `weights=`, as a file, or as shared weights of which a network takes its own part."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nas.arch import Arch
from nas.arch.blocks import lower
from nas.arch.parts import has_parameters
from nas.data import Dataset
from nas.data.pixels import COLOR
from nas.nn.weights import SUPERNET, split_source

if TYPE_CHECKING:
    from nas.convert.fill import Imported

MANY = 6  # names of layers in a message


def start_of(source: str, arch: Arch, dataset: Dataset, seed: int) -> Imported:
    """A network's variables from what `weights=` names.

    Args:
        source: As `nas.convert.starting_weights` takes it, or `supernet:` and the folder or file of shared weights.
        arch: The network, fitted to the dataset.
        dataset: Whose training images statistics are computed from where the weights are shared ones.
        seed: Of what starts from initial values.

    Raises:
        ValueError: Naming the file and what does not fit.
    """
    from nas.convert.start import by_names, starting_weights

    origin, path = split_source(source)
    try:
        if origin != SUPERNET:
            return starting_weights(source, lower(arch), seed)
        from nas.supernet.child import child_of

        return by_names(child_of(path, arch, dataset), lower(arch), seed)
    except ValueError as error:
        raise ValueError(f"weights: {error}{_of_color(str(error), arch)}") from None


def lines_of(imported: Imported, source: str, arch: Arch) -> list[str]:
    """For people: where weights come from, and what of the network they do not fill."""
    lines = [f"weights of {source}", *(f"weights: {note}" for note in imported.notes)]
    if imported.fresh:
        more = f" and {len(imported.fresh) - MANY} more" if len(imported.fresh) > MANY else ""
        names = ", ".join(imported.fresh[:MANY]) + more
        lines.append(f"{names}: not in these weights for {arch.classes} classes, starts from initial values")
    return lines


def _of_color(error: str, arch: Arch) -> str:
    """What helps where the first layer expects color, and the images are gray."""
    graph = lower(arch)
    first = next(node.name for node in graph.nodes if has_parameters(node))
    if arch.channels == COLOR or f"{first}: kernel: expected" not in error:
        return ""
    return f"; where these weights are of color images, dataset.channels={COLOR} gives gray ones {COLOR} equal channels"
