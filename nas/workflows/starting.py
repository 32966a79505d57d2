"""Where a training starts from: `weights=`, as a file, or as shared weights of which a network takes its own part."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nas.arch import Arch
from nas.arch.blocks import lower
from nas.data import Dataset
from nas.nn.weights import SUPERNET, split_source

if TYPE_CHECKING:
    from nas.convert.fill import Imported


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
        raise ValueError(f"weights: {error}") from None
