"""Keras' loss functions: `function(y_true, y_pred) -> f32[...]`, one number for each example.

y_true and y_pred `[..., K]` have the same shape; an axis of 1 that one of them lacks at its end is added. Other shapes
raise `InputError`: Keras broadcasts them. Probabilities are clipped to [1e-7, 1 - 1e-7], as in Keras.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jaxnn.errors import fraction, positive
from jaxnn.keras.losses.labels import aligned, floats, integers, one_hot
from jaxnn.tasks.losses import absolute, squared

EPSILON = 1e-7


def mean_squared_error(y_true: Any, y_pred: Any) -> jax.Array:
    """Mean squared error `mean_k (y_k - p_k)^2`: y, p `f32[..., K]` -> `f32[...]`.

    >>> mean_squared_error([[0.0, 1.0]], [[2.0, 1.0]]).tolist()
    [2.0]
    """
    y_true, y_pred = aligned(y_true, y_pred)
    return squared(y_pred, y_true)


def mean_absolute_error(y_true: Any, y_pred: Any) -> jax.Array:
    """Mean absolute error `mean_k |y_k - p_k|`: y, p `f32[..., K]` -> `f32[...]`. Its derivative at 0 is 0.

    >>> mean_absolute_error([[0.0, 1.0]], [[2.0, 1.0]]).tolist()
    [1.0]
    """
    y_true, y_pred = aligned(y_true, y_pred)
    return absolute(y_pred, y_true)


def mean_absolute_percentage_error(y_true: Any, y_pred: Any) -> jax.Array:
    """Mean absolute percentage error `100 mean_k |y_k - p_k| / max(|y_k|, 1e-7)`: `f32[..., K]` -> `f32[...]`.

    >>> mean_absolute_percentage_error([[2.0, 1.0]], [[1.0, 1.0]]).tolist()
    [25.0]
    """
    y_true, y_pred = aligned(y_true, y_pred)
    return 100 * jnp.mean(jnp.abs((y_true - y_pred) / jnp.maximum(jnp.abs(y_true), EPSILON)), axis=-1)


def mean_squared_logarithmic_error(y_true: Any, y_pred: Any) -> jax.Array:
    """Mean squared logarithmic error: y, p `f32[..., K]`, not negative -> `f32[...]`.

    `mean_k (log(max(y_k, 1e-7) + 1) - log(max(p_k, 1e-7) + 1))^2`

    >>> mean_squared_logarithmic_error([[0.0]], [[1.0]]).round(4).tolist()  # log(2)^2
    [0.48...]
    """
    y_true, y_pred = aligned(y_true, y_pred)
    logarithm = lambda values: jnp.log(jnp.maximum(values, EPSILON) + 1)
    return jnp.mean(jnp.square(logarithm(y_pred) - logarithm(y_true)), axis=-1)


def cosine_similarity(y_true: Any, y_pred: Any) -> jax.Array:
    """`-sum_k y_k p_k / (|y| |p|)`, minus the cosine: y, p `f32[..., K]` -> `f32[...]` in [-1, 1], less is better.

    >>> cosine_similarity([[1.0, 0.0]], [[2.0, 0.0]]).tolist()
    [-1.0]
    """
    y_true, y_pred = aligned(y_true, y_pred)
    square = lambda values: jnp.maximum(jnp.sum(jnp.square(values), axis=-1), EPSILON**2)
    return -jnp.sum(y_true * y_pred, axis=-1) * jax.lax.rsqrt(square(y_true)) * jax.lax.rsqrt(square(y_pred))


def huber(y_true: Any, y_pred: Any, delta: float = 1.0) -> jax.Array:
    """Huber loss `mean_k h(y_k - p_k)`: y, p `f32[..., K]` -> `f32[...]`; squared near 0, absolute far away.

    `h(e) = e^2/2 if |e| <= delta else delta |e| - delta^2/2`. Raises `InputError` for delta <= 0.

    >>> huber([[0.0, 0.0]], [[1.0, 3.0]]).tolist()  # (0.5 + 2.5) / 2
    [1.5]
    """
    positive("delta", delta)
    y_true, y_pred = aligned(y_true, y_pred)
    error = jnp.abs(y_pred - y_true)
    return jnp.mean(jnp.where(error <= delta, jnp.square(error) / 2, delta * error - delta**2 / 2), axis=-1)


def log_cosh(y_true: Any, y_pred: Any) -> jax.Array:
    """Log-cosh loss `mean_k log cosh(p_k - y_k)`: y, p `f32[..., K]` -> `f32[...]`, without overflow.

    >>> log_cosh([[0.0]], [[1.0]]).round(4).tolist()
    [0.43...]
    """
    y_true, y_pred = aligned(y_true, y_pred)
    error = y_pred - y_true
    return jnp.mean(error + jax.nn.softplus(-2 * error) - jnp.log(2.0).astype(error.dtype), axis=-1)


def poisson(y_true: Any, y_pred: Any) -> jax.Array:
    """Poisson loss `mean_k p_k - y_k log(p_k + 1e-7)`: counts y, rates p `f32[..., K]` -> `f32[...]`.

    >>> poisson([[2.0]], [[1.0]]).round(4).tolist()
    [1.0]
    """
    y_true, y_pred = aligned(y_true, y_pred)
    return jnp.mean(y_pred - y_true * jnp.log(y_pred + EPSILON), axis=-1)


def kl_divergence(y_true: Any, y_pred: Any) -> jax.Array:
    """Kullback-Leibler divergence `sum_k y_k log(y_k / p_k)`: probabilities `f32[..., K]` -> `f32[...]`.

    Both are clipped to [1e-7, 1].

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
    """Hinge loss `mean_k max(1 - y_k p_k, 0)`: y in {-1, 1} or {0, 1}, scores p `f32[..., K]` -> `f32[...]`.

    Labels of 0 and 1 stand for -1 and 1, if the whole batch has no others.

    >>> hinge([[0, 1]], [[-1.0, 0.5]]).tolist()
    [0.25]
    """
    y_true, y_pred = aligned(y_true, y_pred)
    return jnp.mean(jnp.maximum(1 - _signs(y_true) * y_pred, 0), axis=-1)


def squared_hinge(y_true: Any, y_pred: Any) -> jax.Array:
    """Squared hinge loss `mean_k max(1 - y_k p_k, 0)^2`: y, p `f32[..., K]` as for `hinge` -> `f32[...]`.

    >>> squared_hinge([[0, 1]], [[-1.0, 0.5]]).tolist()
    [0.125]
    """
    y_true, y_pred = aligned(y_true, y_pred)
    return jnp.mean(jnp.square(jnp.maximum(1 - _signs(y_true) * y_pred, 0)), axis=-1)


def categorical_hinge(y_true: Any, y_pred: Any) -> jax.Array:
    """`max(max_k (1 - y_k) p_k - sum_k y_k p_k + 1, 0)`: y one-hot, scores p `f32[..., K]` -> `f32[...]`.

    Raises `InputError` for integers.

    >>> categorical_hinge([[0, 1]], [[0.25, 0.75]]).tolist()
    [0.5]
    """
    y_true, y_pred = one_hot("categorical_hinge", y_true, y_pred)
    positive, negative = jnp.sum(y_true * y_pred, axis=-1), jnp.max((1 - y_true) * y_pred, axis=-1)
    return jnp.maximum(negative - positive + 1, 0)


def _log_probabilities(y_pred: jax.Array, from_logits: bool) -> jax.Array:
    if from_logits:
        return jax.nn.log_softmax(y_pred)
    return jnp.log(jnp.clip(y_pred / jnp.sum(y_pred, axis=-1, keepdims=True), EPSILON, 1 - EPSILON))


def categorical_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0.0
) -> jax.Array:
    """Cross-entropy `-sum_k y_k log p_k`: y one-hot or soft, p `f32[..., K]` -> `f32[...]`.

    p are probabilities, which are divided by their sum, or with `from_logits` logits, of which the softmax is taken.
    Label smoothing a is `(1 - a) y + a / K`. Raises `InputError` for integers.

    >>> categorical_crossentropy([[0, 1]], [[0.5, 0.5]]).round(4).tolist()
    [0.69...]
    """
    fraction("label_smoothing", label_smoothing)
    y_true, y_pred = one_hot("categorical_crossentropy", y_true, y_pred)
    if label_smoothing:
        y_true = y_true * (1 - label_smoothing) + label_smoothing / y_true.shape[-1]
    return -jnp.sum(y_true * _log_probabilities(y_pred, from_logits), axis=-1)


def sparse_categorical_crossentropy(y_true: Any, y_pred: Any, from_logits: bool = False) -> jax.Array:
    """Cross-entropy `-log p_y`: y integers `[...]` or `[..., 1]`, p `f32[..., K]` -> `f32[...]`.

    p as for `categorical_crossentropy`. A label outside [0, K) gives NaN (Keras: 0). Raises `InputError` for one-hot
    labels.

    >>> sparse_categorical_crossentropy([1], [[0.5, 0.5]]).round(4).tolist()
    [0.69...]
    """
    y_pred = floats(y_pred)
    target = integers("sparse_categorical_crossentropy", y_true, y_pred)
    return -jnp.sum(target * _log_probabilities(y_pred, from_logits), axis=-1)


def binary_crossentropy(y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0.0) -> jax.Array:
    """`mean_k -y_k log p_k - (1 - y_k) log(1 - p_k)`: y in [0, 1], p `f32[..., K]` -> `f32[...]`.

    p are probabilities, or with `from_logits` logits, of which the sigmoid is taken. Label smoothing a is
    `(1 - a) y + a / 2`. A label outside [0, 1] gives NaN.

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
    """Binary cross-entropy times `(1 - p_t)^gamma`, mean over k: y in [0, 1], p `f32[..., K]` -> `f32[...]`.

    p_t is the probability of the true answer: examples that are learned weigh less. With `apply_class_balancing` alpha
    weighs the answer 1, and 1 - alpha the answer 0.

    >>> binary_focal_crossentropy([[1]], [[0.5]]).round(4).tolist()  # log(2) / 4
    [0.17...]

    Source: Lin et al. (2017), arXiv:1708.02002.
    """
    y_pred = jax.nn.sigmoid(floats(y_pred)) if from_logits else floats(y_pred)
    each, y_true = _binary(y_true, y_pred, False, label_smoothing)
    y_pred = y_pred.reshape(y_true.shape)
    each *= (1 - (y_true * y_pred + (1 - y_true) * (1 - y_pred))) ** gamma
    return jnp.mean(each * (y_true * alpha + (1 - y_true) * (1 - alpha)) if apply_class_balancing else each, axis=-1)
