"""Sums over the batch that batch norm needs, forward and backward, each in one pass over its tensors.

One chunk is an image; what the images give is put together outside, in an order that no thread decides.
"""

from __future__ import annotations

from collections.abc import Callable

from nas.nn.native.depthwise import Image, image
from nas.nn.native.emit import F32, Emit, Value, constant, strips, vector, zero
from nas.nn.native.ffi import Buffers, Kernel

REGISTERS = 4  # vectors side by side, so that one sum need not wait for the one before
Slope = Callable[[Emit, Value, Value, int], Value]  # (code, z, gradient of act(z), lanes) -> gradient of z


def _pixels(e: Emit, x: Image, body: Callable[[Value], None]) -> None:
    """Runs over an image's pixels, with the index of each one's first channel."""
    with e.loop(0, e.mul(x.rows, x.columns)) as pixel:
        body(e.add(x.start, e.mul(pixel, x.channels)))


def moments(e: Emit, index: Value, operands: Buffers, results: Buffers) -> None:
    """x -> (n, 2, c): each image's sum, and its sum of squared distances from its own mean."""
    x, out = image(e, operands, 0, index), results.data(0)
    count = e.b.sitofp(e.mul(x.rows, x.columns), F32)
    base = e.mul(index, 2, x.channels)

    def strip(channel: Value, lanes: int) -> None:
        kind = vector(lanes)
        total, squares = e.var(kind, zero(lanes)), e.var(kind, zero(lanes))

        def add(start: Value) -> None:
            e.set(total, e.b.fadd(e.get(total, kind), e.load(x.data, e.add(start, channel), lanes)))

        _pixels(e, x, add)
        mean = e.b.fdiv(e.get(total, kind), e.splat(count, lanes))

        def square(start: Value) -> None:
            away = e.b.fsub(e.load(x.data, e.add(start, channel), lanes), mean)
            e.set(squares, e.multiply_add(away, away, e.get(squares, kind)))

        _pixels(e, x, square)
        e.store(e.get(total, kind), out, e.add(base, channel))
        e.store(e.get(squares, kind), out, e.add(base, x.channels, channel))

    strips(e, x.channels, strip, REGISTERS)


def gradient_sums(slope: Slope) -> Kernel:
    """(x, gradient of y = act(z), (3, c) of mean, a, b with z = a x + b) -> (n, 2, c): sums of dz and of dz (x - mean)."""

    def kernel(e: Emit, index: Value, operands: Buffers, results: Buffers) -> None:
        x, g, out = image(e, operands, 0, index), operands.data(1), results.data(0)
        rows, base = operands.data(2), e.mul(index, 2, x.channels)

        def strip(channel: Value, lanes: int) -> None:
            kind = vector(lanes)
            mean, factor, shift = (e.load(rows, e.add(e.mul(row, x.channels), channel), lanes) for row in range(3))
            sums = [e.var(kind, zero(lanes)) for _ in range(2)]

            def add(start: Value) -> None:
                value, above = (e.load(data, e.add(start, channel), lanes) for data in (x.data, g))
                dz = slope(e, e.multiply_add(value, factor, shift), above, lanes)
                e.set(sums[0], e.b.fadd(e.get(sums[0], kind), dz))
                e.set(sums[1], e.multiply_add(dz, e.b.fsub(value, mean), e.get(sums[1], kind)))

            _pixels(e, x, add)
            for row, total in enumerate(sums):
                e.store(e.get(total, kind), out, e.add(base, e.mul(row, x.channels), channel))

        strips(e, x.channels, strip, REGISTERS // 2)

    return kernel


def _within(e: Emit, z: Value, low: float, high: float | None, inside: Value, above: Value, lanes: int) -> Value:
    """0 up to `low`, then `inside`, and `above` from `high` on."""
    value = e.b.select(e.b.fcmp_ordered(">", z, constant(low, lanes)), inside, zero(lanes))
    if high is None:
        return value
    return e.b.select(e.b.fcmp_ordered(">=", z, constant(high, lanes)), above, value)


def _hswish(e: Emit, z: Value, g: Value, lanes: int) -> Value:
    inside = e.b.fmul(g, e.multiply_add(z, constant(1 / 3, lanes), constant(0.5, lanes)))
    return _within(e, z, -3.0, 3.0, inside, g, lanes)


SLOPES: dict[str, Slope] = {
    "none": lambda e, z, g, lanes: g,
    "relu": lambda e, z, g, lanes: _within(e, z, 0.0, None, g, g, lanes),
    "relu6": lambda e, z, g, lanes: _within(e, z, 0.0, 6.0, g, zero(lanes), lanes),
    "hswish": _hswish,
}
