"""Controllers by name. A new one is a file with a frozen settings dataclass, a line here and a conf/controller/<name>.yaml."""

from __future__ import annotations

from nas.controllers.asha import Asha
from nas.controllers.base import CONTROLLERS, Controller, History, fresh, make_controller
from nas.controllers.bayesian import Bayesian
from nas.controllers.evolution import Evolution
from nas.controllers.local import Local
from nas.controllers.mnasnet import Mnasnet
from nas.controllers.nsga2 import Nsga2
from nas.controllers.optuna import Optuna
from nas.controllers.random import Random
from nas.controllers.reinforce import Reinforce
from nas.problem import Problem

CONTROLLERS |= {
    "random": Random,
    "evolution": Evolution,
    "nsga2": Nsga2,
    "local": Local,
    "mnasnet": Mnasnet,
    "reinforce": Reinforce,
    "bayesian": Bayesian,
    "optuna": Optuna,
    "asha": Asha,
}

__all__ = ["CONTROLLERS", "Controller", "History", "Problem", "fresh", "make_controller"]
