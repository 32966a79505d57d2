"""The content of one image in the style of another (Gatys et al. 2015, arXiv:1508.06576), by VGG-16.

    python examples/style_transfer.py photo.jpg painting.jpg --weights keras:vgg16_weights.h5
    python examples/style_transfer.py --toy

The image, noise at first, is optimized until a feature map of the network is that of the photo, and the correlations between
the channels of its feature maps (Gram matrices) are those of the painting. Without --weights the network has random ones.

Cost: 300 steps of VGG-16 at 256 pixels, some 18 million million multiply-adds: minutes on a few cores. The toy takes 10 seconds.
Expect: `styled.png`, and both losses, each relative to what it is compared with, far below those of the start.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
from PIL import Image

import nas
from nas.arch.blocks import lower
from nas.arch.graph import Graph
from nas.convert import starting_weights
from nas.explain import features, find_node
from nas.nn.network import init
from nas.nn.weights import Variables

STYLE_WEIGHT = 2.0  # of the style's loss, that of the content being 1
MEAN = np.array([103.939, 116.779, 123.68], np.float32)  # of blue, green and red: what VGG's weights were trained with


def picture(path: str, side: int) -> np.ndarray:
    """(side, side, 3) from 0 to 1."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB").resize((side, side), Image.Resampling.LANCZOS), np.float32) / 255


def drawn(side: int) -> tuple[np.ndarray, np.ndarray]:
    """A disk, and stripes of two colors."""
    y, x = np.mgrid[:side, :side] / side
    disk = np.where(((x - 0.5) ** 2 + (y - 0.5) ** 2 < 0.1)[..., None], [0.9, 0.8, 0.2], [0.1, 0.2, 0.5])
    stripes = np.where((np.sin(40 * (x + y)) > 0)[..., None], [0.8, 0.1, 0.1], [0.9, 0.9, 0.8])
    return disk.astype(np.float32), stripes.astype(np.float32)


def gram(maps: jax.Array) -> jax.Array:
    """(1, h, w, c) -> (c, c): how often channels are active together, wherever that is."""
    flat = maps.reshape(-1, maps.shape[3])
    return flat.T @ flat / len(flat)


def distance(found: jax.Array, expected: jax.Array) -> jax.Array:
    return jnp.square(found - expected).sum() / jnp.square(expected).sum()


def transfer(content: np.ndarray, style: np.ndarray, levels: int, weights: str | None, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """The image (side, side, 3) from 0 to 1, and (steps, 2) losses of content and style."""
    graph = lower(replace(nas.load_arch("vgg16"), resolution=len(content)))
    nodes = [find_node(graph, tap) for tap in (f"C{levels - 1}", "stem", *(f"C{i + 1}" for i in range(levels)))]
    body = Graph(graph.nodes[: max(nodes) + 1])  # the head is not needed
    variables = init(body, 0) if weights is None else starting_weights(weights, lower(nas.load_arch("vgg16")), 0).variables

    @jax.jit
    def seen(variables: Variables, image: jax.Array) -> tuple[jax.Array, list[jax.Array]]:
        values = features(body, variables, (image * 255)[None, ..., ::-1] - MEAN.reshape(1, 1, 1, 3), nodes)
        return values[0], [gram(one) for one in values[1:]]

    shape, strokes = seen(variables, jnp.asarray(content))[0], seen(variables, jnp.asarray(style))[1]

    def loss(image: jax.Array, variables: Variables) -> tuple[jax.Array, jax.Array]:
        maps, grams = seen(variables, image)
        parts = jnp.stack([distance(maps, shape), jnp.stack(list(map(distance, grams, strokes))).mean()])
        return parts[0] + STYLE_WEIGHT * parts[1], parts

    optimizer, gradient = optax.adam(0.05), jax.jit(jax.grad(loss, has_aux=True))
    image = jax.random.uniform(jax.random.key(0), content.shape)
    state, losses = optimizer.init(image), []
    for _ in range(steps):
        slope, parts = gradient(image, variables)
        updates, state = optimizer.update(slope, state)
        image = jnp.clip(image + jnp.asarray(updates), 0, 1)
        losses.append(np.asarray(parts))
    return np.asarray(image), np.stack(losses)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", nargs="*", help="a photo and a painting")
    parser.add_argument("--weights")
    parser.add_argument("--toy", action="store_true")
    args = parser.parse_args()
    pair = drawn(32) if args.toy else tuple(picture(path, 256) for path in args.images)
    styled, losses = transfer(*pair, levels=2 if args.toy else 4, weights=args.weights, steps=20 if args.toy else 300)
    Image.fromarray((255 * styled).round().astype(np.uint8)).save("styled.png")
    print("content {:.3f} -> {:.3f}, style {:.3f} -> {:.3f}".format(*np.stack([losses[0], losses[-1]], 1).ravel()))
