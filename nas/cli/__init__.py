"""`nas <command> key=value ..`: dispatch, help, and errors as one line."""

from __future__ import annotations

import importlib
import io
import os
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import NoReturn

from nas.cli.commands import COMMANDS
from nas.core.settings import nearest

USER_ERROR, INTERNAL_ERROR, INTERRUPTED = 2, 1, 130


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """The console script. Exit codes: 0 done, 1 a fault of ours, 2 a mistake in the command or its files, 130 interrupted."""
    sys.exit(run(list(sys.argv[1:] if argv is None else argv)))


def run(argv: list[str]) -> int:
    """Runs one command line and returns its exit code."""
    _print_anything()
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(overview())
        return 0
    if argv[0] in ("-V", "--version", "version"):
        from nas.core.version import __version__

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


def _print_anything() -> None:
    """A name in letters that a terminal lacks is shown by its code, and ends no command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _settle_environment() -> None:
    """The driver keeps off accelerators, which are the workers', and its arithmetic is the same on any number of cores.

    Workers get the user's own JAX_PLATFORMS back. Must run before numpy and jax are imported.
    """
    os.environ.setdefault("NAS_WORKER_PLATFORMS", os.environ.get("JAX_PLATFORMS", ""))
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")


def _call(name: str, args: list[str]) -> int:
    from nas.cli.hydra_door import JobsFailed, explain, with_config

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
    except JobsFailed as sweep:
        codes = [_report(error, partial(explain, name, args), f"{job}: ") for job, error in sweep.failures]
        return min(codes)
    except Exception as error:
        return _report(error, partial(explain, name, args))
    return 0


def _report(error: Exception, explain: Callable[[Exception], str | None], job: str = "") -> int:
    import traceback

    line = explain(error)
    if line is not None:
        return fail(job + line)
    notes = getattr(error, "__notes__", ())
    if not notes:
        traceback.print_exception(error)
    where = f"; {notes[-1]}" if notes else ""
    return fail(f"{job}internal error: {type(error).__name__}: {' '.join(str(error).split())[:300]}{where}", INTERNAL_ERROR)


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

A run lives in one folder (runs/<name>): the same command resumes where it stopped, a larger trials= extends it.
Results: report.html, front.csv, front/<id>.yaml and best.yaml in that folder."""
