"""Blocks that come as functions, such as those of a notebook: known to this process alone, under a name of their own."""

from __future__ import annotations

from nas.arch import Arch
from nas.arch.blocks.registry import BLOCKS, HEADS, BlockFn

PRIVATE: dict[str, tuple[str, str, str]] = {}  # op: (op, qualified name, version)


def register_block(op: str, function: BlockFn, version: str = "") -> tuple[str, str, str]:
    """Adds a block to `BLOCKS` for the life of this process.

    A function of the same qualified name replaces the earlier one, as when a notebook's cell runs again.

    Args:
        op: its name in architectures and spaces.
        function: called as `function(g, x, stride=.., **knobs)`; see `nas.arch.blocks`.
        version: part of its identity; change it when its code changes.

    Returns:
        Its identity: (op, qualified name, version).

    Raises:
        ValueError: where another block has the name.
    """
    identity = (op, f"{function.__module__}.{function.__qualname__}", version)
    taken = op in HEADS or (op in BLOCKS and BLOCKS[op] is not function)
    if taken and (op not in PRIVATE or PRIVATE[op][1] != identity[1]):
        raise ValueError(f"blocks: the name {op!r} is taken")
    if op not in BLOCKS or op in PRIVATE:  # a plugin's block passed in again is no private one
        BLOCKS[op], PRIVATE[op] = function, identity
    return identity


def refuse_private(arch: Arch, action: str) -> None:
    """Raises ValueError where a block of `arch` is known to this process alone. `action`: `export it`, `use executor=ray`."""
    for _, block, _ in arch.layers():
        if block.op in PRIVATE:
            raise ValueError(
                f"{arch.name}: the block {block.op!r} is a function of this process ({PRIVATE[block.op][1]}); to {action}, put it "
                f"into a module as BLOCKS = {{{block.op!r}: ..}} and name that module in plugins="
            )
