"""Activation functions: what makes a network more than one linear map.

Each is a pure function of one array; value and gradient are finite in float32 for |x| up to 1e4. All but `softmax` and
`log_softmax`, which look along the last axis, work entry by entry. Where a function has a kink, its derivative there is
one chosen number, stated below: differentiating `max` would give the mean of the two slopes instead.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxnn.errors import choices

Activation = Callable[[jax.Array], jax.Array]
"""A function of one array that gives an array of the same shape and dtype."""


def identity(x: jax.Array) -> jax.Array:
    """f(x) = x, range (-inf, inf). Never saturates, but layers joined by it are one linear map. Source: the lecture.

    Shapes: x `f[...]`; gives `f[...]`, of the same dtype.

    >>> import jax.numpy as jnp
    >>> import jaxnn
    >>> jaxnn.identity(jnp.array([-2.0, 3.0])).tolist()
    [-2.0, 3.0]
    """
    return x


def sigmoid(x: jax.Array) -> jax.Array:
    """sigma(x) = 1 / (1 + e^-x), range (0, 1).

    Saturates on both sides: the slope is at most 1/4 and below 1e-4 for |x| > 9.3, so gradients vanish through many
    layers. The form e^x / (1 + e^x) is nan from x = 89 on in float32 and is not used. Source: the lecture.

    Shapes: x `f[...]`; gives `f[...]`, of the same dtype.

    >>> import jax.numpy as jnp
    >>> import jaxnn
    >>> jaxnn.sigmoid(jnp.array([-1e4, 0.0, 1e4])).tolist()
    [0.0, 0.5, 1.0]
    """
    return jax.nn.sigmoid(x)


def logit(p: jax.Array) -> jax.Array:
    """logit(p) = log(p / (1 - p)), the inverse of `sigmoid`; domain (0, 1), range (-inf, inf).

    The ends of the domain are cut at the smallest normal number and at the largest number below 1 (in float32 the
    range is [-87.3, 16.6]); outside the cut the value is constant and the gradient 0, so both stay finite. Flattest at
    p = 1/2, where the slope is 4. Source: the lecture.

    Shapes: p `f[...]`; gives `f[...]`, of the same dtype.

    >>> import jax.numpy as jnp
    >>> import jaxnn
    >>> print(jaxnn.logit(jaxnn.sigmoid(jnp.array([-2.0, 0.0, 2.0]))).round(4))
    [-2.  0.  2.]
    """
    info = jnp.finfo(p.dtype)
    p = jnp.clip(p, float(info.tiny), 1 - float(info.epsneg))
    return jnp.log(p) - jnp.log1p(-p)


def tanh(x: jax.Array) -> jax.Array:
    """tanh(x) = 2 sigma(2x) - 1, range (-1, 1).

    Saturates on both sides (slope below 1e-4 for |x| > 5.3), but is centred and has slope 1 at 0. Source: the lecture.

    Shapes: x `f[...]`; gives `f[...]`, of the same dtype.

    >>> import jax.numpy as jnp
    >>> import jaxnn
    >>> jaxnn.tanh(jnp.array([-1e4, 0.0, 1e4])).tolist()
    [-1.0, 0.0, 1.0]
    """
    return jnp.tanh(x)


def relu(x: jax.Array) -> jax.Array:
    """max(0, x), range [0, inf); the derivative at 0 is 0.

    Does not saturate for x > 0 and makes about half of the units exactly 0. A unit that is negative on every example
    has no gradient and stays dead. Source: the lecture; Nair and Hinton 2010.

    Shapes: x `f[...]`; gives `f[...]`, of the same dtype.

    >>> import jax, jax.numpy as jnp
    >>> import jaxnn
    >>> jax.vmap(jax.grad(jaxnn.relu))(jnp.array([-1.0, 0.0, 1.0])).tolist()
    [0.0, 0.0, 1.0]
    """
    return jax.nn.relu(x)


def leaky_relu(x: jax.Array, slope: float = 0.1) -> jax.Array:
    """max(slope x, x) for a slope in [0, 1), range (-inf, inf); the derivative at 0 is `slope`.

    Neither saturates nor dies. The slope is the lecture's; 0 makes it `relu`, also at the kink. Source: the lecture;
    Maas et al. 2013 (there 0.01).

    Shapes: x `f[...]`; gives `f[...]`, of the same dtype.

    >>> import jax, jax.numpy as jnp
    >>> import jaxnn
    >>> jaxnn.leaky_relu(jnp.array([-10.0, 3.0])).tolist(), round(float(jax.grad(jaxnn.leaky_relu)(0.0)), 2)
    ([-1.0, 3.0], 0.1)
    """
    return jnp.where(x > 0, x, slope * x)


def elu(x: jax.Array, alpha: float = 1.0) -> jax.Array:
    """x for x > 0, alpha (e^x - 1) otherwise, range (-alpha, inf); the derivative at 0 is alpha.

    Saturates at -alpha on the left. The exponential is never taken of a positive number: its infinite branch would
    make the gradient nan although the value is right. Source: the lecture; Clevert et al. 2015.

    Shapes: x `f[...]`; gives `f[...]`, of the same dtype.

    >>> import jax.numpy as jnp
    >>> import jaxnn
    >>> jaxnn.elu(jnp.array([-1e4, 0.0, 2.0]), alpha=1.5).tolist()
    [-1.5, 0.0, 2.0]
    """
    return jax.nn.elu(x, alpha)


def selu(x: jax.Array) -> jax.Array:
    """lambda elu(x, alpha) with lambda = 1.0507 and alpha = 1.6733, range (-1.758, inf); the derivative at 0 is 1.758.

    With `lecun` weights it pulls mean and variance of the units towards 0 and 1, layer after layer. Saturates on the
    left. Source: the lecture; Klambauer et al. 2017.

    Shapes: x `f[...]`; gives `f[...]`, of the same dtype.

    >>> import jax.numpy as jnp
    >>> import jaxnn
    >>> [f"{y:.4f}" for y in jaxnn.selu(jnp.array([-1e4, 0.0, 1.0])).tolist()]
    ['-1.7581', '0.0000', '1.0507']
    """
    return jax.nn.selu(x)


def softmax(x: jax.Array) -> jax.Array:
    """p_k = e^x_k / sum_j e^x_j along the last axis, range (0, 1), sum 1; its Jacobian is diag(p) - p p^T.

    Saturates where one entry leads by a lot: then all slopes are 0. For training use a loss that takes logits instead.
    Source: the lecture.

    Shapes: x `f[..., K]`; gives `f[..., K]`, of the same dtype.

    >>> import jax.numpy as jnp
    >>> import jaxnn
    >>> jaxnn.softmax(jnp.array([1e4, 0.0, 1e4])).tolist()
    [0.5, 0.0, 0.5]
    """
    return jax.nn.softmax(x)


def log_softmax(x: jax.Array) -> jax.Array:
    """log p_k = x_k - log sum_j e^x_j along the last axis, range (-inf, 0].

    Does not saturate on the side of the small probabilities, where the logarithm of `softmax` is -inf. Source: the
    lecture's cross-entropy.

    Shapes: x `f[..., K]`; gives `f[..., K]`, of the same dtype.

    >>> import jax.numpy as jnp
    >>> import jaxnn
    >>> jaxnn.log_softmax(jnp.array([200.0, 0.0])).tolist()
    [0.0, -200.0]
    """
    return jax.nn.log_softmax(x)


def gelu(x: jax.Array) -> jax.Array:
    """x Phi(x), Phi the normal distribution function, range [-0.17, inf); the exact form, not the one with tanh.

    Saturates at 0 on the left; not monotone (least at x = -0.75). Source: Hendrycks and Gimpel 2016.

    Shapes: x `f[...]`; gives `f[...]`, of the same dtype.

    >>> import jax.numpy as jnp
    >>> import jaxnn
    >>> [f"{y:.4f}" for y in jaxnn.gelu(jnp.array([-1.0, 0.0, 1.0])).tolist()]
    ['-0.1587', '0.0000', '0.8413']
    """
    return jax.nn.gelu(x, approximate=False)


def silu(x: jax.Array) -> jax.Array:
    """x sigma(x), range [-0.28, inf), also called swish.

    Saturates at 0 on the left; not monotone (least at x = -1.28). Source: Elfwing et al. 2018.

    Shapes: x `f[...]`; gives `f[...]`, of the same dtype.

    >>> import jax.numpy as jnp
    >>> import jaxnn
    >>> [f"{y:.4f}" for y in jaxnn.silu(jnp.array([-1.0, 0.0, 1.0])).tolist()]
    ['-0.2689', '0.0000', '0.7311']
    """
    return jax.nn.silu(x)


def softplus(x: jax.Array) -> jax.Array:
    """log(1 + e^x), range (0, inf): a smooth `relu` whose slope is `sigmoid`.

    Saturates at 0 on the left. Source: Dugas et al. 2001.

    Shapes: x `f[...]`; gives `f[...]`, of the same dtype.

    >>> import jax.numpy as jnp
    >>> import jaxnn
    >>> [f"{y:.4f}" for y in jaxnn.softplus(jnp.array([-1e4, 0.0, 1.0])).tolist()]
    ['0.0000', '0.6931', '1.3133']
    """
    return jax.nn.softplus(x)


TABLE: dict[str, Activation] = {
    f.__name__: f
    for f in (
        elu,
        gelu,
        identity,
        leaky_relu,
        log_softmax,
        logit,
        relu,
        selu,
        sigmoid,
        silu,
        softmax,
        softplus,
        tanh,
    )  # fmt: skip
}
MONOTONE = frozenset({elu, identity, leaky_relu, logit, relu, selu, sigmoid, softplus, tanh})  # max(f(x)) = f(max(x))


def activation(name: str | Activation) -> Activation:
    """The function of that name; a callable is returned as it is. scikit-learn's `logistic` is `sigmoid`.

    Raises `InputError` with the list for an unknown name.

    >>> import jaxnn
    >>> jaxnn.activation("logistic") is jaxnn.sigmoid
    True
    """
    if callable(name):
        return name
    if name == "logistic":
        return sigmoid
    if name not in TABLE:
        raise choices("activation", name, TABLE)
    return TABLE[name]
