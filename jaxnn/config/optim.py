"""The settings of the optimizer: how the loss is minimised."""

from __future__ import annotations

from dataclasses import dataclass

from jaxnn.config.durations import steps
from jaxnn.config.names import OPTIMIZERS, SCHEDULES
from jaxnn.config.values import assignment, typed
from jaxnn.errors import InputError, check, choices, decay, fraction, non_negative, positive


@dataclass(frozen=True)
class OptimConfig:
    """How the loss is minimised.

    Examples:
      >>> import jaxnn
      >>> jaxnn.OptimConfig(lr=0.1, schedule="cosine").name
      'sgd'
    """

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
    unfreeze: tuple[str, ...] = ()
    """parameters that are held until a time in the run: PATTERN=TIME such as 'conv_*=2epochs' or '*/b=10%' (batch
    statistics are taken meanwhile)"""
    lr_scale: tuple[str, ...] = ()
    """factors of the learning rate: PATTERN=FACTOR such as 'dense_*=10'; where several patterns name one parameter, the
    last"""

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
            limits = ("clip_value", "clip_norm", "max_norm", "unfreeze", "lr_scale")
            for flag in ("lr", "weight_decay", "schedule", "warmup", *limits):
                if getattr(self, flag) != getattr(OptimConfig, flag):
                    rule = "lbfgs finds its step by a line search; leave it out"
                    raise InputError(f"--optim.{flag}={getattr(self, flag)}: {rule}")
        self.unfreeze_at(steps_per_epoch=1, total_steps=100)
        self.factors()
        for flag in ("warmup", "decay_every"):
            steps(f"--optim.{flag}", getattr(self, flag), steps_per_epoch=1, total=100)

    def factors(self) -> dict[str, float]:
        """The factors of the learning rate, by the pattern of the paths."""
        given = {}
        for word in self.lr_scale:
            pattern, number = assignment("--optim.lr_scale", word, "FACTOR, such as 'dense_*=10'")
            try:
                given[pattern] = float(number)
            except ValueError:
                raise InputError(f"--optim.lr_scale={word}: {number} is no number; write {pattern}=10") from None
            positive(f"--optim.lr_scale={pattern}", given[pattern])
        return given

    def unfreeze_at(self, *, steps_per_epoch: int, total_steps: int) -> dict[str, int]:
        """The step at which parameters begin to be trained, by the pattern of their paths."""
        length = {"steps_per_epoch": steps_per_epoch, "total": total_steps}
        words = [assignment("--optim.unfreeze", word, "TIME, such as 'conv_*=2epochs'") for word in self.unfreeze]
        return {pattern: steps(f"--optim.unfreeze={pattern}", time, **length) for pattern, time in words}
