"""Accuracies: `function(y_true, y_pred) -> f32[...]`, 1 where the answer is right; NaN is never right."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jaxnn.errors import check
from jaxnn.keras.loss_functions import aligned, floats, integers, one_hot


def accuracy(y_true: Any, y_pred: Any) -> jax.Array:
    """Whether `y = p`, for predictions that are classes already.

    >>> accuracy([1, 2], [1, 3]).tolist()
    [1.0, 0.0]
    """
    y_true, y_pred = aligned(y_true, y_pred)
    return (y_true == y_pred).astype(float)


def binary_accuracy(y_true: Any, y_pred: Any, threshold: float = 0.5) -> jax.Array:
    """Whether `y = (p > threshold)`.

    >>> binary_accuracy([[1], [0]], [[0.7], [0.6]]).tolist()
    [[1.0], [0.0]]
    """
    y_true, y_pred = aligned(y_true, y_pred)
    return ((y_true == (y_pred > threshold).astype(y_true.dtype)) & ~jnp.isnan(y_pred)).astype(float)


def categorical_accuracy(y_true: Any, y_pred: Any) -> jax.Array:
    """Whether the largest of p is the largest of one-hot y, `[..., K]`.

    >>> categorical_accuracy([[0, 1], [0, 1]], [[0.4, 0.6], [0.7, 0.3]]).tolist()
    [1.0, 0.0]
    """
    return _in_top(*one_hot("categorical_accuracy", y_true, y_pred), 1, first=True)


def sparse_categorical_accuracy(y_true: Any, y_pred: Any) -> jax.Array:
    """Whether the largest of p `[..., K]` is that of the class y `[...]` or `[..., 1]`.

    >>> sparse_categorical_accuracy([1, 1], [[0.4, 0.6], [0.7, 0.3]]).tolist()
    [1.0, 0.0]
    """
    y_pred = floats(y_pred)
    return _in_top(integers("sparse_categorical_accuracy", y_true, y_pred), y_pred, 1, first=True)


def top_k_categorical_accuracy(y_true: Any, y_pred: Any, k: int = 5) -> jax.Array:
    """Whether fewer than k numbers of p are larger than that of the class, y one-hot.

    >>> top_k_categorical_accuracy([[0, 0, 1]], [[0.5, 0.2, 0.3]], k=2).tolist()
    [1.0]
    """
    return _in_top(*one_hot("top_k_categorical_accuracy", y_true, y_pred), k)


def sparse_top_k_categorical_accuracy(y_true: Any, y_pred: Any, k: int = 5) -> jax.Array:
    """`top_k_categorical_accuracy`, y integers.

    >>> sparse_top_k_categorical_accuracy([2], [[0.5, 0.2, 0.3]], k=2).tolist()
    [1.0]
    """
    y_pred = floats(y_pred)
    return _in_top(integers("sparse_top_k_categorical_accuracy", y_true, y_pred), y_pred, k)


def by_shape(y_true: Any, y_pred: Any) -> jax.Array:
    """What Keras measures as "accuracy", by the shapes of labels and predictions.

    Binary for one output, sparse for labels of an axis less (or of 1 in the last), else categorical.
    """
    labels, outputs = jnp.shape(y_true), jnp.shape(y_pred)
    if outputs[-1] == 1:
        return binary_accuracy(y_true, y_pred)
    sparse = len(labels) < len(outputs) or labels[-1] == 1
    return (sparse_categorical_accuracy if sparse else categorical_accuracy)(y_true, y_pred)


def _in_top(target: jax.Array, y_pred: jax.Array, k: int, first: bool = False) -> jax.Array:
    """Whether the class is among the k largest; `first`: of equal numbers the first is the answer, else all are."""
    check("k", k, "a whole number >= 1", isinstance(k, int) and k >= 1)
    label = jnp.argmax(target, axis=-1)
    if first:
        right = jnp.argmax(y_pred, axis=-1) == label
    else:
        own = jnp.take_along_axis(y_pred, label[..., None], axis=-1)
        right = jnp.sum(y_pred > own, axis=-1) < k
    return (right & ~jnp.isnan(target + y_pred).any(axis=-1)).astype(float)
