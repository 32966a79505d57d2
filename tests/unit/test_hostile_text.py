"""Text from files in what is written for others: a name, a class or a note is data there, whatever it holds."""

from __future__ import annotations

import ast
import json
import tempfile
from collections.abc import Callable, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from nas.arch import arch_from_dict
from nas.arch.blocks import lower
from nas.arch.find import find_arch
from nas.core.text import aligned, markdown, one_line
from nas.core.yamlio import dump_yaml, write_text
from nas.latency.profile import Accuracy, Profile
from nas.report import compare, page, summarize
from nas.report.profile import profile_page
from nas.space import Space
from nas.workflows.export import card as cards
from nas.workflows.export.loading import VERSION, load_bundle
from nas.workflows.export.source import flax_source
from nas.workflows.table import Table
from report_makers import HOST, add, measure, new_journal
from small_bundle import ARCH

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
    index = {"version": VERSION, "classes": ["a", "b", "c"], "mean": [0.5], "std": [0.3], "resolution": 8, "channels": 1,
             "resize": "crop", "digest": "0f", "sha256": {}}  # fmt: skip
    (tmp_path / "bundle.json").write_text(json.dumps(index))
    (tmp_path / "arch.yaml").write_text(dump_yaml({**plain, "name": ATTACK}))
    with pytest.raises(ValueError, match="name: expected letters, digits"):
        load_bundle(tmp_path)


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


FACTS: dict[str, Any] = {
    "name": "net", "input": (8, 8, 1), "params": 1, "macs": 1, "task": {"name": "classification", "primary": "accuracy"},
    "test": {"value": 0.5, "images": 2, "metrics": {"accuracy": 0.5}}, "files": [("arch.yaml", "the architecture", "-")], "int8": {},
    "latencies": {"host": 1.0}, "origin": {"seed": 1},
}  # fmt: skip
PARSER = MarkdownIt("commonmark").enable("table")


def parsed(card: str) -> list[Token]:
    return [token for outer in PARSER.parse(card) for token in [outer, *(outer.children or ())]]


def made_card(classes: Sequence[str], **facts: Any) -> list[Token]:
    return parsed(cards.card({**FACTS, **facts}, np.ones((len(classes), len(classes)), int), classes))


def kinds(tokens: Sequence[Token]) -> list[str]:
    """Elements; how text is split into pieces is the parser's affair."""
    return [token.type for token in tokens if token.type not in ("text", "text_special")]


def words(tokens: Sequence[Token]) -> str:
    return "".join(token.content for token in tokens if token.type in ("text", "text_special"))


@settings(max_examples=60)
@given(text, text, text)
@example("a|b", "<b>x</b>", "https://x.y")
def test_the_card_has_the_same_elements_whatever_the_strings_are(one: str, other: str, device: str) -> None:
    origin = {"seed": one, "dataset": {"name": other, "classes": [one, "```", other]}}
    found = made_card((one, other), latencies={device: 1.0}, origin=origin)
    assert kinds(found) == kinds(made_card(("a", "b"), origin={"seed": 1, "dataset": {}}))
    assert one_line(device).strip() in words(found).replace("\u00a0", " ")


@pytest.mark.parametrize("many", [3, cards.MAX_CLASSES + 1])
def test_a_table_of_classes_has_a_row_for_each(many: int) -> None:
    names = [EVIL[i] for i in range(many)]
    assert kinds(made_card(names)) == kinds(made_card([f"c{i}" for i in range(many)]))


@pytest.mark.parametrize("name", ["a_b", "golden_retriever", "größe", "猫", "1.5", "b-c", "model_int8.onnx"])
def test_usual_names_stand_in_markdown_as_they_are(name: str) -> None:
    assert markdown(name) == name


@given(text, text)
def test_a_line_for_people_is_one_line(one: str, other: str) -> None:
    lines = aligned([["a", one], [other, "b"]]).split("\n")
    assert len(lines) == 2
    assert all(char.isprintable() or char in "\u200c\u200d" for char in "".join(lines))


class _Elements(HTMLParser):
    """Elements with the names of their attributes; not what stands in them."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[object] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, [key for key, _ in attrs]))

    def handle_endtag(self, tag: str) -> None:
        self.seen.append(tag)

    def handle_comment(self, data: str) -> None:
        self.seen.append("comment")


def elements(html: str) -> list[object]:
    parser = _Elements()
    parser.feed(html)
    parser.close()
    return parser.seen


def run_pages(one: str, other: str) -> list[str]:
    """The report of a run and a comparison, every string of whose journal is one of the two."""
    settings = {"a": one, "dataset": {"name": other}, "controller": {"name": one}, "list": [one, other]}
    with tempfile.TemporaryDirectory() as folder, new_journal(
        Path(folder), settings=settings, versions={"v": one}, command=other, space={"name": one, "size": 3}
    ) as journal:  # fmt: skip
        trial = add(journal, {"accuracy": 0.9, HOST: 8.0, one: 1.0}, note={"a": other})
        add(journal, {"accuracy": 0.8, HOST: 4.0}, id=other)
        measure(journal, trial, 3.0, one)
        add(journal, {}, "error", one)
        add(journal, {}, "infeasible", other)
        journal.add_event(other, note=one)
        return [page(summarize(journal)), compare({one: journal, f"{other} 2": journal})]


def other_pages(one: str, other: str) -> list[str]:
    accuracy = Accuracy(0.9, 0.9, 0.1, 0.5, 0.5)
    found = Profile(one, {"a": other}, cast(Any, None), (), 1, 1.0, accuracy, accuracy, {"b": one})
    return [profile_page(found, other, one), Table(({"a": one, other: 1.0},))._repr_html_()]


@pytest.mark.parametrize("part", range(6))
def test_pages_of_a_run_have_the_same_elements_whatever_the_strings_are(tmp_path: Path, part: int) -> None:
    one, other = "".join(EVIL[part::6]), "".join(EVIL[part::-1])
    made = run_pages(one, other)
    assert [elements(html) for html in made] == [elements(html) for html in run_pages("one", "other")]
    for html in made:
        write_text(tmp_path / "page.html", html)


@settings(max_examples=40)
@given(text, text)
def test_other_pages_have_the_same_elements_whatever_the_strings_are(one: str, other: str) -> None:
    assert [elements(html) for html in other_pages(one, other)] == [elements(html) for html in other_pages("one", "other")]
