"""A search space written in Python.

    python examples/own_space.py
    python examples/own_space.py --toy

Cost: 24 short trainings on scikit-learn's digits (1,797 images of 8 x 8 pixels), about 2 minutes of one core. The toy, a
training of one epoch, takes about 10 seconds.
Expect: a front of some three networks of 4,000 to 13,000 parameters, from 94.8 % of the validation images at 30,000
multiply-adds to 96.5 % at 96,000; on the test images the same within a percent.
"""

from __future__ import annotations

import argparse

import nas


def one_of(*options: object, **how: object) -> dict[str, object]:
    """A choice: `when=` says where it exists, `per="layer"` makes it one for each layer of a stage."""
    return {"one_of": list(options), **how}


def stage(width: int, stride: int) -> dict[str, object]:
    """Two kinds of blocks, each with settings of its own; the width is fixed."""
    return {
        "op": one_of("sepconv", "mbconv"),
        "repeat": one_of(1, 2),
        "kernel": one_of(3, 5, per="layer"),
        "expand": one_of(2, 4, when={"op": "mbconv"}),
        "width": width,
        "stride": stride,
    }


SPACE = nas.load_space(
    {
        "name": "own",
        "resolution": 8,
        "stem": {"op": "conv", "kernel": 3, "stride": 1, "width": 8, "act": "relu"},
        "stages": [stage(8, 1), stage(16, 2), stage(32, 2)],
        "head": {"op": "classifier", "width": one_of(32, 64), "dropout": 0.1},
    }
)


def main(toy: bool) -> None:
    print(f"{SPACE.size:,} architectures, {len(SPACE.genes)} choices")
    result = nas.search(
        SPACE,
        {"train_size": 200} if toy else "digits",
        objectives={"accuracy": "max", "macs": "min"},
        constraints={"params": 30_000},
        device=[],  # multiply-adds are counted; no latency is needed
        recipe={"name": "quick", "epochs": 1} if toy else "proxy",
        executor="local" if toy else "processes",
        trials=1 if toy else 24,
        run="runs/own-space",
        progress=True,
    )
    print(result)
    if result.best is not None:
        print(*result.best.arch.to_dict()["stages"], sep="\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--toy", action="store_true")
    main(parser.parse_args().toy)
