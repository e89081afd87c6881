"""Keras' metrics: strings, objects and functions, all as a `Metric` of sums that add up over batches.

What a network ends with is measured, as in Keras: probabilities after a softmax, logits where it has none. A row of
weight 0 is padding. A prediction that is NaN counts as wrong.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jaxnn.errors import InputError
from jaxnn.keras import lookup, loss_functions, losses
from jaxnn.keras.lookup import serialize as serialize
from jaxnn.keras.losses import binary_crossentropy as binary_crossentropy
from jaxnn.keras.losses import categorical_crossentropy as categorical_crossentropy
from jaxnn.keras.losses import mean_absolute_error as mean_absolute_error
from jaxnn.keras.losses import mean_absolute_percentage_error as mean_absolute_percentage_error
from jaxnn.keras.losses import mean_squared_error as mean_squared_error
from jaxnn.keras.losses import mean_squared_logarithmic_error as mean_squared_logarithmic_error
from jaxnn.keras.losses import sparse_categorical_crossentropy as sparse_categorical_crossentropy
from jaxnn.keras.metrics import accuracies
from jaxnn.keras.metrics.accuracies import accuracy as accuracy
from jaxnn.keras.metrics.accuracies import binary_accuracy as binary_accuracy
from jaxnn.keras.metrics.accuracies import categorical_accuracy as categorical_accuracy
from jaxnn.keras.metrics.accuracies import sparse_categorical_accuracy as sparse_categorical_accuracy
from jaxnn.keras.metrics.accuracies import sparse_top_k_categorical_accuracy as sparse_top_k_categorical_accuracy
from jaxnn.keras.metrics.accuracies import top_k_categorical_accuracy as top_k_categorical_accuracy
from jaxnn.keras.metrics.base import Mean as Mean
from jaxnn.keras.metrics.base import MeanMetricWrapper as MeanMetricWrapper
from jaxnn.keras.metrics.base import MeanOf
from jaxnn.keras.metrics.base import Metric as Metric
from jaxnn.keras.metrics.base import Sum as Sum
from jaxnn.keras.metrics.confusion import AUC as AUC
from jaxnn.keras.metrics.confusion import F1Score as F1Score
from jaxnn.keras.metrics.confusion import FalseNegatives as FalseNegatives
from jaxnn.keras.metrics.confusion import FalsePositives as FalsePositives
from jaxnn.keras.metrics.confusion import FBetaScore as FBetaScore
from jaxnn.keras.metrics.confusion import Precision as Precision
from jaxnn.keras.metrics.confusion import Recall as Recall
from jaxnn.keras.metrics.confusion import TrueNegatives as TrueNegatives
from jaxnn.keras.metrics.confusion import TruePositives as TruePositives
from jaxnn.tasks.metrics import r_squared, regression_sums


class Accuracy(MeanOf):
    function, minimized = staticmethod(accuracies.accuracy), False


class BinaryAccuracy(MeanOf):
    function, minimized = staticmethod(accuracies.binary_accuracy), False


class CategoricalAccuracy(MeanOf):
    function, minimized = staticmethod(accuracies.categorical_accuracy), False


class SparseCategoricalAccuracy(MeanOf):
    function, minimized = staticmethod(accuracies.sparse_categorical_accuracy), False


class AccuracyByShape(MeanOf):
    """What the string "accuracy" stands for."""

    function, minimized = staticmethod(accuracies.by_shape), False


class _Top(MeanOf):
    function, minimized = staticmethod(accuracies.top_k_categorical_accuracy), False

    def __init__(self, k: int = 5, name: str | None = None, dtype: Any = None):
        super().__init__(name, dtype, k=k)


class TopKCategoricalAccuracy(_Top):
    pass


class SparseTopKCategoricalAccuracy(_Top):
    function = staticmethod(accuracies.sparse_top_k_categorical_accuracy)


class MeanSquaredError(MeanOf):
    function, minimized = staticmethod(loss_functions.mean_squared_error), True


class MeanAbsoluteError(MeanOf):
    function, minimized = staticmethod(loss_functions.mean_absolute_error), True


class MeanAbsolutePercentageError(MeanOf):
    function, minimized = staticmethod(loss_functions.mean_absolute_percentage_error), True


class MeanSquaredLogarithmicError(MeanOf):
    function, minimized = staticmethod(loss_functions.mean_squared_logarithmic_error), True


class LogCoshError(MeanOf):
    function, minimized, called = staticmethod(loss_functions.log_cosh), True, "logcosh"


class Poisson(MeanOf):
    function, minimized = staticmethod(loss_functions.poisson), True


class KLDivergence(MeanOf):
    function, minimized = staticmethod(loss_functions.kl_divergence), True


class Hinge(MeanOf):
    function, minimized = staticmethod(loss_functions.hinge), True


class SquaredHinge(MeanOf):
    function, minimized = staticmethod(loss_functions.squared_hinge), True


class CategoricalHinge(MeanOf):
    function, minimized = staticmethod(loss_functions.categorical_hinge), True


class BinaryCrossentropy(MeanOf):
    function, minimized = staticmethod(loss_functions.binary_crossentropy), True


class CategoricalCrossentropy(MeanOf):
    function, minimized = staticmethod(loss_functions.categorical_crossentropy), True


class SparseCategoricalCrossentropy(MeanOf):
    function, minimized = staticmethod(loss_functions.sparse_categorical_crossentropy), True


def _cosine(y_true: Any, y_pred: Any) -> jax.Array:
    return -loss_functions.cosine_similarity(y_true, y_pred)


class CosineSimilarity(MeanOf):
    """The mean cosine of y and p: more is better, unlike the loss of this name."""

    function, minimized = staticmethod(_cosine), False


class RootMeanSquaredError(MeanOf):
    """`sqrt(mean (y - p)^2)` over all rows."""

    function, minimized = staticmethod(loss_functions.mean_squared_error), True

    def value(self, sums: dict[str, jax.Array]) -> jax.Array:
        return jnp.sqrt(super().value(sums))


class R2Score(Metric):
    """`1 - sum (y - p)^2 / sum (y - mean y)^2`, the mean over the columns of `[B, K]`."""

    minimized = False

    def sums(self, y_true: Any, y_pred: Any, weight: jax.Array) -> dict[str, jax.Array]:
        y_true, y_pred = loss_functions.aligned(y_true, y_pred)
        if y_pred.ndim != 2:
            raise InputError(f"{self.name}: y_pred{list(y_pred.shape)} must be [B, K]")
        return regression_sums(y_pred, y_true, weight) | {"weight": jnp.sum(weight)}

    def value(self, sums: dict[str, jax.Array]) -> jax.Array:
        named = (sums[name] for name in ("squared_error", "y", "y_squared", "weight", "y_within"))
        return r_squared(*named)


CLASSES = {
    name: value
    for name, value in list(globals().items())
    if isinstance(value, type) and issubclass(value, Metric) and name[0] != "_" and name not in ("Metric", "MeanOf")
}
NAMELESS = ("AccuracyByShape", "Mean", "MeanMetricWrapper", "Sum")  # those that no string stands for
NAMES = (
    {cls.called or lookup.snake_case(name): cls for name, cls in CLASSES.items() if name not in NAMELESS}
    | {short: CLASSES[cls] for short, cls in losses.SHORT.items() if cls in CLASSES}
    | {"logcosh": LogCoshError, "log_cosh": LogCoshError, "acc": AccuracyByShape, "accuracy": AccuracyByShape}
    | CLASSES
)


def get(spec: Any, custom_objects: dict[str, Any] | None = None) -> Metric:
    """The metric that a string, a class, an object, a loss, a function or a saved dict names; it is called as written.

    A function is `(y_true, y_pred) -> [B, ...]`, and its mean over the rows is the metric. "accuracy" is that which
    fits the shapes of labels and predictions. Raises `InputError` for an unknown name, with the nearest.

    >>> get("acc").name, get("mse").name, type(get("AUC")).__name__, get(AUC()).name
    ('acc', 'mse', 'AUC', 'auc')
    """
    if isinstance(spec, str) and spec.lower() in ("accuracy", "acc"):
        return AccuracyByShape(spec)
    found = lookup.find("metric", spec, losses.NAMES | NAMES, custom_objects)
    if isinstance(found, losses.Loss):
        return _loss(found.call, found.name)
    if isinstance(found, Metric):
        found.name = spec if isinstance(spec, str) else found.name
        return found
    if callable(found):
        known = [cls for cls in CLASSES.values() if issubclass(cls, MeanOf) and cls.function is found]
        if known:
            return known[0](lookup.named(found))
        if found in [cls.function for cls in losses.CLASSES.values()]:
            return _loss(found, lookup.named(found))
        return MeanMetricWrapper(found)
    raise InputError(f"metrics={spec}: a {type(spec).__name__} is no metric; give a name, an object or a function")


def _loss(function: Any, name: str) -> Metric:
    metric = MeanMetricWrapper(function, name)
    metric.minimized = True
    return metric


deserialize = get
