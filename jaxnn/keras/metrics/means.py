"""The losses of Keras as metrics, each the mean over all rows, and what is made of them: the root, R^2."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jaxnn.errors import InputError
from jaxnn.keras.losses import functions
from jaxnn.keras.losses.labels import aligned
from jaxnn.keras.metrics.base import MeanOf, Metric
from jaxnn.tasks.metrics import r_squared, regression_sums


class MeanSquaredError(MeanOf, function=functions.mean_squared_error, minimized=True):
    """The mean of `(y - p)^2`: y, p `f32[B, K]`.

    >>> float(MeanSquaredError()([[0.0, 1.0]], [[2.0, 1.0]]))
    2.0
    """


class MeanAbsoluteError(MeanOf, function=functions.mean_absolute_error, minimized=True):
    """The mean of `|y - p|`: y, p `f32[B, K]`.

    >>> float(MeanAbsoluteError()([[0.0, 1.0]], [[2.0, 1.0]]))
    1.0
    """


class MeanAbsolutePercentageError(MeanOf, function=functions.mean_absolute_percentage_error, minimized=True):
    """The mean of `100 |y - p| / max(|y|, 1e-7)`: y, p `f32[B, K]`.

    >>> float(MeanAbsolutePercentageError()([[2.0, 1.0]], [[1.0, 1.0]]))
    25.0
    """


class MeanSquaredLogarithmicError(MeanOf, function=functions.mean_squared_logarithmic_error, minimized=True):
    """The mean of `(log(y + 1) - log(p + 1))^2`: y, p `f32[B, K]`, not negative.

    >>> round(float(MeanSquaredLogarithmicError()([[0.0]], [[1.0]])), 4)  # log(2)^2
    0.4805
    """


class LogCoshError(MeanOf, function=functions.log_cosh, minimized=True, called="logcosh"):
    """The mean of `log cosh(p - y)`: y, p `f32[B, K]`.

    >>> round(float(LogCoshError()([[0.0]], [[1.0]])), 4)
    0.4338
    """


class Poisson(MeanOf, function=functions.poisson, minimized=True):
    """The mean of `p - y log(p + 1e-7)`: counts y, rates p `f32[B, K]`.

    >>> round(float(Poisson()([[2.0]], [[1.0]])), 4)
    1.0
    """


class KLDivergence(MeanOf, function=functions.kl_divergence, minimized=True):
    """The mean over the rows of `sum_k y_k log(y_k / p_k)`: probabilities y, p `f32[B, K]`.

    >>> float(KLDivergence()([[0.5, 0.5]], [[0.5, 0.5]]))
    0.0
    """


class Hinge(MeanOf, function=functions.hinge, minimized=True):
    """The mean of `max(1 - y p, 0)`: y in {-1, 1} or {0, 1}, scores p `f32[B, K]`.

    >>> float(Hinge()([[0, 1]], [[-1.0, 0.5]]))
    0.25
    """


class SquaredHinge(MeanOf, function=functions.squared_hinge, minimized=True):
    """The mean of `max(1 - y p, 0)^2`: y in {-1, 1} or {0, 1}, scores p `f32[B, K]`.

    >>> float(SquaredHinge()([[0, 1]], [[-1.0, 0.5]]))
    0.125
    """


class CategoricalHinge(MeanOf, function=functions.categorical_hinge, minimized=True):
    """The mean of `max(max_k (1 - y_k) p_k - sum_k y_k p_k + 1, 0)`: y one-hot, scores p `f32[B, K]`.

    >>> float(CategoricalHinge()([[0, 1]], [[0.25, 0.75]]))
    0.5
    """


class BinaryCrossentropy(MeanOf, function=functions.binary_crossentropy, minimized=True):
    """The mean of `-y log p - (1 - y) log(1 - p)`: y in [0, 1], p `f32[B, K]`. Args: from_logits, label_smoothing.

    >>> round(float(BinaryCrossentropy()([[0, 1]], [[0.5, 0.5]])), 4)
    0.6931
    """


class CategoricalCrossentropy(MeanOf, function=functions.categorical_crossentropy, minimized=True):
    """The mean of `-sum_k y_k log p_k`: y one-hot or soft, p `f32[B, K]`. Args: from_logits, label_smoothing.

    >>> round(float(CategoricalCrossentropy()([[0, 1]], [[0.5, 0.5]])), 4)
    0.6931
    """


class SparseCategoricalCrossentropy(MeanOf, function=functions.sparse_categorical_crossentropy, minimized=True):
    """The mean of `-log p_y`: integers y `[B]` or `[B, 1]`, p `f32[B, K]`. Args: from_logits.

    >>> round(float(SparseCategoricalCrossentropy()([1], [[0.5, 0.5]])), 4)
    0.6931
    """


def _cosine(y_true: Any, y_pred: Any) -> jax.Array:
    return -functions.cosine_similarity(y_true, y_pred)


class CosineSimilarity(MeanOf, function=_cosine, minimized=False):
    """The mean cosine `sum_k y_k p_k / (|y| |p|)`: y, p `f32[B, K]`. More is better, unlike the loss of this name.

    >>> float(CosineSimilarity()([[1.0, 0.0]], [[2.0, 0.0]]))
    1.0
    """


class RootMeanSquaredError(MeanOf, function=functions.mean_squared_error, minimized=True):
    """`sqrt(mean (y - p)^2)` over all rows: y, p `f32[B, K]`.

    >>> float(RootMeanSquaredError()([[0.0, 1.0]], [[2.0, 3.0]]))
    2.0
    """

    def value(self, sums: dict[str, jax.Array]) -> jax.Array:
        return jnp.sqrt(super().value(sums))


class R2Score(Metric):
    """`1 - sum (y - p)^2 / sum (y - mean y)^2`, the mean over the columns: y, p `f32[B, K]`.

    `class_aggregation` and `num_regressors` of Keras are not there.

    >>> float(R2Score()([[0.0], [2.0]], [[0.0], [1.0]]))
    0.5
    """

    minimized: bool | None = False

    def sums(self, y_true: Any, y_pred: Any, weight: jax.Array) -> dict[str, jax.Array]:
        y_true, y_pred = aligned(y_true, y_pred)
        if y_pred.ndim != 2:
            raise InputError(f"{self.name}: y_pred{list(y_pred.shape)} must be [B, K]")
        return regression_sums(y_pred, y_true, weight) | {"weight": jnp.sum(weight)}

    def value(self, sums: dict[str, jax.Array]) -> jax.Array:
        named = (sums[name] for name in ("squared_error", "y", "y_squared", "weight", "y_within"))
        return r_squared(*named)
