"""What another setting would do better, by what was measured."""

from __future__ import annotations

from collections.abc import Mapping

from nas.objectives import Objectives
from nas.records import JSON

LEADS_FROM = 50  # evaluations from which `bayesian` is ahead in every table of docs/guides/controller-figures.md; a test reads them


def controller_hint(settings: Mapping[str, JSON], objectives: Objectives) -> str:
    """When `controller=bayesian` would serve better than the default controller; empty where that is not known.

    Args:
        settings: Of the run.
        objectives: Of the run; with fewer than two there is no front.

    Returns:
        One line.
    """
    controller = settings.get("controller")
    if not isinstance(controller, Mapping) or controller.get("name") != "mnasnet" or len(objectives.metrics) < 2:
        return ""
    return (
        f"controller=bayesian would serve better for a front of {LEADS_FROM} trials or more: on published tables it leads from there "
        "on; mnasnet follows the reward (docs/guides/controllers.md)"
    )
