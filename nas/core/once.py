"""What is to happen once in a process, whatever threads ask for it."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Generic, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class Once(Generic[P, R]):
    """`functools.cache` whose function runs once for the same arguments: a second thread waits for the first one's result.

    Example:
        >>> @Once
        ... def register(name: str) -> str:
        ...     print("registered", name)
        ...     return name
        >>> register("a") + register("a")
        registered a
        'aa'
    """

    def __init__(self, function: Callable[P, R]):
        self._function, self._kept, self._lock = function, functools.cache(function), threading.RLock()
        functools.update_wrapper(self, function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        with self._lock:
            return self._kept(*args, **kwargs)

    def cache_clear(self) -> None:
        """Forgets all results."""
        with self._lock:
            self._kept.cache_clear()
