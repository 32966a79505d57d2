"""An architecture as a frozen value: resolution, stem, stages of blocks, head.

It is kept as the user wrote it (ratios stay ratios, stages keep their layers), so that scaling and NetAdapt have what they
need; what it computes is found by lowering it (`nas.arch.blocks.lower`). The YAML form is the one a search exports:

    name: example
    resolution: 96
    stem: {op: conv, kernel: 3, stride: 2, width: 16, act: hswish}
    stages:
      - {op: mbconv, repeat: 2, kernel: 3, expand: 6, width: 24, stride: 2, act: relu}
      - {op: mbconv, width: 40, stride: 2, layers: [{kernel: 5, hidden: 72}, {kernel: 3, hidden: 120}]}
    head: {op: classifier, width: 1280, dropout: 0.2}

A stage's `stride` is that of its first layer. `layers` lists what differs from layer to layer; every other key of the stage
holds for all of them. `defaults` fills knobs that a block has and the file does not set.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from nas.arch.checks import choice, known_keys, mapping, named, number, shown, whole
from nas.core.yamlio import dump_yaml

Knob: TypeAlias = Any  # int, float, str, bool, None or a tuple of them: the function of the block states which
Knobs = tuple[tuple[str, Knob], ...]

MAX_LAYERS, MAX_STAGES, MAX_WIDTH, MAX_RESOLUTION, MAX_CLASSES = 1000, 100, 65_536, 8_192, 1_000_000
PADDINGS = ("same", "torch")
AUTO = "auto"  # a knob of a head that follows the data: `Task.fit_head` puts a value in its place


@dataclass(frozen=True)
class Block:
    """One block: the name of its function in `nas.arch.blocks.BLOCKS` and the knobs that the user set, sorted by name."""

    op: str
    knobs: Knobs = ()

    @classmethod
    def of(cls, op: str, **knobs: Knob) -> Block:
        return cls(op, tuple(sorted((key, _frozen(value)) for key, value in knobs.items())))

    def get(self, knob: str, default: Knob = None) -> Knob:
        return dict(self.knobs).get(knob, default)

    def replace(self, **knobs: Knob) -> Block:
        return Block.of(self.op, **{**dict(self.knobs), **knobs})

    def to_dict(self) -> dict[str, Any]:
        return {"op": self.op, **{key: _plain(value) for key, value in self.knobs}}


@dataclass(frozen=True)
class Stage:
    """Layers at one place of the network; only the first may have a stride other than 1."""

    layers: tuple[Block, ...]
    stride: int = 1

    @property
    def repeat(self) -> int:
        return len(self.layers)

    def to_dict(self) -> dict[str, Any]:
        dicts = [layer.to_dict() for layer in self.layers]
        common = {k: v for k, v in dicts[0].items() if all(k in d and d[k] == v for d in dicts)}
        rest = [{k: v for k, v in d.items() if k not in common} for d in dicts]
        head = {"op": common.pop("op")} if "op" in common else {}
        size = {"layers": rest} if any(rest) else {"repeat": self.repeat}
        return {**head, **({"repeat": self.repeat} if "repeat" in size else {}), **common, "stride": self.stride,
                **({"layers": rest} if any(rest) else {})}  # fmt: skip


@dataclass(frozen=True, repr=False)
class Arch:
    """A network as written. Images are (resolution, resolution, channels); logits are (classes,).

    Attributes:
        name: one word.
        resolution, channels: of its images, in pixels.
        stem, stages, head: its blocks, in the order data meets them.
        classes: number of logits.
        defaults: knobs of blocks that do not set them.
        norm_eps, norm_momentum: of every batch norm; momentum as in `r = m r + (1 - m) batch`.
        drop_path: stochastic-depth rate of the last block, rising linearly from 0.
        padding: `same` as TensorFlow's (asymmetric at even sizes), or `torch`, k // 2 on both sides.
        min_feature_map: pixels that `with_io` leaves of the last feature map.

    Example:
        >>> from nas.arch.find import find_arch
        >>> find_arch("mobilenet_v3_large")
        Arch('mobilenet_v3_large', 224x224x3, 15 layers, 1000 classes)
    """

    name: str
    resolution: int
    stem: Block
    stages: tuple[Stage, ...]
    head: Block
    channels: int = 3
    classes: int = 1000
    defaults: Knobs = ()
    norm_eps: float = 1e-3
    norm_momentum: float = 0.99
    drop_path: float = 0.0
    padding: str = "same"
    min_feature_map: int = 4

    def __repr__(self) -> str:
        size, layers = f"{self.resolution}x{self.resolution}x{self.channels}", sum(stage.repeat for stage in self.stages)
        return f"Arch({self.name!r}, {size}, {layers} layers, {self.classes} classes)"

    @property
    def output_stride(self) -> int:
        """Pixels of the image between neighboring positions of the last feature map, at most, as the head asks; 0: as the strides say."""
        value = self.head.get("output_stride", 0)
        return value if isinstance(value, int) else 0  # of another kind: refused where knobs are checked

    def placed(self) -> Iterator[tuple[str, Block, int, int]]:
        """(name, block, stride, dilation) of stem, every layer and head as they are built: beyond `output_stride` strides are dilations."""
        stem, *stages = placed_strides(self.strides(), self.output_stride)
        yield "stem", self.stem, *stem
        for i, (stage, (stride, dilation)) in enumerate(zip(self.stages, stages, strict=True)):
            for j, block in enumerate(stage.layers):
                yield f"stages.{i}.{j}", block, stride if j == 0 else 1, dilation
        yield "head", self.head, 1, 1

    def layers(self) -> Iterator[tuple[str, Block, int]]:
        """(name, block, stride) of stem, every layer and head as written, in the order data meets them."""
        yield "stem", self.stem, self.stem.get("stride", 1)
        for i, stage in enumerate(self.stages):
            for j, block in enumerate(stage.layers):
                yield f"stages.{i}.{j}", block, stage.stride if j == 0 else 1
        yield "head", self.head, 1

    def with_io(self, resolution: int | None = None, channels: int | None = None, classes: int | None = None) -> Arch:
        """The same network fitted to a dataset.

        At a smaller resolution than its own the earliest strides are dropped until the last feature map is at least
        `min_feature_map` pixels wide (or as wide as it was); `dropped_strides` tells which. Strides beyond the `output_stride` of the
        head make no map smaller.
        """
        fitted = dataclasses.replace(
            self,
            resolution=self.resolution if resolution is None else resolution,
            channels=self.channels if channels is None else channels,
            classes=self.classes if classes is None else classes,
        )
        strides = self.strides()
        expected = min(self.min_feature_map, _last_map(self.resolution, strides, self.output_stride))
        for i, stride in enumerate(strides):
            if fitted.resolution >= self.resolution or _last_map(fitted.resolution, strides, self.output_stride) >= expected:
                break
            strides[i] = 1 if stride > 1 else stride
        return fitted.with_strides(strides) if strides != self.strides() else fitted

    def with_head(self, knobs: Mapping[str, Knob]) -> Arch:
        """The same network with knobs of its head in place of those that it leaves to the data, `auto`."""
        open_knobs = {key: value for key, value in knobs.items() if self.head.get(key) == AUTO}
        return dataclasses.replace(self, head=self.head.replace(**open_knobs)) if open_knobs else self

    def strides(self) -> list[int]:
        """Strides of the stem and of each stage's first layer."""
        return [self.stem.get("stride", 1), *(stage.stride for stage in self.stages)]

    def with_strides(self, strides: Sequence[int]) -> Arch:
        stem = self.stem.replace(stride=strides[0]) if strides[0] != self.stem.get("stride", 1) else self.stem
        pairs = zip(self.stages, strides[1:], strict=True)
        return dataclasses.replace(self, stem=stem, stages=tuple(dataclasses.replace(s, stride=n) for s, n in pairs))

    def to_dict(self) -> dict[str, Any]:
        """The YAML form; what equals a default is left out. `arch_from_dict` reads it back."""
        out: dict[str, Any] = {"name": self.name, "resolution": self.resolution}
        for field in dataclasses.fields(self):
            if field.name in SCALARS and getattr(self, field.name) != field.default:
                out[field.name] = getattr(self, field.name)
        if self.defaults:
            out["defaults"] = {key: _plain(value) for key, value in self.defaults}
        return {
            **out,
            "stem": self.stem.to_dict(),
            "stages": [s.to_dict() for s in self.stages],
            "head": self.head.to_dict(),
        }

    def to_yaml(self) -> str:
        """The text of a YAML file that `find_arch` reads back."""
        return dump_yaml(self.to_dict())


def placed_strides(strides: Sequence[int], output_stride: int) -> list[tuple[int, int]]:
    """(stride, dilation) of stem and stages in a network whose last feature map has an output stride of so much at most.

    A layer whose stride goes beyond it has stride 1 and is dilated by it at once, as are all layers after it (torchvision's form).

    Args:
        strides: As written, of the stem and of each stage's first layer.
        output_stride: 0 for as much as the strides give.

    Example:
        >>> placed_strides([2, 1, 2, 2, 2], 8)
        [(2, 1), (1, 1), (2, 1), (2, 1), (1, 2)]
    """
    total, dilation, placed = 1, 1, []
    for stride in strides:
        if output_stride and total * stride > output_stride:
            dilation, stride = dilation * stride, 1
        total *= stride
        placed.append((stride, dilation))
    return placed


def _last_map(resolution: int, strides: Sequence[int], output_stride: int) -> int:
    for stride, _ in placed_strides(strides, output_stride):
        resolution = -(-resolution // stride)
    return resolution


SCALARS = ("channels", "classes", "norm_eps", "norm_momentum", "drop_path", "padding", "min_feature_map")


def dropped_strides(arch: Arch, fitted: Arch) -> list[str]:
    """Names of the places where `with_io` took a stride away, such as `["stem", "stages[1]"]`."""
    names = ["stem", *(f"stages[{i}]" for i in range(len(arch.stages)))]
    return [n for n, a, b in zip(names, arch.strides(), fitted.strides(), strict=True) if a != b]


def arch_from_dict(data: object, where: str = "arch") -> Arch:
    """Reads the YAML form. Raises ValueError naming the place; knobs are checked by `nas.arch.blocks.check`."""
    data = mapping(data, where)
    allowed = ("name", "resolution", "defaults", "stem", "stages", "head", *SCALARS)
    known_keys(data, allowed, where)
    for key in ("resolution", "stem", "stages", "head"):
        if key not in data:
            raise ValueError(f"{where}: missing key {key!r}")
    stages = data["stages"]
    if not isinstance(stages, list) or not stages or len(stages) > MAX_STAGES:
        raise ValueError(f"{where}: stages: expected a list of 1 to {MAX_STAGES} stages, got {shown(stages)}")
    arch = Arch(
        name=named(data.get("name", "arch"), where),
        resolution=whole(data["resolution"], 1, MAX_RESOLUTION, f"{where}: resolution"),
        stem=_stem(data["stem"], f"{where}: stem"),
        stages=tuple(_stage(stage, f"{where}: stages[{i}]") for i, stage in enumerate(stages)),
        head=_block(data["head"], f"{where}: head"),
        defaults=_block(
            {"op": "", **mapping(data.get("defaults", {}), f"{where}: defaults")}, f"{where}: defaults"
        ).knobs,
        **_scalars(data, where),
    )
    if (layers := sum(stage.repeat for stage in arch.stages)) > MAX_LAYERS:
        raise ValueError(f"{where}: stages: {layers} layers, more than the {MAX_LAYERS} that are read")
    return arch


def _scalars(data: Mapping[str, object], where: str) -> dict[str, Any]:
    bounds = {"channels": (1, MAX_WIDTH), "classes": (1, MAX_CLASSES), "min_feature_map": (1, MAX_RESOLUTION)}
    out: dict[str, Any] = {k: whole(data[k], *bounds[k], f"{where}: {k}") for k in bounds if k in data}
    for key, low, high in (("norm_eps", 0.0, 1.0), ("norm_momentum", 0.0, 1.0), ("drop_path", 0.0, 0.99)):
        if key in data:
            out[key] = number(data[key], low, high, f"{where}: {key}")
    if "padding" in data:
        out["padding"] = choice(data["padding"], PADDINGS, f"{where}: padding")
    return out


def _stem(data: object, where: str) -> Block:
    block = _block(data, where)
    whole(block.get("stride", 1), 1, 16, f"{where}.stride")
    return block


def _block(data: object, where: str) -> Block:
    data = dict(mapping(data, where))
    if "op" not in data:
        raise ValueError(f"{where}: missing key 'op'")
    op = data.pop("op")
    if not isinstance(op, str):
        raise ValueError(f"{where}.op: expected the name of a block, got {shown(op)}")
    for key, value in data.items():
        if isinstance(value, Mapping):
            raise ValueError(f"{where}.{key}: expected a plain value, got {shown(value)}")
    return Block.of(op, **data)


def _stage(data: object, where: str) -> Stage:
    common = dict(mapping(data, where))
    stride = whole(common.pop("stride", 1), 1, 16, f"{where}.stride")
    layers = common.pop("layers", None)
    if layers is None:
        repeat = whole(common.pop("repeat", 1), 1, MAX_LAYERS, f"{where}.repeat")
        return Stage((_block(common, where),) * repeat, stride)
    if not isinstance(layers, list) or not 1 <= len(layers) <= MAX_LAYERS:
        raise ValueError(f"{where}.layers: expected a list of 1 to {MAX_LAYERS} layers, got {shown(layers)}")
    if common.pop("repeat", len(layers)) != len(layers):
        raise ValueError(f"{where}.repeat: the stage lists {len(layers)} layers; leave repeat out")
    merged = []
    for i, layer in enumerate(layers):
        layer = mapping(layer, f"{where}.layers[{i}]")
        if "stride" in layer or "repeat" in layer:
            raise ValueError(f"{where}.layers[{i}]: stride and repeat belong to the stage")
        merged.append(_block({**common, **layer}, f"{where}.layers[{i}]"))
    return Stage(tuple(merged), stride)


def _frozen(value: object) -> Knob:
    if isinstance(value, list | tuple):
        return tuple(_frozen(item) for item in value)
    if isinstance(value, dict):
        raise ValueError(f"expected a plain value, got {shown(value)}")
    return value


def _plain(value: Knob) -> object:
    return [_plain(item) for item in value] if isinstance(value, tuple) else value
