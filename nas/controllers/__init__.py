"""Controllers by name. A new one is a file with a frozen settings dataclass, a line here and a conf/controller/<name>.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nas.controllers.base import Controller, History, Problem, fresh
from nas.controllers.evolution import Evolution
from nas.controllers.guided import Guided
from nas.controllers.halving import Halving
from nas.controllers.local import Local
from nas.controllers.mnasnet import Mnasnet
from nas.controllers.nsga2 import Nsga2
from nas.controllers.optuna import Optuna
from nas.controllers.random import Random
from nas.controllers.reinforce import Reinforce
from nas.settings import named

CONTROLLERS: dict[str, type] = {
    "random": Random,
    "evolution": Evolution,
    "nsga2": Nsga2,
    "local": Local,
    "mnasnet": Mnasnet,
    "reinforce": Reinforce,
    "guided": Guided,
    "optuna": Optuna,
    "halving": Halving,
}

__all__ = ["CONTROLLERS", "Controller", "History", "Problem", "fresh", "make_controller"]


def make_controller(settings: Mapping[str, Any], where: str = "controller") -> Controller:
    """The controller that `settings["name"]` names, with the other settings. Raises ValueError naming the key."""
    return named(CONTROLLERS, settings, where)
