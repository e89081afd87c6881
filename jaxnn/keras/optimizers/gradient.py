"""Optimizers that scale a gradient by its own history: SGD, RMSprop, Adagrad, Adadelta; all are Keras' rules."""

from __future__ import annotations

from typing import Any

import jax
import optax

from jaxnn.errors import check, fraction, non_negative, positive
from jaxnn.keras.optimizers.base import Optimizer


class SGD(Optimizer):
    """Gradient descent `w <- w - rate g`; with momentum `w <- w + v`, `v <- momentum v - rate g`.

    nesterov: `w <- w + momentum v - rate g`. Raises `InputError` for a momentum outside [0, 1]; see `Optimizer`.

    >>> SGD(0.5).learning_rate, SGD(momentum=0.9).get_config()["momentum"]
    (0.5, 0.9)

    Source: Sutskever et al. 2013.
    """

    def __init__(self, learning_rate: Any = 0.01, momentum: float = 0.0, nesterov: bool = False, **arguments: Any):
        check("SGD momentum", momentum, "in [0, 1]", 0 <= momentum <= 1)
        super().__init__(learning_rate, {"momentum": momentum, "nesterov": bool(nesterov)}, arguments)

    def rule(self, learning_rate: jax.Array) -> optax.GradientTransformation:
        step = optax.scale_by_learning_rate(learning_rate)
        if not self.config["momentum"]:
            return step
        # The rate goes into the velocity, as in Keras: optax.sgd multiplies the velocity, past steps too, by it.
        return optax.chain(step, optax.trace(self.config["momentum"], self.config["nesterov"]))


class RMSprop(Optimizer):
    """`w <- w - rate g / sqrt(v + epsilon)`, `v <- rho v + (1 - rho) g^2`; see `Optimizer`.

    centered: v less the square of the running mean of g. momentum: of the step.

    >>> RMSprop().get_config()["rho"]
    0.9

    Source: Hinton, lecture 6e of Neural Networks for Machine Learning, 2012.
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        rho: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-7,
        centered: bool = False,
        **arguments: Any,
    ):
        fraction("RMSprop rho", rho)
        fraction("RMSprop momentum", momentum)
        positive("RMSprop epsilon", epsilon)
        own = {"rho": rho, "momentum": momentum, "epsilon": epsilon, "centered": bool(centered)}
        super().__init__(learning_rate, own, arguments)

    def rule(self, learning_rate: jax.Array) -> optax.GradientTransformation:
        scale = optax.scale_by_stddev if self.config["centered"] else optax.scale_by_rms
        links = [scale(self.config["rho"], self.config["epsilon"]), optax.scale_by_learning_rate(learning_rate)]
        return optax.chain(*links, *([optax.trace(self.config["momentum"])] if self.config["momentum"] else []))


class Adagrad(Optimizer):
    """`w <- w - rate g / sqrt(v + epsilon)`, `v <- v + g^2` from `initial_accumulator_value`; see `Optimizer`.

    >>> Adagrad().get_config()["initial_accumulator_value"]
    0.1

    Source: Duchi, Hazan and Singer 2011.
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        initial_accumulator_value: float = 0.1,
        epsilon: float = 1e-7,
        **arguments: Any,
    ):
        non_negative("Adagrad initial_accumulator_value", initial_accumulator_value)
        positive("Adagrad epsilon", epsilon)
        own = {"initial_accumulator_value": initial_accumulator_value, "epsilon": epsilon}
        super().__init__(learning_rate, own, arguments)

    def rule(self, learning_rate: jax.Array) -> optax.GradientTransformation:
        return optax.adagrad(learning_rate, self.config["initial_accumulator_value"], self.config["epsilon"])


class Adadelta(Optimizer):
    """`w <- w - rate d`, `d = g sqrt(u + epsilon) / sqrt(v + epsilon)`, u and v the running means of d^2 and g^2.

    rho is the share of the old mean; see `Optimizer`.

    >>> Adadelta().learning_rate  # 1.0 in the paper
    0.001

    Source: Zeiler 2012, arXiv:1212.5701.
    """

    def __init__(self, learning_rate: Any = 0.001, rho: float = 0.95, epsilon: float = 1e-7, **arguments: Any):
        fraction("Adadelta rho", rho)
        positive("Adadelta epsilon", epsilon)
        super().__init__(learning_rate, {"rho": rho, "epsilon": epsilon}, arguments)

    def rule(self, learning_rate: jax.Array) -> optax.GradientTransformation:
        return optax.adadelta(learning_rate, self.config["rho"], self.config["epsilon"])
