"""PyTorch's files and safetensors: read without PyTorch, chosen by a rule, and nothing that they say is done."""

from __future__ import annotations

import json
import os
import random
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas.convert.state_dict import Chosen, choose_by_name
from nas.convert.torch_file import read_torch
from nas.convert.torch_record import read_record
from nas.core.safetensors import from_bytes
from torch_files import (
    WRITERS,
    Global,
    Parameter,
    Record,
    View,
    chained,
    counted,
    legacy_bytes,
    refused,
    torch_bytes,
    write_torch,
    zipped,
)

ONES = np.ones((2, 3), np.float32)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "int64", "int32", "uint8", "bool"])
@pytest.mark.parametrize("form", WRITERS)
def test_every_type_comes_back(form: str, dtype: str, tmp_path: Path) -> None:
    array = (np.arange(6) % 2).astype(dtype).reshape(3, 2)
    got = read_torch(write_torch(tmp_path / "a.pth", {"a": array, "none": np.zeros((0, 4), dtype)}, form)).arrays
    assert got["a"].dtype == array.dtype
    assert np.array_equal(got["a"], array)
    assert got["none"].shape == (0, 4)


@pytest.mark.parametrize("form", WRITERS)
def test_bfloat16_is_given_as_float32(form: str, tmp_path: Path) -> None:
    values = np.array([1.0, -2.5, 3e30], np.float32)
    bits = (values.view(np.uint32) >> 16).astype(np.uint16)
    got = read_torch(write_torch(tmp_path / "a.pt", {"a": bits}, form)).arrays["a"]
    assert got.dtype == np.float32
    assert np.allclose(got, values, rtol=2**-8)


@pytest.mark.parametrize("form", WRITERS)
def test_views_of_one_storage(form: str, tmp_path: Path) -> None:
    storage = np.arange(12, dtype=np.float32)
    tree = OrderedDict(
        rows=View(storage, 0, (3, 4), (4, 1)), columns=View(storage, 0, (4, 3), (1, 4)), part=View(storage, 5, (2, 2), (4, 1)),
        one=View(storage, 11, (), ()), kept=Parameter(ONES),
    )  # fmt: skip
    got = read_torch(write_torch(tmp_path / "a.pth", tree, form)).arrays
    assert list(got) == list(tree)
    assert np.array_equal(got["columns"], storage.reshape(3, 4).T)
    assert np.array_equal(got["part"], [[5, 6], [9, 10]])
    assert got["one"] == 11
    assert np.array_equal(got["kept"], ONES)


def test_numbers_of_a_machine_that_writes_the_high_byte_first(tmp_path: Path) -> None:
    record = Record({"a": ONES})
    (tmp_path / "a.pth").write_bytes(zipped(bytes(record.out), {"0": ONES.astype(">f4").tobytes()}, byteorder=b"big"))
    assert np.array_equal(read_torch(tmp_path / "a.pth").arrays["a"], ONES)


# A checkpoint, the names that are read, what stood before them, and what else there is.
CHECKPOINTS: list[tuple[Any, list[str], str, tuple[str, ...]]] = [
    ({"fc.weight": ONES}, ["fc.weight"], "", ()),
    ({"epoch": 3, "state_dict": {"fc.weight": ONES}, "optimizer": {"state": {0: {"m": ONES}}}}, ["fc.weight"], "state_dict",
     ("epoch", "optimizer")),
    ({"model": {"a": ONES}, "model_ema": {"n_averaged": ONES, "module.b": ONES}}, ["b"], "model_ema.module", ("model",)),
    ({"state_dict": {"model.fc.weight": ONES}}, ["fc.weight"], "state_dict.model", ()),
    ({"module.fc.weight": ONES, "module.fc.bias": ONES}, ["fc.weight", "fc.bias"], "module", ()),
    ({"model.fc.weight": ONES, "head.weight": ONES}, ["model.fc.weight", "head.weight"], "", ()),
    ({"ema.a": ONES, "net.a": ONES}, ["a"], "ema", ("net",)),
    ({"anything": {"a": ONES}, "args": [1, 2.5, "x", None, True, (1,), 2**40]}, ["a"], "anything", ("args",)),
    ({"a": ONES, "step": 4}, ["a"], "", ("step",)),
]  # fmt: skip


@pytest.mark.parametrize("tree, names, place, left", CHECKPOINTS)
def test_the_network_in_a_checkpoint(tree: Any, names: list[str], place: str, left: tuple[str, ...], tmp_path: Path) -> None:
    for form in WRITERS:
        got = read_torch(write_torch(tmp_path / "a.pth", tree, form))
        assert (list(got.arrays), got.place, got.left) == (names, place, left), form


def test_what_is_read_and_what_is_not_is_one_line() -> None:
    assert Chosen({"a": ONES}).note is None
    assert choose_by_name({"ema.a": ONES, "net.a": ONES}).note == "read from ema; not read: net"
    assert str(Chosen({}, "", tuple("abcdefghij")).note).endswith("not read: a, b, c, d, e, f, g, h, ...")


DEEP: dict[str, Any] = {"a": ONES}
for _ in range(14):
    DEEP = {"a": DEEP}
WIDE = b"\x80\x02]q\0(" + b"N" * 60 + b"e"  # lists of lists of one list
for _number in range(1, 5):
    WIDE += b"]q" + bytes([_number]) + b"(" + (b"h" + bytes([_number - 1])) * 60 + b"e"
WIDE += b"}X\x01\0\0\0x}X\x01\0\0\0ah\x04ss."
RECORDS: list[tuple[bytes, str]] = [
    (b"\x80\x02cos\nsystem\n(X\x05\0\0\0touchtR.", "holds os.system"),
    (b"\x80\x02cbuiltins\neval\n(X\x01\0\0\x001tR.", "holds builtins.eval"),
    (b"\x80\x04\x8c\x05posix\x8c\x06system\x93.", "holds posix.system"),
    (b"\x80\x02ctorch.nn.modules.linear\nLinear\n)\x81.", "holds torch.nn.modules.linear.Linear; only tensors in dictionaries"),
    (b"\x80\x02ctorch\nShortStorage\n.", "holds torch.ShortStorage"),
    (b"(ios\nsystem\n.", "operation INST"),
    (b"\x80\x02}}\x81.", "operation NEWOBJ"),
    (b"\x82\x01.", "operation EXT1"),
    (b"\x80\x02Pname\n.", "operation PERSID"),
    (b"\x80\x02\xff.", "operation 0xff"),
    (b"\x80\x02]}b.", "gives a list a state"),
    (b"\x80\x02X\x01\0\0\0a)R.", "calls a str"),
    (b"\x80\x02ctorch\nFloatStorage\n)R.", "calls a torch.FloatStorage"),
    (b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n)R.", "expected 6 to 7 arguments, got 0"),
    (b"\x80\x02ctorch._utils\n_rebuild_parameter\n(K\x01\x88}tR.", "expected a tensor, got a int"),
    (b"\x80\x02(K\x01tQ.", "refers to a tuple outside"),
    (b"\x80\x02}]K\x01s.", "a list as a key"),
    (b"\x80\x02}\x8a\x09\0\0\0\0\0\0\0\0\x01Ns.", "a int as a key"),
    (b"\x80\x02](K\x01K\x02s.", "takes what is not there"),
    (b"\x80\x02NK\x01a.", "appends to a NoneType"),
    (b"\x80\x020.", "takes what is not there"),
    (b"\x80\x02h\x07.", "fetches what it has not kept"),
    (b"", "its record is cut off"),
    (b"\x80\x02X\xff\xff\xff\xffa.", "expected 4294967295 bytes"),
    (b"\x80\x02}q\0X\x01\0\0\0ah\0s.", "holds no arrays"),
    (b"\x80\x02]q\0h\0a.", "it holds a list"),
    (WIDE, "more than 200,000 entries"),
    (b"\x80\x02N.", "it holds a NoneType"),
]  # fmt: skip


@pytest.mark.parametrize("record, words", RECORDS)
def test_a_record_is_read_and_never_run(record: bytes, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "system", lambda *_: pytest.fail("ran"))
    for content in (zipped(record, {}), chained(record, [], b"")):
        (tmp_path / "a.pth").write_bytes(content)
        assert words in refused(tmp_path / "a.pth")


@pytest.mark.parametrize(
    "tree, words",
    [
        ({"a": View(np.zeros(6, np.float32), 1, (2, 3), (3, 1))}, "reaches beyond its storage of 6 numbers"),
        ({"a": View(np.zeros(6, np.float32), 0, (10**6, 10**6), (0, 0))}, "reaches beyond its storage"),
        ({"a": View(np.zeros(6, np.float32), -1, (2,), (1,))}, "a shape or strides that are none"),
        ({"a": View(np.zeros(6, np.float32), 0, (2,), (1, 1))}, "a shape or strides that are none"),
        ({"a": View(np.zeros(6, np.float32), 7, (0,), (1,))}, "reaches beyond its storage"),
        ({"a": np.zeros(3, np.int16)}, "holds torch.ShortStorage"),
        ({"a": Global("numpy", "dtype")}, "holds numpy.dtype"),
        ({"one": {"a": ONES}, "two": {"a": ONES}}, "arrays under one, two; expected those of one network"),
        ({"epoch": 3}, "holds no arrays"),
        ([ONES], "it holds a list"),
        (ONES, "it holds a Tensor"),
        (DEEP, "holds no arrays"),
    ],
)  # fmt: skip
def test_tensors_that_are_not_in_the_file(tree: Any, words: str, tmp_path: Path) -> None:
    for form in WRITERS:
        assert words in refused(write_torch(tmp_path / "a.pth", tree, form))


def test_many_views_of_one_storage_do_not_fill_the_memory(tmp_path: Path) -> None:
    storage = np.zeros(100, np.float32)
    tree = {str(i): View(storage, 0, (100,), (1,)) for i in range(5)}
    for form in WRITERS:
        assert "more than 4 times as large as what they share" in refused(write_torch(tmp_path / "a.pth", tree, form))


GOOD = bytes(Record({"a": ONES}).out)


def deflated(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("net/data.pkl", GOOD)
        archive.writestr("net/data/0", bytes(10**6))


def npz(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, a=ONES)


FILES: list[tuple[Any, str]] = [
    (lambda path: None, "no such file"),
    (lambda path: path.write_bytes(b"weights"), "not what torch.save writes"),
    (lambda path: path.write_bytes(b""), "not what torch.save writes"),
    (lambda path: path.write_bytes(torch_bytes({"a": ONES})[:200]), "File is not a zip file"),
    (npz, "it holds a.npy; expected one data.pkl in a folder"),
    (deflated, "is compressed, which torch.save does not do"),
    (lambda path: path.write_bytes(zipped(GOOD, {})), "storage 0: not in the file"),
    (lambda path: path.write_bytes(zipped(GOOD, {"0": bytes(20)})), "storage 0: 20 bytes, expected 24"),
    (lambda path: path.write_bytes(zipped(GOOD, {"0": bytes(24)}, **{"constants.pkl": b""})), "a TorchScript program"),
    (lambda path: path.write_bytes(zipped(GOOD, {"0": bytes(24)}, byteorder=b"both")), "its byte order is"),
    (lambda path: path.write_bytes(torch_bytes({"a": ONES}).replace(ONES.tobytes(), bytes(24))), "Bad CRC-32"),
]  # fmt: skip


@pytest.mark.parametrize("write, words", FILES)
def test_files_that_torch_did_not_save(write: Any, words: str, tmp_path: Path) -> None:
    write(tmp_path / "a.pth")
    assert words in refused(tmp_path / "a.pth")


TREE = {
    "epoch": 3, "lr": 0.1, "best": None, "names": ["a", ("b", True)],
    "model": OrderedDict([("module.conv.weight", np.ones((2, 1, 3, 3), np.float32)), ("module.bn.running_mean", np.ones(2, np.float16)),
                          ("module.bn.num_batches_tracked", np.array(7)), ("module.fc.weight", Parameter(ONES))]),
    "optimizer": {"state": {0: {"exp_avg": ONES}}, "param_groups": [{"lr": 0.1, "params": [0]}]},
}  # fmt: skip
SPLICES = (
    b"cos\nsystem\n(X\x04\0\0\0exittR", b"cbuiltins\nexec\n", b"(", b"0", b"e", b"u", b"R", b"b", b"Q", b"\x81", b"h\x03", b"]", b"}", b"t",
    b"\x8a\xff", b"X\xff\xff\xff\x7f", b"ctorch\nLongStorage\n", b"q\x01", b"\x8b\xff\xff\xff\x7f", b".",
)  # fmt: skip


def mutated(data: bytes, rng: random.Random) -> bytes:
    """A few bytes changed, taken away, doubled, or put in."""
    out = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at, count = rng.randrange(len(out)), rng.randint(1, 12)
        match rng.randrange(5):
            case 0:
                out[at] = rng.randrange(256)
            case 1:
                del out[at : at + count]
            case 2:
                out[at:at] = out[at : at + count]
            case 3:
                out[at:at] = rng.choice(SPLICES)
            case _:
                out[at : at + 4] = rng.choice((b"\0\0\0\0", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", rng.randbytes(4)))
        out = out or bytearray(b".")
    return bytes(out)


@pytest.mark.parametrize("count", [1000, pytest.param(30_000, marks=pytest.mark.nightly)])
def test_mutated_files_are_one_line_and_nothing_is_run(count: int, memory_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Changed are, in turn: a record under a right checksum, a zip, and the record and all of a file of before 1.6."""
    for module, name in ((os, "system"), (os, "_exit")):
        monkeypatch.setattr(module, name, lambda *_: pytest.fail("ran"))
    record, old, path = Record(TREE), Record(TREE, (None,)), memory_path / "a.pth"
    storages = {str(i): storage.tobytes() for i, storage in enumerate(record.storages)}
    numbers, whole, old_whole = b"".join(map(counted, old.storages)), torch_bytes(TREE), legacy_bytes(TREE)
    writers = (
        lambda rng: zipped(mutated(bytes(record.out), rng), storages), lambda rng: mutated(whole, rng),
        lambda rng: chained(mutated(bytes(old.out), rng), list(storages), numbers), lambda rng: mutated(old_whole, rng),
    )  # fmt: skip
    read = [0] * len(writers)
    for seed in range(count):
        path.write_bytes(writers[seed % len(writers)](random.Random(seed)))
        try:
            read[seed % len(writers)] += bool(read_torch(path).arrays)
        except ValueError as error:
            line = str(error)
            assert line.startswith(f"{path}: "), (seed, line)
            assert line.isprintable(), (seed, line)
    assert all(0 < number < count // len(writers) for number in read), read


def test_a_record_of_many_operations_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.convert.torch_record.MAX_OPERATIONS", 100)
    assert read_record(b"\x80\x02" + b"N0" * 48 + b"N.") is None
    with pytest.raises(ValueError, match="more than 100 operations"):
        read_record(b"\x80\x02" + b"N0" * 50 + b"N.")


def safetensors(header: dict[str, Any], body: bytes) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def entry(dtype: str, shape: list[Any], start: Any, stop: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


@pytest.mark.parametrize(
    "dtype, numbers", [("F16", "<f2"), ("F32", "<f4"), ("F64", "<f8"), ("I64", "<i8"), ("I32", "<i4"), ("U8", "u1"), ("BOOL", "?")]
)
def test_safetensors_of_every_type(dtype: str, numbers: str) -> None:
    array = np.array([[1, 0, 1]], numbers)
    got = from_bytes(safetensors({"__metadata__": {}, "a": entry(dtype, [1, 3], 0, array.nbytes)}, array.tobytes()), "x")["a"]
    assert got.dtype == array.dtype
    assert np.array_equal(got, array)


def test_safetensors_of_bfloat16() -> None:
    assert from_bytes(safetensors({"a": entry("BF16", [2], 0, 4)}, b"\x80\x3f\0\xc0"), "x")["a"].tolist() == [1, -2]


@pytest.mark.parametrize(
    "entries, words",
    [
        ({"a": entry("F32", [3], 0, 8)}, "a: its place is not in the file"),
        ({"a": entry("F32", [2], 4, 12)}, "a: its place is not in the file"),
        ({"a": entry("F32", [-1, -2], 0, 8)}, "a: a shape or a place that is none"),
        ({"a": entry("F32", [2], -8, 8)}, "a: a shape or a place that is none"),
        ({"a": entry("F32", [True, 2], 0, 8)}, "a: a shape or a place that is none"),
        ({"a": entry("F8_E5M2", [8], 0, 8)}, "a: type F8_E5M2; expected one of"),
        ({"a": entry("F32", [2], 0, 8), "b": entry("F32", [2], 0, 8)}, "arrays that lie over one another"),
        ({"a": 3}, "no safetensors file: "),
        ({"a": {}}, "no safetensors file: "),
    ],
)  # fmt: skip
def test_safetensors_that_are_not_as_they_say(entries: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=r"^x: no safetensors file: ") as found:
        from_bytes(safetensors(entries, bytes(8)), "x")
    assert words in str(found.value)
