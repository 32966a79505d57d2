"""`nas explain`: what a network's answers for images rest on, as a page and pictures."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass

from nas.cli.invocation import Invocation
from nas.core.settings import build
from nas.core.text import aligned
from nas.workflows.explain import ExplainSettings
from nas.workflows.explain import explain as run_explain
from nas.workflows.predict import find_bundle
from nas.workflows.progress import Callback
from nas.workflows.run_folder import use_plugins


@dataclass(frozen=True)
class ExplainCommand(ExplainSettings):
    """The keys of conf/explain.yaml."""

    weights: str = ""
    image: str = ""
    arch: str | None = None
    out: str = "explanation"
    plugins: tuple[str, ...] = ()


def explain(call: Invocation) -> None:
    """Writes the page and prints the answers and the receptive field of each layer."""
    command = build(ExplainCommand, call.config, "")
    use_plugins(command.plugins)
    progress = Callback(lambda update: print(update.text, file=sys.stderr))
    found = run_explain(find_bundle(command.weights, command.arch), command.image, command, progress)
    page = found.write(command.out)[0]
    print(aligned([[one.image, one.said] for one in found.images]))
    heads = ["layer", "positions", "receptive field", "stride", ""]
    rows = [[f.name, f"{len(f.rows)}x{len(f.columns)}", f.size, f.stride, "gated" if f.pooled else ""] for f in found.fields]
    print(f"\n{aligned([heads, *rows])}\n\n{os.path.relpath(page)}")
