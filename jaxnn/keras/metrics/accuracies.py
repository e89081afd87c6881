"""Accuracies: `function(y_true, y_pred) -> f32[...]`, 1 where the answer is right, and metrics of their means.

A prediction that is NaN is never right. Shapes that do not fit raise `InputError`: Keras broadcasts them.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jaxnn.errors import check
from jaxnn.keras.losses.labels import aligned, floats, integers, one_hot
from jaxnn.keras.metrics.base import MeanOf


def accuracy(y_true: Any, y_pred: Any) -> jax.Array:
    """Whether `y = p`, for predictions that are classes already: y, p `f32[...]` -> `f32[...]`.

    >>> accuracy([1, 2], [1, 3]).tolist()
    [1.0, 0.0]
    """
    y_true, y_pred = aligned(y_true, y_pred)
    return (y_true == y_pred).astype(float)


def binary_accuracy(y_true: Any, y_pred: Any, threshold: float = 0.5) -> jax.Array:
    """Whether `y = (p > threshold)`: y in {0, 1}, p `f32[...]` -> `f32[...]`.

    >>> binary_accuracy([[1], [0]], [[0.7], [0.6]]).tolist()
    [[1.0], [0.0]]
    """
    y_true, y_pred = aligned(y_true, y_pred)
    return ((y_true == (y_pred > threshold).astype(y_true.dtype)) & ~jnp.isnan(y_pred)).astype(float)


def categorical_accuracy(y_true: Any, y_pred: Any) -> jax.Array:
    """Whether the largest of p is the largest of y: y one-hot, p `f32[..., K]` -> `f32[...]`.

    >>> categorical_accuracy([[0, 1], [0, 1]], [[0.4, 0.6], [0.7, 0.3]]).tolist()
    [1.0, 0.0]
    """
    return _in_top(*one_hot("categorical_accuracy", y_true, y_pred), 1, first=True)


def sparse_categorical_accuracy(y_true: Any, y_pred: Any) -> jax.Array:
    """Whether the largest of p is that of the class y: integers y `[...]` or `[..., 1]`, p `f32[..., K]` -> `f32[...]`.

    >>> sparse_categorical_accuracy([1, 1], [[0.4, 0.6], [0.7, 0.3]]).tolist()
    [1.0, 0.0]
    """
    y_pred = floats(y_pred)
    return _in_top(integers("sparse_categorical_accuracy", y_true, y_pred), y_pred, 1, first=True)


def top_k_categorical_accuracy(y_true: Any, y_pred: Any, k: int = 5) -> jax.Array:
    """Whether fewer than k numbers of p are larger than that of the class: y one-hot, p `f32[..., K]` -> `f32[...]`.

    >>> top_k_categorical_accuracy([[0, 0, 1]], [[0.5, 0.2, 0.3]], k=2).tolist()
    [1.0]
    """
    return _in_top(*one_hot("top_k_categorical_accuracy", y_true, y_pred), k)


def sparse_top_k_categorical_accuracy(y_true: Any, y_pred: Any, k: int = 5) -> jax.Array:
    """`top_k_categorical_accuracy` of integers: y `[...]` or `[..., 1]`, p `f32[..., K]` -> `f32[...]`.

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


class Accuracy(MeanOf, function=accuracy, minimized=False):
    """The share of the rows with `y = p`, for predictions that are classes already: y, p `[B, ...]`.

    >>> float(Accuracy()([1, 2], [1, 3]))
    0.5
    """


class BinaryAccuracy(MeanOf, function=binary_accuracy, minimized=False):
    """The share of the answers with `y = (p > threshold)`: y in {0, 1}, p `f32[B, K]`. Args: threshold.

    >>> float(BinaryAccuracy()([[1], [0]], [[0.7], [0.6]]))
    0.5
    """


class CategoricalAccuracy(MeanOf, function=categorical_accuracy, minimized=False):
    """The share of the rows whose largest p is that of the class: y one-hot `[B, K]`, p `f32[B, K]`.

    >>> float(CategoricalAccuracy()([[0, 1], [0, 1]], [[0.4, 0.6], [0.7, 0.3]]))
    0.5
    """


class SparseCategoricalAccuracy(MeanOf, function=sparse_categorical_accuracy, minimized=False):
    """The share of the rows whose largest p is that of the class: integers y `[B]` or `[B, 1]`, p `f32[B, K]`.

    >>> float(SparseCategoricalAccuracy()([1, 1], [[0.4, 0.6], [0.7, 0.3]]))
    0.5
    """


class AccuracyByShape(MeanOf, function=by_shape, minimized=False):
    """What the string "accuracy" stands for: binary, sparse or categorical by the shapes, see `by_shape`.

    >>> float(AccuracyByShape()([1, 1], [[0.4, 0.6], [0.7, 0.3]]))
    0.5
    """


class _Top(MeanOf):
    def __init__(self, k: int = 5, name: str | None = None, dtype: Any = None):
        super().__init__(name, dtype, k=k)


class TopKCategoricalAccuracy(_Top, function=top_k_categorical_accuracy, minimized=False):
    """The share of the rows whose class is among the k largest of p: y one-hot `[B, K]`, p `f32[B, K]`.

    >>> float(TopKCategoricalAccuracy(k=2)([[0, 0, 1]], [[0.5, 0.2, 0.3]]))
    1.0
    """


class SparseTopKCategoricalAccuracy(_Top, function=sparse_top_k_categorical_accuracy, minimized=False):
    """`TopKCategoricalAccuracy` of integers y `[B]` or `[B, 1]`.

    >>> float(SparseTopKCategoricalAccuracy(k=2)([2], [[0.5, 0.2, 0.3]]))
    1.0
    """
