"""`nas <command> key=value ..`: dispatch, help, and errors as one line."""

from __future__ import annotations

import importlib
import logging
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from nas.settings import nearest

USER_ERROR, INTERNAL_ERROR, INTERRUPTED = 2, 1, 130


@dataclass(frozen=True)
class Command:
    """A command: the YAML in conf/ that holds its keys, the function that runs it, a line and examples for the help."""

    summary: str
    function: str
    examples: tuple[str, ...]


COMMANDS = {
    "search": Command(
        "search a space for the Pareto front of accuracy against cost on your data and device",
        "nas.cli.search:search",
        (
            "nas search                                        tiny space, digits, this machine",
            "nas search dataset=folder dataset.path=photos space=mobilenet_v3 trials=100",
            "nas search controller=evolution seed=1 objective.limits.params=200000",
            "nas search executor=ray executor.address=auto     on a running Ray cluster",
            "nas search -m seed=0,1,2 run=runs/seeds           a sweep: runs/seeds/0, /1, /2",
            "nas search trials=48                              goes on with the first run up to 48",
        ),
    ),
    "cost": Command(
        "parameters, multiply-adds and activation memory of an architecture, layer by layer",
        "nas.cli.cost:show_cost",
        (
            "nas cost arch=mobilenet_v3_large",
            "nas cost arch=runs/default/best.yaml resolution=64 json=true",
            'nas cost arch="ds_r1_k3_s1_e1_c16_noskip,ir_r2_k3_s2_e6_c24_se0.25_nre"',
        ),
    ),
    "bench": Command(
        "compare controllers on a published table of trained networks",
        "nas.cli.bench:bench",
        (
            "nas bench path=downloads/nas_bench_macro controllers=[random,guided] evaluations=60 seeds=10",
            "nas bench benchmark=accel_nasbench path=downloads/accel_nasbench cost=latency_ms/a100 evaluations=300",
        ),
    ),
    "profile": Command(
        "measure networks on a device, fit the latency predictor, and say how good it is",
        "nas.cli.profile:profile",
        (
            "nas profile space=mobilenet_v3 device=litert resolution=96",
            "nas profile space=my_space.yaml device=host samples=200 out=host.json",
            "nas search space=mobilenet_v3 device=litert device.litert.predictor=predictor-litert.json",
        ),
    ),
    "report": Command(
        "write the report of a run again, or compare several runs",
        "nas.cli.report:report",
        (
            "nas report run=runs/default",
            "nas report run=runs/default json=true",
            "nas report run=runs/default scaled=[runs/family]",
            "nas report runs=[runs/a,runs/b] out=compare.html",
        ),
    ),
    "status": Command(
        "how a run stands, from another terminal while it goes on",
        "nas.cli.status:status",
        ("nas status run=runs/default", "nas status run=runs/default json=true"),
    ),
    "export": Command(
        "a trained network as a bundle (ONNX, TFLite, StableHLO, source); an architecture as block strings or YAML",
        "nas.cli.export:export",
        (
            "nas export weights=runs/net/weights.npz",
            "nas export arch=mnasnet_a1 formats=[timm,tf]",
            "nas export arch=runs/default/best.yaml formats=[yaml] out=exported",
        ),
    ),
    "adapt": Command(
        "shrink a trained network step by step to a latency (NetAdapt)",
        "nas.cli.adapt:adapt",
        (
            "nas adapt weights=runs/net/weights.npz",
            "nas adapt weights=runs/net/weights.npz target_ms=0.5 device=[host] adapt.step=0.03",
        ),
    ),
    "scale": Command(
        "scale an architecture: a family by compound scaling, to budgets, or by coefficients found on your data",
        "nas.cli.scale:scale",
        (
            "nas scale arch=efficientnet_b0 preset=efficientnet phi=[1,2,3,4,5,6,7]",
            "nas scale arch=runs/default/best.yaml phi=[1,2] run=runs/family",
            "nas scale arch=runs/default/best.yaml target_ms=[1,2,4] device=[host]",
            "nas scale arch=runs/default/best.yaml grid.search=true dataset=folder dataset.path=photos",
        ),
    ),
    "predict": Command(
        "classify images with an exported network",
        "nas.cli.predict:predict",
        ("nas predict weights=runs/net/bundle image=photo.jpg", "nas predict weights=runs/net/bundle image=photos/ json=true"),
    ),
    "train": Command(
        "train an architecture on a dataset and keep its weights",
        "nas.cli.train:train",
        (
            "nas train arch=runs/default/best.yaml",
            "nas train arch=runs/default/best.yaml dataset=digits recipe.epochs=40",
            "nas train arch=mobilenet_v3_large weights=keras:v3.keras dataset=folder dataset.path=photos",
        ),
    ),
}


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """The console script. Exit codes: 0 done, 1 a fault of ours, 2 a mistake in the command or its files, 130 interrupted."""
    sys.exit(run(list(sys.argv[1:] if argv is None else argv)))


def run(argv: list[str]) -> int:
    """Runs one command line and returns its exit code."""
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(overview())
        return 0
    if argv[0] in ("-V", "--version", "version"):
        from nas import __version__

        print(f"nas {__version__}")
        return 0
    name = argv[0]
    if name not in COMMANDS:
        near = nearest(name, COMMANDS)
        return fail(
            f"unknown command {name!r}; " + (f"did you mean {near!r}?" if near else f"commands: {', '.join(COMMANDS)}")
        )
    if any(arg in ("-h", "--help") for arg in argv[1:]):
        from nas.cli.help import command_help

        print(command_help(name, COMMANDS[name], argv[1:]))
        return 0
    signal.signal(signal.SIGTERM, _terminate)
    _settle_environment()
    return _call(name, argv[1:])


def _settle_environment() -> None:
    """The driver keeps off accelerators, which are the workers', and its arithmetic is the same on any number of cores.

    Workers get the user's own JAX_PLATFORMS back. Must run before numpy and jax are imported.
    """
    os.environ.setdefault("NAS_WORKER_PLATFORMS", os.environ.get("JAX_PLATFORMS", ""))
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")


def _call(name: str, args: list[str]) -> int:
    from nas.cli.hydra_door import explain, with_config

    module, function = COMMANDS[name].function.split(":")
    try:
        with_config(name, args, getattr(importlib.import_module(module), function))
    except KeyboardInterrupt as stop:
        print(f"\n{stop}" if str(stop) else "\nstopped", file=sys.stderr)
        return INTERRUPTED
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else INTERNAL_ERROR
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except Exception as error:
        return _report(name, args, error, explain)
    return 0


def _report(name: str, args: list[str], error: Exception, explain: object) -> int:
    import traceback

    logs = [h.baseFilename for h in logging.getLogger().handlers if isinstance(h, logging.FileHandler)]
    if logs:
        logging.getLogger("nas").error("nas %s %s", name, " ".join(args), exc_info=error)
    line = explain(name, error)  # type: ignore[operator]
    if line is not None:
        return fail(line)
    if not logs:
        traceback.print_exception(error)
    where = f"; the traceback is in {os.path.relpath(logs[0])}" if logs else ""
    return fail(f"internal error: {type(error).__name__}: {' '.join(str(error).split())[:300]}{where}", INTERNAL_ERROR)


def fail(line: str, code: int = USER_ERROR) -> int:
    print(f"nas: {line}", file=sys.stderr)
    return code


def _terminate(*_: object) -> None:
    raise KeyboardInterrupt


def overview() -> str:
    """What `nas --help` prints."""
    rows = "\n".join(f"  {name:<8} {command.summary}" for name, command in COMMANDS.items())
    examples = "\n".join(f"  {example}" for example in COMMANDS["search"].examples[:3])
    return f"""nas: neural architecture search for your images, your device, your machines

usage: nas <command> [key=value ...]

{rows}

Every setting is a key=value pair; `nas <command> --help` explains them and lists the choices,
`nas <command> --cfg job` shows the settings that a command line would run with, `-m` runs a sweep.

{examples}

A run lives in one folder (runs/<name>): the same command goes on where it stopped, a larger trials= extends it.
Results: report.html, front.csv, front/<id>.yaml and best.yaml in that folder."""
