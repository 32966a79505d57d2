"""From a folder of photos to a model for a phone: search, train, export.

    python examples/own_photos.py photos              # photos/<class>/*.jpg
    python examples/own_photos.py photos --cores 8
    python examples/own_photos.py --toy               # two classes of small drawings, which it makes itself

Needs `pip install '.[mobile]'` in the checkout.

Cost: 60 short trainings and a long one. It depends on your photos; the bar shows the time left after the first trials, and
`trials`, `resolution` and `dataset["train_size"]` make it smaller. The toy takes 20 seconds on one core.
Expect: a front of several networks whose latency in LiteRT, the phone's runtime, was measured on this machine, and in
`bundle/` the files `model.tflite` and `model.onnx`, both compared with the trained network on real images, with a model
card. A few hundred photos of each class are a start; more of them help more than a longer search.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import nas


def main(photos: Path, cores: int, toy: bool) -> None:
    dataset = {"name": "folder", "path": str(photos), "resolution": 16 if toy else 96}
    device = {"litert": {"samples": 4, "networks": 2, "seconds": 1} if toy else {}}
    result = nas.search(
        "tiny" if toy else "mobilenet_v3",
        dataset,
        objectives={"accuracy": "max", "latency_ms/litert": "min"},
        device=device,
        recipe="quick" if toy else "proxy",
        executor="local" if toy else {"name": "processes", "workers": cores},
        trials=2 if toy else 60,
        run="runs/photos",
        progress=True,
    )
    print(result)
    if result.best is None:
        raise SystemExit("no trial succeeded; runs/photos/report.html has the reasons")

    recipe = "quick" if toy else {"epochs": 100}  # photographs are flipped and cropped by default
    net = nas.train(result.best.arch, dataset, recipe=recipe, run="runs/photos-net", progress=True)
    print(net)

    exported = net.export("bundle", formats=["tflite", "onnx"])
    print(f"{exported.folder}: test accuracy {exported.accuracy:.1%}")
    for prediction in nas.predict("bundle", next(photos.rglob("*.png" if toy else "*.jpg"))):
        print(prediction.image, prediction.top(3))


def draw(folder: Path, images: int = 60) -> Path:
    """A folder of drawings: bright squares and bright stripes, at random places."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for name, height in (("square", 6), ("stripe", 2)):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(images):
            image = rng.integers(0, 80, (16, 16, 3), np.uint8)
            y, x = rng.integers(0, 10, 2)
            image[y : y + height, x : x + 6] += 150
            Image.fromarray(image).save(folder / name / f"{i:04}.png")
    return folder


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, nargs="?", default=Path("photos"))
    parser.add_argument("--cores", type=int, default=4)
    parser.add_argument("--toy", action="store_true")
    arguments = parser.parse_args()
    main(draw(Path("drawings")) if arguments.toy else arguments.photos, arguments.cores, arguments.toy)
