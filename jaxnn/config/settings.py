"""The settings of a run: frozen values, checked as they are made. The docstrings are `jaxnn train --help`.

Nothing here imports jax, so that `--help` and a misspelt flag are answered at once.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from jaxnn.config.durations import save_every, steps
from jaxnn.config.names import ACTIVATIONS, INITIALISERS, LOSSES, MISSING, MODELS, NANS, OPTIMIZERS, SCHEDULES, TASKS
from jaxnn.config.values import class_weight, typed
from jaxnn.errors import InputError, check, choices, decay, fraction, non_negative, positive


@dataclass(frozen=True)
class DataConfig:
    """What is learned from, and how it is split."""

    name: str = "digits"
    """digits, iris, wine, breast_cancer or diabetes (bundled); mnist (IDX files in --data.dir); tfds:NAME (prepared); a
    path (./digits for a folder digits): a table (.csv, .tsv, .parquet, .feather), .npz, a folder of IDX files or of
    images (one sub-folder a class, or these in train, val and test)"""
    dir: str | None = None
    """folder of the data files, for mnist and tfds:NAME"""
    target: str | None = None
    """table: the column to predict (default: the last)"""
    weight: str | None = None
    """table or npz: the column or array with a weight for each example"""
    text: tuple[str, ...] = ()
    """table: columns whose cells are texts, even where they look like numbers (postcodes)"""
    missing: tuple[str, ...] = MISSING
    """table or npz: the words that mean a missing value, as an empty cell does"""
    delimiter: str | None = None
    """table: what stands between cells: comma, tab, semicolon, bar or a character (default: found in the first line)"""
    positive: str | None = None
    """this label against all the others (makes a binary task)"""
    class_weight: tuple[float, ...] | Literal["balanced"] | tuple[str, ...] | None = None
    """weights of the classes in the training loss (so in train/loss and train/accuracy, not in validation and test):
    one for each in order, or LABEL=WEIGHT for some (1 for the others), or "balanced" for n / (K count)"""
    validation: str | None = None
    """a file or folder of the same kind to validate on, instead of a part of the training examples"""
    validation_fraction: float = 0.1
    """part of the training examples kept for validation, stratified, where no validation set is given; 0 for none"""
    test_fraction: float = 0.2
    """part kept for testing, stratified, where the data have no test set"""
    split_seed: int = 0
    """seed of these splits (not of the training)"""
    standardize: bool | None = None
    """subtract the mean and divide by the deviation of each feature over the training examples (default: for tables,
    not for images; --data.no-standardize leaves features and amounts to predict as they are)"""
    nan: str = "refuse"
    """drop leaves out the examples that hold a missing value, NaN or infinity, and says how many"""
    bad_records: int = 0
    """folder of images: how many damaged ones may be left out, of all parts together"""
    allow_overlap: bool = False
    """go on where a given validation or test set holds training examples"""

    def __post_init__(self) -> None:
        if isinstance(self.class_weight, str) and self.class_weight != "balanced":
            raise choices("--data.class_weight", self.class_weight, ["balanced"])
        typed(self, "--data.")
        fraction("--data.validation_fraction", self.validation_fraction)
        fraction("--data.test_fraction", self.test_fraction)
        check("--data.split_seed", self.split_seed, ">= 0", self.split_seed >= 0)
        if self.nan not in NANS:
            raise choices("--data.nan", self.nan, NANS)
        check("--data.bad_records", self.bad_records, ">= 0", self.bad_records >= 0)
        for weight in self.class_weight if isinstance(self.class_weight, tuple) else ():
            non_negative("--data.class_weight", class_weight(weight)[1])


@dataclass(frozen=True)
class ModelConfig:
    """The network. Shapes in and out follow from the data."""

    kind: str = "mlp"
    """linear, mlp or cnn"""
    hidden: tuple[int, ...] = (50, 50)
    """widths of the hidden dense layers; no width, no hidden layer"""
    activation: tuple[str, ...] = ("relu",)
    """one for all hidden layers, or one for each"""
    pieces: int = 2
    """linear pieces of a maxout unit"""
    channels: tuple[int, ...] = (32, 64)
    """cnn: channels of each block of convolution, activation and 2x2 max-pooling"""
    kernel: int = 3
    """cnn: height and width of the convolution"""
    dropout: float = 0.0
    """probability that a hidden unit is dropped in training"""
    input_dropout: float = 0.0
    """probability that an input is dropped in training"""
    init: str = "auto"
    """how weights begin: glorot, he, lecun, orthogonal; auto follows the activation"""

    def __post_init__(self) -> None:
        typed(self, "--model.")
        if self.kind not in MODELS:
            raise choices("--model.kind", self.kind, MODELS)
        if self.init not in INITIALISERS:
            raise choices("--model.init", self.init, INITIALISERS)
        for name in self.activation:
            if name not in ACTIVATIONS:
                raise choices("--model.activation", name, ACTIVATIONS)
        if self.kind == "linear" and self.dropout:
            rule = "a linear model has no hidden units; use --model.input_dropout"
            raise InputError(f"--model.dropout={self.dropout}: {rule}")
        layers = len(self.hidden) + (len(self.channels) if self.kind == "cnn" else 0)
        if self.kind != "linear" and len(self.activation) not in (1, layers):
            rule = f"must be one name, or one for each of the {layers} hidden layers"
            raise InputError(f"--model.activation={' '.join(self.activation)}: {rule}")
        for flag, sizes in (("--model.hidden", self.hidden), ("--model.channels", self.channels)):
            for size in sizes:
                check(flag, size, ">= 1", size >= 1)
        check("--model.pieces", self.pieces, ">= 2", self.pieces >= 2)
        check("--model.kernel", self.kernel, ">= 1", self.kernel >= 1)
        fraction("--model.dropout", self.dropout)
        fraction("--model.input_dropout", self.input_dropout)


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


@dataclass(frozen=True)
class OptimConfig:
    """How the loss is minimised."""

    name: str = "sgd"
    """an optax optimizer; another than the config's does not inherit its lr, momentum, b1, b2, eps and weight_decay"""
    lr: float | None = None
    """learning rate (default: the optimizer's own)"""
    momentum: float | None = None
    """sgd and its kin: decay of the velocity (default: the optimizer's own; sgd: 0)"""
    nesterov: bool = False
    """look ahead: sgd with momentum, or the adam family"""
    b1: float | None = None
    """adam family: decay of the first moment (default: the optimizer's own; adam: 0.9)"""
    b2: float | None = None
    """adam family: decay of the second moment (default: the optimizer's own; adam: 0.999)"""
    eps: float | None = None
    """adam family: added to the root of the second moment (default: the optimizer's own; adam: 1e-8)"""
    weight_decay: float | None = None
    """decoupled decay of the weights, not the biases: w - lr decay w (default: the optimizer's own; adamw: 1e-4)"""
    alpha: float = 0.0
    """L2 penalty alpha/2 |W|^2 added to the loss, weights only"""
    schedule: str = "constant"
    """constant, inverse_scaling, step, cosine, one_cycle or plateau"""
    warmup: str = "0"
    """linear rise of the learning rate from 0: 500 (steps), 2epochs or 10%"""
    decay_every: str = "30%"
    """step: how often the learning rate is multiplied by decay; plateau: how long it waits for a better loss"""
    decay: float = 0.1
    """step and plateau: the factor"""
    power: float = 0.5
    """inverse_scaling: lr / (step + 1)^power"""
    clip_value: float | None = None
    """largest magnitude of one entry of the gradient"""
    clip_norm: float | None = None
    """largest norm of the whole gradient"""
    max_norm: float | None = None
    """largest norm of a unit's incoming weights"""
    accumulate: int = 1
    """parts into which a batch is cut to save memory; the step is the same, but for the noise of dropout"""
    ema: float | None = None
    """decay of the running average of the weights that is evaluated and saved"""
    freeze: tuple[str, ...] = ()
    """parameters that stay as they begin: patterns of their paths such as dense_0 or 'conv_*' or '*/b'"""

    def __post_init__(self) -> None:
        typed(self, "--optim.")
        if self.name not in OPTIMIZERS:
            raise choices("--optim.name", self.name, OPTIMIZERS)
        if self.schedule not in SCHEDULES:
            raise choices("--optim.schedule", self.schedule, SCHEDULES)
        positive("--optim.lr", self.lr)
        for flag in ("momentum", "b1", "b2"):
            fraction(f"--optim.{flag}", getattr(self, flag))
        if self.nesterov and self.name in ("rmsprop", "sgd") and not self.momentum:
            raise InputError("--optim.nesterov=True: needs --optim.momentum > 0; try --optim.momentum 0.9")
        positive("--optim.eps", self.eps)
        non_negative("--optim.weight_decay", self.weight_decay)
        non_negative("--optim.alpha", self.alpha)
        decay("--optim.decay", self.decay)
        positive("--optim.power", self.power)
        positive("--optim.clip_value", self.clip_value)
        positive("--optim.clip_norm", self.clip_norm)
        positive("--optim.max_norm", self.max_norm)
        check("--optim.accumulate", self.accumulate, ">= 1", self.accumulate >= 1)
        decay("--optim.ema", self.ema)
        if self.name in ("dadapt_adamw", "prodigy") and self.weight_decay:
            rule = f"{self.name} finds its own step size, and a decay would not follow it; use --optim.alpha"
            raise InputError(f"--optim.weight_decay={self.weight_decay}: {rule}")
        if self.name == "lbfgs":  # a clipped gradient or a scaled step would mislead the line search
            for flag in ("lr", "weight_decay", "schedule", "warmup", "clip_value", "clip_norm", "max_norm"):
                if getattr(self, flag) != getattr(OptimConfig, flag):
                    rule = "lbfgs finds its step by a line search; leave it out"
                    raise InputError(f"--optim.{flag}={getattr(self, flag)}: {rule}")
        for flag in ("warmup", "decay_every"):
            steps(f"--optim.{flag}", getattr(self, flag), steps_per_epoch=1, total=100)


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
