"""What block functions call to build a graph: a method for each primitive, which infers its shape."""

from __future__ import annotations

from dataclasses import dataclass, field

from nas.arch.graph import Node, Shape, out_size

MAX_NODES = 30_000


@dataclass
class Builder:
    """Appends primitives and infers shapes; block functions call it. Tensors are node indices.

    Every method takes tensors, appends one primitive, or a few, under a `name` that is unique in its scope, and returns the
    tensor of the result. ValueErrors name the primitive.

    Args:
        padding: Of windows that state none: `same` (TensorFlow's) or `torch` (half a kernel on both sides).
        norm_eps: Added to the variance by norms.
        norm_momentum: Of the moving statistics of norms.
        scope: The layer that is being built: `stem`, `stages.2.0`, `head`.
        drop_rate: Stochastic depth of that layer.
        nodes: What was built so far.

    Example:
        >>> b = Builder()
        >>> image = b.input((8, 8, 3))
        >>> x = b.conv_norm_act(image, 16, kernel=3, stride=2, act="relu", name="a")
        >>> b.shape(x), [node.name for node in b.nodes]
        ((4, 4, 16), ['input', 'stem/a.conv', 'stem/a.norm', 'stem/a.act'])
    """

    padding: str = "same"
    norm_eps: float = 1e-3
    norm_momentum: float = 0.99
    scope: str = "stem"
    drop_rate: float = 0.0
    nodes: list[Node] = field(default_factory=list)

    def shape(self, x: int) -> Shape:
        """(height, width, channels) of a tensor."""
        return self.nodes[x].shape

    def width(self, x: int) -> int:
        """Channels of a tensor."""
        return self.nodes[x].shape[2]

    def input(self, shape: Shape) -> int:
        """The image; the first node of a graph."""
        return self._add("input", (), shape, "")

    def conv(self, x: int, width: int, kernel: int = 1, stride: int = 1, *, groups: int = 1, bias: bool = False,
             padding: str | int | None = None, name: str) -> int:  # fmt: skip
        """Square convolution.

        Args:
            x: (h, w, c).
            width: Channels of the result.
            kernel: Side of the kernel in pixels.
            stride: Pixels between windows.
            groups: Parts that the channels are divided into; c for a depthwise convolution.
            bias: Whether a bias is added.
            padding: `same`, `torch`, `valid` (none) or pixels on both sides; None: the builder's.
            name: Of the primitive.

        Raises:
            ValueError: Where groups do not divide the channels, or the image is smaller than the kernel.
        """
        h, w, channels = self.shape(x)
        if channels % groups or width % groups:
            raise ValueError(f"{name}: {groups} groups do not divide {channels} input and {width} output channels")
        pad = self._pad(kernel, padding)
        shape = (out_size(h, kernel, stride, pad), out_size(w, kernel, stride, pad), width)
        self._positive(shape, h, kernel, name)
        return self._add("conv", (x,), shape, name, kernel=kernel, stride=stride, groups=groups, bias=bias, padding=pad)

    def depthwise(self, x: int, kernel: int, stride: int, name: str, bias: bool = False) -> int:
        """A convolution of every channel by itself."""
        return self.conv(x, self.width(x), kernel, stride, groups=self.width(x), bias=bias, name=name)

    def norm(self, x: int, name: str) -> int:
        """Batch norm with scale and bias."""
        return self._add("norm", (x,), self.shape(x), name, eps=self.norm_eps, momentum=self.norm_momentum)

    def act(self, x: int, fn: str, name: str = "act") -> int:
        """An activation, one of `ACTS`; `none` adds nothing."""
        return x if fn == "none" else self._add("act", (x,), self.shape(x), name, fn=fn)

    def conv_norm_act(self, x: int, width: int, kernel: int, stride: int, act: str, name: str, *, groups: int = 1,
                      bias: bool = False) -> int:  # fmt: skip
        """Convolution, batch norm and activation, named `<name>.conv`, `<name>.norm` and `<name>.act`."""
        y = self.conv(x, width, kernel, stride, groups=groups, bias=bias, name=f"{name}.conv")
        return self.act(self.norm(y, f"{name}.norm"), act, f"{name}.act")

    def pool(self, x: int, kind: str, kernel: int, stride: int, name: str, *, padding: str | int | None = None,
             ceil: bool = False) -> int:  # fmt: skip
        """Pooling over square windows.

        Args:
            x: (h, w, c).
            kind: `max` or `avg`; an average counts only pixels of the image, not the padding.
            kernel: Side of the window in pixels.
            stride: Pixels between windows.
            name: Of the primitive.
            padding: As in `conv`.
            ceil: As in `out_size`.

        Raises:
            ValueError: Where the image is smaller than the window.
        """
        h, w, channels = self.shape(x)
        pad = self._pad(kernel, padding)
        shape = (out_size(h, kernel, stride, pad, ceil), out_size(w, kernel, stride, pad, ceil), channels)
        self._positive(shape, h, kernel, name)
        return self._add(f"{kind}_pool", (x,), shape, name, kernel=kernel, stride=stride, padding=pad, ceil=ceil)

    def global_pool(self, x: int, name: str = "pool") -> int:
        """The mean over the image: (h, w, c) to (1, 1, c)."""
        return self._add("global_pool", (x,), (1, 1, self.width(x)), name)

    def flatten(self, x: int, name: str = "flatten") -> int:
        """(h, w, c) to (1, 1, h w c)."""
        h, w, c = self.shape(x)
        return self._add("flatten", (x,), (1, 1, h * w * c), name)

    def dense(self, x: int, width: int, name: str, bias: bool = True) -> int:
        """A dense layer: (1, 1, c) to (1, 1, width)."""
        return self._add("dense", (x,), (1, 1, width), name, bias=bias)

    def l2_normalize(self, x: int, name: str = "unit") -> int:
        """The channels of each pixel divided by their length, so that they have length 1; zeros stay zeros."""
        return self._add("l2_normalize", (x,), self.shape(x), name)

    def add(self, x: int, y: int, name: str = "add") -> int:
        """The sum of two tensors. Raises ValueError where their shapes differ."""
        if self.shape(x) != self.shape(y):
            raise ValueError(f"{name}: shapes {self.shape(x)} and {self.shape(y)} cannot be added")
        return self._add("add", (x, y), self.shape(x), name)

    def mul(self, x: int, gate: int, name: str = "mul") -> int:
        """(h, w, c) times a gate such as (1, 1, c), as in squeeze and excitation."""
        return self._add("mul", (x, gate), self.shape(x), name)

    def concat(self, xs: list[int], name: str = "concat") -> int:
        """Channels of several tensors side by side. Raises ValueError where heights or widths differ."""
        h, w, _ = self.shape(xs[0])
        if any(self.shape(x)[:2] != (h, w) for x in xs):
            raise ValueError(f"{name}: sizes {[self.shape(x) for x in xs]} cannot be put together")
        return self._add("concat", tuple(xs), (h, w, sum(self.width(x) for x in xs)), name)

    def channels(self, x: int, start: int, stop: int, name: str) -> int:
        """Channels start .. stop - 1."""
        h, w, _ = self.shape(x)
        return self._add("channels", (x,), (h, w, stop - start), name, start=start, stop=stop)

    def shuffle(self, x: int, groups: int, name: str = "shuffle") -> int:
        """Channels in another order, so that the next grouped convolution mixes groups (ShuffleNet, arXiv:1707.01083)."""
        return self._add("shuffle", (x,), self.shape(x), name, groups=groups)

    def dropout(self, x: int, rate: float, name: str = "dropout") -> int:
        """Dropout in training; a rate of 0 adds nothing."""
        return x if rate == 0 else self._add("dropout", (x,), self.shape(x), name, rate=rate)

    def drop_path(self, x: int, name: str = "drop_path") -> int:
        """Stochastic depth of this layer, at the rate that `lower` set for it."""
        return x if self.drop_rate == 0 else self._add("drop_path", (x,), self.shape(x), name, rate=self.drop_rate)

    def _pad(self, kernel: int, padding: str | int | None) -> str | int:
        if padding == "valid":
            return 0
        if padding is None:
            padding = self.padding
        return kernel // 2 if padding == "torch" else padding

    def _positive(self, shape: Shape, size: int, kernel: int, name: str) -> None:
        if min(shape) < 1:
            raise ValueError(f"{name}: a {kernel}x{kernel} window does not fit an image of {size} pixels")

    def _add(self, op: str, inputs: tuple[int, ...], shape: Shape, name: str, **attrs: object) -> int:
        if len(self.nodes) >= MAX_NODES:
            raise ValueError(f"{name}: more than {MAX_NODES} primitive layers")
        full = f"{self.scope}/{name}" if name else op
        self.nodes.append(Node(op, full, inputs, shape, tuple(sorted(attrs.items()))))
        return len(self.nodes) - 1
