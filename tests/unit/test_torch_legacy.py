"""PyTorch's files of before 1.6: what they hold, and every way in which their parts do not fit together, in one line."""

from __future__ import annotations

import io
import struct
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas.convert.torch_file import read_torch
from torch_files import FACTS, OldParameter, Record, View, chained, counted, legacy_bytes, refused, write_torch

ONES, HALF = np.ones((2, 3), np.float32), np.arange(4, dtype=np.float16)
GOOD = bytes(Record({"a": ONES, "b": HALF}, (None,)).out)
KEYS, NUMBERS = ["0", "1"], counted(ONES) + counted(HALF)


def test_storages_lie_in_the_order_of_the_keys(tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_bytes(chained(GOOD, ["1", "0"], counted(HALF) + counted(ONES)))
    got = read_torch(tmp_path / "a.pth").arrays
    assert np.array_equal(got["a"], ONES)
    assert np.array_equal(got["b"], HALF)


def test_parameters_of_before_0_4(tmp_path: Path) -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    got = read_torch(write_torch(tmp_path / "a.pth", {"a": OldParameter(array), "b": HALF}, "legacy")).arrays
    assert list(got) == ["a", "b"]
    assert np.array_equal(got["a"], array)


def tar() -> bytes:
    with tarfile.open(fileobj=(buffer := io.BytesIO()), mode="w") as archive:
        archive.addfile(tarfile.TarInfo("sys_info"), io.BytesIO())
    return buffer.getvalue()


def changed(count: int) -> bytes:
    """The numbers, with another count of the second storage."""
    return counted(ONES) + struct.pack("<q", count) + HALF.tobytes()


TWO_TYPES = (
    b"\x80\x02}(X\x01\0\0\0a((X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x06NtQ"
    b"(X\x07\0\0\0storagectorch\nHalfStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x06NtQtu."
)
STATE = (
    b"\x80\x02ctorch._utils\n_rebuild_tensor\n((X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x06NtQ"
    b"K\0))tR(K\x01tb."
)
SELF = b"\x80\x02]q\0h\0a."
FILES: list[tuple[bytes, str]] = [
    (tar(), 'a tar, as the first versions of PyTorch wrote; where PyTorch is, and you trust the file: torch.save(torch.load("old.pth"'),
    (chained(GOOD, KEYS, NUMBERS, version=1002), "version 1002 of the format before PyTorch 1.6; 1001 is known"),
    (chained(GOOD, KEYS, NUMBERS, version=2**40), "version int of the format"),
    (chained(GOOD, KEYS, NUMBERS, version=[1001]), "version list of the format"),
    (chained(GOOD, KEYS, NUMBERS, facts={**FACTS, "little_endian": False}), "writes the high byte first; of such files those since"),
    (chained(GOOD, KEYS, NUMBERS, facts={**FACTS, "little_endian": 1}), "does not say by little_endian in which order"),
    (chained(GOOD, KEYS, NUMBERS, facts=[1]), "does not say by little_endian in which order"),
    (chained(GOOD, KEYS, NUMBERS, facts={"a": ONES}), "in which order"),
    (chained(bytes(Record({"a": ONES}).out), ["0"], counted(ONES)), "refers to a tuple outside"),
    (chained(bytes(Record({"a": ONES}, (None, None)).out), ["0"], counted(ONES)), "refers to a tuple outside"),
    (chained(bytes(Record({"a": ONES}, (("1", 0, 6),)).out), ["0"], counted(ONES)), "storage 0 is a part of another one, by view_metadata"),
    (chained(bytes(Record({"a": ONES}, (0,)).out), ["0"], counted(ONES)), "storage 0 is a part of another one"),
    (chained(TWO_TYPES, ["0"], counted(ONES)), "storage 0: of two types or lengths"),
    (chained(STATE, ["0"], counted(ONES)), "gives a Tensor a state"),
    (chained(GOOD, ["0"], counted(ONES)), "storage 1: not in the file"),
    (chained(GOOD, [*KEYS, "2"], NUMBERS + counted(ONES)), "storage 2: in the file, but no tensor's"),
    (chained(GOOD, ["0", "1", "0"], NUMBERS + counted(ONES)), "its list of storages names one twice"),
    (chained(GOOD, [0, 1], NUMBERS), "its list of storages is none"),
    (chained(GOOD, None, NUMBERS), "its list of storages is none"),
    (chained(GOOD, {"0": 1, "1": 2}, NUMBERS), "its list of storages is none"),
    (chained(GOOD, KEYS, NUMBERS[:-1]), "storage 1: cut off, by 1 bytes"),
    (chained(GOOD, KEYS, counted(ONES)), "storage 1: cut off, by 16 bytes"),
    (chained(GOOD, KEYS, counted(ONES) + b"\x04\0"), "storage 1: cut off, by 14 bytes"),
    (chained(GOOD, KEYS, b""), "storage 0: cut off, by 32 bytes"),
    (chained(GOOD, KEYS, NUMBERS + b"abc"), "3 bytes follow its last storage"),
    (chained(GOOD, KEYS, changed(5)), "storage 1: 5 numbers, expected 4"),
    (chained(GOOD, KEYS, changed(-1)), "storage 1: -1 numbers, expected 4"),
    (chained(GOOD, KEYS, changed(2**62)), "storage 1: 4,611,686,018,427,387,904 numbers, expected 4"),
    (legacy_bytes({"a": ONES})[:15], "its record is cut off"),
    (legacy_bytes({"a": ONES})[:40], "no PyTorch weights: "),
    (chained(SELF, [], b""), "it holds a list"),
]  # fmt: skip


@pytest.mark.parametrize("content, words", FILES)
def test_files_whose_parts_do_not_fit_together(content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_bytes(content)
    assert words in refused(tmp_path / "a.pth")


def test_a_storage_that_the_file_cannot_hold_takes_no_memory(tmp_path: Path) -> None:
    tree: Any = {"a": View(np.lib.stride_tricks.as_strided(np.zeros(1, np.float32), (2**30,), (0,)), 0, (2**30,), (1,))}
    count = struct.pack("<q", 2**30)
    (tmp_path / "a.pth").write_bytes(chained(bytes(Record(tree, (None,)).out), ["0"], count + bytes(64)))
    assert "storage 0: cut off, by 4,294,967,232 bytes" in refused(tmp_path / "a.pth")


def test_a_record_that_is_too_long_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.convert.torch_legacy.MAX_RECORD", 200)
    assert "its record has more than 0 MiB" in refused(write_torch(tmp_path / "a.pth", {"a": ONES}, "legacy"))
