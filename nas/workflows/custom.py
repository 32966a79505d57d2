"""Objects of the caller's process in place of settings: a space, a dataset, a controller, an evaluator."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from nas.arch import Arch
from nas.controllers import Controller
from nas.data import Dataset
from nas.evaluators import EvaluatorSettings
from nas.records import JSON
from nas.space import Space


@dataclass(frozen=True)
class Custom:
    """What was passed as an object. The settings of a run hold `described` or `dataset_identity` in its place."""

    space: Space | None = None
    arch: Arch | None = None
    dataset: Dataset | None = None
    controller: Controller | None = None
    evaluator: EvaluatorSettings | None = None

    def check_executor(self, settings: Mapping[str, object], key: str = "executor") -> None:
        """Raises ValueError where workers would need an object that this process alone has."""
        name = settings.get("name")
        if name != "local" and (kept := [*self._in_process()]):
            raise ValueError(
                f"{key}: {kept[0]} is an object of this process, which workers of executor={name} cannot have; "
                "expected executor=local, or a module that defines it in plugins=[..]"
            )

    def _in_process(self) -> Iterator[str]:
        if self.dataset is not None:
            yield "the dataset"
        if self.evaluator is not None:
            yield "the evaluator"
        for op, *_ in self.space.blocks if self.space is not None else ():
            yield f"the block {op!r} of the space"


NOTHING = Custom()


def described(thing: object, version: str | None = None) -> dict[str, JSON]:
    """What an object counts as in the identity of a run: its qualified name, its plain fields, and a version.

    Args:
        thing: A function, or an object of any class; an attribute `version` counts where no other is given.
        version: Whatever changes when the code of the object does, so that results are not mixed up.
    """
    named = thing if hasattr(thing, "__qualname__") else type(thing)
    found: dict[str, JSON] = {"name": f"{named.__module__}.{getattr(named, '__qualname__', '')}"}
    if dataclasses.is_dataclass(thing) and not isinstance(thing, type):
        values = {field.name: getattr(thing, field.name) for field in dataclasses.fields(thing)}
        found |= {key: value for key, value in values.items() if isinstance(value, str | int | float | bool | None)}
    version = version if version is not None else getattr(thing, "version", None)
    return found | ({} if version is None else {"version": str(version)})


def dataset_identity(dataset: Dataset) -> dict[str, JSON]:
    """What a dataset of arrays counts as in the identity of a run: its name and a hash of all that it holds."""
    digest = hashlib.sha256(repr((dataset.digest, dataset.mean, dataset.std)).encode())
    return {"name": dataset.name, "content": digest.hexdigest()[:16]}
