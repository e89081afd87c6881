"""What scripts for TensorFlow use beside `tf.keras`: `from jaxnn.keras import tf` instead of `import tensorflow as tf`.

`tf.nn.relu` and its like as functions and as activations, `tf.__version__`, `tf.random.set_seed`. No TensorFlow is
needed, and there is nothing else of it here.

>>> from jaxnn.keras import tf
>>> tf.nn.relu([-1.0, 2.0]).numpy().tolist()
[0.0, 2.0]
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp

import jaxnn
from jaxnn.keras import activations
from jaxnn.keras.tensors import eager
from jaxnn.keras.utils import set_random_seed

FUNCTIONS = ["elu", "gelu", "leaky_relu", "log_softmax", "relu", "relu6", "selu", "sigmoid", "silu", "softmax"]
FUNCTIONS += ["softplus", "swish", "tanh"]


def __getattr__(name: str) -> Any:
    cure = "write it with numpy or jax.numpy"
    raise AttributeError(f"tf.{name}: not in jaxnn, which has keras, nn, random.set_seed and __version__ of tf; {cure}")


def _eager(function: Callable[..., jax.Array]) -> Callable[..., Any]:
    """The function, of arrays with a result that has `numpy()`; as an activation of a layer it is `function` itself."""

    @functools.wraps(function)
    def on_arrays(x: Any, **arguments: Any) -> Any:
        return eager(function(jnp.asarray(x), **arguments))

    on_arrays.activation = function  # type: ignore[attr-defined]
    return on_arrays


nn: SimpleNamespace = SimpleNamespace(**{name: _eager(activations.TABLE[name]) for name in FUNCTIONS})
random: SimpleNamespace = SimpleNamespace(set_seed=set_random_seed)
keras = jaxnn.keras
__version__ = jaxnn.__version__
version: SimpleNamespace = SimpleNamespace(VERSION=__version__)
