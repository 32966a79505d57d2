"""The reference networks beside Keras' models of the same name: random weights copied over, logits compared."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from keras_models import answers, application, images, randomize
from nas.arch.blocks import lower
from nas.arch.files import load_arch
from nas.convert import import_layers, layers_of
from nas.nn.network import init
from networks import logits

TOLERANCE = 1e-4  # of the largest difference to the standard deviation of the logits


class Twin(NamedTuple):
    """Keras' model, the gain of random kernels that keeps its logits of order one, what it divides images by."""

    application: str
    gain: float
    divides_by: float = 1
    has_preprocessing: bool = False


TWINS = {
    "mobilenet_v1": Twin("MobileNet", 1.45),
    "mobilenet_v2": Twin("MobileNetV2", 1.2),
    "mobilenet_v3_small": Twin("MobileNetV3Small", 1.34, has_preprocessing=True),
    "mobilenet_v3_large": Twin("MobileNetV3Large", 1.22, has_preprocessing=True),
    "efficientnet_b0": Twin("EfficientNetB0", 1.4, divides_by=255),
    "efficientnet_b3": Twin("EfficientNetB3", 1.34, divides_by=255),
    "efficientnetv2_b0": Twin("EfficientNetV2B0", 1.2, has_preprocessing=True),
    "densenet121": Twin("DenseNet121", 1.22),
    "resnet50_v1": Twin("ResNet50", 0.87),
    "vgg16": Twin("VGG16", 1.42),
    "xception": Twin("Xception", 0.94),
}


def compare(name: str) -> float:
    """The largest difference of logits, in standard deviations of the logits."""
    twin, arch = TWINS[name], load_arch(name)
    options = {"include_preprocessing": False} if twin.has_preprocessing else {}
    shape = (arch.resolution, arch.resolution, arch.channels)
    model = application(twin.application, input_shape=shape, classes=arch.classes, **options)
    randomize(model, twin.gain)
    batch, graph = images(arch.resolution), lower(arch)
    expected = answers(model, batch * twin.divides_by)
    deviation, contrast = float(expected.std()), float((expected[0] - expected[1]).std())
    assert 0.3 < deviation < 3, "logits are not of order one: the comparison would prove little"
    assert contrast > 0.01 * deviation, "logits hardly depend on the image"
    imported = import_layers(layers_of(model), graph, init(graph, seed=0))
    assert not imported.fresh
    difference = float(np.abs(logits(graph, imported.variables, batch) - expected).max()) / deviation
    print(
        f"{name}: largest difference {difference:.1e} of the logits' deviation {deviation:.2f}, of images {contrast:.2f}"
    )
    return difference
