"""What the record of a PyTorch checkpoint says, read without PyTorch and without running any of it.

The record is a program for a small stack machine. This one knows the operations that make plain data, and the few names by
which PyTorch writes tensors; it imports nothing and calls nothing. All else is refused by its name.
"""

from __future__ import annotations

import io
import math
import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

STORAGES = {
    "torch.DoubleStorage": "float64", "torch.FloatStorage": "float32", "torch.HalfStorage": "float16",
    "torch.BFloat16Storage": "bfloat16", "torch.LongStorage": "int64", "torch.IntStorage": "int32",
    "torch.ByteStorage": "uint8", "torch.BoolStorage": "bool",
}  # fmt: skip
CODES = {operation.code: operation for operation in pickletools.opcodes}
MAX_RECORD, MAX_OPERATIONS, MAX_AXES = 64 << 20, 2_000_000, 8
REMEDY = "only tensors in dictionaries are read; save model.state_dict() alone with torch.save"


@dataclass(frozen=True)
class Name:
    """A name of the record, such as `torch.FloatStorage`; it stands for nothing."""

    dotted: str


@dataclass(frozen=True)
class Storage:
    """Numbers that lie in the file under `key`: so many of a type."""

    dtype: str
    key: str
    count: int


@dataclass(frozen=True)
class Tensor:
    """A view of a storage: where it begins, its shape, and for each axis how far the next number is; in numbers."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def size(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape)


def read_record(data: bytes) -> Any:
    """Plain data of a record.

    Args:
        data: The bytes of `data.pkl`.

    Returns:
        Dictionaries, lists, tuples, text, numbers, None, and `Tensor`. Nothing keeps it from holding itself.

    Raises:
        ValueError: Naming what is not understood, in one line.

    Example:
        >>> read_record(b"\\x80\\x02]q\\x00(K\\x01K\\x02e.")
        [1, 2]
    """
    return read_next(io.BytesIO(data))


def read_next(stream: io.BytesIO, storages: dict[str, Storage] | None = None) -> Any:
    """The same of the record that begins where a stream stands; then the stream stands behind its end.

    Args:
        stream: Of bytes in memory.
        storages: For a record of PyTorch before 1.6, whose references to storages have a part more: those that it refers to
            are put here, by key.

    Returns:
        As `read_record`.

    Example:
        >>> stream = io.BytesIO(b"\\x80\\x02K\\x01.\\x80\\x02K\\x02.")
        >>> read_next(stream), read_next(stream)
        (1, 2)
    """
    machine = _Machine(storages)
    for _ in range(MAX_OPERATIONS):
        code = stream.read(1)
        if not code:
            raise ValueError("its record is cut off")
        # Looked up before its argument is read, so that nothing is done for an operation that is not known.
        operation = CODES.get(code.decode("latin-1"))
        name = operation.name if operation else f"0x{code.hex()}"
        if operation is None or name not in OPERATIONS:
            raise ValueError(f"operation {name} of its record is not known; {REMEDY}")
        argument = operation.arg.reader(stream) if operation.arg is not None else None
        if name == "STOP":
            return machine.pop()
        OPERATIONS[name](machine, argument)
    raise ValueError(f"its record has more than {MAX_OPERATIONS:,} operations")


class _Machine:
    """A stack, the heights at which lists of arguments begin, and what later operations may fetch again."""

    def __init__(self, storages: dict[str, Storage] | None) -> None:
        self.storages = storages
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        self._check()
        return self.stack.pop()

    def top(self) -> Any:
        self._check()
        return self.stack[-1]

    def _check(self) -> None:
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise ValueError("its record takes what is not there")

    def mark(self) -> None:
        self.marks.append(len(self.stack))

    def to_mark(self) -> list[Any]:
        if not self.marks:
            raise ValueError("its record takes what is not there")
        height = self.marks.pop()
        items = self.stack[height:]
        del self.stack[height:]
        return items

    def take(self, count: int) -> tuple[Any, ...]:
        return tuple(self.pop() for _ in range(count))[::-1]

    def remember(self, number: int | None) -> None:
        self.memo[len(self.memo) if number is None else number] = self.top()

    def fetch(self, number: int) -> None:
        if number not in self.memo:
            raise ValueError("its record fetches what it has not kept")
        self.push(self.memo[number])

    def name(self, dotted: str) -> None:
        if dotted not in CALLED and dotted not in STORAGES:
            raise ValueError(f"holds {dotted[:100]}; {REMEDY}")
        self.push(Name(dotted))

    def stack_name(self) -> None:
        module, name = self.take(2)
        if type(module) is not str or type(name) is not str:
            raise ValueError("its record names what is no name")
        self.name(f"{module}.{name}")

    def append(self, items: list[Any]) -> None:
        if type(target := self.top()) is not list:
            raise ValueError(f"its record appends to a {_kind(target)}")
        target.extend(items)

    def set_items(self, items: list[Any]) -> None:
        if type(target := self.top()) is not dict:
            raise ValueError(f"its record sets items of a {_kind(target)}")
        target.update(_pairs(items))

    def set_state(self) -> None:
        """Attributes of a dictionary, such as `_metadata` with the versions of layers, and of a parameter: they are left unread."""
        state, target = self.pop(), self.top()
        match target, state:
            case dict(), dict():
                return
            case Tensor(), (bool(), bool(), dict() | None):  # PyTorch before 0.4: has a gradient, is volatile, hooks
                return
            case _:
                raise ValueError(f"its record gives a {_kind(target)} a state; {REMEDY}")

    def call(self) -> None:
        called, arguments = self.take(2)
        if type(called) is not Name or called.dotted not in CALLED or type(arguments) is not tuple:
            raise ValueError(f"its record calls a {_kind(called)}")
        self.push(CALLED[called.dotted](*_fitting(called.dotted, arguments)))

    def storage(self) -> None:
        match self.pop():
            case ("storage", Name(kind), str(key), str(), int(count), *view) if (
                kind in STORAGES and 0 <= count < 2**63 and len(view) == (self.storages is not None)
            ):
                self.push(self._known(Storage(STORAGES[kind], key, count), view))
            case other:
                raise ValueError(f"its record refers to a {_kind(other)} outside, which is no storage of numbers")

    def _known(self, storage: Storage, view: list[Any]) -> Storage:
        """The same, noted where storages are."""
        if self.storages is not None:
            if view != [None]:
                raise ValueError(f"storage {storage.key[:60]} is a part of another one, by view_metadata, which is not read")
            if self.storages.setdefault(storage.key, storage) != storage:
                raise ValueError(f"storage {storage.key[:60]}: of two types or lengths")
        return storage


def _kind(value: Any) -> str:
    return value.dotted if type(value) is Name else type(value).__name__


def _pairs(items: list[Any]) -> dict[Any, Any]:
    """Keys and values in turn. Keys are text or numbers: others could hold themselves, or take long to compare."""
    if len(items) % 2:
        raise ValueError("its record has a key without a value")
    for key in items[::2]:
        if type(key) not in (str, int, float, bool, type(None)) or (type(key) is int and abs(key) >= 2**63):
            raise ValueError(f"its record has a {_kind(key)} as a key")
    return dict(zip(items[::2], items[1::2], strict=True))


def _fitting(dotted: str, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    least, most = ARGUMENTS[dotted]
    if not least <= len(arguments) <= most:
        raise ValueError(f"{dotted}: expected {least} to {most} arguments, got {len(arguments)}")
    return arguments


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Tensor:
    """A tensor that lies inside its storage and holds each number of it at most once."""
    sizes = (shape, strides)
    if type(storage) is not Storage or not all(type(s) is tuple and len(s) <= MAX_AXES for s in sizes):
        raise ValueError("torch._utils._rebuild_tensor: expected a storage, an offset, a shape and strides")
    if len(shape) != len(strides) or not all(type(n) is int and 0 <= n < 2**63 for n in (offset, *shape, *strides)):
        raise ValueError("torch._utils._rebuild_tensor: a shape or strides that are none")
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    count = math.prod(shape)
    if count > storage.count or offset > storage.count or (count and last >= storage.count):
        raise ValueError(f"a tensor of shape {shape} reaches beyond its storage of {storage.count:,} numbers")
    return Tensor(storage, offset, shape, strides)


def _parameter(tensor: Any, *_: Any) -> Tensor:
    if type(tensor) is not Tensor:
        raise ValueError(f"torch._utils._rebuild_parameter: expected a tensor, got a {_kind(tensor)}")
    return tensor


CALLED: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": dict,  # empty; its items are set afterwards
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_tensor": _tensor,  # this and the next are of PyTorch before 0.4
    "torch.nn.parameter.Parameter": _parameter,
}
ARGUMENTS = {
    "collections.OrderedDict": (0, 0), "torch._utils._rebuild_tensor_v2": (6, 7), "torch._utils._rebuild_parameter": (3, 3),
    "torch._utils._rebuild_tensor": (4, 4), "torch.nn.parameter.Parameter": (1, 2),
}  # fmt: skip


def _pushes(value: Callable[[Any], Any]) -> Callable[[_Machine, Any], None]:
    return lambda machine, argument: machine.push(value(argument))


OPERATIONS: dict[str, Callable[[_Machine, Any], object]] = {
    **dict.fromkeys(("PROTO", "FRAME", "STOP"), lambda machine, argument: None),
    **dict.fromkeys(
        ("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
         "BINSTRING", "SHORT_BINSTRING"),
        _pushes(lambda argument: argument),
    ),
    "NONE": _pushes(lambda argument: None),
    "NEWTRUE": _pushes(lambda argument: True),
    "NEWFALSE": _pushes(lambda argument: False),
    "EMPTY_DICT": _pushes(lambda argument: {}),
    "EMPTY_LIST": _pushes(lambda argument: []),
    "EMPTY_TUPLE": _pushes(lambda argument: ()),
    "MARK": lambda machine, argument: machine.mark(),
    "POP": lambda machine, argument: machine.pop(),
    "POP_MARK": lambda machine, argument: machine.to_mark(),
    "DICT": lambda machine, argument: machine.push(_pairs(machine.to_mark())),
    "LIST": lambda machine, argument: machine.push(machine.to_mark()),
    "TUPLE": lambda machine, argument: machine.push(tuple(machine.to_mark())),
    "TUPLE1": lambda machine, argument: machine.push(machine.take(1)),
    "TUPLE2": lambda machine, argument: machine.push(machine.take(2)),
    "TUPLE3": lambda machine, argument: machine.push(machine.take(3)),
    "APPEND": lambda machine, argument: machine.append(list(machine.take(1))),
    "APPENDS": lambda machine, argument: machine.append(machine.to_mark()),
    "SETITEM": lambda machine, argument: machine.set_items(list(machine.take(2))),
    "SETITEMS": lambda machine, argument: machine.set_items(machine.to_mark()),
    "BINPUT": lambda machine, argument: machine.remember(argument),
    "LONG_BINPUT": lambda machine, argument: machine.remember(argument),
    "MEMOIZE": lambda machine, argument: machine.remember(None),
    "BINGET": lambda machine, argument: machine.fetch(argument),
    "LONG_BINGET": lambda machine, argument: machine.fetch(argument),
    "GLOBAL": lambda machine, argument: machine.name(argument.replace(" ", ".", 1)),
    "STACK_GLOBAL": lambda machine, argument: machine.stack_name(),
    "REDUCE": lambda machine, argument: machine.call(),
    "BINPERSID": lambda machine, argument: machine.storage(),
    "BUILD": lambda machine, argument: machine.set_state(),
}  # fmt: skip
