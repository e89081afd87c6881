"""The losses of Keras as objects: each is a function of `jaxnn.keras.losses` with a reduction."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jaxnn.keras.losses import functions, labels
from jaxnn.keras.losses.base import LossOf
from jaxnn.tasks.losses import binary_cross_entropy, cross_entropy


class _Softmax(LossOf):
    def __init__(self, *values: Any, **arguments: Any):
        super().__init__(*values, **arguments)
        self.final: str | None = None if self.from_logits else "softmax"


class CategoricalCrossentropy(_Softmax, function=functions.categorical_crossentropy):
    """Cross-entropy `-sum_k y_k log p_k`: one-hot or soft labels `[B, K]`, p `f32[B, K]`; see `Loss`.

    Args: from_logits, label_smoothing. Trained behind a softmax on the logits, exactly, where Keras clips p.

    >>> loss = CategoricalCrossentropy(label_smoothing=0.1)
    >>> loss.final, float(loss.on_logits(jnp.array([[1, 0]]), jnp.array([[0.0, 200.0]]))[0])
    ('softmax', 190.0)
    """

    def on_logits(self, y_true: Any, logits: Any) -> jax.Array:
        y_true, logits = labels.one_hot(self.name, y_true, logits)
        return cross_entropy(logits, y_true, label_smoothing=self.arguments.get("label_smoothing", 0.0))


class SparseCategoricalCrossentropy(_Softmax, function=functions.sparse_categorical_crossentropy):
    """Cross-entropy `-log p_y`: integers y `[B]` or `[B, 1]`, p `f32[B, K]`; see `Loss`.

    Args: from_logits; `ignore_class` of Keras is not there. Trained behind a softmax on the logits, exactly.

    >>> float(SparseCategoricalCrossentropy().on_logits(jnp.array([0]), jnp.array([[0.0, 200.0]]))[0])
    200.0
    """

    def on_logits(self, y_true: Any, logits: Any) -> jax.Array:
        return cross_entropy(logits, labels.integers(self.name, y_true, logits))


class BinaryCrossentropy(LossOf, function=functions.binary_crossentropy):
    """`mean_k -y_k log p_k - (1 - y_k) log(1 - p_k)`: labels in {0, 1}, or a probability, p `f32[B, K]`; see `Loss`.

    Args: from_logits, label_smoothing. Trained behind a sigmoid on the logits, exactly, where Keras clips p.

    >>> float(BinaryCrossentropy().on_logits(jnp.array([[0]]), jnp.array([[200.0]]))[0])
    200.0
    """

    def __init__(self, *values: Any, **arguments: Any):
        super().__init__(*values, **arguments)
        self.final: str | None = None if self.from_logits else "sigmoid"

    def on_logits(self, y_true: Any, logits: Any) -> jax.Array:
        y_true, logits = labels.aligned(y_true, logits)
        smoothing = self.arguments.get("label_smoothing", 0.0)
        return jnp.mean(binary_cross_entropy(logits, y_true, label_smoothing=smoothing), axis=-1)


class BinaryFocalCrossentropy(LossOf, function=functions.binary_focal_crossentropy):
    """Binary cross-entropy times `(1 - p_t)^gamma`: labels in {0, 1}, p `f32[B, K]`; see `binary_focal_crossentropy`.

    Args: apply_class_balancing, alpha, gamma, from_logits, label_smoothing.

    >>> round(float(BinaryFocalCrossentropy()([[1]], [[0.5]])), 4)  # log(2) / 4
    0.1733
    """


class MeanSquaredError(LossOf, function=functions.mean_squared_error):
    """`mean_k (y_k - p_k)^2`: y, p `f32[B, K]`; see `Loss`.

    >>> float(MeanSquaredError()([[0.0, 1.0]], [[2.0, 1.0]]))
    2.0
    """


class MeanAbsoluteError(LossOf, function=functions.mean_absolute_error):
    """`mean_k |y_k - p_k|`: y, p `f32[B, K]`; see `Loss`.

    >>> float(MeanAbsoluteError()([[0.0, 1.0]], [[2.0, 1.0]]))
    1.0
    """


class MeanAbsolutePercentageError(LossOf, function=functions.mean_absolute_percentage_error):
    """`100 mean_k |y_k - p_k| / max(|y_k|, 1e-7)`: y, p `f32[B, K]`; see `Loss`.

    >>> float(MeanAbsolutePercentageError()([[2.0, 1.0]], [[1.0, 1.0]]))
    25.0
    """


class MeanSquaredLogarithmicError(LossOf, function=functions.mean_squared_logarithmic_error):
    """`mean_k (log(y_k + 1) - log(p_k + 1))^2`: y, p `f32[B, K]`, not negative; see `Loss`.

    >>> round(float(MeanSquaredLogarithmicError()([[0.0]], [[1.0]])), 4)  # log(2)^2
    0.4805
    """


class CosineSimilarity(LossOf, function=functions.cosine_similarity):
    """`-sum_k y_k p_k / (|y| |p|)`, minus the cosine, so that less is better: y, p `f32[B, K]`; see `Loss`.

    >>> float(CosineSimilarity()([[1.0, 0.0]], [[2.0, 0.0]]))
    -1.0
    """


class Huber(LossOf, function=functions.huber, called="huber_loss"):
    """`mean_k e^2/2 if |e| <= delta else delta |e| - delta^2/2`, e = y_k - p_k: y, p `f32[B, K]`; see `Loss`.

    Args: delta.

    >>> float(Huber()([[0.0, 0.0]], [[1.0, 3.0]]))  # (0.5 + 2.5) / 2
    1.5
    """


class LogCosh(LossOf, function=functions.log_cosh):
    """`mean_k log cosh(p_k - y_k)`: y, p `f32[B, K]`; see `Loss`.

    >>> round(float(LogCosh()([[0.0]], [[1.0]])), 4)
    0.4338
    """


class Poisson(LossOf, function=functions.poisson):
    """`mean_k p_k - y_k log(p_k + 1e-7)`: counts y, rates p `f32[B, K]`; see `Loss`.

    >>> round(float(Poisson()([[2.0]], [[1.0]])), 4)
    1.0
    """


class KLDivergence(LossOf, function=functions.kl_divergence):
    """`sum_k y_k log(y_k / p_k)`: probabilities y, p `f32[B, K]`; see `Loss`.

    >>> float(KLDivergence()([[0.5, 0.5]], [[0.5, 0.5]]))
    0.0
    """


class Hinge(LossOf, function=functions.hinge):
    """`mean_k max(1 - y_k p_k, 0)`: y in {-1, 1} or {0, 1}, scores p `f32[B, K]`; see `Loss`.

    >>> float(Hinge()([[0, 1]], [[-1.0, 0.5]]))
    0.25
    """


class SquaredHinge(LossOf, function=functions.squared_hinge):
    """`mean_k max(1 - y_k p_k, 0)^2`: y in {-1, 1} or {0, 1}, scores p `f32[B, K]`; see `Loss`.

    >>> float(SquaredHinge()([[0, 1]], [[-1.0, 0.5]]))
    0.125
    """


class CategoricalHinge(LossOf, function=functions.categorical_hinge):
    """`max(max_k (1 - y_k) p_k - sum_k y_k p_k + 1, 0)`: y one-hot, scores p `f32[B, K]`; see `Loss`.

    >>> float(CategoricalHinge()([[0, 1]], [[0.25, 0.75]]))
    0.5
    """
