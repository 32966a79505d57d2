"""Machine code that XLA calls: what it answers to calls of other kinds, what it does with errors, and when it is used at all."""

from __future__ import annotations

import ctypes
import dataclasses
import logging
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
import pytest

from nas.nn import native
from nas.nn.native import check, emit, ffi
from places import ROOT

WORD = ctypes.c_int64
FUNCTION = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)
CHUNKS = 6
METADATA = 1
SENTINEL = -7


@pytest.fixture(scope="module")
def handler() -> Any:
    """Writes 1 into each of the chunks of its result."""

    def kernel(e: emit.Emit, index: Any, operands: ffi.Buffers, results: ffi.Buffers) -> None:
        e.store(emit.constant(1.0, 1), results.data(0), index)

    return FUNCTION(ffi.compiled("ones", kernel))


class Call:
    """A call as XLA makes it, in words of 8 bytes; `error` is what the thread pool's functions return."""

    def __init__(self, stage: int, extensions: Sequence[int] = (), error: int | None = None):
        self.out, self.metadata = np.zeros(CHUNKS, np.float32), (WORD * 8)(*[SENTINEL] * 8)
        self.freed: list[int] = []
        self.kept: list[Any] = []
        self.error = error
        following = 0
        for kind in reversed(extensions):
            following = self.words(32, kind, following, ctypes.addressof(self.metadata))
        dims = self.words(CHUNKS)
        results = self.words(self.words(48, 0, 11, self.out.ctypes.data, 1, dims))
        frame = self.words(168, following, self.api(), 0, stage, 40, 0, 0, 0, 0, 40, 0, 1, 0, results)
        self.frame = ctypes.c_void_p(frame)

    def words(self, *values: int) -> int:
        self.kept.append((WORD * len(values))(*values))
        return ctypes.addressof(self.kept[-1])

    def api(self) -> int:
        functions = [0] * 16
        for place, function in ((64, self.destroy), (136, self.schedule), (144, self.threads)):
            made = FUNCTION(function)
            self.kept.append(made)
            functions[place // 8 - 6] = ctypes.cast(made, ctypes.c_void_p).value or 0
        return self.words(200, 0, 24, 0, 3 << 32, 0, *functions)

    def threads(self, args: int) -> int | None:
        place = (WORD * 4).from_address(args)[3]
        ctypes.c_int64.from_address(place).value = 4
        return self.error

    def schedule(self, args: int) -> int | None:
        if self.error is None:
            _, _, _, task, job = (WORD * 5).from_address(args)
            FUNCTION(task)(job)
        return self.error

    def destroy(self, args: int) -> None:
        self.freed.append((WORD * 3).from_address(args)[2])


@pytest.mark.parametrize("stage", [0, 1, 2, 4])
def test_nothing_is_written_before_the_call_is_to_be_carried_out(handler: Any, stage: int) -> None:
    call = Call(stage)
    assert handler(call.frame) is None
    assert not call.out.any()


@pytest.mark.parametrize(
    "extensions, answered",
    [([METADATA], True), ([7], False), ([0], False), ([7, METADATA], True), ([METADATA, 7], True), ([7, 8, 9], False)],
)
def test_only_the_extension_that_asks_is_answered(handler: Any, extensions: list[int], answered: bool) -> None:
    call = Call(0, extensions)
    assert handler(call.frame) is None
    assert (list(call.metadata) != [SENTINEL] * 8) is answered
    assert not call.out.any()
    if answered:
        assert list(call.metadata)[:3] == [SENTINEL] * 3
        assert (call.metadata[3] & 0xFFFFFFFF, call.metadata[3] >> 32) == ffi.VERSION


@pytest.mark.parametrize("extensions", [[], [7]])
def test_a_call_with_an_unknown_extension_is_carried_out(handler: Any, extensions: list[int]) -> None:
    call = Call(3, extensions)
    assert handler(call.frame) is None
    assert call.out.tolist() == [1] * CHUNKS
    assert call.freed == []
    assert list(call.metadata) == [SENTINEL] * 8


def test_errors_of_the_thread_pool_are_freed_and_the_work_is_done(handler: Any) -> None:
    call = Call(3, error=4096)
    assert handler(call.frame) is None
    assert call.out.tolist() == [1] * CHUNKS
    assert call.freed == [4096] * 4, "one of the number of threads, one of each of three that were asked to help"


@pytest.fixture
def anew() -> Iterator[None]:
    """`available` finds out anew, and anew after the test."""
    native.available.cache_clear()
    yield
    native.available.cache_clear()


def spoilt(kind: str) -> Any:
    """A kernel that is wrong in the channels beyond the first register alone."""
    real = getattr(native, kind)

    def wrong(*args: Any) -> Any:
        return jax.tree.map(lambda y: y.at[..., emit.width() :].add(1.0), real(*args))

    return wrong


@pytest.mark.parametrize("kind", ["forward", "input_gradient", "kernel_gradient", "moments", "norm_gradient_sums"])
def test_a_wrong_kernel_of_any_kind_is_noticed_and_none_is_used(
    anew: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    monkeypatch.setattr(native, kind, spoilt(kind))
    with caplog.at_level(logging.WARNING, "nas"):
        assert not native.available()
        assert not native.available()
    (line,) = (record.getMessage() for record in caplog.records)
    assert line.endswith("wrong results of none, relu, relu6, hswish" if kind == "norm_gradient_sums" else f"wrong results of {kind}")


def test_every_kind_of_kernel_is_tried() -> None:
    assert set(check.SLOPES) == set(native.FUSED)
    kernels = [getattr(native, field.name) for field in dataclasses.fields(check.Kernels)]
    assert check.wrong(check.Kernels(*kernels)) == []


WITHOUT = """
import sys
sys.modules["llvmlite"] = None
import logging
logging.basicConfig(format="%(message)s")
import jax, jax.numpy as jnp
import nas.nn.native
from nas.nn import ops
x, w = jnp.ones((1, 3, 3, 2)), jnp.ones((3, 3, 1, 2))
print(nas.nn.native.available(), float(jax.jit(lambda x: ops.conv(x, w, groups=2))(x)[0, 1, 1, 0]), nas.nn.native.available())
"""


def test_without_llvmlite_everything_runs_and_one_line_says_so() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["False", "9.0", "False"]
    assert done.stderr.splitlines() == [
        "depthwise convolutions and batch norm run in their slower form: llvmlite is not installed (pip install 'nas[native]')"
    ]


def test_llvmlite_is_an_extra_and_the_commands_that_install_nas_name_it() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert not [line for line in project["project"]["dependencies"] if "llvmlite" in line]
    (extra,) = project["project"]["optional-dependencies"]["native"]
    assert extra in project["dependency-groups"]["dev"]
    for document in ("README.md", "docs/quickstart.md"):
        assert "pip install '.[native]'" in (ROOT / document).read_text(encoding="utf-8")
