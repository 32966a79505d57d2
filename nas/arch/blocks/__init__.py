"""Every block of the family, defined once as a plain function from its knobs to primitives, and the lowering of an Arch.

`BLOCKS` maps the `op` of a file to its function; the signature is the schema. A block function is called as
`block(g, x, stride=.., **knobs)` with the graph builder, the node that feeds it and its stride, and returns its output node.
`HEADS` are called with `classes=` instead of the stride, and with `taps=`, a `Taps`, where they have that argument: the feature maps
of earlier layers. A new block is one function and one line:

    def my_block(g, x, *, stride, width: int, kernel: int = 3, act: str = "relu"):
        return g.conv_norm_act(x, width, kernel, stride, act, "conv")
    BLOCKS = {"my_block": my_block}
"""

from nas.arch.blocks.lowering import arch_id, builder, lower, lower_alone, lower_head, lower_layer, tapped
from nas.arch.blocks.parts import make_divisible, squeeze_excite
from nas.arch.blocks.private import PRIVATE, refuse_private, register_block
from nas.arch.blocks.registry import BLOCKS, HEADS, WIDTHS, BlockFn, knob_values, knobs_of, reads_taps, resolve
from nas.arch.blocks.taps import Taps, TapShapes

__all__ = [
    "BLOCKS",
    "HEADS",
    "PRIVATE",
    "WIDTHS",
    "BlockFn",
    "TapShapes",
    "Taps",
    "arch_id",
    "builder",
    "knob_values",
    "knobs_of",
    "lower",
    "lower_alone",
    "lower_head",
    "lower_layer",
    "make_divisible",
    "reads_taps",
    "refuse_private",
    "register_block",
    "resolve",
    "squeeze_excite",
    "tapped",
]
