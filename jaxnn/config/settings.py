"""The settings of a run: frozen values, checked as they are made. The docstrings are `jaxnn train --help`.

Nothing here imports jax, so that `--help` and a misspelt flag are answered at once.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from jaxnn.config.data import DataConfig
from jaxnn.config.durations import save_every, steps
from jaxnn.config.model import ModelConfig
from jaxnn.config.optim import OptimConfig
from jaxnn.config.task import TaskConfig
from jaxnn.config.values import typed
from jaxnn.errors import InputError, check, choices, non_negative


@dataclass(frozen=True)
class CheckpointConfig:
    """When the run is saved, so that the same command goes on where it was."""

    every: str = "1epoch"
    """500 (steps), 2epochs, 10%, 30s (at the end of the steps under way), or never; the end is always saved"""
    keep: int = 2
    """how many of the newest are kept"""
    best: str | None = None
    """a metric of the history such as val/accuracy: the checkpoint that was best by it is kept besides"""

    def __post_init__(self) -> None:
        typed(self, "--checkpoint.")
        save_every(self.every, steps_per_epoch=100, total=10_000)
        check("--checkpoint.keep", self.keep, ">= 1", self.keep >= 1)

    def check_best(self, names: Sequence[str]) -> None:
        """Refuse a metric that is none of those that the history is going to have."""
        if self.best not in (None, *names):
            raise choices("--checkpoint.best", self.best, names)

    @property
    def room(self) -> int:
        """How many checkpoints may be on the disk at once: those that are kept, one being written, one removed."""
        return self.keep + 2 + bool(self.best)

    def score(self, row: dict[str, float]) -> float | None:
        """How good a row of the history is by `best`, greater is better; None where it is not asked for."""
        if self.best is None:
            return None
        return -row[self.best] if self.best.endswith(("loss", "mse", "mae")) else row[self.best]


@dataclass(frozen=True)
class Config:
    """A run: the same config, seed and data give the same bits."""

    name: str = "run"
    """what the run is called"""
    seed: int = 0
    """seed of the initial weights, the order of the examples and dropout"""
    epochs: int = 20
    """passes over the training examples"""
    batch_size: int | Literal["full"] = 32
    """examples a step; full takes all of them (gradient descent)"""
    eval_every: str = "1epoch"
    """how often the history gets a row: 500 (steps), 2epochs or 10%"""
    tol: float | None = None
    """stop early: when the training loss has not fallen by this much for --patience rows of the history"""
    patience: int = 10
    """how many rows that is"""
    devices: int | None = None
    """how many devices the batch is split over (default: all there are)"""
    workdir: str | None = None
    """folder of the results (default: runs/NAME-TIME); a run that it holds goes on where it was"""
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    task: TaskConfig = field(default_factory=TaskConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)

    def __post_init__(self) -> None:
        typed(self, "--")
        check("--seed", self.seed, "in [0, 2^32)", 0 <= self.seed < 2**32)
        check("--epochs", self.epochs, ">= 1", self.epochs >= 1)
        if self.batch_size != "full":
            check("--batch_size", self.batch_size, ">= 1, or full", self.batch_size >= 1)
        non_negative("--tol", self.tol)
        check("--patience", self.patience, ">= 1", self.patience >= 1)
        if not re.fullmatch(r"\w[\w.+-]{0,99}", self.name):  # the name becomes a part of the name of the run's folder
            raise InputError(f"--name={self.name[:100]}: must be up to 100 letters, digits, _ . + -; rename the run")
        if self.devices is not None:
            check("--devices", self.devices, ">= 1", self.devices >= 1)
        steps("--eval_every", self.eval_every, steps_per_epoch=100, total=100)
        if self.optim.name == "lbfgs" and self.batch_size != "full":
            raise InputError(f"--batch_size={self.batch_size}: lbfgs needs the whole batch; add --batch-size full")
