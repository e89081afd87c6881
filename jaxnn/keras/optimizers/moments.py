"""Optimizers with a running mean of the gradient: Adam and its kin, with Keras' place of epsilon, and Lion."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxnn.errors import check, fraction, positive
from jaxnn.keras.optimizers.base import Optimizer


def _checked(kind: str, beta_1: float, beta_2: float, **others: float) -> dict[str, Any]:
    fraction(f"{kind} beta_1", beta_1)
    fraction(f"{kind} beta_2", beta_2)
    if "epsilon" in others:
        positive(f"{kind} epsilon", others["epsilon"])
    return {"beta_1": beta_1, "beta_2": beta_2, **others}


class Adam(Optimizer):
    """`w <- w - rate_t m / (sqrt(v) + epsilon)`, `rate_t = rate sqrt(1 - beta_2^t) / (1 - beta_1^t)`; see `Optimizer`.

    `m <- beta_1 m + (1 - beta_1) g`, `v <- beta_2 v + (1 - beta_2) g^2`. amsgrad: v is the largest v of all steps.
    Raises `InputError` for a beta outside [0, 1) and for epsilon <= 0.

    >>> Adam(1e-3).get_config()["epsilon"]
    1e-07

    Source: Kingma and Ba 2015; Reddi, Kale and Kumar 2018.
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        **arguments: Any,
    ):
        own = _checked(type(self).__name__, beta_1, beta_2, epsilon=epsilon, amsgrad=bool(amsgrad))
        super().__init__(learning_rate, own, arguments)

    def rule(self, learning_rate: jax.Array) -> optax.GradientTransformation:
        b1, b2, epsilon = self.config["beta_1"], self.config["beta_2"], self.config["epsilon"]
        correction = lambda count: jnp.sqrt(1 - jnp.float32(b2) ** (count + 1))
        scaled = optax.scale_by_learning_rate(learning_rate)
        if self.config["amsgrad"]:  # Keras corrects the largest v, optax.amsgrad each v
            largest = optax.scale_by_amsgrad(b1, b2, epsilon, bias_correction_nu=False)
            return optax.chain(largest, optax.scale_by_schedule(correction), scaled)
        # Keras adds epsilon to sqrt(v) before v is corrected.
        moments = functools.partial(optax.scale_by_adam, b1, b2)
        corrected = optax.inject_hyperparams(moments)(eps=lambda count: epsilon / correction(count))
        return optax.chain(corrected, scaled)


class AdamW(Adam):
    """`Adam` with weights decayed by `rate weight_decay w` at each step, biases too.

    >>> AdamW().get_config()["weight_decay"]
    0.004

    Source: Loshchilov and Hutter 2019.
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        weight_decay: float = 0.004,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        **arguments: Any,
    ):
        check("AdamW weight_decay", weight_decay, "a number >= 0", weight_decay is not None)
        arguments = arguments | {"weight_decay": weight_decay}
        super().__init__(learning_rate, beta_1, beta_2, epsilon, amsgrad, **arguments)


class Adamax(Optimizer):
    """`w <- w - rate m / (1 - beta_1^t) / u`, `u <- max(beta_2 u, |g| + epsilon)`; see `Optimizer`.

    `m <- beta_1 m + (1 - beta_1) g`. Keras adds epsilon to u in the quotient instead.

    >>> Adamax().get_config()["beta_2"]
    0.999

    Source: Kingma and Ba 2015, section 7.1.
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        **arguments: Any,
    ):
        super().__init__(learning_rate, _checked("Adamax", beta_1, beta_2, epsilon=epsilon), arguments)

    def rule(self, learning_rate: jax.Array) -> optax.GradientTransformation:
        return optax.adamax(learning_rate, self.config["beta_1"], self.config["beta_2"], self.config["epsilon"])


class Nadam(Optimizer):
    """Adam with Nesterov's step: `w <- w - rate n / (sqrt(v / (1 - beta_2^t)) + epsilon)`; see `Optimizer`.

    `n = beta_1 m / (1 - beta_1^(t + 1)) + (1 - beta_1) g / (1 - beta_1^t)`, m and v as in `Adam`. beta_1 is the same at
    each step, where Keras begins with about half of it.

    >>> Nadam().get_config()["beta_1"]
    0.9

    Source: Dozat 2016.
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        **arguments: Any,
    ):
        super().__init__(learning_rate, _checked("Nadam", beta_1, beta_2, epsilon=epsilon), arguments)

    def rule(self, learning_rate: jax.Array) -> optax.GradientTransformation:
        return optax.nadam(learning_rate, self.config["beta_1"], self.config["beta_2"], self.config["epsilon"])


class Lion(Optimizer):
    """`w <- w - rate sign(beta_1 m + (1 - beta_1) g)`, `m <- beta_2 m + (1 - beta_2) g`; see `Optimizer`.

    >>> Lion().get_config()["beta_2"]
    0.99

    Source: Chen et al. 2023, arXiv:2302.06675.
    """

    def __init__(self, learning_rate: Any = 0.001, beta_1: float = 0.9, beta_2: float = 0.99, **arguments: Any):
        super().__init__(learning_rate, _checked("Lion", beta_1, beta_2), arguments)

    def rule(self, learning_rate: jax.Array) -> optax.GradientTransformation:
        return optax.lion(learning_rate, self.config["beta_1"], self.config["beta_2"], weight_decay=0.0)
