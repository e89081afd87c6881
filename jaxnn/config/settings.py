"""The settings of a run: frozen values, checked as they are made. The docstrings are `jaxnn train --help`,
which leaves out what follows `Examples:`.

Nothing here imports jax, so that `--help` and a misspelt flag are answered at once.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from jaxnn.config.data import DataConfig
from jaxnn.config.devices import axes, rule
from jaxnn.config.durations import save_every, steps
from jaxnn.config.model import ModelConfig
from jaxnn.config.names import DTYPES, REPORTS, SHARDINGS, WEIGHTS
from jaxnn.config.optim import OptimConfig
from jaxnn.config.task import TaskConfig
from jaxnn.config.values import typed
from jaxnn.errors import InputError, check, choices, non_negative


@dataclass(frozen=True)
class CheckpointConfig:
    """When the run is saved, so that the same command goes on where it was.

    Examples:
      >>> import jaxnn
      >>> jaxnn.CheckpointConfig(every="5epochs", best="val/loss").keep
      2
    """

    every: str = "auto"
    """auto (after an epoch, but for those so short that saving would take a tenth of the time), 500 (steps), 2epochs,
    10%, 30s (at the end of the steps under way), or never; the end is always saved"""
    keep: int = 2
    """how many of the newest are kept"""
    best: str | None = None
    """a metric of the history such as val/accuracy: the checkpoint that was best by it is kept besides (default: that
    of --stop_on)"""

    def __post_init__(self) -> None:
        typed(self, "--checkpoint.")
        save_every(self.every, steps_per_epoch=100, total=10_000)
        check("--checkpoint.keep", self.keep, ">= 1", self.keep >= 1)


def _report() -> str:
    """The default of --report."""
    value = os.environ.get("JAXNN_REPORT") or "html"
    if value not in REPORTS:
        raise choices("JAXNN_REPORT", value, REPORTS)
    return value


@dataclass(frozen=True)
class Config:
    """A run: the same config, seed and data give the same bits.

    Examples:
      >>> import jaxnn
      >>> config = jaxnn.Config(epochs=5, optim=jaxnn.OptimConfig(lr=0.1))
      >>> config.optim.lr, config.seed
      (0.1, 0)
      >>> jaxnn.Config(epochs=0)
      Traceback (most recent call last):
      ...
      jaxnn.errors.InputError: --epochs=0: must be >= 1
    """

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
    """stop early: when --stop_on was not better by this much for --patience rows of the history"""
    patience: int = 10
    """how many rows that is"""
    stop_on: str | None = None
    """stop early by this metric of the history, such as val/loss (default: train/loss); alone: with --tol 0, by which
    whatever is better counts"""
    restore: str = "last"
    """best: the run ends with the weights of the checkpoint that was best by --checkpoint.best or --stop_on"""
    init_from: str | None = None
    """begin with the weights of this finished run, or of a .safetensors file, those of the same path and shape; where
    that run was of the same network, optimizer, data, batch size and seed, it goes on: its optimizer's state too"""
    dtype: str = "f32"
    """bf16: the network is computed in bfloat16; parameters, statistics and the loss stay in float32 (a gain on
    accelerators; most CPUs are slower so)"""
    devices: int | None = None
    """how many devices the batch is split over (default: all there are)"""
    mesh: str | None = None
    """the devices as a mesh, data=4,model=2: batches are split over the axis data, parameters over model (default: all
    on data); --devices is their product"""
    sharding: str = "replicate"
    """fsdp: parameters, and what the optimizer keeps of each, are split over the axis data too, in the largest
    dimension that it divides; replicate: over model alone"""
    tensor: tuple[str, ...] = ()
    """rules for the axis model: PATTERN=DIMENSION is the dimension of these parameters that is split, PATTERN=whole
    none (default: the largest that it divides)"""
    exact: int | None = None
    """the same bits on any number of devices that divides this number (--exact alone: 8): a batch is cut into so many
    parts, whose gradients are added in their order; up to four times the time, and so many gradients in memory"""
    report: str = field(default_factory=_report)
    """html: a finished run writes report.html, a page to look at, into its folder; off: it does not, and loads nothing
    for it (default: $JAXNN_REPORT, or html)"""
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
        self._check_mesh()
        if self.dtype not in DTYPES:
            raise choices("--dtype", self.dtype, DTYPES)
        if self.restore not in WEIGHTS:
            raise choices("--restore", self.restore, WEIGHTS)
        if self.report not in REPORTS:
            raise choices("--report", self.report, REPORTS)
        if self.restore == "best" and not self.best:
            raise InputError("--restore=best: needs the metric that says which is best; add --checkpoint.best val/loss")
        steps("--eval_every", self.eval_every, steps_per_epoch=100, total=100)
        if self.optim.name == "lbfgs" and self.batch_size != "full":
            raise InputError(f"--batch_size={self.batch_size}: lbfgs needs the whole batch; add --batch-size full")

    def _check_mesh(self) -> None:
        named = {} if self.mesh is None else axes(self.mesh)
        if self.sharding not in SHARDINGS:
            raise choices("--sharding", self.sharding, SHARDINGS)
        for word in self.tensor:
            rule(word)
        if self.exact is not None:
            check("--exact", self.exact, ">= 1", self.exact >= 1)
            if self.optim.name == "lbfgs":
                cure = "leave --exact out, or use another optimizer"
                raise InputError(
                    f"--exact={self.exact}: lbfgs differentiates its line search, which has no parts; {cure}"
                )
            split = {"--sharding": self.sharding != "replicate", "--mesh": named.get("model", 1) > 1}
            for flag in (flag for flag, yes in split.items() if yes):
                given = self.sharding if flag == "--sharding" else self.mesh
                raise InputError(f"{flag}={given}: splits the parameters, which --exact leaves whole; leave one out")

    @property
    def best(self) -> str | None:
        """The metric by which the best checkpoint is kept."""
        return self.checkpoint.best or self.stop_on

    @property
    def gain(self) -> float | None:
        """How much better a row must be to count as a gain; None: the run is not stopped early."""
        return 0.0 if self.tol is None and self.stop_on else self.tol

    def check_metrics(self, names: Sequence[str]) -> None:
        """Refuse a metric that is none of those that the history is going to have."""
        for flag, name in (("--checkpoint.best", self.checkpoint.best), ("--stop_on", self.stop_on)):
            if name not in (None, *names):
                raise choices(flag, name, names)
