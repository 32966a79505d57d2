"""Arms of a benchmark, each in a process of its own as a user would run it: no library sees another's threads or heap.

They answer one at a time, so that turns can alternate and a ratio compares neighbors in time.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any


class Arm:
    """A child process that runs `serve` of the same script; `ready` is its first answer.

    wait: for that answer; otherwise the caller takes it by `answer`, and may `kill` the process that gives none.
    """

    def __init__(
        self, script: str, arguments: Sequence[object], environment: Mapping[str, str] | None = None, wait: bool = True,
        python: str = sys.executable,
    ):  # fmt: skip
        command = [python, script, "--serve", *map(str, arguments)]
        given = os.environ | dict(environment or {})
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=given
        )
        self.ready = self.answer() if wait else None

    def turn(self, what: object = None) -> Any:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        return self.answer()

    def answer(self) -> Any:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"an arm ended early with code {self._process.wait()}; its message stands above")
        return json.loads(line)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        self._process.communicate()


def serve(ready: Any, turn: Callable[[Any], Any]) -> None:
    """The child's side: says `ready`, then answers every turn."""
    print(json.dumps(ready), flush=True)
    for line in sys.stdin:
        print(json.dumps(turn(json.loads(line))), flush=True)
