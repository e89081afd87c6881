"""What all optimizers of the Keras face share: the learning rate, the arguments, and what is put around a rule."""

from __future__ import annotations

import inspect
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxnn.errors import InputError, check, non_negative, positive
from jaxnn.keras import lookup
from jaxnn.keras.optimizers import schedules
from jaxnn.keras.optimizers.schedules import InverseTimeDecay, LearningRateSchedule
from jaxnn.numerics import relaxed
from jaxnn.optim.rules import clip_norm

EVERYWHERE = ("clipnorm", "clipvalue", "global_clipnorm", "weight_decay")  # arguments of every optimizer
WITHOUT_EFFECT = ("jit_compile", "is_legacy_optimizer")
NOT_HERE = ("use_ema", "ema_momentum", "ema_overwrite_frequency", "loss_scale_factor", "gradient_accumulation_steps")


class Rate(float):
    """A learning rate: a number that can be read by `numpy()` and set by `assign(value)`, as a variable of Keras."""

    optimizer: Optimizer

    def numpy(self) -> np.float32:
        """The number."""
        return np.float32(self)

    def assign(self, value: float) -> None:
        """Set the rate of the optimizer. Raises `InputError` where that has a schedule."""
        self.optimizer.learning_rate = value


class Optimizer:
    """An optimizer: weights w, their gradient g, the rate of the step. `tx()` is its optax transformation.

    Args of every optimizer: learning_rate (or `lr`), a number >= 0 or a `LearningRateSchedule`; name; weight_decay
    (decoupled, of biases too); clipnorm (of each array), clipvalue, global_clipnorm (of all together): one of them;
    decay: the rate is `learning_rate / (1 + decay step)`, as it was until Keras 2.10.

    Your own is a subclass with `rule(learning_rate)`, or an optax transformation itself. Keras' moving averages of the
    weights (`use_ema`), `loss_scale_factor` and `gradient_accumulation_steps` are not there.

    Raises `InputError` for an argument that it does not have and for a value out of range.

    >>> from jaxnn.keras import optimizers
    >>> optimizer = optimizers.Adam(learning_rate=0.01, clipnorm=1.0)
    >>> optimizer.learning_rate = 0.001
    >>> optimizer.learning_rate, optimizer.get_config()["clipnorm"]
    (0.001, 1.0)
    """

    iterations: int = 0  # the steps taken, which a schedule depends on

    def __init__(self, learning_rate: Any, own: dict[str, Any], given: dict[str, Any]):
        kind = type(self).__name__
        given = {name: value for name, value in given.items() if name not in WITHOUT_EFFECT}
        if "lr" in given:
            text = "The `lr` argument is deprecated, use `learning_rate` instead."
            warnings.warn(text, UserWarning, stacklevel=3)
            learning_rate = given.pop("lr")
        decay = given.pop("decay", None)
        self.name: str = given.pop("name", None) or kind.lower()
        for name in NOT_HERE:
            value = given.pop(name, None)
            if value and name not in ("ema_momentum", "ema_overwrite_frequency"):
                raise InputError(f"{kind} {name}={value}: is not in jaxnn.keras; leave it out")
        lookup.refuse_unknown(kind, given, ["learning_rate", *own, *EVERYWHERE, "name", "decay"])
        clips = [name for name in EVERYWHERE[:3] if given.get(name) is not None]
        if len(clips) > 1:
            raise InputError(f"{kind} {' and '.join(clips)}: give one of them")
        for name in clips:
            positive(f"{kind} {name}", given[name])
        if given.get("weight_decay") is not None:
            non_negative(f"{kind} weight_decay", given["weight_decay"])
        self.config: dict[str, Any] = own | given
        if decay:
            non_negative(f"{kind} decay", decay)
            check(f"{kind} learning_rate", learning_rate, "a number with decay=", not callable(learning_rate))
            learning_rate = InverseTimeDecay(learning_rate, 1, decay)
        self._learning_rate: float | LearningRateSchedule | None = _rate(kind, learning_rate)

    def rule(self, learning_rate: jax.Array) -> optax.GradientTransformation:
        """The step of this optimizer with this rate; a subclass gives it."""
        raise NotImplementedError(f"{type(self).__name__} must have `rule(self, learning_rate)`")

    @property
    def learning_rate(self) -> Rate:
        """The rate of the next step."""
        value: Any = self._learning_rate
        if callable(value):
            with relaxed():
                value = value(jnp.int32(self.iterations))
        rate = Rate(float("nan") if value is None else value)
        rate.optimizer = self
        return rate

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        if self.scheduled and not callable(value):
            rule = "keeps its own rate" if self._learning_rate is None else "has a schedule of its rate"
            cure = "compile with learning_rate= a number to set the rate"
            raise InputError(f"learning_rate={value}: {type(self).__name__} {rule}; {cure}")
        self._learning_rate = _rate(type(self).__name__, value)

    @property
    def lr(self) -> Rate:
        """The name that `learning_rate` had until Keras 2.3."""
        return self.learning_rate

    @lr.setter
    def lr(self, value: Any) -> None:
        self.learning_rate = value

    @property
    def scheduled(self) -> bool:
        """Whether the rate is a function of the step, or the transformation's own, and cannot be set."""
        return self._learning_rate is None or callable(self._learning_rate)

    def tx(self) -> optax.GradientTransformation:
        """Clipping, the rule and the decay of weights, in a state from which the rate is read at each step."""
        rate, config = self._learning_rate, self.config
        if callable(rate):
            rate = _traced(type(self).__name__, rate)

        def whole(learning_rate: jax.Array) -> optax.GradientTransformation:
            links = [self.rule(learning_rate)]
            if config.get("clipvalue") is not None:
                links.insert(0, optax.clip(config["clipvalue"]))
            if config.get("clipnorm") is not None:
                links.insert(0, _clip_each(config["clipnorm"]))
            if config.get("global_clipnorm") is not None:
                links.insert(0, clip_norm(config["global_clipnorm"]))
            if config.get("weight_decay"):
                links.append(optax.add_decayed_weights(-learning_rate * config["weight_decay"]))
            return optax.chain(*links)

        return optax.inject_hyperparams(whole)(learning_rate=rate)

    def with_rate(self, opt_state: Any, rate: float) -> Any:
        """The state of `tx()` with this rate for the next step; nothing is compiled anew. That of a schedule stays."""
        if self.scheduled:
            return opt_state
        kept = opt_state.hyperparams["learning_rate"]
        return opt_state._replace(hyperparams={"learning_rate": jnp.asarray(float(rate), kept.dtype)})

    def get_config(self) -> dict[str, Any]:
        """Its arguments, as JSON keeps them."""
        rate = self._learning_rate
        rate = lookup.serialize(rate) if isinstance(rate, LearningRateSchedule) else rate
        return {"name": self.name, "learning_rate": rate} | self.config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Optimizer:
        """The optimizer with these arguments."""
        rate = config["learning_rate"]
        rate = schedules.deserialize(rate) if isinstance(rate, dict) else rate
        make: Any = cls
        return make(**config | {"learning_rate": rate})


class Own(Optimizer):
    """An optax transformation as an optimizer. It keeps its rate itself: `learning_rate` is nan, and cannot be set.

    >>> Own(optax.sgd(0.1)).learning_rate
    nan
    """

    def __init__(self, transformation: optax.GradientTransformation):
        super().__init__(0.0, {}, {})
        self._learning_rate = None
        self.transformation: optax.GradientTransformation = transformation

    def tx(self) -> optax.GradientTransformation:
        return self.transformation

    def get_config(self) -> dict[str, Any]:
        raise InputError("optimizer: an optax transformation cannot be saved; compile again after loading")


def _rate(kind: str, rate: Any) -> float | LearningRateSchedule:
    if isinstance(rate, LearningRateSchedule):
        return rate
    if callable(rate) and not inspect.isclass(rate):
        cure = "give a number, or a subclass of schedules.LearningRateSchedule"
        raise InputError(f"{kind} learning_rate={lookup.named(rate)}: a function is no learning rate; {cure}")
    number = not isinstance(rate, str | bool | type) and np.ndim(rate) == 0 and rate is not None
    check(f"{kind} learning_rate", rate, "a number >= 0 or a LearningRateSchedule", number)
    non_negative(f"{kind} learning_rate", rate)
    return float(rate)  # pyright: ignore[reportArgumentType]


def _traced(kind: str, schedule: Any) -> Any:
    """The schedule as a function of a traced step. Raises `InputError` where it needs the step as a Python number."""
    name, rate = type(schedule).__name__, lambda step: jnp.asarray(schedule(step), float)
    with relaxed():
        try:
            shape = jax.eval_shape(rate, jax.ShapeDtypeStruct((), jnp.int32)).shape
        except jax.errors.JAXTypeError:
            cure = "compute it with jax.numpy, and jnp.where instead of if"
            raise InputError(f"{kind} learning_rate={name}: its step is traced; {cure}") from None
        check(f"{kind} learning_rate={name}", list(shape), "one number", shape == ())
        non_negative(f"{kind} learning_rate={name} at step 0", float(rate(jnp.int32(0))))
    return rate


def _clip_each(largest: float) -> optax.GradientTransformation:
    """A gradient whose norm is larger is scaled back to `largest`, each array by itself."""

    def clipped(g: jax.Array) -> jax.Array:
        square = jnp.sum(jnp.square(g))
        return g * largest / jnp.maximum(jnp.sqrt(jnp.where(square > 0, square, 1)), largest)

    return optax.stateless(lambda updates, params: jax.tree.map(clipped, updates))
