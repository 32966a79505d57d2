"""timm's block lists, all of them: read to as many parameters as its models have, or refused with what the token means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nas.arch.find import find_arch
from nas.cost import cost
from torch_found import needs_torch

if TYPE_CHECKING:
    from timm_lists import TimmList

pytestmark = needs_torch
AT_LEAST = 110
REFUSED = "is not among our blocks"


def outcome(one: TimmList) -> str:
    """`read`, what the model has beside its list, the refusal, or the difference."""
    try:
        params = cost(find_arch(one.data)).params
    except ValueError as error:
        return str(error)
    if one.beside:
        return one.beside
    return "read" if params == one.params else f"{params:,} parameters, timm has {one.params:,}"


def test_lists_are_read_to_equal_parameters_or_refused_by_their_token() -> None:
    from timm_lists import lists

    found = {one.name: (outcome(one), one.beside) for one in lists()}
    read = [name for name, (said, _) in found.items() if said == "read"]
    print(f"{len(read)} of {len(found)} lists are read to equal parameters")
    for name, (said, _) in found.items():
        if said != "read":
            print(f"{name}: {said}")
    unexplained = {n: said for n, (said, beside) in found.items() if said not in ("read", beside) and REFUSED not in said}
    assert not unexplained
    assert len(read) >= AT_LEAST
