"""Programs of trainings to come, compiled in a thread while another training runs.

ahead = Ahead()
begin_fit(ahead, next_arch, dataset, recipe)     # returns at once
fit(arch, dataset, recipe, seed, ahead=ahead)    # takes its program from there, and waits for one that is not ready yet
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import replace

from nas.train.trainer import Program

KEPT = 2  # programs that nobody has taken yet


class Ahead:
    """Programs by what they compute. One thread compiles one at a time; a program is taken once."""

    def __init__(self) -> None:
        self._programs: OrderedDict[Hashable, Future[Program]] = OrderedDict()
        self._lock, self._busy = threading.Lock(), threading.Lock()

    def begin(self, key: Hashable, made: Callable[[], Program]) -> None:
        """Compiles in the background, unless the program is there or on its way. An error is the training's, which meets it again."""
        with self._lock:
            if key in self._programs:
                return
            while len(self._programs) >= KEPT:
                self._programs.popitem(last=False)[1].cancel()
            future = self._programs[key] = Future[Program]()
        threading.Thread(target=self._compile, args=(future, made), daemon=True).start()

    def take(self, key: Hashable) -> Program | None:
        """The program, whose `hidden_s` are the seconds of its compilation that nobody waited for; None: it was not begun, or failed."""
        with self._lock:
            future = self._programs.pop(key, None)
        if future is None or future.cancel():  # not begun to compile: the training does it at once
            return None
        began = time.perf_counter()
        if future.exception() is not None:
            return None
        program = future.result()
        return replace(program, hidden_s=max(0.0, program.compile_s - (time.perf_counter() - began)))

    def _compile(self, future: Future[Program], made: Callable[[], Program]) -> None:
        with self._busy:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(made())
            except Exception as error:
                future.set_exception(error)
