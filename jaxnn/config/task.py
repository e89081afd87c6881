"""The settings of the task: what the outputs mean."""

from __future__ import annotations

from dataclasses import dataclass

from jaxnn.config.names import LOSSES, TASKS
from jaxnn.config.values import typed
from jaxnn.errors import choices, fraction


@dataclass(frozen=True)
class TaskConfig:
    """What the outputs mean."""

    name: str = "auto"
    """binary, multiclass, multilabel or regression; auto reads it off the labels"""
    loss: str = "auto"
    """cross_entropy for classes; squared, absolute, huber or poisson for regression"""
    label_smoothing: float = 0.0
    """share of the probability spread evenly over the classes"""

    def __post_init__(self) -> None:
        typed(self, "--task.")
        if self.name not in TASKS:
            raise choices("--task.name", self.name, TASKS)
        if self.loss not in LOSSES:
            raise choices("--task.loss", self.loss, LOSSES)
        fraction("--task.label_smoothing", self.label_smoothing)
