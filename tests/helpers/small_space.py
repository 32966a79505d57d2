"""A space of small networks for the images of `small_training`, and its recipe."""

from __future__ import annotations

from nas.recipe import Augment, Recipe

SPACE = {
    "name": "small",
    "resolution": 6,
    "drop_path": 0.4,
    "stem": {"op": "conv", "width": 4},
    "stages": [
        {
            "op": "mbconv",
            "width": 6,
            "kernel": {"one_of": [3, 5]},
            "expand": {"one_of": [1, 2]},
            "se": {"one_of": [0, 0.5]},
            "stride": 2,
        },
        {"op": "sepconv", "width": 6, "repeat": {"one_of": [1, 2]}},
    ],
    "head": {"op": "classifier", "width": 8, "dropout": 0.2},
}

RECIPE = Recipe(
    epochs=2, batch=16, lr=0.02, optimizer="rmsprop", ema=0.9, weight_decay=1e-3, augment=Augment(crop_padding=1)
)
