"""A network with the weights of a library, ready to answer: no training and no dataset of ours stands beside them.

    bundle = imported_bundle("timm:mixnet_s/model.safetensors", "timm.yaml")
    predict(bundle, "photo.jpg")[0].top(5)

Its images are made ready as the library does it, by size, center crop, mean and std. Its classes have numbers: weights know no names.
"""

from __future__ import annotations

from pathlib import Path

from nas.arch import Arch
from nas.arch.blocks import lower
from nas.arch.find import find_arch
from nas.data.published import as_published
from nas.data.record import DataRecord
from nas.workflows.export import Bundle
from nas.workflows.export.formats import Trained
from nas.workflows.export.sources import whole_weights
from nas.workflows.prepared import known


def imported_bundle(weights: str, arch: str | Arch) -> Bundle:
    """Loads weights of a library as a bundle is loaded.

    Args:
        weights: `timm:<file>`, `torchvision:<file>` or `imagenet`, as `weights=` of a training has it.
        arch: The architecture that they are for, such as a reference's name, with as many classes as they have.

    Returns:
        The network at the size that its images had, and how they are made ready; classes are numbered.

    Raises:
        ValueError: Weights of which nothing says how images were made ready, and such as are not whole or not for the architecture.
    """
    found, _ = as_published(find_arch(arch, "arch"), weights)
    convention = known(weights, found.resolution)
    if convention is None or convention.resize is None:
        raise ValueError(
            f"weights: nothing says how images were made ready for {weights}; put timm: or torchvision: before the file where it comes "
            "from there, or export it with its dataset= and use the bundle"
        )
    if len(convention.mean) != found.channels:
        raise ValueError(f"arch: has {found.channels} channels, the weights {len(convention.mean)}")
    found = found.with_io(resolution=convention.side or found.resolution)
    classes = tuple(map(str, range(found.classes)))
    data = DataRecord(classes, convention.mean, convention.std, found.resolution, found.channels, convention.resize, "")
    trained = Trained(found.name, lower(found), whole_weights(weights, found), classes, data.mean, data.std)
    return Bundle(Path(weights), found, trained, data, numbered=True)
