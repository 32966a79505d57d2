"""The command line of the benchmarks that read published tables: key=value, as `nas` itself has it, or --key value."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

from nas.core.settings import did_you_mean


def options_of(arguments: Sequence[str], defaults: Mapping[str, str], tables: str = "") -> dict[str, str]:
    """The defaults under what the arguments say; `--quick` alone is "yes".

    tables: what the folder under the key `path` must hold, where one is needed. Raises ValueError.
    """
    options, rest = {**({"path": ""} if tables else {}), **defaults}, iter(arguments)
    for argument in rest:
        key, _, value = argument.removeprefix("--").partition("=")
        if key not in options:
            raise ValueError(f"{key}: unknown key{did_you_mean(key, options)} (keys: {', '.join(options)})")
        options[key] = "yes" if key == "quick" else value or next(rest, "")
    if tables and not options["path"]:
        raise ValueError(f"path: name the folder that holds {tables}")
    return options


def run(main: Callable[[Sequence[str]], int]) -> NoReturn:
    """Ends the process with main's code, or with one line where the user's words or files are at fault."""
    try:
        sys.exit(main(sys.argv[1:]))
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
