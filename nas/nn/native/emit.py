"""A few words to write loops over vectors of floats in LLVM's intermediate language, and the compiler for them.

A kernel is a Python function that writes one loop nest with an `Emit`; `compile_module` gives its machine code for this
processor. Nothing here knows of JAX.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from llvmlite import binding, ir

from nas.core import process

I32, I64, F32, PTR, VOID = ir.IntType(32), ir.IntType(64), ir.FloatType(), ir.PointerType(), ir.VoidType()
Value = Any
_lock = threading.Lock()
_kept: list[Any] = []  # engines own the machine code


class Emit:
    """An IR builder with loops, variables and arithmetic on 64-bit indices."""

    def __init__(self, function: ir.Function):
        self.function = function
        self.entry = function.append_basic_block("entry")
        self.b = ir.IRBuilder(self.entry)

    def int(self, value: Value) -> Value:
        return ir.Constant(I64, value) if isinstance(value, int) else value

    def add(self, *terms: Value) -> Value:
        total = self.int(terms[0])
        for term in terms[1:]:
            total = self.b.add(total, self.int(term))
        return total

    def sub(self, a: Value, b: Value) -> Value:
        return self.b.sub(self.int(a), self.int(b))

    def mul(self, *factors: Value) -> Value:
        product = self.int(factors[0])
        for factor in factors[1:]:
            product = self.b.mul(product, self.int(factor))
        return product

    def div(self, a: Value, b: int) -> Value:
        """Rounded toward zero; a must not be negative."""
        return self.int(a) if b == 1 else self.b.sdiv(self.int(a), self.int(b))

    def rem(self, a: Value, b: int) -> Value:
        return self.b.srem(self.int(a), self.int(b))

    def min(self, a: Value, b: Value) -> Value:
        a, b = self.int(a), self.int(b)
        return self.b.select(self.b.icmp_signed("<", a, b), a, b)

    def max(self, a: Value, b: Value) -> Value:
        a, b = self.int(a), self.int(b)
        return self.b.select(self.b.icmp_signed(">", a, b), a, b)

    def ceil_div(self, a: Value, b: int) -> Value:
        """Of what may be negative, then zero."""
        return self.div(self.max(self.add(a, b - 1), 0), b)

    def less(self, a: Value, b: Value) -> Value:
        return self.b.icmp_signed("<", self.int(a), self.int(b))

    def within(self, a: Value, size: Value) -> Value:
        """0 <= a < size."""
        return self.b.icmp_unsigned("<", self.int(a), self.int(size))

    def var(self, kind: ir.Type, initial: Value) -> Value:
        with self.b.goto_block(self.entry):
            self.b.position_at_start(self.entry)
            place = self.b.alloca(kind)
        self.b.store(initial, place)
        return place

    def get(self, place: Value, kind: ir.Type) -> Value:
        return self.b.load(place, typ=kind)

    def set(self, place: Value, value: Value) -> None:
        self.b.store(value, place)

    @contextmanager
    def loop(self, start: Value, stop: Value, step: int = 1) -> Iterator[Value]:
        """Counts from start while below stop."""
        counter = self.var(I64, self.int(start))
        head, body, after = (self.function.append_basic_block(name) for name in ("head", "body", "after"))
        self.b.branch(head)
        self.b.position_at_end(head)
        index = self.get(counter, I64)
        self.b.cbranch(self.less(index, stop), body, after)
        self.b.position_at_end(body)
        yield index
        self.set(counter, self.add(index, step))
        self.b.branch(head)
        self.b.position_at_end(after)

    def at(self, base: Value, index: Value, kind: ir.Type = F32) -> Value:
        return self.b.gep(base, [self.int(index)], source_etype=kind)

    def load(self, base: Value, index: Value, lanes: int) -> Value:
        return self.b.load(self.at(base, index), align=4, typ=vector(lanes))

    def store(self, value: Value, base: Value, index: Value) -> None:
        self.b.store(value, self.at(base, index), align=4)

    def multiply_add(self, a: Value, b: Value, total: Value) -> Value:
        product = self.b.fmul(a, b, flags=("contract",))  # pyright: ignore[reportCallIssue]
        return self.b.fadd(product, total, flags=("contract",))  # pyright: ignore[reportCallIssue]

    def splat(self, scalar: Value, lanes: int) -> Value:
        """The same float in every lane."""
        if lanes == 1:
            return scalar
        first = self.b.insert_element(ir.Constant(vector(lanes), ir.Undefined), scalar, ir.Constant(I32, 0))
        return self.b.shuffle_vector(first, first, ir.Constant(ir.VectorType(I32, lanes), [0] * lanes))

    def word(self, value: Value) -> Value:
        """A pointer as an integer; integers as they are."""
        return value if value.type == I64 else self.b.ptrtoint(value, I64)

    def pointer(self, word: Value) -> Value:
        return self.b.inttoptr(word, PTR)


@cache
def width() -> int:
    """Floats in a vector register of this processor."""
    features = binding.get_host_cpu_features()
    return 16 if features.get("avx512f") else 8 if features.get("avx") else 4


def strips(e: Emit, channels: Value, body: Callable[[Value, int], None], registers: int = 1) -> None:
    """Runs over all channels in vectors of `registers` registers, then of one, of eight floats, of one."""
    start: Value = e.int(0)
    for lanes in dict.fromkeys((registers * width(), width(), min(8, width()), 1)):
        stop = e.add(start, e.mul(e.div(e.sub(channels, start), lanes), lanes))
        with e.loop(start, stop, lanes) as channel:
            body(channel, lanes)
        start = stop


def vector(lanes: int) -> ir.Type:
    return F32 if lanes == 1 else ir.VectorType(F32, lanes)


def constant(value: float, lanes: int) -> Value:
    return ir.Constant(F32, value) if lanes == 1 else ir.Constant(vector(lanes), [value] * lanes)


def zero(lanes: int) -> Value:
    return constant(0.0, lanes)


@cache
def _target() -> Any:
    """The target machine that modules are optimized for."""
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    return _machine()


def _machine() -> Any:
    """A new target machine for this processor; an engine takes over the one that it is given."""
    target = binding.Target.from_default_triple()
    features = binding.get_host_cpu_features().flatten()
    return target.create_target_machine(cpu=binding.get_host_cpu_name(), features=features, opt=2, jit=True)


def compile_module(module: ir.Module, names: Sequence[str]) -> list[int]:
    """Addresses of the named functions; the code stays for the life of the process."""
    with _lock:
        target = _target()
        module.triple, module.data_layout = target.triple, str(target.target_data)
        text = str(module)
        place = _place(text)
        kept = _read(place)
        parsed = binding.parse_assembly(text)
        if kept is None:
            builder = binding.create_pass_builder(target, _options())
            builder.getModulePassManager().run(parsed, builder)
        engine = binding.create_mcjit_compiler(parsed, _machine())
        engine.set_object_cache(lambda _, code: _write(place, code), lambda _: kept)
        engine.finalize_object()
        _kept.append(engine)
        return [engine.get_function_address(name) for name in names]


def _place(text: str) -> Path | None:
    """Where the machine code of a module is kept between processes."""
    folder = process.cache_folder("native")
    version = ".".join(map(str, binding.llvm_version_info))
    key = hashlib.sha256(f"{version} {binding.get_host_cpu_name()}\n{text}".encode()).hexdigest()
    return folder / f"{key[:32]}.o" if folder else None


def _read(place: Path | None) -> bytes | None:
    """The code of a file that begins with its digest; None where there is none or it is damaged."""
    try:
        whole = place.read_bytes() if place else b""
    except OSError:
        return None
    return whole[32:] if hashlib.sha256(whole[32:]).digest() == whole[:32] else None


def _write(place: Path | None, code: bytes) -> None:
    if place is None:
        return
    with contextlib.suppress(OSError):  # a full disk costs a second the next time
        part = place.with_suffix(f".{os.getpid()}.part")
        part.write_bytes(hashlib.sha256(code).digest() + code)
        part.replace(place)


def _options() -> Any:
    """Kernels are vectors and unrolled as written: LLVM trying more of both doubles the time to compile."""
    options = binding.create_pipeline_tuning_options(speed_level=2)
    options.loop_unrolling = options.loop_vectorization = options.slp_vectorization = False
    return options
