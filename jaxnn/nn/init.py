"""How weights begin: random enough to differ, scaled so that signals neither die out nor explode.

An initialiser is a function `(key, shape, dtype) -> weights`, as in `jax.nn.initializers`, in the form its paper
states. The last axis of `shape` counts the outputs; fan-in is the product of the others, so `[F, K]` and
`[kh, kw, C, K]` both come out right. Biases begin at 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jax.nn import initializers

from jaxnn.errors import choices
from jaxnn.nn.activations import Activation

Initialiser = Callable[[jax.Array, tuple[int, ...], Any], jax.Array]

glorot: Initialiser = initializers.glorot_uniform()
"""Uniform with variance 2 / (fan_in + fan_out), for what is linear around 0. Source: Glorot and Bengio 2010."""

he: Initialiser = initializers.he_normal()
"""Normal with variance 2 / fan_in, for activations that cut off half of their inputs. Source: He et al. 2015.

Like `lecun`, cut at two deviations and rescaled to the variance stated.
"""

lecun: Initialiser = initializers.lecun_normal()
"""Normal with variance 1 / fan_in, which `selu` needs. Source: LeCun et al. 1998; Klambauer et al. 2017."""

orthogonal: Initialiser = initializers.orthogonal()
"""Orthonormal columns (or rows, if there are more columns than rows). Source: Saxe et al. 2013."""

TABLE: dict[str, Initialiser] = {"glorot": glorot, "he": he, "lecun": lecun, "orthogonal": orthogonal}
_HE = ("elu", "gelu", "leaky_relu", "maxout", "relu", "silu")


def default_for(activation: str | Activation) -> Initialiser:
    """What `auto` means for the layer before this activation, found by the function's name if it is a callable.

    `he` for relu and its kin (leaky_relu, elu, gelu, silu, maxout), `lecun` for selu, `glorot` for all others.

    >>> import jaxnn
    >>> from jaxnn.nn import init
    >>> init.default_for("relu") is init.he, init.default_for(jaxnn.tanh) is init.glorot
    (True, True)
    """
    name = activation if isinstance(activation, str) else getattr(activation, "__name__", "")
    return he if name in _HE else lecun if name == "selu" else glorot


def initialiser(name: str | Initialiser, activation: str | Activation = "identity") -> Initialiser:
    """The initialiser of that name, `auto` following the activation; a callable is returned as it is.

    Raises `InputError` with the list for an unknown name.

    >>> from jaxnn.nn import init
    >>> init.initialiser("auto", "selu") is init.lecun
    True
    """
    if callable(name):
        return name
    if name == "auto":
        return default_for(activation)
    if name not in TABLE:
        raise choices("init", name, ["auto", *TABLE])
    return TABLE[name]
