"""How well embeddings recognize what they were not trained on: characters of Omniglot by one example, faces of ORL in pairs.

    python benchmarks/embeddings.py path=<folder with omniglot/ and orl_faces/> [on=omniglot,orl] [seeds=3] [loss=..]
                                    [epochs=..] [views=4] [rotations=1] [people=2] [from=efficientnet_lite0] [folds=0] [--quick]

Omniglot: the official 20 runs of 20-way one-shot classification inside an alphabet, by the nearest embedding, of networks trained
on one of the two small background sets. Trainings see each image in `views` distorted copies; with rotations=4 each quarter turn
of a character is a class too. ORL: pairs of the people 31 to 40, of networks trained on the other 30, of whom `people` validate. To
compare with: modified Hausdorff distance 61.2 % of the one-shot runs right (Lake et al. 2015), pixels 22.0 %; pixels of ORL an AUC
of .921.

Networks start from nothing. from=efficientnet_lite0 (ORL alone) starts from its weights of ImageNet, in <path>/efficientnet_lite0, at
their 224 pixels, the backbone frozen; beside it stand the AUC of its 1,280 features as they are, and of pixels. folds=3 scores the
settings inside the first 30 people, every third of whom is held out in turn, and leaves the other ten alone.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from options import options_of, run
from PIL import Image

import nas
from nas.arch import Arch, Block, arch_from_dict
from nas.arch.blocks import lower
from nas.arch.files import load_arch
from nas.convert import starting_weights
from nas.data import Dataset, Encoded
from nas.data.arrays import ArraySettings
from nas.data.images import read_images
from nas.data.npz import from_arrays
from nas.recipe import Augment, EmbeddingLoss, Recipe
from nas.tasks import EMBEDDING
from nas.tasks.embedding_scores import scores
from nas.train import evaluate, fit
from nas.workflows.export.inference import own_logits, prepared

SIDE, FINE = 28, 56  # pixels of a character, and while it is distorted
FACE = 32
SETS = ("images_background_small1", "images_background_small2")
UNSEEN = 30  # the first of the people that no training sees
LITE0 = "efficientnet_lite0"
LITE0_SIZE, LITE0_LOSS, LITE0_LR, LITE0_EPOCHS = 128, "batch_all", 2e-4, 20
NORMALIZED = {"mean": (127 / 255,) * 3, "std": (128 / 255,) * 3}  # (x - 127) / 128, as its weights were trained
RUNS, WAYS = 20, 20


@dataclass(frozen=True)
class OneShot:
    """The official runs: (20, 20, side, side, 1) examples and questions, and which example is right, (20, 20)."""

    examples: np.ndarray
    questions: np.ndarray
    answers: np.ndarray


def columns(path: Path) -> dict[str, list[Any]]:
    """The columns of a Parquet file."""
    import pyarrow.parquet as pq

    return pq.read_table(path).to_pydict()


def decoded(items: Sequence[dict[str, Any]], side: int) -> np.ndarray:
    """(n, side, side, 1) uint8."""
    return np.asarray(read_images({"all": [Encoded(item["path"], item["bytes"]) for item in items]}, side)["all"])


def halved(images: np.ndarray) -> np.ndarray:
    """(n, 56, 56, 1) -> (n, 28, 28, 1) uint8."""
    return images.reshape(-1, SIDE, 2, SIDE, 2, 1).mean((2, 4)).round().astype(np.uint8)


def distorted(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each image turned by up to 15 degrees, sheared, stretched and moved a little; (n, side, side, 1), black around."""
    side, out = images.shape[1], np.empty_like(images)
    for i, image in enumerate(images[..., 0]):
        angle, shear = rng.uniform(-15, 15) * np.pi / 180, rng.uniform(-0.25, 0.25)
        wide, high = rng.uniform(0.8, 1.2, 2)
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        matrix = turn @ np.array([[wide, shear], [0, high]])
        center = np.full(2, (side - 1) / 2)
        shift = center - matrix @ center + rng.uniform(-0.08, 0.08, 2) * side
        numbers = (*matrix[0], shift[0], *matrix[1], shift[1])
        moved = Image.fromarray(image).transform((side, side), Image.Transform.AFFINE, numbers, Image.Resampling.BILINEAR)
        out[i, ..., 0] = np.asarray(moved)
    return out


def characters(folder: Path, name: str, views: int, rotations: int, seed: int) -> Dataset:
    """A background set; a tenth of its characters validate, and the images of the official runs are the test part."""
    table = columns(folder / f"{name}.parquet")
    images, labels = 255 - decoded(table["image"], FINE), np.array(table["label"])  # ink is bright, so that padding is paper
    count, rng = int(labels.max()) + 1, np.random.default_rng(seed)
    turned = [np.rot90(images, k, (1, 2)) for k in range(rotations)]
    seen = [one if view == 0 else distorted(one, rng) for one in turned for view in range(views + 1)]
    classes = [labels + k * count for k in range(rotations) for _ in range(views + 1)]
    official = one_shot(folder)
    test = np.concatenate([official.examples, official.questions], 1).reshape(-1, SIDE, SIDE, 1)
    order = np.concatenate([np.tile(np.arange(WAYS), (RUNS, 1)), official.answers], 1)
    of_run = np.arange(RUNS)[:, None] * WAYS + rotations * count
    arrays = {"x_train": halved(np.concatenate(seen)), "y_train": np.concatenate(classes),
              "x_test": test, "y_test": (order + of_run).reshape(-1)}  # fmt: skip
    return from_arrays(arrays, ArraySettings(split="classes", valid_fraction=0.1, split_seed=seed), name, name)


def one_shot(folder: Path) -> OneShot:
    """The runs, in the order of their files."""
    table = columns(folder / "one_shot_runs.parquet")
    names, images = [item["path"] for item in table["image"]], halved(255 - decoded(table["image"], FINE))
    examples, questions, answers = [], [], []
    for number in range(1, RUNS + 1):
        mine = sorted((i for i, one in enumerate(table["run"]) if one == number), key=lambda i: names[i])
        known, asked = ([i for i in mine if table["role"][i] == role] for role in ("train", "test"))
        place = {names[i]: k for k, i in enumerate(known)}
        examples.append(images[known])
        questions.append(images[asked])
        answers.append([place[table["target"][i]] for i in asked])
    return OneShot(np.stack(examples), np.stack(questions), np.array(answers))


def faces(folder: Path, people: int, seed: int, side: int = FACE, channels: int | None = None, fold: int | None = None) -> Dataset:
    """ORL: some of the first 30 people validate; the last ten are the test part, or a third of the 30 in their place."""
    table = columns(folder / "all.parquet")
    images, labels = decoded(table["image"], side), np.array(table["label"])
    new = labels >= UNSEEN if fold is None else labels % 3 == fold
    old = (labels < UNSEEN) & ~new
    new &= (fold is None) | (labels < UNSEEN)
    arrays = {"x_train": images[old], "y_train": labels[old], "x_test": images[new], "y_test": labels[new]}
    fraction = people / len(set(labels[old]))
    return from_arrays(arrays, ArraySettings(split="classes", valid_fraction=fraction, split_seed=seed, channels=channels), "orl", "orl")


def network(side: int, widths: Sequence[int], size: int, pool: bool, channels: int = 1) -> Arch:
    """Plain 3x3 convolutions, each after the first at stride 2."""
    stages = [{"op": "conv", "kernel": 3, "width": width, "stride": 2} for width in widths[1:]]
    return arch_from_dict({
        "name": f"conv{len(widths)}", "resolution": side, "channels": channels, "classes": size, "stem": {"op": "conv", "kernel": 3,
        "width": widths[0]}, "stages": stages, "head": {"op": "embedding", "size": size, "pool": pool},
    })  # fmt: skip


def recipe_of(loss: str, epochs: int, batch: int, augment: Augment, smoothing: float = 0.0) -> Recipe:
    settings: Any = {"loss": loss, "per_class": 4}
    return Recipe(
        epochs=epochs, batch=batch, optimizer="adamw", lr=2e-3, warmup_epochs=1, weight_decay=1e-3, ema=0.99, augment=augment,
        label_smoothing=smoothing, embedding=EmbeddingLoss(**settings),
    )  # fmt: skip


def lite0_file(root: Path) -> Path:
    return root / LITE0 / f"{LITE0}_imagenet.npz"


def embedder(size: int) -> Arch:
    """Lite0 with a head of so many numbers behind its own 1,280 features."""
    return replace(load_arch(LITE0), classes=size, head=Block.of("embedding", width=1280, act="relu6", size=size))


def lite0_recipe(loss: str, epochs: int) -> Recipe:
    settings: Any = {"loss": loss, "per_class": 4}
    return Recipe(
        epochs=epochs, batch=40, optimizer="adamw", lr=LITE0_LR, warmup_epochs=1, weight_decay=1e-3, ema=0.99,
        augment=Augment(crop_padding=0, flip=False), embedding=EmbeddingLoss(**settings), freeze=("backbone", "head/conv"),
        label_smoothing=0.1 if loss == "arcface" else 0.0,
    )  # fmt: skip


def features_auc(root: Path, data: Dataset) -> float:
    """Of the pooled features of the published weights as they are: the head gives each of them once."""
    arch = embedder(1280)
    variables = starting_weights(str(lite0_file(root)), lower(arch), 0).variables
    variables["params"]["head/embedding"]["kernel"] = np.eye(1280, dtype=np.float32)
    normalized = replace(data, **NORMALIZED)
    return evaluate(lower(arch), variables, data.test, normalized, 50, task=EMBEDDING)["auc"]


def pixels_auc(data: Dataset) -> float:
    """Of pixels less those of the mean training image, by cosine."""
    train, test = (np.asarray(split.images[: len(split)], np.float32)[..., 0].reshape(len(split), -1) for split in (data.train, data.test))
    rows = test - train.mean(0)
    return scores(rows / np.linalg.norm(rows, axis=1, keepdims=True), data.test.targets)["auc"]


def right(arch: Arch, variables: Any, data: Dataset, official: OneShot) -> float:
    """The fraction of the 400 questions whose nearest example is the right one."""

    def embedded(images: np.ndarray) -> np.ndarray:
        flat = prepared(images.reshape(-1, SIDE, SIDE, 1), arch, data.mean, data.std)
        return own_logits(arch, variables, flat).reshape(RUNS, WAYS, -1)

    nearest = np.einsum("rqd,red->rqe", embedded(official.questions), embedded(official.examples)).argmax(2)
    return float((nearest == official.answers).mean())


@dataclass(frozen=True)
class Settings:
    """What the command line says; 0 epochs and no loss: those of each set."""

    root: Path
    seeds: range
    loss: str | None
    epochs: int
    views: int
    rotations: int
    people: int
    folds: int = 0
    start: str = ""


def on_omniglot(settings: Settings) -> str:
    """Prints a row a training; returns what all of them say together."""
    folder, epochs = settings.root / "omniglot", settings.epochs or 12
    arch, official, found = network(SIDE, (32, 48, 64, 64), 64, pool=False), one_shot(folder), []
    recipe = recipe_of(settings.loss or "batch_all", epochs, 128, Augment(crop_padding=2, flip=False))
    for name, seed in ((name, seed) for name in SETS for seed in settings.seeds):
        began = time.monotonic()
        data = characters(folder, name, settings.views, settings.rotations, seed)
        done = fit(arch, data, recipe, seed)
        found.append(right(arch, {"params": done.params, "stats": done.stats}, data, official))
        row(name, seed, epochs, f"{found[-1]:.1%} right", done.metrics, began)
    mean, deviation = np.mean(found), np.std(found)
    return f"one-shot: mean {mean:.1%}, standard deviation {deviation:.1%}; modified Hausdorff distance has 61.2 %"


def on_orl(settings: Settings) -> str:
    """As `on_omniglot`."""
    if settings.start:
        return orl_from_published(settings)
    epochs, aucs = settings.epochs or 60, []
    arch = network(FACE, (48, 64, 96, 128), 128, pool=False)
    recipe = recipe_of(settings.loss or "arcface", epochs, 40, Augment(crop_padding=2, padding="reflect", flip=True), smoothing=0.1)
    for seed in settings.seeds:
        data, began = faces(settings.root / "orl_faces", settings.people, seed), time.monotonic()
        done = fit(arch, data, recipe, seed)
        test = evaluate(lower(arch), {"params": done.params, "stats": done.stats}, data.test, data, task=EMBEDDING)
        aucs.append(test["auc"])
        row("orl", seed, epochs, f"AUC {test['auc']:.4f}", done.metrics, began)
    return f"people unseen in training: mean AUC {np.mean(aucs):.4f}, lowest {min(aucs):.4f}; pixels have .921"


def orl_from_published(settings: Settings) -> str:
    """As `on_orl`, from Lite0's weights of ImageNet: the head alone is trained, on features that are computed once."""
    epochs, lines = settings.epochs or LITE0_EPOCHS, []
    arch = embedder(LITE0_SIZE)
    recipe = lite0_recipe(settings.loss or LITE0_LOSS, epochs)
    parts = [(seed, None) for seed in settings.seeds] if not settings.folds else [(0, fold) for fold in range(settings.folds)]
    found: dict[str, list[float]] = {"trained": [], "features": [], "pixels": []}
    with tempfile.TemporaryDirectory() as folder:
        for seed, fold in parts:
            data, began = faces(settings.root / "orl_faces", settings.people, seed, arch.resolution, 3, fold), time.monotonic()
            done = nas.train(arch, data, recipe=recipe, weights=lite0_file(settings.root), normalization=NORMALIZED, seed=seed,
                             run=f"{folder}/{seed}-{fold}")  # fmt: skip
            found["trained"].append(done.test["auc"])
            row("orl" if fold is None else f"fold {fold}", seed, epochs, f"AUC {done.test['auc']:.4f}", done.metrics, began)
            if fold is not None or not found["features"]:
                found["features"].append(features_auc(settings.root, data))
                found["pixels"].append(pixels_auc(data))
    for name, aucs in found.items():
        lines.append(f"{name} {np.mean(aucs):.4f} (lowest {min(aucs):.4f})")
    which = "folds of the first 30 people" if settings.folds else "people unseen in training"
    return f"{which}, from {LITE0}'s weights of ImageNet, mean AUC: {'; '.join(lines)}"


def row(name: str, seed: int, epochs: int, test: str, valid: Mapping[str, float], began: float) -> None:
    figures = [f"{valid[key]:.3f}" for key in ("auc", "recall_at_1", "active_triplets", "mean_distance")]
    print(f"| {name} | {seed} | {epochs} | {test} | {' | '.join(figures)} | {time.monotonic() - began:.0f} |", flush=True)


BENCHMARKS = {"omniglot": on_omniglot, "orl": on_orl}


def main(arguments: Sequence[str]) -> int:
    defaults = {"on": "omniglot,orl", "seeds": "3", "loss": "", "epochs": "0", "views": "4", "rotations": "1", "people": "2", "folds": "0",
                "from": "", "quick": ""}  # fmt: skip
    options = options_of(arguments, defaults, "omniglot/ and orl_faces/ with Parquet files")
    numbers = {key: int(options[key]) for key in ("epochs", "views", "rotations", "people", "folds")}
    numbers |= {"epochs": 1, "views": 0} if options["quick"] else {}
    seeds = range(1 if options["quick"] else int(options["seeds"]))
    settings = Settings(Path(options["path"]).expanduser(), seeds, options["loss"] or None, **numbers, start=options["from"])
    if settings.start not in ("", LITE0) or (settings.start and options["on"] != "orl"):
        raise ValueError(f"from: expected {LITE0}, with on=orl, got {settings.start!r} with on={options['on']}")
    for name in options["on"].split(","):
        if name not in BENCHMARKS:
            raise ValueError(f"on: expected {' and '.join(BENCHMARKS)}, got {name!r}")
    print("| trained on | seed | epochs | test | AUC of validation | recall@1 | active triplets | mean distance | s |\n" + "|---" * 9 + "|")
    lines = [BENCHMARKS[name](settings) for name in options["on"].split(",")]
    print("\n" + "\n".join(lines))
    return 0


if __name__ == "__main__":
    run(main)
