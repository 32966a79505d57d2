"""What a network is trained for: targets, loss and metrics. `TASKS` has them by name; plugins add to it.

Example:

    task = task_of(arch)
    task.primary, task.metrics          # "accuracy", {"accuracy": "max", "loss": "min"}
"""

from nas.arch import Arch
from nas.space import Space
from nas.tasks.base import (
    BaseTask,
    Means,
    MetricState,
    Mixed,
    Task,
    augments_images_alone,
    single,
    training_loss,
)
from nas.tasks.classification import CLASSIFICATION
from nas.tasks.detection import DETECTION
from nas.tasks.embedding import EMBEDDING
from nas.tasks.fitting import (
    about,
    check_fit,
    check_own,
    check_recipe,
    fit_arch,
    fit_space,
    metrics_of,
    metrics_over,
    outputs,
)
from nas.tasks.parts import check_parts
from nas.tasks.segmentation import SEGMENTATION

TASKS: dict[str, Task] = {
    "classification": CLASSIFICATION,
    "embedding": EMBEDDING,
    "segmentation": SEGMENTATION,
    "detection": DETECTION,
}


def task_of(network: Arch | Space) -> Task:
    """The task that the head of an architecture, or of a space, is for; a head that no task names is a classifier's."""
    arch = network if isinstance(network, Arch) else example(network)
    return next((task for task in TASKS.values() if arch.head.op in task.heads), CLASSIFICATION).of(arch)


def example(space: Space) -> Arch:
    """The architecture of the first options of a space."""
    return space.decode(space.canonical([0] * len(space.genes)))


__all__ = [
    "CLASSIFICATION",
    "DETECTION",
    "EMBEDDING",
    "SEGMENTATION",
    "TASKS",
    "BaseTask",
    "Means",
    "MetricState",
    "Mixed",
    "Task",
    "about",
    "augments_images_alone",
    "check_fit",
    "check_own",
    "check_parts",
    "check_recipe",
    "example",
    "fit_arch",
    "fit_space",
    "metrics_of",
    "metrics_over",
    "outputs",
    "single",
    "task_of",
    "training_loss",
]
