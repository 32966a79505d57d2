"""How `make tpu` reads a compiled program: padding of tiles, and calls of the host."""

import sys

import pytest

from places import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
import tpu

TEXT = """HloModule jit_step

%fused (p: bf16[64,56,56,24]) -> bf16[64,56,56,24] {
  ROOT %inner = bf16[64,56,56,8]{3,2,1,0:T(8,128)(2,1)} bitcast(%p)
}

ENTRY %main (x: bf16[64,28,28,6]) -> (bf16[64,28,28,6], f32[512,128]) {
  %x = bf16[64,28,28,6]{0,3,2,1:T(8,128)(2,1)} parameter(0)
  %small = f32[10]{0:T(128)} parameter(1)
  %fusion.1 = (f32[512,128]{1,0:T(8,128)}, bf16[64,28,28,6]{0,3,2,1:T(8,128)(2,1)S(1)}) fusion(%x), kind=kLoop, calls=%fused
  ROOT %out = f32[512,128]{1,0:T(8,128)} get-tuple-element(%fusion.1), index=0
}
"""


def test_padding_is_what_tiles_take_beside_the_arrays_of_the_entry_computation() -> None:
    padded, own, worst = tpu.padding(TEXT)
    image, table = 2 * 64 * 28 * 28 * 6, 4 * 512 * 128
    assert own == 2 * image + 2 * table
    assert padded == 2 * (2 * 128 * 28 * 28 * 8) + 2 * table  # 64 images in lanes of 128, 6 channels in rows of 8
    assert worst == "bf16[64,28,28,6]"


@pytest.mark.parametrize(
    "line, host",
    [
        ('%c = f32[] custom-call(), custom_call_target="xla_ffi_python_tpu_callback"', True),
        ("%r = (f32[8]{0}, token[]) infeed(%t)", True),
        ("%s = (f32[8], u32[], token[]) send(%a, %t), channel_id=1, is_host_transfer=true", True),
        ("%f = f32[8]{0} fusion(%a), kind=kLoop, calls=%resend_fusion", False),
    ],
)
def test_calls_of_the_host_are_found(line: str, host: bool) -> None:
    assert bool(tpu.HOST.search(line)) == host


@pytest.mark.parametrize(
    "change, fault",
    [
        ({}, None),
        ({"padding": 1.7}, "padding is 1.700, 1.500 before"),
        ({"padding": 1.64}, None),
        ({"memory": 17 * 2**30}, "takes 17.0 GiB, more than the chip has"),
        ({"float64": True}, "computes in float64"),
        ({"host": ["infeed"]}, "calls the host: infeed"),
        ({"fault": "not compiled within 300 s"}, "not compiled within 300 s"),
    ],
)
def test_a_program_fails_by_name_of_what_is_wrong(change: dict[str, object], fault: str | None) -> None:
    row = {"padding": 1.5, "memory": 2**30, "float64": False, "host": [], **change}
    assert tpu._faults("net", row, {"net": 1.5}, 16 * 2**30) == ([fault] if fault else [])
