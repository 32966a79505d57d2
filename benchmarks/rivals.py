"""The same lowered network trained by us, by Flax as one would first write it, and by PyTorch, for the benchmarks beside this file.

Each arm is a function (graph, images, labels, threads) -> a step without arguments that returns the loss as a float, so that
nothing is left in flight when a clock is read. All do SGD with momentum 0.9, weight decay 4e-5, learning rate 0.05, float32;
labels are of `CLASSES` classes, images uint8. Building an arm compiles what it compiles.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from nas.arch.graph import Graph, Node, pads
from nas.core.process import keep_memory
from nas.data import Dataset, Split
from nas.nn.network import init
from nas.nn.ops import ACT_FNS
from nas.recipe import Recipe
from nas.tasks import CLASSIFICATION
from nas.train.optim import Layout, optimizer
from nas.train.trainer import Trainer

Step = Callable[[], float]
CLASSES = 10
RECIPE = Recipe(epochs=2, batch=64, lr=0.05, weight_decay=4e-5, warmup_epochs=0, schedule="constant")


def random_dataset(side: int, train: int, valid: int = 64) -> Dataset:
    """Noise in the shape of a dataset; no timing depends on what images show."""
    rng = np.random.default_rng(0)

    def split(count: int) -> Split:
        images = rng.integers(0, 256, (count, side, side, 3), np.uint8)
        return Split(images, rng.integers(CLASSES, size=count).astype(np.int32))

    names = tuple(map(str, range(CLASSES)))
    parts = (split(train), split(valid), split(valid))
    return Dataset("noise", names, *parts, side, 3, (0.5,) * 3, (0.3,) * 3)


def normalized(images: np.ndarray) -> np.ndarray:
    return ((images / 255 - 0.5) / 0.3).astype(np.float32)


def ours(graph: Graph, images: np.ndarray, labels: np.ndarray) -> Step:
    keep_memory()  # as every worker does
    dataset = random_dataset(images.shape[1], len(images))
    variables = init(graph, 0)
    layouts = Layout.of(variables["params"]), Layout.of(variables["stats"])
    trainer, update = Trainer(graph, dataset, RECIPE, 0, CLASSIFICATION, *layouts), optimizer(RECIPE, 1)
    state = trainer.start(variables, update)
    compiled = jax.jit(trainer.step(update), donate_argnums=0).lower(state, images, labels).compile()

    def step() -> float:
        nonlocal state
        state, loss = compiled(state, images, labels)
        return float(loss)

    return step


class NaiveFlax(nnx.Module):
    """Stock layers, one a node: `nnx.Conv` with `feature_group_count`, `nnx.BatchNorm`, `nnx.Linear`."""

    def __init__(self, graph: Graph):
        self.graph, rngs = graph, nnx.Rngs(0)
        made = {node.name: self._layer(graph, node, rngs) for node in graph.nodes}
        self.layers = nnx.Dict({_key(name): layer for name, layer in made.items() if layer is not None})

    def _layer(self, graph: Graph, node: Node, rngs: nnx.Rngs) -> Any:
        a = node.attr
        inputs = [graph.nodes[i].shape for i in node.inputs]
        if node.op == "conv":
            kernel, strides = (a["kernel"],) * 2, (a["stride"],) * 2
            return nnx.Conv(inputs[0][2], node.shape[2], kernel, strides, padding=_padding(inputs[0], a),
                            feature_group_count=a["groups"], use_bias=a["bias"], rngs=rngs)  # fmt: skip
        if node.op == "norm":
            return nnx.BatchNorm(node.shape[2], momentum=a["momentum"], epsilon=a["eps"], rngs=rngs)
        if node.op == "dense":
            return nnx.Linear(inputs[0][2], node.shape[2], use_bias=a["bias"], rngs=rngs)
        return nnx.Dropout(a["rate"], rngs=rngs) if node.op == "dropout" else None

    def __call__(self, x: jax.Array) -> jax.Array:
        values = [x]
        for node in self.graph.nodes[1:]:
            xs = [values[i] for i in node.inputs]
            layer = self.layers[_key(node.name)] if node.op in ("conv", "norm", "dense", "dropout") else None
            values.append(layer(xs[0]) if layer is not None else _plain(node, xs))
        return values[-1].reshape(len(x), -1)


def _key(name: str) -> str:
    return name.replace("/", "_").replace(".", "_")


def _padding(shape: tuple[int, int, int], attr: Mapping[str, Any]) -> list[tuple[int, int]]:
    return [pads(size, attr["kernel"], attr["stride"], attr["padding"]) for size in shape[:2]]


def _plain(node: Node, xs: list[jax.Array]) -> jax.Array:
    match node.op:
        case "act":
            return ACT_FNS[node.attr["fn"]](xs[0])
        case "global_pool":
            return xs[0].mean((1, 2), keepdims=True)
        case "flatten":
            return xs[0].reshape(len(xs[0]), 1, 1, -1)
        case "add":
            return xs[0] + xs[1]
        case "mul":
            return xs[0] * xs[1]
    raise ValueError(f"{node.name}: the benchmark's networks have no {node.op}")


def naive_flax(graph: Graph, images: np.ndarray, labels: np.ndarray) -> Step:
    network = NaiveFlax(graph)
    graphdef, params, rest = nnx.split(network, nnx.Param, ...)
    update = optax.chain(optax.add_decayed_weights(RECIPE.weight_decay), optax.sgd(RECIPE.lr, momentum=0.9))
    inputs = jnp.asarray(normalized(images))

    def train(params: Any, rest: Any, opt: Any, x: jax.Array, y: jax.Array) -> Any:
        def loss_of(params: Any) -> tuple[jax.Array, Any]:
            model = nnx.merge(graphdef, params, rest, copy=True)
            loss = optax.softmax_cross_entropy_with_integer_labels(model(x), y).mean()
            return loss, nnx.split(model, nnx.Param, ...)[2]

        (loss, new_rest), grads = jax.value_and_grad(loss_of, has_aux=True)(params)
        updates, opt = update.update(grads, opt, params)
        return optax.apply_updates(params, updates), new_rest, opt, loss

    state = (params, rest, update.init(params))
    compiled = jax.jit(train, donate_argnums=(0, 1, 2)).lower(*state, inputs, labels).compile()

    def step() -> float:
        nonlocal state
        *state, loss = compiled(*state, inputs, labels)
        return float(loss)

    return step


def has_torch() -> bool:
    return importlib.util.find_spec("torch") is not None


def pytorch(graph: Graph, images: np.ndarray, labels: np.ndarray) -> Step:
    """Eager, channels_last, threads as `torch.set_num_threads` says."""
    torch = importlib.import_module("torch")
    model = torch_network(torch, graph).to(memory_format=torch.channels_last).train()
    sgd = torch.optim.SGD(model.parameters(), lr=RECIPE.lr, momentum=0.9, weight_decay=RECIPE.weight_decay)
    inputs = torch.from_numpy(normalized(images)).permute(0, 3, 1, 2).to(memory_format=torch.channels_last)
    targets = torch.from_numpy(labels.astype(np.int64))

    def step() -> float:
        loss = torch.nn.functional.cross_entropy(model(inputs), targets)
        sgd.zero_grad(set_to_none=True)
        loss.backward()
        sgd.step()
        return loss.item()

    return step


def torch_network(torch: Any, graph: Graph) -> Any:
    """The graph as a module: (n, c, h, w) -> (n, classes)."""
    layers = {node.name: _torch_layer(torch, graph, node) for node in graph.nodes[1:]}

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = torch.nn.ModuleList([one for one in layers.values() if isinstance(one, torch.nn.Module)])

        def forward(self, images: Any) -> Any:
            values = [images]
            for node in graph.nodes[1:]:
                values.append(layers[node.name](*(values[i] for i in node.inputs)))
            return values[-1].flatten(1)

    return Network()


def _torch_layer(torch: Any, graph: Graph, node: Node) -> Callable[..., Any]:
    nn, a = torch.nn, node.attr
    inputs = [graph.nodes[i].shape for i in node.inputs]
    acts = {"relu": nn.ReLU, "relu6": nn.ReLU6, "hswish": nn.Hardswish, "swish": nn.SiLU, "sigmoid": nn.Sigmoid,
            "hsigmoid": nn.Hardsigmoid}  # fmt: skip
    match node.op:
        case "conv":
            rows, columns = _padding(inputs[0], a)
            even = rows[0] == rows[1] and columns[0] == columns[1]
            conv = nn.Conv2d(inputs[0][2], node.shape[2], a["kernel"], a["stride"], (rows[0], columns[0]) if even else 0,
                             groups=a["groups"], bias=a["bias"])  # fmt: skip
            return conv if even else nn.Sequential(nn.ZeroPad2d((*columns, *rows)), conv)
        case "norm":
            return nn.BatchNorm2d(node.shape[2], a["eps"], 1 - a["momentum"])
        case "act":
            return acts[a["fn"]]()
        case "dense":
            return nn.Sequential(nn.Flatten(), nn.Linear(inputs[0][2], node.shape[2], bias=a["bias"]))
        case "dropout":
            return nn.Dropout(a["rate"])
        case "global_pool":
            return nn.AdaptiveAvgPool2d(1)
        case "flatten":
            return nn.Flatten()
        case "add":
            return torch.add
        case "mul":
            return torch.mul
    raise ValueError(f"{node.name}: the benchmark's networks have no {node.op}")


ARMS: dict[str, Callable[[Graph, np.ndarray, np.ndarray], Step]] = {"ours": ours, "flax": naive_flax, "torch": pytorch}


def available(names: list[str]) -> list[str]:
    """The arms that can run here; says what is left out."""
    if "torch" in names and not has_torch():
        print("torch: not installed here (pip install torch==2.13.0), this arm is left out")
        return [name for name in names if name != "torch"]
    return names


def set_threads(threads: int) -> None:
    """For PyTorch; XLA has taken NPROC from the environment by now, so run as `NPROC=<n> python ..` to bound it."""
    if has_torch():
        importlib.import_module("torch").set_num_threads(threads)


def machine() -> dict[str, Any]:
    """Device, versions and load, for the record."""
    import os
    import platform

    rivals = {
        name: importlib.import_module(name).__version__
        for name in ("jax", "flax") + (("torch",) if has_torch() else ())
    }
    load = [round(one, 2) for one in os.getloadavg()]
    devices = [f"{d.platform}: {d.device_kind}" for d in jax.devices()]
    return {"cpu": _cpu_name(), "cores": os.cpu_count(), "devices": devices, "load": load, "python": platform.python_version(),
            "nproc": os.environ.get("NPROC", ""), **rivals}  # fmt: skip


def _cpu_name() -> str:
    import platform
    from pathlib import Path

    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor()
    )
