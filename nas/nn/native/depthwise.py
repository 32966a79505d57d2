"""Depthwise convolution of float32 (n, h, w, c) and its two gradients, as kernels that keep a strip of channels in registers.

One chunk is an image (for the weights' gradient a group of images), and within it a strip of channels, a
register wide, runs over rows and columns. A kernel is compiled once for each size and stride of window, for images of any size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nas.nn.native.emit import Emit, Value, strips, vector, zero
from nas.nn.native.ffi import Buffers, Kernel

BLOCK = 4  # neighboring outputs that share what they load


@dataclass(frozen=True)
class Image:
    """One image within a buffer: where it starts, and its sizes."""

    data: Value
    start: Value
    rows: Value
    columns: Value
    channels: Value

    def at(self, e: Emit, row: Value, column: Value, channel: Value) -> Value:
        """The index of a value in the buffer."""
        pixel = e.add(e.mul(row, self.columns), column)
        return e.add(self.start, e.mul(pixel, self.channels), channel)


def image(e: Emit, buffers: Buffers, number: int, index: Value) -> Image:
    rows, columns, channels = (buffers.size(number, axis) for axis in (1, 2, 3))
    return Image(buffers.data(number), e.mul(index, rows, columns, channels), rows, columns, channels)


def padding(e: Emit, operands: Buffers, number: int) -> tuple[Value, Value]:
    """Rows above and columns before the image, passed as the sizes of an empty operand (0, above, before)."""
    return operands.size(number, 1), operands.size(number, 2)


@dataclass(frozen=True)
class Line:
    """One row of outputs: output t of `first` <= t < `last` is the sum of taps m over input t * step + m - before.

    Its place in the output is column t * out_step + out_start; `weights[m]` is the kernel's column of tap m.
    """

    step: int
    weights: Sequence[int]
    before: Value
    first: Value
    last: Value
    out_step: int
    out_start: Value


RowTap = Callable[[Value], tuple[Value, Value]]  # kernel row -> (input row, whether it is in the image)


def line(e: Emit, x: Image, y: Image, kernel: Value, size: int, row: Value, rows: tuple[Value, int, RowTap],
         one: Line, channel: Value, lanes: int) -> None:  # fmt: skip
    """Writes a row of outputs for a strip of channels; rows: the kernel's first row, the step to the next, and its RowTap."""
    count = len(one.weights)
    low = e.min(e.max(one.first, e.ceil_div(one.before, one.step)), one.last)
    fits = e.sub(e.add(x.columns, one.before), count)
    high = e.b.select(e.less(fits, 0), low, e.min(e.max(low, e.add(e.div(e.max(fits, 0), one.step), 1)), one.last))
    blocks = e.add(low, e.mul(e.div(e.sub(high, low), BLOCK), BLOCK))

    def outputs(t: Value, width: int, checked: bool) -> None:
        totals = [e.var(vector(lanes), zero(lanes)) for _ in range(width)]
        start, stride, tap = rows
        with e.loop(start, size, stride) as i:
            source, inside = tap(i)
            with e.b.if_then(inside):
                _row_of_taps(e, x, kernel, size, i, source, one, t, totals, checked, channel, lanes)
        for u, total in enumerate(totals):
            column = e.add(e.mul(e.add(t, u), one.out_step), one.out_start)
            e.store(e.get(total, vector(lanes)), y.data, y.at(e, row, column, channel))

    with e.loop(one.first, low) as t:
        outputs(t, 1, True)
    with e.loop(low, blocks, BLOCK) as t:
        outputs(t, BLOCK, False)
    with e.loop(blocks, high) as t:
        outputs(t, 1, False)
    with e.loop(high, one.last) as t:
        outputs(t, 1, True)


def _row_of_taps(e: Emit, x: Image, kernel: Value, size: int, i: Value, source: Value, one: Line, t: Value,
                 totals: Sequence[Value], checked: bool, channel: Value, lanes: int) -> None:  # fmt: skip
    kind = vector(lanes)
    first = e.sub(e.mul(t, one.step), one.before)
    if checked:
        for m, column in enumerate(one.weights):
            with e.b.if_then(e.within(e.add(first, m), x.columns)):
                weight = e.load(kernel, _tap(e, i, size, column, x.channels, channel), lanes)
                value = e.load(x.data, x.at(e, source, e.add(first, m), channel), lanes)
                e.set(totals[0], e.multiply_add(value, weight, e.get(totals[0], kind)))
        return
    weights = [e.load(kernel, _tap(e, i, size, column, x.channels, channel), lanes) for column in one.weights]
    sums = [e.get(total, kind) for total in totals]
    for offset in range((len(totals) - 1) * one.step + len(weights)):
        value = e.load(x.data, x.at(e, source, e.add(first, offset), channel), lanes)
        for u in range(len(totals)):
            if 0 <= offset - u * one.step < len(weights):
                sums[u] = e.multiply_add(value, weights[offset - u * one.step], sums[u])
    for total, value in zip(totals, sums, strict=True):
        e.set(total, value)


def _tap(e: Emit, i: Value, size: int, j: int, channels: Value, channel: Value) -> Value:
    return e.add(e.mul(e.add(e.mul(i, size), j), channels), channel)


def forward(size: int, stride: int) -> Kernel:
    """(x, kernel (k, k, 1, c), padding) -> y."""

    def kernel(e: Emit, index: Value, operands: Buffers, results: Buffers) -> None:
        x, y, weights = image(e, operands, 0, index), image(e, results, 0, index), operands.data(1)
        above, before = padding(e, operands, 2)
        one = Line(stride, range(size), before, e.int(0), y.columns, 1, e.int(0))

        def strip(channel: Value, lanes: int) -> None:
            with e.loop(0, y.rows) as row:

                def tap(i: Value) -> tuple[Value, Value]:
                    source = e.sub(e.add(e.mul(row, stride), i), above)
                    return source, e.within(source, x.rows)

                line(e, x, y, weights, size, row, (e.int(0), 1, tap), one, channel, lanes)

        strips(e, x.channels, strip)

    return kernel


def input_gradient(size: int, stride: int) -> Kernel:
    """(g, kernel (k, k, 1, c), padding) -> gradient of x; for each remainder of the column a line with its own taps."""

    def kernel(e: Emit, index: Value, operands: Buffers, results: Buffers) -> None:
        g, dx, weights = image(e, operands, 0, index), image(e, results, 0, index), operands.data(1)
        above, before = padding(e, operands, 2)

        def strip(channel: Value, lanes: int) -> None:
            with e.loop(0, dx.rows) as row:
                lifted = e.add(row, above)

                def tap(i: Value) -> tuple[Value, Value]:
                    ahead = e.sub(lifted, i)
                    source = e.div(e.max(ahead, 0), stride)
                    return source, e.b.and_(e.within(source, g.rows), e.less(-1, ahead))

                for phase in range(stride):
                    columns = list(range(phase, size, stride))[::-1]
                    shift = e.sub(phase, before)
                    first = e.ceil_div(e.sub(before, phase), stride)
                    last = e.ceil_div(e.sub(dx.columns, shift), stride)
                    one = Line(1, columns, e.int(len(columns) - 1), first, last, stride, shift)
                    line(e, g, dx, weights, size, row, (e.rem(lifted, stride), stride, tap), one, channel, lanes)

        strips(e, dx.channels, strip)

    return kernel


def kernel_gradient(size: int, stride: int) -> Kernel:
    """(x, g, padding) -> (groups, k, k, c): what each group of images adds to the gradient of the kernel."""

    def kernel(e: Emit, index: Value, operands: Buffers, results: Buffers) -> None:
        above, before = padding(e, operands, 2)
        count, groups = operands.size(0, 0), results.size(0, 0)
        shape = image(e, operands, 0, index)
        out, base = results.data(0), e.mul(index, size * size, shape.channels)
        with e.loop(base, e.add(base, e.mul(shape.channels, size * size))) as place:
            e.store(zero(1), out, place)
        each = e.b.sdiv(e.sub(e.add(count, groups), 1), groups)
        first = e.mul(index, each)
        with e.loop(first, e.min(e.add(first, each), count)) as n:
            x, g = image(e, operands, 0, n), image(e, operands, 1, n)

            def strip(channel: Value, lanes: int, x: Image = x, g: Image = g) -> None:
                with e.loop(0, size) as i:
                    places = [e.add(base, _tap(e, i, size, j, x.channels, channel)) for j in range(size)]
                    totals = [e.var(vector(lanes), e.load(out, place, lanes)) for place in places]
                    _row_products(e, x, g, i, size, stride, (above, before), totals, channel, lanes)
                    for place, total in zip(places, totals, strict=True):
                        e.store(e.get(total, vector(lanes)), out, place)

            strips(e, x.channels, strip)

    return kernel


def _row_products(e: Emit, x: Image, g: Image, i: Value, size: int, stride: int, pad: tuple[Value, Value],
                  totals: Sequence[Value], channel: Value, lanes: int) -> None:  # fmt: skip
    """Adds, for kernel row i, each output gradient times the `size` inputs that met it."""
    above, before = pad
    low = e.min(e.ceil_div(before, stride), g.columns)
    fits = e.sub(e.add(x.columns, before), size)
    high = e.b.select(e.less(fits, 0), low, e.min(e.max(low, e.add(e.div(e.max(fits, 0), stride), 1)), g.columns))
    blocks = e.add(low, e.mul(e.div(e.sub(high, low), BLOCK), BLOCK))
    kind = vector(lanes)

    def products(row: Value, source: Value, q: Value, width: int, checked: bool) -> None:
        first = e.sub(e.mul(q, stride), before)
        values = [e.load(g.data, g.at(e, row, e.add(q, u), channel), lanes) for u in range(width)]
        if checked:
            for j in range(size):
                with e.b.if_then(e.within(e.add(first, j), x.columns)):
                    met = e.load(x.data, x.at(e, source, e.add(first, j), channel), lanes)
                    e.set(totals[j], e.multiply_add(met, values[0], e.get(totals[j], kind)))
            return
        sums = [e.get(total, kind) for total in totals]
        for offset in range((width - 1) * stride + size):
            met = e.load(x.data, x.at(e, source, e.add(first, offset), channel), lanes)
            for u in range(width):
                if 0 <= offset - u * stride < size:
                    sums[offset - u * stride] = e.multiply_add(met, values[u], sums[offset - u * stride])
        for total, value in zip(totals, sums, strict=True):
            e.set(total, value)

    with e.loop(0, g.rows) as row:
        source = e.sub(e.add(e.mul(row, stride), i), above)
        with e.b.if_then(e.within(source, x.rows)):
            with e.loop(0, low) as q:
                products(row, source, q, 1, True)
            with e.loop(low, blocks, BLOCK) as q:
                products(row, source, q, BLOCK, False)
            with e.loop(blocks, high) as q:
                products(row, source, q, 1, False)
            with e.loop(high, g.columns) as q:
                products(row, source, q, 1, True)
