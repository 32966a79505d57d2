"""Machine code as an XLA custom call: the handler that XLA calls shares the chunks of a kernel among XLA's own threads.

The structures are those of `xla/ffi/api/c_api.h`, which jaxlib ships and keeps compatible; only what stands here is read.
A handler puts a job on the heap, offers it to XLA's thread pool, and takes chunks itself until none is left, so that it
never waits for a thread that the pool may not have. Whoever lets go of a job last frees it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import jax
from llvmlite import ir

from nas.nn.native.emit import I32, I64, PTR, VOID, Emit, Value, compile_module

Kernel = Callable[[Emit, Value, "Buffers", "Buffers"], None]  # (code, chunk number, operands, results)

EXTENSION, API, CONTEXT, STAGE, ARGS, RETS = 8, 16, 24, 32, 72, 112  # bytes into XLA_FFI_CallFrame; the last two are `void**`
EXECUTE = 3  # of XLA_FFI_ExecutionStage
TYPE, NEXT_EXTENSION, METADATA_TYPE = 8, 16, 1  # into XLA_FFI_Extension_Base, and what XLA_FFI_Extension_Metadata is
METADATA, MAJOR, MINOR, TRAITS, STATE = 24, 24, 28, 32, 40  # into the metadata extension, then into XLA_FFI_Metadata
DESTROY, SCHEDULE, THREADS = 64, 136, 144  # into XLA_FFI_Api
DATA, DIMS = 24, 40  # into XLA_FFI_Buffer
VERSION = (0, 3)  # the structures above; a runtime that cannot serve it refuses the handler by name

NEXT, DONE, HOLDERS, TOTAL, OPERANDS, RESULTS = range(6)  # words of a job


class Buffers:
    """Operands or results of a call: float32 data and sizes."""

    def __init__(self, e: Emit, table: Value):
        self.e, self.table = e, table

    def _field(self, number: int, offset: int) -> Value:
        buffer = self.e.b.load(self.e.at(self.table, number, I64), typ=PTR)
        return self.e.b.load(_byte(self.e, buffer, offset), typ=PTR)

    def data(self, number: int) -> Value:
        return self._field(number, DATA)

    def size(self, number: int, axis: int) -> Value:
        return self.e.b.load(self.e.at(self._field(number, DIMS), axis, I64), typ=I64)


def _byte(e: Emit, pointer: Value, offset: int) -> Value:
    return e.b.gep(pointer, [ir.Constant(I64, offset)], source_etype=ir.IntType(8))


def _word(e: Emit, job: Value, number: int) -> Value:
    return e.at(job, number, I64)


def register(name: str, kernel: Kernel, serial: bool = False) -> None:
    """Compiles a kernel and registers it as XLA's CPU target `name`; its chunks are counted by the first result's first size."""
    capsule = ctypes.pythonapi.PyCapsule_New
    capsule.restype, capsule.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    jax.ffi.register_ffi_target(name, capsule(compiled(name, kernel, serial), None, None), platform="cpu")


def compiled(name: str, kernel: Kernel, serial: bool = False) -> int:
    """The address of a kernel's handler, a function of XLA_FFI_CallFrame."""
    module = ir.Module(name)
    chunk = ir.Function(module, ir.FunctionType(VOID, [I64, PTR, PTR]), "chunk")
    e = Emit(chunk)
    kernel(e, chunk.args[0], Buffers(e, chunk.args[1]), Buffers(e, chunk.args[2]))
    e.b.ret_void()
    task = _task(module, chunk)
    _handler(module, task, serial)
    return compile_module(module, ["handler"])[0]


def _task(module: ir.Module, chunk: ir.Function) -> ir.Function:
    """void task(job): takes chunks until none is left, then lets go of the job."""
    task = ir.Function(module, ir.FunctionType(VOID, [PTR]), "task")
    free = ir.Function(module, ir.FunctionType(VOID, [PTR]), "free")
    e, job = Emit(task), task.args[0]
    _work(e, job, chunk)
    holders = e.b.atomic_rmw("sub", _word(e, job, HOLDERS), e.int(1), "acq_rel")
    with e.b.if_then(e.b.icmp_signed("==", holders, e.int(1))):
        e.b.call(free, [job])
    e.b.ret_void()
    return task


def _work(e: Emit, job: Value, chunk: ir.Function) -> None:
    total = e.get(_word(e, job, TOTAL), I64)
    tables = [e.pointer(e.get(_word(e, job, number), I64)) for number in (OPERANDS, RESULTS)]
    again, run, after = (e.function.append_basic_block(name) for name in ("again", "run", "none_left"))
    e.b.branch(again)
    e.b.position_at_end(again)
    index = e.b.atomic_rmw("add", _word(e, job, NEXT), e.int(1), "acq_rel")
    e.b.cbranch(e.less(index, total), run, after)
    e.b.position_at_end(run)
    e.b.call(chunk, [index, *tables])
    e.b.atomic_rmw("add", _word(e, job, DONE), e.int(1), "acq_rel")
    e.b.branch(again)
    e.b.position_at_end(after)


def _handler(module: ir.Module, task: ir.Function, serial: bool) -> None:
    handler = ir.Function(module, ir.FunctionType(PTR, [PTR]), "handler")
    e, frame = Emit(handler), handler.args[0]
    _answer_if_asked(e, frame)
    stage = e.b.load(_byte(e, frame, STAGE), typ=I32)
    with e.b.if_then(e.b.icmp_unsigned("!=", stage, ir.Constant(I32, EXECUTE))):
        e.b.ret(ir.Constant(PTR, None))  # there is nothing to prepare, and no buffer to touch yet
    job = _new_job(e, module, frame)
    if not serial:
        _offer(e, frame, job, task)
    _finish(e, module, job, task)
    e.b.ret(ir.Constant(PTR, None))


def _answer_if_asked(e: Emit, frame: Value) -> None:
    """Looks for the metadata extension among those of the call; others, which newer runtimes may send, are passed over."""
    place = e.var(PTR, e.b.load(_byte(e, frame, EXTENSION), typ=PTR))
    look, found, after = (e.function.append_basic_block(name) for name in ("look", "found", "no_extension"))
    e.b.branch(look)
    e.b.position_at_end(look)
    extension = e.get(place, PTR)
    e.b.cbranch(_is_null(e, extension), after, found)
    e.b.position_at_end(found)
    kind = e.b.load(_byte(e, extension, TYPE), typ=I32)
    with e.b.if_then(e.b.icmp_unsigned("==", kind, ir.Constant(I32, METADATA_TYPE))):
        _answer(e, extension)
        e.b.ret(ir.Constant(PTR, None))
    e.set(place, e.b.load(_byte(e, extension, NEXT_EXTENSION), typ=PTR))
    e.b.branch(look)
    e.b.position_at_end(after)


def _is_null(e: Emit, pointer: Value) -> Value:
    return e.b.icmp_unsigned("==", e.b.ptrtoint(pointer, I64), e.int(0))


def _answer(e: Emit, extension: Value) -> None:
    """XLA asks which version a handler was written for before it calls it."""
    metadata = e.b.load(_byte(e, extension, METADATA), typ=PTR)
    for offset, value in ((MAJOR, VERSION[0]), (MINOR, VERSION[1]), (TRAITS, 0)):
        e.b.store(ir.Constant(I32, value), _byte(e, metadata, offset))
    e.b.store(e.int(0), _byte(e, metadata, STATE))


def _new_job(e: Emit, module: ir.Module, frame: Value) -> Value:
    malloc = ir.Function(module, ir.FunctionType(PTR, [I64]), "malloc")
    job = e.b.call(malloc, [e.int(8 * 6)])
    args, rets = (e.b.load(_byte(e, frame, offset), typ=PTR) for offset in (ARGS, RETS))
    first = {NEXT: e.int(0), DONE: e.int(0), HOLDERS: e.int(2), TOTAL: Buffers(e, rets).size(0, 0)}
    for number, value in {**first, OPERANDS: args, RESULTS: rets}.items():
        e.b.store(e.word(value), _word(e, job, number))
    return job


def _offer(e: Emit, frame: Value, job: Value, task: ir.Function) -> None:
    """Schedules the task on all threads of the pool but this one, at most one a chunk."""
    api, context = (e.b.load(_byte(e, frame, offset), typ=PTR) for offset in (API, CONTEXT))
    threads = e.var(I64, e.int(1))
    _free_error(e, api, _call(e, api, THREADS, [e.int(32), e.int(0), context, threads]))
    spare = e.sub(e.min(e.get(threads, I64), e.get(_word(e, job, TOTAL), I64)), 1)
    with e.loop(0, spare):
        e.b.atomic_rmw("add", _word(e, job, HOLDERS), e.int(1), "acq_rel")
        error = _call(e, api, SCHEDULE, [e.int(40), e.int(0), context, task, job])
        with e.b.if_then(e.b.not_(_is_null(e, error))):
            e.b.atomic_rmw("sub", _word(e, job, HOLDERS), e.int(1), "acq_rel")
        _free_error(e, api, error)


def _free_error(e: Emit, api: Value, error: Value) -> None:
    """An error is ours once it is returned. This thread then takes the chunks that no other does."""
    with e.b.if_then(e.b.not_(_is_null(e, error))):
        _call(e, api, DESTROY, [e.int(24), e.int(0), error])


def _call(e: Emit, api: Value, offset: int, fields: list[Value]) -> Value:
    """A function of XLA_FFI_Api with its one argument, a structure of 8-byte fields."""
    with e.b.goto_block(e.entry):
        e.b.position_at_start(e.entry)
        place = e.b.alloca(I64, size=ir.Constant(I64, len(fields)))
    for number, value in enumerate(fields):
        e.b.store(e.word(value), e.at(place, number, I64))
    function = e.b.load(_byte(e, api, offset), typ=I64)
    typed = e.b.inttoptr(function, ir.FunctionType(PTR, [PTR]).as_pointer())
    return e.b.call(typed, [e.pointer(e.word(place))])


def _finish(e: Emit, module: ir.Module, job: Value, task: ir.Function) -> None:
    """This thread's part of the chunks, then a short wait for those that others are still at, then lets go."""
    free, give_way = module.get_global("free"), ir.Function(module, ir.FunctionType(I32, []), "sched_yield")
    e.b.call(task, [job])
    wait, busy, after = (e.function.append_basic_block(name) for name in ("wait", "busy", "all_done"))
    e.b.branch(wait)
    e.b.position_at_end(wait)
    done = e.b.load_atomic(_word(e, job, DONE), "acquire", 8, typ=I64)
    e.b.cbranch(e.less(done, e.get(_word(e, job, TOTAL), I64)), busy, after)
    e.b.position_at_end(busy)
    e.b.call(give_way, [])
    e.b.branch(wait)
    e.b.position_at_end(after)
    holders = e.b.atomic_rmw("sub", _word(e, job, HOLDERS), e.int(1), "acq_rel")
    with e.b.if_then(e.b.icmp_signed("==", holders, e.int(1))):
        e.b.call(free, [job])
