"""A cluster that refuses the user's token ends a command in one line, before anything joins it."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from nas.runtime.cluster import REFUSED, check_token


@pytest.mark.parametrize(
    "address, code, refused",
    [("head:6379", REFUSED, True), ("head:6379", 0, False), ("head:6379", 1, False), ("auto", REFUSED, False), (None, REFUSED, False),
     ("ray://head:10001", REFUSED, False)],
)  # fmt: skip
def test_a_refused_token_is_one_line(address: str | None, code: int, refused: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", lambda asked, **_: subprocess.CompletedProcess(asked, code))
    if not refused:
        check_token(address)
        return
    with pytest.raises(ValueError, match=r"^executor.address: head:6379 refuses the token of this user; set RAY_AUTH_TOKEN"):
        check_token(address)


def test_who_does_not_answer_is_left_to_the_join(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(asked: Any, timeout: float, **_: Any) -> None:
        raise subprocess.TimeoutExpired(asked, timeout)

    monkeypatch.setattr(subprocess, "run", never)
    check_token("head:6379")


@pytest.mark.ray
def test_a_cluster_knows_its_own_token_from_another(ray_address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check_token(ray_address)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 64)
    with pytest.raises(ValueError, match="refuses the token"):
        check_token(ray_address)
