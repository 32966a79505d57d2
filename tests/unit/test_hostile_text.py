"""Text from files in what is written for others: a name, a class or a note is data there, whatever it holds."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nas.arch import arch_from_dict
from nas.arch.blocks import lower
from nas.arch.find import find_arch
from nas.core.yamlio import dump_yaml
from nas.space import Space
from nas.workflows.export.bundle import load_bundle, make_bundle
from nas.workflows.export.source import flax_source
from small_bundle import ARCH, DATA, WEIGHTS

ATTACK = '"""; __import__("os").system("touch x"); """y'
EVIL = [ATTACK, '"""', "'''", "\\", '\\"""', "\\N{x}", "{name}", "{0.__class__}", "%s", "\n", "\r\nimport os",
        "# x", "a | b", "|", "`", "```",
        "~~~", "<script>alert(1)</script>", "<img src=x onerror=y>", "<!--", "-->", "]]>", "&lt;", "[x](http://y)",
        "![x](y)", "* x", "1. x",
        "---", "$x$", "@x", "http://x.y", "\0", "\x1b[31m", "\u202e", "\ud800", "</title>", "\" onload=\"x", "=1+1", "../../x"]  # fmt: skip
text = st.lists(st.one_of(st.sampled_from(EVIL), st.text(max_size=8)), min_size=1, max_size=4).map("".join)
plain = ARCH.to_dict()


READERS: dict[str, Callable[[str], object]] = {
    "architecture": lambda name: arch_from_dict({**plain, "name": name}, "f"),
    "block strings": lambda name: find_arch({"blocks": "ds_r1_k3_s1_e1_c16_noskip", "name": name}),
    "space": lambda name: Space.from_dict({**plain, "name": name}, "f"),
}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
@pytest.mark.parametrize("name", [ATTACK, "", "a b", "../x", "..", ".x", "-rf", "a/b", "a\n", "a\0", "a'b", 'a"b', "{a}", "a" * 201, "=1"])
def test_a_name_is_a_word_wherever_one_is_read(read: Callable[[str], object], name: str) -> None:
    with pytest.raises(ValueError, match="name: expected letters, digits"):
        read(name)
    read("größe_2.5-b")


@pytest.mark.parametrize("file, name", [("my net (2)", "my_net_2"), ("'; x", "x"), ("--", "arch"), ("b0.5", "b0.5"), ("_x", "_x")])
def test_what_has_no_name_gets_a_word_after_its_file(tmp_path: Path, file: str, name: str) -> None:
    path = tmp_path / f"{file}.yaml"
    path.write_text(dump_yaml({key: value for key, value in plain.items() if key != "name"}))
    assert find_arch(str(path)).name == name


def test_a_bundle_with_such_a_name_is_refused(tmp_path: Path) -> None:
    make_bundle(tmp_path / "b", ARCH, WEIGHTS, DATA, [])
    index = tmp_path / "b" / "bundle.json"
    index.write_text(re.sub(r'"sha256": \{[^}]*\}', '"sha256": {}', index.read_text()))
    (tmp_path / "b" / "arch.yaml").write_text(dump_yaml({**plain, "name": ATTACK}))
    with pytest.raises(ValueError, match="name: expected letters, digits"):
        load_bundle(tmp_path / "b")


class _Blank(ast.NodeTransformer):
    def visit_Constant(self, node: ast.Constant) -> ast.Constant:
        return ast.Constant("") if isinstance(node.value, str) else node


def shape(source: str) -> str:
    """The program without what its strings hold."""
    return ast.dump(_Blank().visit(ast.parse(source)))


GRAPH = lower(ARCH)
USUAL = shape(flax_source(GRAPH, "net", ("a", "b"), (0.5,), (0.3,)))


@settings(max_examples=40)
@given(text, text, text)
@example(ATTACK, ATTACK, ATTACK)
def test_source_is_the_same_program_whatever_the_strings_are(name: str, one: str, other: str) -> None:
    source = flax_source(GRAPH, name, (one, other), (0.5,), (0.3,))
    assert shape(source) == USUAL
    names = {target.id: node.value for node in ast.parse(source).body if isinstance(node, ast.Assign)
             for target in node.targets if isinstance(target, ast.Name)}  # fmt: skip
    assert [ast.literal_eval(names[key]) for key in ("NAME", "CLASSES")] == [name, (one, other)]
