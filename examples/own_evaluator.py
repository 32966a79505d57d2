"""A custom evaluator: a function from an architecture to metrics. Here: accuracy on images that noise has spoiled.

    python examples/own_evaluator.py
    python examples/own_evaluator.py --toy

Cost: 16 trainings of 10 epochs on scikit-learn's digits, one after the other in this process: about a minute on one core.
The toy, two trainings of one epoch, takes about 10 seconds.
Expect: some five networks, from 62 % under noise at 33,000 multiply-adds to 79 % at 54,000. On clean images they have 84 to
91 %, and the one that is best there is not the best under noise.

The search has a journal like any other: stop it with Ctrl-C and call it again. It cannot know when you change the code of
the function; give another `version=` then, so that old and new results are not mixed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping

import numpy as np
from sklearn.datasets import load_digits

import nas

NOISE = 60.0  # standard deviation, of pixels from 0 to 255


def digits(toy: bool) -> tuple[np.ndarray, np.ndarray]:
    """(n, 8, 8, 1) uint8 images and (n,) labels."""
    pixels, labels = load_digits(return_X_y=True)
    count = 200 if toy else len(labels)
    return (pixels.reshape(-1, 8, 8, 1) * 255 / 16).astype(np.uint8)[:count], labels[:count]


def robustness(toy: bool) -> Callable[[nas.Arch], Mapping[str, float]]:
    """The evaluator: trains, then scores images that were not trained on, clean and with noise."""
    images, labels = digits(toy)
    held_out = len(labels) * 4 // 5
    noise = np.random.default_rng(0).normal(0, NOISE, images[held_out:].shape)
    noisy = (images[held_out:] + noise).clip(0, 255).astype(np.uint8)
    recipe = {"name": "quick", "epochs": 1 if toy else 10}

    def evaluate(arch: nas.Arch) -> Mapping[str, float]:
        net = nas.train(arch, (images[:held_out], labels[:held_out]), recipe=recipe)
        return {"accuracy": correct(net, images[held_out:]), "noisy_accuracy": correct(net, noisy)}

    def correct(net: nas.TrainResult, shown: np.ndarray) -> float:
        found = [int(prediction.label) for prediction in net.predict(shown)]
        return float(np.mean(np.array(found) == labels[held_out:]))

    return evaluate


def main(toy: bool) -> None:
    result = nas.search(
        {
            "name": "small",
            "resolution": 8,
            "stem": {"op": "conv", "kernel": 3, "stride": 1, "width": 8, "act": "relu"},
            "stages": [
                {"op": "sepconv", "kernel": {"one_of": [3, 5]}, "width": {"one_of": [8, 16]}, "stride": 2},
                {"op": "sepconv", "kernel": {"one_of": [3, 5]}, "width": {"one_of": [16, 32]}, "stride": 2},
            ],
            "head": {"op": "classifier"},
        },
        evaluate=robustness(toy),
        objectives={"noisy_accuracy": "max", "macs": "min"},
        trials=2 if toy else 16,
        run="runs/own-evaluator",
        version="1",
        progress=True,
    )
    for row in result.front.table:
        print({key: row[key] for key in ("id", "accuracy", "noisy_accuracy", "macs")})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--toy", action="store_true")
    main(parser.parse_args().toy)
