"""What happens once in a process, whatever threads ask for it."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from nas.core.once import Once
from nas.nn import native


def test_threads_that_ask_at_the_same_time_get_the_result_of_one_call() -> None:
    """`functools.cache` would call the function for each: XLA then refuses the second kernel of a name, and all are left out."""
    calls: list[int] = []
    together, first = threading.Barrier(8), threading.Event()

    @Once
    def made(number: int) -> int:
        calls.append(number)
        first.wait(0.05)  # the others come meanwhile
        return number * 2

    def ask(_: int) -> int:
        together.wait(60)
        return made(3)

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(ask, range(8))) == {6}
    assert calls == [3]
    assert (made(4), calls) == (8, [3, 4])
    made.cache_clear()
    assert (made(3), calls) == (6, [3, 4, 3])


def test_a_failure_is_not_kept_and_a_function_may_ask_for_itself() -> None:
    tries: list[int] = []

    @Once
    def late(number: int) -> int:
        tries.append(number)
        if len(tries) == 1:
            raise ValueError("not yet")
        return late(number - 1) + 1 if number else 0

    with pytest.raises(ValueError, match="not yet"):
        late(2)
    assert late(2) == 2


def test_kernels_are_registered_so() -> None:
    assert all(isinstance(one, Once) for one in (native.available, native._target, native._sums))
