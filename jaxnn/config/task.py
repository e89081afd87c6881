"""The settings of the task: what the outputs mean."""

from __future__ import annotations

import re
from dataclasses import dataclass

from jaxnn.config.names import LOSSES, METRICS, TASKS
from jaxnn.config.values import typed
from jaxnn.errors import InputError, check, choices, decay, fraction, non_negative, positive


@dataclass(frozen=True)
class TaskConfig:
    """What the outputs mean.

    Examples:
      >>> import jaxnn
      >>> jaxnn.TaskConfig(name="multiclass", label_smoothing=0.1).loss
      'auto'
    """

    name: str = "auto"
    """binary, multiclass, multilabel or regression; segmentation (masks) or detection (boxes); auto reads these off the
    labels. flow_matching and vae generate images"""
    loss: str = "auto"
    """cross_entropy for classes; squared, absolute, huber, poisson, quantile or gaussian (mean and deviation) for
    regression"""
    quantiles: tuple[float, ...] = (0.5,)
    """quantile: which ones, 0.1 0.5 0.9"""
    label_smoothing: float = 0.0
    """share of the probability spread evenly over the classes"""
    dice: float = 0.0
    """segmentation: weight of the soft dice loss beside the cross-entropy"""
    metrics: tuple[str, ...] = ()
    """what is measured besides: auc (not of training) and balanced_accuracy for binary; balanced_accuracy, macro_f1
    and top_5 (or another number) for multiclass"""

    label_dropout: float = 0.1
    """flow_matching: part of the examples that are learned without their label, which guidance needs"""
    latent: int = 8
    """vae: how many numbers stand for an image"""
    beta: float = 1.0
    """vae: factor of the divergence from the prior in the loss"""
    deviation: float | None = None
    """vae: that of a pixel (white is 1) about what is decoded, a normal likelihood (default: a Bernoulli likelihood)"""

    def __post_init__(self) -> None:
        typed(self, "--task.")
        if self.name not in TASKS:
            raise choices("--task.name", self.name, TASKS)
        if self.loss not in LOSSES:
            raise choices("--task.loss", self.loss, LOSSES)
        fraction("--task.label_smoothing", self.label_smoothing)
        non_negative("--task.dice", self.dice)
        for q in self.quantiles:
            decay("--task.quantiles", q)
        text = " ".join(map(str, self.quantiles))
        if not self.quantiles or sorted(set(self.quantiles)) != list(self.quantiles):
            raise InputError(f"--task.quantiles={text}: must be one or more that rise; sort them")
        if self.loss != "quantile" and self.quantiles != TaskConfig.quantiles:
            raise InputError(f"--task.quantiles={text}: are for --task.loss quantile; add it")
        self._check_generation()
        for name in self.metrics:
            if name not in METRICS and not re.fullmatch(r"top_[1-9]\d{0,8}", name):
                raise choices("--task.metrics", name, METRICS)

    def _check_generation(self) -> None:
        fraction("--task.label_dropout", self.label_dropout)
        check("--task.latent", self.latent, ">= 1", self.latent >= 1)
        non_negative("--task.beta", self.beta)
        positive("--task.deviation", self.deviation)
        owners = {"label_dropout": "flow_matching", "latent": "vae", "beta": "vae", "deviation": "vae"}
        for name, owner in owners.items():
            if self.name != owner and getattr(self, name) != getattr(TaskConfig, name):
                raise InputError(f"--task.{name}={getattr(self, name)}: is for --task.name {owner}; add it")
