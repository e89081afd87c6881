"""Keras' activation functions: `f32[...]` -> the same shape, entry by entry but for the softmax and `glu`.

Those that jaxnn has are jaxnn's own. Your own is any function of one array in `jax.numpy`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxnn.errors import InputError, choices
from jaxnn.nn import activations as own
from jaxnn.nn.activations import elu, selu, sigmoid, silu, softplus, tanh

Activation = Callable[..., jax.Array]


def linear(x: jax.Array) -> jax.Array:
    """x itself.

    >>> import jax.numpy as jnp
    >>> linear(jnp.array([-1.0, 2.0])).tolist()
    [-1.0, 2.0]
    """
    return x


def relu(
    x: jax.Array, negative_slope: float = 0.0, max_value: float | None = None, threshold: float = 0.0
) -> jax.Array:
    """max(0, x); with a threshold t x above t, below it negative_slope (x - t), and at most max_value.

    >>> import jax.numpy as jnp
    >>> relu(jnp.array([-2.0, 0.5, 3.0, 9.0]), 0.5, max_value=6.0, threshold=1.0).tolist()
    [-1.5, -0.25, 3.0, 6.0]
    """
    if negative_slope == 0 and max_value is None and threshold == 0:
        return own.relu(x)
    above = x if max_value is None else jnp.minimum(x, max_value)
    return jnp.where(x > threshold, above, negative_slope * (x - threshold))


def leaky_relu(x: jax.Array, negative_slope: float = 0.2) -> jax.Array:
    """x for x > 0, negative_slope x otherwise; the layer LeakyReLU has a slope of 0.3.

    >>> leaky_relu(jnp.array([-1.0, 2.0]), 0.5).tolist()
    [-0.5, 2.0]
    """
    return own.leaky_relu(x, negative_slope)


def softmax(x: jax.Array, axis: int = -1) -> jax.Array:
    """e^x / sum e^x along an axis, counted as by NumPy; without overflow.

    >>> softmax(jnp.array([100.0, 100.0])).tolist()
    [0.5, 0.5]
    """
    return own.softmax(x) if axis == -1 else jax.nn.softmax(x, axis)


def log_softmax(x: jax.Array, axis: int = -1) -> jax.Array:
    """log of `softmax`: x - log sum e^x along an axis.

    >>> log_softmax(jnp.array([0.0, 0.0])).round(4).tolist()  # -log 2
    [-0.693..., -0.693...]
    """
    return jax.nn.log_softmax(x, axis)


def gelu(x: jax.Array, approximate: bool = False) -> jax.Array:
    """x Phi(x), Phi the normal distribution; approximate: x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2.

    >>> gelu(jnp.array([-1.0, 2.0])).round(3).tolist()
    [-0.15..., 1.95...]
    """
    return jax.nn.gelu(x, approximate)


def relu6(x: jax.Array) -> jax.Array:
    """min(max(0, x), 6).

    >>> relu6(jnp.array([2.0, 9.0])).tolist()
    [2.0, 6.0]
    """
    return jax.nn.relu6(x)


def celu(x: jax.Array, alpha: float = 1.0) -> jax.Array:
    """x for x > 0, alpha (e^(x / alpha) - 1) otherwise.

    >>> celu(jnp.array([-1.0, 2.0])).round(4).tolist()
    [-0.632..., 2.0]
    """
    return jax.nn.celu(x, alpha)


def softsign(x: jax.Array) -> jax.Array:
    """x / (1 + |x|).

    >>> softsign(jnp.array([-1.0, 3.0])).tolist()
    [-0.5, 0.75]
    """
    return jax.nn.soft_sign(x)


def exponential(x: jax.Array) -> jax.Array:
    """e^x.

    >>> exponential(jnp.array([0.0, 1.0])).round(3).tolist()
    [1.0, 2.71...]
    """
    return jnp.exp(x)


def mish(x: jax.Array) -> jax.Array:
    """x tanh(log(1 + e^x)).

    >>> mish(jnp.array([-1.0, 2.0])).round(3).tolist()
    [-0.30..., 1.94...]
    """
    return x * jnp.tanh(jax.nn.softplus(x))


def hard_sigmoid(x: jax.Array) -> jax.Array:
    """relu6(x + 3) / 6.

    >>> hard_sigmoid(jnp.array([-3.0, 0.0, 3.0])).tolist()
    [0.0, 0.5, 1.0]
    """
    return jax.nn.hard_sigmoid(x)


def hard_silu(x: jax.Array) -> jax.Array:
    """x `hard_sigmoid`(x).

    >>> hard_silu(jnp.array([0.0, 3.0])).tolist()
    [0.0, 3.0]
    """
    return jax.nn.hard_silu(x)


def hard_tanh(x: jax.Array) -> jax.Array:
    """x cut at -1 and 1.

    >>> hard_tanh(jnp.array([-2.0, 0.5])).tolist()
    [-1.0, 0.5]
    """
    return jax.nn.hard_tanh(x)


def hard_shrink(x: jax.Array, threshold: float = 0.5) -> jax.Array:
    """x for |x| > threshold, else 0.

    >>> hard_shrink(jnp.array([0.25, 2.0])).tolist()
    [0.0, 2.0]
    """
    return jnp.where(jnp.abs(x) > threshold, x, 0)


def soft_shrink(x: jax.Array, threshold: float = 0.5) -> jax.Array:
    """x moved towards 0 by the threshold, and 0 within it.

    >>> soft_shrink(jnp.array([0.25, 2.0])).tolist()
    [0.0, 1.5]
    """
    return jnp.sign(x) * jnp.maximum(jnp.abs(x) - threshold, 0)


def tanh_shrink(x: jax.Array) -> jax.Array:
    """x - tanh(x).

    >>> tanh_shrink(jnp.array([0.0, 1.0])).round(3).tolist()
    [0.0, 0.23...]
    """
    return x - jnp.tanh(x)


def threshold(x: jax.Array, threshold: float, default_value: float) -> jax.Array:
    """x above the threshold, else default_value.

    >>> threshold(jnp.array([0.5, 2.0]), 1.0, 0.0).tolist()
    [0.0, 2.0]
    """
    return jnp.where(x > threshold, x, default_value)


def log_sigmoid(x: jax.Array) -> jax.Array:
    """log of `sigmoid`: -log(1 + e^-x).

    >>> log_sigmoid(jnp.array([0.0])).round(4).tolist()  # -log 2
    [-0.693...]
    """
    return jax.nn.log_sigmoid(x)


def squareplus(x: jax.Array, b: float = 4) -> jax.Array:
    """(x + sqrt(x^2 + b)) / 2.

    >>> squareplus(jnp.array([0.0])).tolist()
    [1.0]
    """
    return jax.nn.squareplus(x, b)


def sparse_plus(x: jax.Array) -> jax.Array:
    """0 below -1, x above 1, (x + 1)^2 / 4 between them.

    >>> sparse_plus(jnp.array([-2.0, 0.0, 2.0])).tolist()
    [0.0, 0.25, 2.0]
    """
    return jax.nn.sparse_plus(x)


def sparse_sigmoid(x: jax.Array) -> jax.Array:
    """(x + 1) / 2, cut at 0 and 1.

    >>> sparse_sigmoid(jnp.array([-2.0, 0.0, 2.0])).tolist()
    [0.0, 0.5, 1.0]
    """
    return jax.nn.sparse_sigmoid(x)


def glu(x: jax.Array, axis: int = -1) -> jax.Array:
    """The first half along an axis times the sigmoid of the second.

    >>> glu(jnp.array([3.0, 0.0])).tolist()
    [1.5]
    """
    return jax.nn.glu(x, axis)


swish = silu
hard_swish = hard_silu
_FUNCTIONS: list[Activation] = [
    *(linear, relu, leaky_relu, softmax, log_softmax, gelu, relu6, celu, softsign, exponential, mish, hard_sigmoid),
    *(hard_silu, hard_tanh, hard_shrink, soft_shrink, tanh_shrink, log_sigmoid, squareplus, sparse_plus),
    *(sparse_sigmoid, glu, elu, selu, sigmoid, silu, softplus, tanh),
]
TABLE: dict[str, Activation] = {
    **{function.__name__: function for function in _FUNCTIONS},
    **{"swish": silu, "hard_swish": hard_silu, "leakyrelu": leaky_relu},
}


def get(identifier: Any) -> Any:
    """The function of that name; None is `linear`, a function itself, and a layer (`LeakyReLU(0.1)`) what it computes.

    Raises `InputError` with the list for an unknown name.

    >>> get("relu") is relu, get(None) is linear
    (True, True)
    """
    if identifier is None:
        return linear
    if isinstance(identifier, Mapping) and "class_name" in identifier:
        from jaxnn.keras import layers

        return get(getattr(layers, identifier["class_name"]).from_config(identifier.get("config", {})))
    if isinstance(identifier, str):
        if identifier not in TABLE:
            raise choices("activation", identifier, TABLE)
        return TABLE[identifier]
    if not callable(identifier):
        raise InputError(f"activation={identifier}: must be a name or a function of one array")
    return getattr(identifier, "activation", identifier)


def serialize(activation: Activation) -> str:
    """Its name. Raises `InputError` for one of your own.

    >>> serialize(get("swish"))
    'silu'
    """
    name = getattr(activation, "__name__", "")
    if TABLE.get(name) is not activation:
        raise InputError(f"activation={name or type(activation).__name__}: is of your own, and cannot be saved")
    return name


def deserialize(config: Any) -> Activation:
    """The function of this name.

    >>> deserialize("relu") is relu
    True
    """
    return get(config)
