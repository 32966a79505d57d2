"""What a network is trained for: targets, loss and metrics. `TASKS` has them by name; plugins add to it.

Example:

    task = task_of(arch)
    task.primary, task.metrics          # "accuracy", {"accuracy": "max", "loss": "min"}
"""

from nas.arch import Arch
from nas.tasks.base import (
    BaseTask,
    Means,
    MetricState,
    Mixed,
    Task,
    about,
    check_fit,
    check_recipe,
    fit_arch,
    outputs,
    single,
    training_loss,
)
from nas.tasks.classification import CLASSIFICATION

TASKS: dict[str, Task] = {"classification": CLASSIFICATION}


def task_of(arch: Arch) -> Task:
    """The task that an architecture's head is for; a head that no task names is taken for a classifier."""
    return next((task for task in TASKS.values() if arch.head.op in task.heads), CLASSIFICATION)


__all__ = [
    "CLASSIFICATION",
    "TASKS",
    "BaseTask",
    "Means",
    "MetricState",
    "Mixed",
    "Task",
    "about",
    "check_fit",
    "check_recipe",
    "fit_arch",
    "outputs",
    "single",
    "task_of",
    "training_loss",
]
