"""Weights from elsewhere: Keras checkpoints and models, and this project's own files, as the start of a training."""

from nas.convert.fill import Imported
from nas.convert.keras import Layer, import_layers, layers_of
from nas.convert.keras_file import read_layers
from nas.convert.start import starting_weights

__all__ = ["Imported", "Layer", "import_layers", "layers_of", "read_layers", "starting_weights"]
