"""The tasks of scikit-learn's networks: its losses, half the squared error and half the Poisson deviance, over outputs.

Nothing is measured besides the loss: what scikit-learn scores, its own functions do.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jaxnn.tasks.classification import binary, multiclass, multilabel
from jaxnn.tasks.regression import regression
from jaxnn.types import Metrics, Task

# What scikit-learn calls the activation behind the last layer.
OUT_ACTIVATION = {
    "binary": "logistic",
    "multilabel": "logistic",
    "multiclass": "softmax",
    "poisson": "exp",
    "squared_error": "identity",
}


def build(kind: str, outputs: int) -> Task:
    """The task of a kind (binary, multiclass, multilabel, squared_error or poisson) with so many outputs.

    >>> build("squared_error", 2).loss(jnp.array([[1.0, 3.0]]), jnp.array([[0.0, 0.0]])).tolist()  # (1 + 9) / 2
    [5.0]

    Source: scikit-learn 1.9, `sklearn.neural_network`; its issue 8349 for the sum over the outputs.
    """
    if kind == "binary":
        task = binary()
    elif kind == "multiclass":
        task = multiclass(outputs)
    elif kind == "multilabel":
        task = multilabel(outputs)
    elif kind == "poisson":
        task = _poisson(outputs)
    else:
        task = _squared_error(outputs)
    return task._replace(metrics=_nothing)


def _squared_error(outputs: int) -> Task:
    mean = regression("squared", outputs=outputs)
    return mean._replace(loss=lambda raw, y: mean.loss(raw, y) * (outputs / 2))


def _poisson(outputs: int) -> Task:
    mean = regression("poisson", outputs=outputs)

    def loss(raw: jax.Array, y: jax.Array) -> jax.Array:
        return mean.loss(raw, y) * outputs + jnp.sum(jax.scipy.special.xlogy(y, y) - y, axis=-1)

    return mean._replace(loss=loss)


def _nothing(outputs: Any, y: Any, weight: jax.Array) -> Metrics:
    return {}
