"""Learning rates as functions of the number of steps taken, named and computed as in Keras."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from jaxnn.errors import InputError, non_negative, positive
from jaxnn.keras import lookup
from jaxnn.keras.lookup import serialize as serialize


class LearningRateSchedule:
    """A learning rate as a function of the step, from 0. Your own is a subclass with `__call__(step) -> f32[]`.

    `__call__` is in `jax.numpy`, as the step is traced; `if` on the step raises `InputError`. To save a model with your
    own, give it `get_config`, or make it a dataclass.

    >>> from jaxnn.keras import optimizers
    >>> class Halves(LearningRateSchedule):
    ...     def __call__(self, step):
    ...         return 0.1 * 0.5 ** (step // 100)
    >>> optimizers.SGD(Halves()).learning_rate
    0.1...
    """

    def __call__(self, step: Any) -> Any:
        """The rate of this step, `f32[]`."""
        raise NotImplementedError(f"{type(self).__name__} must have `__call__(self, step)`")

    def get_config(self) -> dict[str, Any]:
        """Its arguments, as JSON keeps them. Raises `InputError` where it is no dataclass."""
        if not dataclasses.is_dataclass(self):
            raise InputError(f"{type(self).__name__}: has no get_config(), so it cannot be saved; define one")
        return dataclasses.asdict(self)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> LearningRateSchedule:
        """The schedule with these arguments."""
        return cls(**config)

    def _share(self, step: Any, steps: float) -> jax.Array:
        """`step / steps`, rounded down with `staircase`."""
        share = jnp.asarray(step, float) / steps
        return jnp.floor(share) if getattr(self, "staircase", False) else share

    def __post_init__(self) -> None:
        rules = {"decay_steps": positive, "first_decay_steps": positive, "warmup_steps": non_negative}
        rules |= dict.fromkeys(("initial_learning_rate", "end_learning_rate", "decay_rate", "alpha"), non_negative)
        for name, rule in rules.items():
            if hasattr(self, name):
                rule(f"{type(self).__name__} {name}", getattr(self, name))


@dataclass
class ExponentialDecay(LearningRateSchedule):
    """`initial decay_rate^(step / decay_steps)`; staircase: the exponent is rounded down.

    >>> float(ExponentialDecay(0.5, decay_steps=100, decay_rate=0.5)(100))
    0.25
    """

    initial_learning_rate: float
    decay_steps: int
    decay_rate: float
    staircase: bool = False
    name: str = "ExponentialDecay"

    def __call__(self, step: Any) -> jax.Array:
        return self.initial_learning_rate * jnp.float32(self.decay_rate) ** self._share(step, self.decay_steps)


@dataclass
class InverseTimeDecay(LearningRateSchedule):
    """`initial / (1 + decay_rate step / decay_steps)`; staircase: step / decay_steps is rounded down.

    >>> float(InverseTimeDecay(0.5, decay_steps=1, decay_rate=0.5)(2))
    0.25
    """

    initial_learning_rate: float
    decay_steps: int
    decay_rate: float
    staircase: bool = False
    name: str = "InverseTimeDecay"

    def __call__(self, step: Any) -> jax.Array:
        return self.initial_learning_rate / (1 + self.decay_rate * self._share(step, self.decay_steps))


@dataclass
class PolynomialDecay(LearningRateSchedule):
    """`(initial - end) (1 - step / decay_steps)^power + end`, then `end`; cycle: decay_steps grows to its multiples.

    >>> float(PolynomialDecay(1.0, decay_steps=100, end_learning_rate=0.5)(50))
    0.75
    """

    initial_learning_rate: float
    decay_steps: int
    end_learning_rate: float = 0.0001
    power: float = 1.0
    cycle: bool = False
    name: str = "PolynomialDecay"

    def __call__(self, step: Any) -> jax.Array:
        share = self._share(step, self.decay_steps)
        if self.cycle:
            share = share / jnp.where(share == 0, 1, jnp.ceil(share))
        rest = (1 - jnp.minimum(share, 1)) ** self.power
        return (self.initial_learning_rate - self.end_learning_rate) * rest + self.end_learning_rate


@dataclass
class PiecewiseConstantDecay(LearningRateSchedule):
    """`values[i]` for the steps above `boundaries[i - 1]` up to `boundaries[i]`, which is in.

    >>> rate = PiecewiseConstantDecay([10, 20], [1.0, 0.5, 0.25])
    >>> [float(rate(step)) for step in (0, 10, 11, 21)]
    [1.0, 1.0, 0.5, 0.25]
    """

    boundaries: Sequence[int]
    values: Sequence[float]
    name: str = "PiecewiseConstant"

    def __post_init__(self) -> None:
        if len(self.boundaries) != len(self.values) - 1:
            got = f"{len(self.boundaries)} boundaries and {len(self.values)} values"
            raise InputError(f"PiecewiseConstantDecay: {got}; give one value more than boundaries")
        for value in self.values:
            non_negative("PiecewiseConstantDecay values", value)

    def __call__(self, step: Any) -> jax.Array:
        step = jnp.asarray(step, float)
        return jnp.asarray(self.values, float)[jnp.searchsorted(jnp.asarray(self.boundaries, float), step)]


@dataclass
class CosineDecay(LearningRateSchedule):
    """`initial ((1 - alpha) (1 + cos(pi step / decay_steps)) / 2 + alpha)`, then `alpha initial`.

    With a `warmup_target` a straight line leads from initial to the target in `warmup_steps`, and the cosine down from
    the target.

    >>> float(CosineDecay(1.0, decay_steps=100)(50)) < 0.5 + 1e-6
    True

    Source: Loshchilov and Hutter 2017, arXiv:1608.03983.
    """

    initial_learning_rate: float
    decay_steps: int
    alpha: float = 0.0
    name: str = "CosineDecay"
    warmup_target: float | None = None
    warmup_steps: int = 0

    def __call__(self, step: Any) -> jax.Array:
        start, warmup = self.initial_learning_rate, self.warmup_steps if self.warmup_target is not None else 0
        top = start if self.warmup_target is None else self.warmup_target
        step = jnp.asarray(step, float)
        share = jnp.clip((step - warmup) / self.decay_steps, 0, 1)
        down = top * ((1 - self.alpha) * 0.5 * (1 + jnp.cos(math.pi * share)) + self.alpha)
        return jnp.where(step < warmup, start + (top - start) * step / max(warmup, 1), down)


@dataclass
class CosineDecayRestarts(LearningRateSchedule):
    """Half cosines one after another, each `t_mul` times as long and `m_mul` times as high as the last.

    >>> float(CosineDecayRestarts(1.0, first_decay_steps=100)(100))
    1.0

    Source: Loshchilov and Hutter 2017, arXiv:1608.03983.
    """

    initial_learning_rate: float
    first_decay_steps: int
    t_mul: float = 2.0
    m_mul: float = 1.0
    alpha: float = 0.0
    name: str = "SGDRDecay"

    def __call__(self, step: Any) -> jax.Array:
        share = self._share(step, self.first_decay_steps)
        if self.t_mul == 1:
            restarts, share = jnp.floor(share), share - jnp.floor(share)
        else:
            restarts = jnp.floor(jnp.log(1 - share * (1 - self.t_mul)) / math.log(self.t_mul))
            length = jnp.float32(self.t_mul) ** restarts
            share = (share - (1 - length) / (1 - self.t_mul)) / length
        height = 0.5 * jnp.float32(self.m_mul) ** restarts * (1 + jnp.cos(math.pi * share))
        return self.initial_learning_rate * ((1 - self.alpha) * height + self.alpha)


NAMES = {cls.__name__: cls for cls in LearningRateSchedule.__subclasses__()}


def deserialize(config: dict[str, Any]) -> LearningRateSchedule:
    """The schedule of a saved dict. Raises `InputError` for an unknown one, with the nearest.

    >>> deserialize(serialize(CosineDecay(0.1, decay_steps=100))).decay_steps
    100
    """
    return lookup.find("schedule", config, NAMES)
