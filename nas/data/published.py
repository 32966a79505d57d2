"""What shapes do not show of the networks of timm and torchvision: how windows are padded, and the eps of batch norms.

    arch, line = as_published(find_arch("mobilenet_v2"), "torchvision:mobilenet_v2-7ebf99e0.pth")
    arch.padding, arch.norm_eps        # ("torch", 1e-5)
    line                               # "weights: as in torchvision, padding: torch and norm_eps: 1e-05"

A network that differs in one of them from the one that its weights were trained in computes something else, without an error.
"""

from __future__ import annotations

import dataclasses
import re
from typing import TypeAlias

from nas.arch import Arch
from nas.data.conventions import network_name
from nas.nn.weights import IMAGENET, split_source

PaddingAndEps: TypeAlias = tuple[str, float]
SAME, TORCH, TORCH_1E3 = ("same", 1e-3), ("torch", 1e-5), ("torch", 1e-3)

# The first pattern that the name begins with. timm names what it has from TensorFlow tf_.
TIMM: tuple[tuple[str, PaddingAndEps], ...] = (
    (r"tf_|efficientnet_b[123]_pruned", SAME),
    (r"mobilenetv3_rw|inception_v3|inception_v4|inception_resnet_v2", TORCH_1E3),
    (r"(legacy_|gluon_|tv_|cs|ese_)?(efficientnet|gc_efficientnet|mobilenet|mnasnet|semnasnet|spnasnet|fbnet|tinynet|lcnet|hardcorenas|"
     r"mixnet|res|wide_resnet|se_?res|densenet|vgg|xception|test_efficientnet)", TORCH),
)  # fmt: skip
TORCHVISION_1E3 = re.compile(r"mobilenet_?v3|googlenet|inception_?v3|efficientnet_b[567]|efficientnet_?v2")


def padding_and_eps(source: str, arch_name: str = "") -> PaddingAndEps | None:
    """Padding and eps of the network that a file's weights are of, by its library and name; None where that is not known.

    Args:
        source: As `weights=` has it.
        arch_name: What the architecture is called: torchvision's files are found by it where they were renamed.

    Example:
        >>> padding_and_eps("timm:tf_mobilenetv3_small_100.safetensors"), padding_and_eps("torchvision:net.pth", "efficientnet_b5")
        (('same', 0.001), ('torch', 0.001))
        >>> padding_and_eps("timm:model.pth") is None
        True
    """
    origin, path = split_source(source)
    name = network_name(path)
    if origin == IMAGENET:
        return SAME
    if origin == "torchvision":
        return TORCH_1E3 if TORCHVISION_1E3.match(name) or TORCHVISION_1E3.match(arch_name) else TORCH
    return next((both for pattern, both in TIMM if re.match(pattern, name)), None) if origin == "timm" else None


def as_published(arch: Arch, source: str | None) -> tuple[Arch, str | None]:
    """An architecture with the padding and eps of the network that `source` is of, and a line that says what was set.

    Args:
        arch: The architecture.
        source: As `weights=` has it. Weights without `timm:` or `torchvision:` leave the architecture as it is.

    Returns:
        The architecture, and None where it was right already or nothing is known.
    """
    found = padding_and_eps(source, arch.name) if source else None
    if source is None or found is None or found == (arch.padding, arch.norm_eps):
        return arch, None
    padding, eps = found
    line = f"weights: as in {split_source(source)[0]}, padding: {padding} and norm_eps: {eps:g}"
    return dataclasses.replace(arch, padding=padding, norm_eps=eps), line
