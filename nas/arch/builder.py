"""What block functions call to build a graph: a method for each primitive, which infers its shape."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import prod

from nas.arch.graph import Kernel, Node, Padding, Shape, Sides, out_size, reach, sides, window_pads

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
        dilation: Of the windows of that layer's convolutions that state none.
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
    dilation: int = 1
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

    def conv(self, x: int, width: int, kernel: Kernel = 1, stride: int = 1, *, groups: int = 1, bias: bool = False,
             padding: str | int | None = None, dilation: int | None = None, name: str) -> int:  # fmt: skip
        """Convolution.

        Args:
            x: (h, w, c).
            width: Channels of the result.
            kernel: Pixels of the kernel: of a side, or (rows, columns).
            stride: Pixels between windows.
            groups: Parts that the channels are divided into; c for a depthwise convolution.
            bias: Whether a bias is added.
            padding: `same`, `torch`, `valid` (none) or pixels on both sides, times the dilation; None: the builder's.
            dilation: Pixels from one that the window sees to the next; None: the builder's.
            name: Of the primitive.

        Raises:
            ValueError: Where groups do not divide the channels, or the image is smaller than the kernel.
        """
        h, w, channels = self.shape(x)
        if channels % groups or width % groups:
            raise ValueError(f"{name}: {groups} groups do not divide {channels} input and {width} output channels")
        rows, columns = sides(kernel)
        apart = (self.dilation if dilation is None else dilation) if max(rows, columns) > 1 else 1
        pad, seen = self._pad((rows, columns), padding, apart), (reach(rows, apart), reach(columns, apart))
        above, beside = window_pads((h, w), (rows, columns), stride, pad, apart)
        shape = ((h + sum(above) - seen[0]) // stride + 1, (w + sum(beside) - seen[1]) // stride + 1, width)
        self._positive(shape, (h, w), seen, name)
        dilated = {"dilation": apart} if apart > 1 else {}  # absent where it is 1, and a square is one number: ids stay the same
        return self._add("conv", (x,), shape, name, kernel=rows if rows == columns else (rows, columns), stride=stride,
                         groups=groups, bias=bias, padding=pad, **dilated)  # fmt: skip

    def conv_transpose(self, x: int, width: int, kernel: int, stride: int, name: str, bias: bool = True) -> int:
        """Transposed convolution: every pixel is spread over a window of the result, and windows are `stride` apart.

        Args:
            x: (h, w, c).
            width: Channels of the result.
            kernel: Side of the windows in pixels; where they overlap, values are added.
            stride: Pixels between windows.
            name: Of the primitive.
            bias: Whether a bias is added.

        Returns:
            ((h - 1) stride + kernel, (w - 1) stride + kernel, width).

        Raises:
            ValueError: Where windows leave pixels between them.
        """
        if kernel < stride:
            raise ValueError(f"{name}: windows of {kernel} pixels, {stride} apart, leave pixels out")
        h, w, _ = self.shape(x)
        shape = ((h - 1) * stride + kernel, (w - 1) * stride + kernel, width)
        return self._add("conv_transpose", (x,), shape, name, kernel=kernel, stride=stride, bias=bias)

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
        if self.dilation > 1 and kernel > 1:
            raise ValueError(f"{name}: windows of pools are not dilated, as the head's output_stride would have it")
        pad = self._pad((kernel, kernel), padding)
        assert not isinstance(pad, tuple)
        shape = (out_size(h, kernel, stride, pad, ceil), out_size(w, kernel, stride, pad, ceil), channels)
        self._positive(shape, (h, w), (kernel, kernel), name)
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

    def l2_normalize(self, x: int, name: str = "unit", scale: float | None = None) -> int:
        """The channels of each pixel divided by their length, so that they have length 1; zeros stay zeros.

        With `scale` each channel is then multiplied by a number that is learned and begins there (ParseNet, arXiv:1506.04579).
        """
        learned = {} if scale is None else {"scale": scale}
        return self._add("l2_normalize", (x,), self.shape(x), name, **learned)

    def resize(self, x: int, size: Sides, name: str = "resize") -> int:
        """(h, w, c) to (*size, c) by bilinear interpolation between the centers of pixels; the same size adds nothing.

        Corners are not aligned (PyTorch's `align_corners=False`, TensorFlow's `half_pixel_centers`), and nothing is smoothed where an
        image gets smaller.
        """
        return x if self.shape(x)[:2] == size else self._add("resize", (x,), (*size, self.width(x)), name)

    def crop(self, x: int, size: Sides, name: str = "crop") -> int:
        """The center of an image, (h, w, c) to (*size, c); of an odd rest one pixel more is cut at the end. The same size adds nothing.

        Raises:
            ValueError: Where the image is smaller.
        """
        h, w, channels = self.shape(x)
        if h < size[0] or w < size[1]:
            raise ValueError(f"{name}: {size[0]}x{size[1]} pixels cannot be cut from {h}x{w}")
        if (h, w) == size:
            return x
        return self._add("crop", (x,), (*size, channels), name, top=(h - size[0]) // 2, left=(w - size[1]) // 2)

    def reshape(self, x: int, shape: Shape, name: str = "reshape") -> int:
        """The same values in their order, rows before columns before channels, in another shape.

        Raises:
            ValueError: Where the shapes hold different numbers of values.
        """
        if prod(self.shape(x)) != prod(shape):
            raise ValueError(f"{name}: {self.shape(x)} cannot have the shape {shape}")
        return self._add("reshape", (x,), shape, name)

    def state(self, x: int, **attrs: object) -> None:
        """States more of a node: what is part of the network, though no operation reads it, such as default boxes."""
        node = self.nodes[x]
        self.nodes[x] = replace(node, attrs=tuple(sorted({**node.attr, **attrs}.items())))

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

    def _pad(self, kernel: Sides, padding: str | int | None, dilation: int = 1) -> Padding:
        if padding == "valid":
            return 0
        padding = self.padding if padding is None else padding
        if padding == "torch":
            rows, columns = (reach(side, dilation) // 2 for side in kernel)
            return rows if rows == columns else (rows, columns)
        return padding * dilation if isinstance(padding, int) else padding

    def _positive(self, shape: Shape, size: Sides, kernel: Sides, name: str) -> None:
        if min(shape) < 1:
            image = f"{size[0]}" if size[0] == size[1] else f"{size[0]}x{size[1]}"
            raise ValueError(f"{name}: a {kernel[0]}x{kernel[1]} window does not fit an image of {image} pixels")

    def _add(self, op: str, inputs: tuple[int, ...], shape: Shape, name: str, **attrs: object) -> int:
        if len(self.nodes) >= MAX_NODES:
            raise ValueError(f"{name}: more than {MAX_NODES} primitive layers")
        full = f"{self.scope}/{name}" if name else op
        self.nodes.append(Node(op, full, inputs, shape, tuple(sorted(attrs.items()))))
        return len(self.nodes) - 1
