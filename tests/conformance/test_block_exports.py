"""Every block computes the same as StableHLO, in ONNX Runtime and in LiteRT. (The source has a line a primitive, which is tested there.)"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from block_cases import CASES
from nas.arch.blocks import BLOCKS
from nas.testing import check_exports, exports
from nas.workflows.export import FORMATS
from nas.workflows.export.formats import Format

# Blocks whose knobs take layers away or change their order; the others are as in the table of all blocks.
FORMS: dict[str, dict[str, Any]] = {
    "uib, feed-forward": {"op": "uib", "width": 24, "expand": 2, "mid_kernel": 0},
    "uib, ConvNeXt-like": {"op": "uib", "width": 24, "expand": 2, "start_kernel": 7, "mid_kernel": 0, "act": "gelu"},
    "uib, the stride at its end": {"op": "uib", "width": 16, "expand": 2, "mid_kernel": 0, "end_kernel": 5, "act": "hswish"},
}


def test_every_block_is_exported_as_it_is() -> None:
    blocks = {op: {"op": op, **knobs} for op, knobs in CASES.items()}
    assert set(blocks) == set(BLOCKS)
    check_exports({**blocks, **FORMS}, ["stablehlo", "onnx", "tflite"])


def test_a_block_that_differs_is_named_with_its_format(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second block's outputs at stride 2 are one off in one value."""
    blocks = {"first": {"op": "max_pool"}, "second": {"op": "avg_pool"}}

    def run(path: Path, images: np.ndarray) -> np.ndarray:
        together = exports.side_by_side(blocks)
        outputs = exports.own(together.graph, exports.typical_values(together.graph), images).copy()
        outputs[0, -1] += 1
        return outputs

    monkeypatch.setitem(FORMATS, "odd", Format("odd", lambda _: b"", run))
    with pytest.raises(AssertionError, match=r"^odd: an exported block computes what the block does: second with stride 2 by 1$"):
        check_exports(blocks, ["odd"])
