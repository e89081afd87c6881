"""Keras' loss functions: `function(y_true, y_pred) -> f[...]`, the mean over the last axis.

y_true `[..., K]` and y_pred `f[..., K]` have the same shape; an axis of 1 that one of them lacks at its end is added.
All others raise `InputError`: Keras broadcasts them. Probabilities are clipped to [1e-7, 1 - 1e-7], as in Keras.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jaxnn.errors import InputError, fraction, positive
from jaxnn.tasks.losses import absolute, class_target, squared

EPSILON = 1e-7


def aligned(y_true: Any, y_pred: Any) -> tuple[jax.Array, jax.Array]:
    """Both as floating arrays of one shape: an axis of 1 at the end is added where only one of them has it."""
    y_pred = floats(y_pred)
    y_true = jnp.asarray(y_true)
    y_true = y_true.astype(y_pred.dtype)
    if y_true.ndim == y_pred.ndim - 1 and y_pred.shape[-1] == 1:
        y_true = y_true[..., None]
    elif y_pred.ndim == y_true.ndim - 1 and y_true.shape[-1] == 1:
        y_pred = y_pred[..., None]
    if y_true.shape != y_pred.shape:
        raise InputError(f"y_true{list(y_true.shape)}: does not fit y_pred{list(y_pred.shape)}; give equal shapes")
    return y_true, y_pred


def floats(y_pred: Any) -> jax.Array:
    """As a floating array: integers as float32."""
    y_pred = jnp.asarray(y_pred)
    return y_pred if jnp.issubdtype(y_pred.dtype, jnp.floating) else y_pred.astype(float)


def mean_squared_error(y_true: Any, y_pred: Any) -> jax.Array:
    """`mean_k (y_k - p_k)^2`

    >>> mean_squared_error([[0.0, 1.0]], [[2.0, 1.0]]).tolist()
    [2.0]
    """
    y_true, y_pred = aligned(y_true, y_pred)
    return squared(y_pred, y_true)


def mean_absolute_error(y_true: Any, y_pred: Any) -> jax.Array:
    """`mean_k |y_k - p_k|`; the derivative at 0 is 0.

    >>> mean_absolute_error([[0.0, 1.0]], [[2.0, 1.0]]).tolist()
    [1.0]
    """
    y_true, y_pred = aligned(y_true, y_pred)
    return absolute(y_pred, y_true)


def mean_absolute_percentage_error(y_true: Any, y_pred: Any) -> jax.Array:
    """`100 mean_k |y_k - p_k| / max(|y_k|, 1e-7)`

    >>> mean_absolute_percentage_error([[2.0, 1.0]], [[1.0, 1.0]]).tolist()
    [25.0]
    """
    y_true, y_pred = aligned(y_true, y_pred)
    return 100 * jnp.mean(jnp.abs((y_true - y_pred) / jnp.maximum(jnp.abs(y_true), EPSILON)), axis=-1)


def mean_squared_logarithmic_error(y_true: Any, y_pred: Any) -> jax.Array:
    """`mean_k (log(max(y_k, 1e-7) + 1) - log(max(p_k, 1e-7) + 1))^2`

    >>> mean_squared_logarithmic_error([[0.0]], [[1.0]]).round(4).tolist()  # log(2)^2
    [0.48...]
    """
    y_true, y_pred = aligned(y_true, y_pred)
    logarithm = lambda values: jnp.log(jnp.maximum(values, EPSILON) + 1)
    return jnp.mean(jnp.square(logarithm(y_pred) - logarithm(y_true)), axis=-1)


def cosine_similarity(y_true: Any, y_pred: Any) -> jax.Array:
    """`-sum_k y_k p_k / (|y| |p|)`: minus the cosine, so that less is better.

    >>> cosine_similarity([[1.0, 0.0]], [[2.0, 0.0]]).tolist()
    [-1.0]
    """
    y_true, y_pred = aligned(y_true, y_pred)
    square = lambda values: jnp.maximum(jnp.sum(jnp.square(values), axis=-1), EPSILON**2)
    return -jnp.sum(y_true * y_pred, axis=-1) * jax.lax.rsqrt(square(y_true)) * jax.lax.rsqrt(square(y_pred))


def huber(y_true: Any, y_pred: Any, delta: float = 1.0) -> jax.Array:
    """`mean_k h(y_k - p_k)`, `h(e) = e^2/2 if |e| <= delta else delta |e| - delta^2/2`

    >>> huber([[0.0, 0.0]], [[1.0, 3.0]]).tolist()  # (0.5 + 2.5) / 2
    [1.5]
    """
    positive("delta", delta)
    y_true, y_pred = aligned(y_true, y_pred)
    error = jnp.abs(y_pred - y_true)
    return jnp.mean(jnp.where(error <= delta, jnp.square(error) / 2, delta * error - delta**2 / 2), axis=-1)


def log_cosh(y_true: Any, y_pred: Any) -> jax.Array:
    """`mean_k log cosh(p_k - y_k)`

    >>> log_cosh([[0.0]], [[1.0]]).round(4).tolist()
    [0.43...]
    """
    y_true, y_pred = aligned(y_true, y_pred)
    error = y_pred - y_true
    return jnp.mean(error + jax.nn.softplus(-2 * error) - jnp.log(2.0).astype(error.dtype), axis=-1)


def poisson(y_true: Any, y_pred: Any) -> jax.Array:
    """`mean_k p_k - y_k log(p_k + 1e-7)`

    >>> poisson([[2.0]], [[1.0]]).round(4).tolist()
    [1.0]
    """
    y_true, y_pred = aligned(y_true, y_pred)
    return jnp.mean(y_pred - y_true * jnp.log(y_pred + EPSILON), axis=-1)


def kl_divergence(y_true: Any, y_pred: Any) -> jax.Array:
    """`sum_k y_k log(y_k / p_k)`, both clipped to [1e-7, 1]

    >>> kl_divergence([[0.5, 0.5]], [[0.5, 0.5]]).tolist()
    [0.0]
    """
    y_true, y_pred = aligned(y_true, y_pred)
    y_true, y_pred = (jnp.clip(values, EPSILON, 1) for values in (y_true, y_pred))
    return jnp.sum(y_true * jnp.log(y_true / y_pred), axis=-1)


def _signs(y_true: jax.Array) -> jax.Array:
    """Labels in {-1, 1} as they are; those in {0, 1} as 2 y - 1, as Keras does it, for the whole batch."""
    return jnp.where(((y_true == 0) | (y_true == 1)).all(), 2 * y_true - 1, y_true)


def hinge(y_true: Any, y_pred: Any) -> jax.Array:
    """`mean_k max(1 - y_k p_k, 0)`, y in {-1, 1}, or {0, 1}, which stand for them.

    >>> hinge([[0, 1]], [[-1.0, 0.5]]).tolist()
    [0.25]
    """
    y_true, y_pred = aligned(y_true, y_pred)
    return jnp.mean(jnp.maximum(1 - _signs(y_true) * y_pred, 0), axis=-1)


def squared_hinge(y_true: Any, y_pred: Any) -> jax.Array:
    """`mean_k max(1 - y_k p_k, 0)^2`, y as in `hinge`.

    >>> squared_hinge([[0, 1]], [[-1.0, 0.5]]).tolist()
    [0.125]
    """
    y_true, y_pred = aligned(y_true, y_pred)
    return jnp.mean(jnp.square(jnp.maximum(1 - _signs(y_true) * y_pred, 0)), axis=-1)


def categorical_hinge(y_true: Any, y_pred: Any) -> jax.Array:
    """`max(max_k (1 - y_k) p_k - sum_k y_k p_k + 1, 0)`, y one-hot.

    >>> categorical_hinge([[0, 1]], [[0.25, 0.75]]).tolist()
    [0.5]
    """
    y_true, y_pred = one_hot("categorical_hinge", y_true, y_pred)
    positive, negative = jnp.sum(y_true * y_pred, axis=-1), jnp.max((1 - y_true) * y_pred, axis=-1)
    return jnp.maximum(negative - positive + 1, 0)


def one_hot(loss: str, y_true: Any, y_pred: Any) -> tuple[jax.Array, jax.Array]:
    """One-hot or soft labels of the shape of y_pred. Raises `InputError` for integers, as Keras does."""
    y_pred, y_true = floats(y_pred), jnp.asarray(y_true)
    if y_true.shape != y_pred.shape:
        rule = f"{loss} takes one-hot labels {list(y_pred.shape)}"
        cure = "for integers use sparse_categorical_crossentropy, or to_categorical(y)"
        raise InputError(f"y_true{list(y_true.shape)}: {rule}; {cure}")
    _check_classes(loss, y_pred)
    return y_true.astype(y_pred.dtype), y_pred


def integers(loss: str, y_true: Any, y_pred: Any) -> jax.Array:
    """Labels `[...]` as one-hot `f[..., K]`; what is no integer in [0, K) becomes a row of NaN.

    y_true `[...]` or `[..., 1]`, also whole numbers in a floating array. Raises `InputError` for one-hot labels.
    """
    y_true = jnp.asarray(y_true)
    _check_classes(loss, y_pred)
    if y_true.ndim == y_pred.ndim and y_true.shape[-1] == 1:
        y_true = y_true[..., 0]
    if y_true.shape != y_pred.shape[:-1]:
        rule = f"{loss} takes integers {list(y_pred.shape[:-1])}, for y_pred{list(y_pred.shape)}"
        raise InputError(f"y_true{list(y_true.shape)}: {rule}; for one-hot labels use categorical_crossentropy")
    if not jnp.issubdtype(y_true.dtype, jnp.integer):
        y_true = floats(y_true)
        y_true = jnp.where(y_true == jnp.floor(y_true), y_true, -1).astype(jnp.int32)
    return class_target(y_pred, y_true)


def _check_classes(loss: str, y_pred: jax.Array) -> None:
    if y_pred.ndim == 0 or y_pred.shape[-1] < 2:
        cure = "use binary_crossentropy if there are 2 classes"
        raise InputError(f"y_pred{list(y_pred.shape)}: {loss} takes 2 classes or more in the last axis; {cure}")


def _log_probabilities(y_pred: jax.Array, from_logits: bool) -> jax.Array:
    if from_logits:
        return jax.nn.log_softmax(y_pred)
    return jnp.log(jnp.clip(y_pred / jnp.sum(y_pred, axis=-1, keepdims=True), EPSILON, 1 - EPSILON))


def categorical_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0.0
) -> jax.Array:
    """`-sum_c y_c log p_c`, y one-hot or soft `[..., K]`; p are normalised, or the softmax of logits.

    Label smoothing `a` is `(1 - a) y + a / K`. Raises `InputError` for integers.

    >>> categorical_crossentropy([[0, 1]], [[0.5, 0.5]]).round(4).tolist()
    [0.69...]
    """
    fraction("label_smoothing", label_smoothing)
    y_true, y_pred = one_hot("categorical_crossentropy", y_true, y_pred)
    if label_smoothing:
        y_true = y_true * (1 - label_smoothing) + label_smoothing / y_true.shape[-1]
    return -jnp.sum(y_true * _log_probabilities(y_pred, from_logits), axis=-1)


def sparse_categorical_crossentropy(y_true: Any, y_pred: Any, from_logits: bool = False) -> jax.Array:
    """`-log p_y`, y integers `[...]` or `[..., 1]`; a label outside [0, K) gives NaN (Keras: 0).

    >>> sparse_categorical_crossentropy([1], [[0.5, 0.5]]).round(4).tolist()
    [0.69...]
    """
    y_pred = floats(y_pred)
    target = integers("sparse_categorical_crossentropy", y_true, y_pred)
    return -jnp.sum(target * _log_probabilities(y_pred, from_logits), axis=-1)


def binary_crossentropy(y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0.0) -> jax.Array:
    """`mean_k -y_k log p_k - (1 - y_k) log(1 - p_k)`, y in [0, 1]; outside, NaN.

    Label smoothing `a` is `(1 - a) y + a / 2`.

    >>> binary_crossentropy([[0, 1]], [[0.5, 0.5]]).round(4).tolist()
    [0.69...]
    """
    return jnp.mean(_binary(y_true, y_pred, from_logits, label_smoothing)[0], axis=-1)


def _binary(y_true: Any, y_pred: Any, from_logits: bool, label_smoothing: float) -> tuple[jax.Array, jax.Array]:
    """The binary cross-entropy of each number `f[..., K]`, and the labels after smoothing."""
    fraction("label_smoothing", label_smoothing)
    y_true, y_pred = aligned(y_true, y_pred)
    y_true = jnp.where((y_true >= 0) & (y_true <= 1), y_true, jnp.nan)
    y_true = y_true * (1 - label_smoothing) + label_smoothing / 2 if label_smoothing else y_true
    if from_logits:
        return -y_true * jax.nn.log_sigmoid(y_pred) - (1 - y_true) * jax.nn.log_sigmoid(-y_pred), y_true
    p = jnp.clip(y_pred, EPSILON, 1 - EPSILON)
    return -y_true * jnp.log(p) - (1 - y_true) * jnp.log(1 - p), y_true


def binary_focal_crossentropy(
    y_true: Any,
    y_pred: Any,
    apply_class_balancing: bool = False,
    alpha: float = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
) -> jax.Array:
    """`mean_k (1 - p_t)^gamma` times the binary cross-entropy; p_t is the probability of the true answer.

    >>> binary_focal_crossentropy([[1]], [[0.5]]).round(4).tolist()  # log(2) / 4
    [0.17...]

    Source: Lin et al. (2017), arXiv:1708.02002.
    """
    y_pred = jax.nn.sigmoid(floats(y_pred)) if from_logits else floats(y_pred)
    each, y_true = _binary(y_true, y_pred, False, label_smoothing)
    y_pred = y_pred.reshape(y_true.shape)
    each *= (1 - (y_true * y_pred + (1 - y_true) * (1 - y_pred))) ** gamma
    return jnp.mean(each * (y_true * alpha + (1 - y_true) * (1 - alpha)) if apply_class_balancing else each, axis=-1)
