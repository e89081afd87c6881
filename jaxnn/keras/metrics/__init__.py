"""Keras' metrics: strings, objects and functions, all as a `Metric` of sums that add up over batches.

What a network ends with is measured, as in Keras: probabilities after a softmax, logits where it has none. A row of
weight 0 is padding. A prediction that is NaN counts as wrong.
"""

from __future__ import annotations

from typing import Any

from jaxnn.errors import InputError
from jaxnn.keras import lookup, losses
from jaxnn.keras.lookup import serialize as serialize
from jaxnn.keras.losses import binary_crossentropy as binary_crossentropy
from jaxnn.keras.losses import categorical_crossentropy as categorical_crossentropy
from jaxnn.keras.losses import mean_absolute_error as mean_absolute_error
from jaxnn.keras.losses import mean_absolute_percentage_error as mean_absolute_percentage_error
from jaxnn.keras.losses import mean_squared_error as mean_squared_error
from jaxnn.keras.losses import mean_squared_logarithmic_error as mean_squared_logarithmic_error
from jaxnn.keras.losses import sparse_categorical_crossentropy as sparse_categorical_crossentropy
from jaxnn.keras.metrics.accuracies import Accuracy as Accuracy
from jaxnn.keras.metrics.accuracies import AccuracyByShape as AccuracyByShape
from jaxnn.keras.metrics.accuracies import BinaryAccuracy as BinaryAccuracy
from jaxnn.keras.metrics.accuracies import CategoricalAccuracy as CategoricalAccuracy
from jaxnn.keras.metrics.accuracies import SparseCategoricalAccuracy as SparseCategoricalAccuracy
from jaxnn.keras.metrics.accuracies import SparseTopKCategoricalAccuracy as SparseTopKCategoricalAccuracy
from jaxnn.keras.metrics.accuracies import TopKCategoricalAccuracy as TopKCategoricalAccuracy
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
from jaxnn.keras.metrics.confusion import FalseNegatives as FalseNegatives
from jaxnn.keras.metrics.confusion import FalsePositives as FalsePositives
from jaxnn.keras.metrics.confusion import Precision as Precision
from jaxnn.keras.metrics.confusion import Recall as Recall
from jaxnn.keras.metrics.confusion import TrueNegatives as TrueNegatives
from jaxnn.keras.metrics.confusion import TruePositives as TruePositives
from jaxnn.keras.metrics.means import BinaryCrossentropy as BinaryCrossentropy
from jaxnn.keras.metrics.means import CategoricalCrossentropy as CategoricalCrossentropy
from jaxnn.keras.metrics.means import CategoricalHinge as CategoricalHinge
from jaxnn.keras.metrics.means import CosineSimilarity as CosineSimilarity
from jaxnn.keras.metrics.means import Hinge as Hinge
from jaxnn.keras.metrics.means import KLDivergence as KLDivergence
from jaxnn.keras.metrics.means import LogCoshError as LogCoshError
from jaxnn.keras.metrics.means import MeanAbsoluteError as MeanAbsoluteError
from jaxnn.keras.metrics.means import MeanAbsolutePercentageError as MeanAbsolutePercentageError
from jaxnn.keras.metrics.means import MeanSquaredError as MeanSquaredError
from jaxnn.keras.metrics.means import MeanSquaredLogarithmicError as MeanSquaredLogarithmicError
from jaxnn.keras.metrics.means import Poisson as Poisson
from jaxnn.keras.metrics.means import R2Score as R2Score
from jaxnn.keras.metrics.means import RootMeanSquaredError as RootMeanSquaredError
from jaxnn.keras.metrics.means import SparseCategoricalCrossentropy as SparseCategoricalCrossentropy
from jaxnn.keras.metrics.means import SquaredHinge as SquaredHinge
from jaxnn.keras.metrics.scores import F1Score as F1Score
from jaxnn.keras.metrics.scores import FBetaScore as FBetaScore

CLASSES: dict[str, type[Metric]] = {
    name: value
    for name, value in list(globals().items())
    if isinstance(value, type) and issubclass(value, Metric) and name[0] != "_" and name not in ("Metric", "MeanOf")
}
NAMELESS = ("AccuracyByShape", "Mean", "MeanMetricWrapper", "Sum")  # those that no string stands for
NAMES: dict[str, type[Metric]] = (
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
