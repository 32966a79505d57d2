"""How many proposals run ahead of results: chosen when a run begins, kept in its journal, and the same ever after."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nas.journal import Journal

LOCAL = 4  # on one machine, whatever its workers, so that a run is the same on another
KEY = "search.in_flight"


def choose_in_flight(given: int | None, journal: Journal, capacity: int, on_cluster: bool, group: int = 1) -> tuple[int, str]:
    """The number, written into the run's identity, and a line for the user or "".

    Args:
        given: `search.in_flight`.
        journal: Of the run.
        capacity: Trials that the workers can run at once, now.
        on_cluster: Whether the workers are a cluster's: a run that begins there uses all of it.
        group: Trials that a worker trains together: on one machine there are at least as many as one takes.
    """
    identity: dict[str, Any] = dict(journal.get("identity", {}))
    search: Mapping[str, Any] = identity.get("search", {})
    known = search.get("in_flight")
    chosen = known if given is None else given
    if chosen is None:
        chosen = max(capacity, 1) * group if on_cluster else max(LOCAL, group - 1)
    if chosen != known:
        journal.put("identity", {**identity, "search": {**search, "in_flight": chosen}})
    return chosen, _line(chosen, given, known, capacity, on_cluster, group)


def _line(chosen: int, given: int | None, known: int | None, capacity: int, on_cluster: bool, group: int) -> str:
    if chosen + 1 < group:
        return f"{KEY}={chosen} lets a worker train {chosen + 1} of {group} trials together; a larger one makes another run"
    if chosen + 1 < capacity:
        return f"{KEY}={chosen} keeps {chosen + 1} of {capacity} workers busy; a larger one makes another run"
    if on_cluster and given is None and known is None:
        return f"{KEY}={chosen}, what the cluster runs at once; set it to repeat this run elsewhere"
    return ""
