"""Metrics as sums and counts: they add up over batches, devices and processes, and are divided once, at the end.

A mean of batch means is wrong whenever the last batch is shorter; a quotient of sums never is. A row of weight 0 adds
exactly nothing to the sums, whatever it holds (but NaN in it is NaN in a gradient: pad with rows that are real). A
prediction that is NaN counts as wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxnn.devices import mesh
from jaxnn.errors import InputError
from jaxnn.numerics import sum_in_pairs
from jaxnn.tasks.losses import class_target, same_shape
from jaxnn.types import Metrics, Task


def weighted_sum(values: jax.Array, weight: jax.Array) -> jax.Array:
    """`sum_i weight_i values_i` over the examples; values of weight 0 are not looked at, so they may be NaN.

    values `[...]`, weight `[...]`; gives `f32[]` (float64 where x64 is on). Raises `InputError` if the shapes differ.

    >>> import jax.numpy as jnp
    >>> from jaxnn import metrics
    >>> metrics.weighted_sum(jnp.array([1.0, 2.0, jnp.nan]), jnp.array([1.0, 0.5, 0.0])).item()
    2.0
    """
    values, weight = jnp.asarray(values, float), jnp.asarray(weight, float)
    if weight.shape != values.shape:
        raise InputError(f"weight{list(weight.shape)}: does not fit {list(values.shape)}; give one for each example")
    return jnp.sum(jnp.where(weight != 0, weight * values, 0))


def base_sums(loss: jax.Array, weight: jax.Array) -> Metrics:
    """`loss`, the sum of weight times loss, and `weight`, their sum: what every task has.

    Losses are summed less that of the first row, which float32 does more exactly: the mean of equal ones is that loss.
    loss `f32[...]`, weight `f32[...]`; gives `f32[]` each.

    >>> import jax.numpy as jnp
    >>> from jaxnn import metrics
    >>> sums = metrics.base_sums(jnp.array([1.0, 3.0]), jnp.array([1.0, 0.5]))
    >>> {name: value.item() for name, value in sums.items()}
    {'loss': 2.5, 'weight': 1.5}
    """
    loss, weight = jnp.asarray(loss, float), jnp.asarray(weight, float)
    devices = mesh.count()
    if devices > 1 and loss.ndim == 1 and len(loss) % devices == 0:
        # Less the first row of each device: the first row of all would have to be sent to all before they can sum.
        rows, weights = loss.reshape(devices, -1), weight.reshape(devices, -1)
        first = lax.stop_gradient(rows[:, :1])
        first = jnp.where(jnp.isfinite(first), first, 0)
        rest = weighted_sum(rows - jnp.broadcast_to(first, rows.shape), weights)
        return {"loss": rest + (first[:, 0] * weights.sum(1)).sum(), "weight": jnp.sum(weight)}
    first = lax.stop_gradient(loss.reshape(-1)[0])
    first, total = jnp.where(jnp.isfinite(first), first, 0), jnp.sum(weight)
    return {"loss": weighted_sum(loss - jnp.broadcast_to(first, loss.shape), weight) + first * total, "weight": total}


def measure(task: Task, outputs: Any, y: Any, weight: jax.Array) -> Metrics:
    """All sums of a task over rows that are all there are: `loss` (of weight times loss), `weight`, those of metrics.

    outputs and y as the loss of the task takes them, weight `f32[B]`; each sum is `f32[...]`.

    >>> import jax.numpy as jnp, jaxnn
    >>> task = jaxnn.multiclass(2)
    >>> sums = jaxnn.metrics.measure(task, jnp.array([[5.0, 0.0], [5.0, 0.0]]), jnp.array([0, 1]), jnp.ones(2))
    >>> {name: round(float(value), 2) for name, value in sums.items()}
    {'loss': 5.01, 'weight': 2.0, 'correct': 1.0}
    """
    found = base_sums(task.loss(outputs, y), weight) | task.metrics(outputs, y, weight)
    return found | task.whole(outputs, y, weight) if task.whole else found


def multiclass_sums(logits: jax.Array, y: jax.Array, weight: jax.Array) -> Metrics:
    """`correct`: the weight of the examples whose largest logit is the label's.

    logits `f[..., K]`, y integers `[...]` or one-hot or soft `[..., K]`, weight `f32[...]`. Of equal logits the first
    counts.

    >>> import jax.numpy as jnp
    >>> from jaxnn import metrics
    >>> logits = jnp.array([[1.0, 2.0], [1.0, 2.0], [jnp.nan, jnp.nan]])
    >>> metrics.multiclass_sums(logits, jnp.array([1, 0, 0]), jnp.ones(3))["correct"].item()
    1.0
    """
    label, predicted = labels_of(logits, y)
    correct = predicted == label.astype(predicted.dtype)
    return {"correct": weighted_sum(correct, weight)}


def binary_sums(logits: jax.Array, y: jax.Array, weight: jax.Array) -> Metrics:
    """The confusion matrix `tp`, `fp`, `fn`, `tn` of the prediction `P(y = 1) > 1/2`, and `correct = tp + tn`.

    logits `f[...]`, y `[...]` in {0, 1} (soft labels are rounded), weight `f32[...]`.

    >>> import jax.numpy as jnp
    >>> from jaxnn import metrics
    >>> sums = metrics.binary_sums(jnp.array([3.0, 1.0, -2.0]), jnp.array([1, 0, 1]), jnp.ones(3))
    >>> {name: int(value) for name, value in sums.items()}
    {'correct': 1, 'tp': 1, 'fp': 1, 'fn': 1, 'tn': 0}
    """
    actual, predicted = _signs(logits, y)
    return {
        "correct": weighted_sum(actual == predicted, weight),
        "tp": weighted_sum(actual & predicted, weight),
        "fp": weighted_sum(~actual & predicted, weight),
        "fn": weighted_sum(actual & ~predicted, weight),
        "tn": weighted_sum(~actual & ~predicted, weight),
    }


def multilabel_sums(logits: jax.Array, y: jax.Array, weight: jax.Array) -> Metrics:
    """`correct`: examples with every label right; `labels_correct`: the share of labels that are right.

    logits `f[..., K]`, y `[..., K]` in {0, 1}, weight `f32[...]`.

    >>> import jax.numpy as jnp
    >>> from jaxnn import metrics
    >>> logits, y = jnp.array([[1.0, -1.0], [1.0, 1.0]]), jnp.array([[1, 0], [0, 1]])
    >>> sums = metrics.multilabel_sums(logits, y, jnp.ones(2))
    >>> {name: value.item() for name, value in sums.items()}
    {'correct': 1.0, 'labels_correct': 1.5}
    """
    actual, predicted = _signs(logits, y)
    right = actual == predicted
    return {
        "correct": weighted_sum(right.all(axis=-1), weight),
        "labels_correct": weighted_sum(right.astype(jnp.float32).mean(axis=-1), weight),
    }


def regression_sums(prediction: jax.Array, y: jax.Array, weight: jax.Array, center: jax.Array | float = 0.0) -> Metrics:
    """Per output, `f32[K]`: squared and absolute errors, and three sums from which the spread of y, and so R^2, comes.

    `y` and `y_squared` are of the mean of these rows, less the center, and `y_within` of the differences from that
    mean: the spread of rows far from the center is not lost in float32. Give a mean of y as center: then the spread of
    many batches is not lost either.

    prediction `f[..., K]`, y `[..., K]`, weight `f32[...]`, center a number or `f32[K]`. Raises
    `InputError` if the shapes differ.

    >>> import jax.numpy as jnp
    >>> from jaxnn import metrics
    >>> sums = metrics.regression_sums(jnp.array([[1.0], [2.0]]), jnp.array([[1.0], [4.0]]), jnp.ones(2))
    >>> {name: value.tolist() for name, value in sums.items()}
    {'squared_error': [4.0], 'absolute_error': [2.0], 'y': [5.0], 'y_squared': [12.5], 'y_within': [4.5]}

    Source: Chan, Golub and LeVeque 1983, "Algorithms for computing the sample variance".
    """
    prediction, y = jnp.asarray(prediction, float), jnp.asarray(y, float)
    same_shape(prediction, y)
    center = jnp.broadcast_to(jnp.asarray(center, float), (y.shape[-1],))
    about = lambda values, mean: values - jnp.broadcast_to(mean, values.shape)
    summed = lambda values: jax.vmap(weighted_sum, (-1, None))(values, weight)
    error, total, of_y = prediction - y, jnp.sum(jnp.asarray(weight, float)), summed(about(y, center))
    total = jnp.broadcast_to(jnp.where(total > 0, total, 1), of_y.shape)
    mean = of_y / total
    apart = about(y, center + mean)
    within = summed(jnp.square(apart)) - jnp.square(summed(apart)) / total  # `mean` is rounded, far from the center
    between = {"y": of_y, "y_squared": of_y * mean, "y_within": within}
    return {"squared_error": summed(error**2), "absolute_error": summed(jnp.abs(error)), **between}


class Centered(NamedTuple):
    """Metrics whose sums are about a center, `sums(outputs, y, weight, center)`.

    >>> import jax.numpy as jnp
    >>> from jaxnn import metrics
    >>> y, weight = jnp.array([[4.0], [6.0]]), jnp.ones(2)
    >>> about_mean = metrics.Centered(metrics.regression_sums, 0.0).over(y, weight)
    >>> about_mean.center.tolist(), about_mean(y, y, weight)["y_within"].tolist()
    ([5.0], [2.0])
    """

    sums: Callable[[Any, Any, jax.Array, Any], Metrics]
    center: Any

    def __call__(self, outputs: Any, y: Any, weight: jax.Array) -> Metrics:
        return self.sums(outputs, y, weight, self.center)

    def over(self, y: jax.Array, weight: jax.Array) -> Centered:
        """About the mean of these rows, y `[n]` or `[n, K]`: the spread of a part far from the center is not lost."""
        columns = jnp.asarray(y, float).reshape(len(weight), -1)
        weighted = jnp.where(weight != 0, weight, 0)[:, None] * columns
        return self._replace(center=sum_in_pairs(weighted.T) / jnp.sum(weight))


def ratio(numerator: jax.Array, denominator: jax.Array) -> jax.Array:
    """`numerator / denominator`, and 0 where both are 0: the precision of a classifier that never says yes.

    numerator and denominator `f32[...]` of one shape; gives `f32[...]`.

    >>> import jax.numpy as jnp
    >>> from jaxnn import metrics
    >>> metrics.ratio(jnp.array([1.0, 0.0]), jnp.array([2.0, 0.0])).tolist()
    [0.5, 0.0]
    """
    return numerator / jnp.where((denominator == 0) & (numerator == 0), 1, denominator)


def r_squared(
    squared_error: jax.Array, y: jax.Array, y_squared: jax.Array, weight: jax.Array, y_within: jax.Array | float = 0.0
) -> jax.Array:
    """`1 - sum (y - prediction)^2 / sum (y - mean y)^2`, averaged over the outputs; from the sums of `regression_sums`.

    squared_error, y, y_squared, y_within `f32[K]`, weight `f32[]`; gives `f32[]`. Where y does not vary it is 1 for a
    perfect prediction and 0 for any other.

    >>> import jax.numpy as jnp
    >>> from jaxnn import metrics
    >>> sums = metrics.regression_sums(jnp.array([[1.0], [2.0]]), jnp.array([[1.0], [4.0]]), weight := jnp.ones(2))
    >>> named = (sums[name] for name in ("squared_error", "y", "y_squared"))
    >>> metrics.r_squared(*named, weight.sum(), sums["y_within"]).item()
    0.11111...

    Source: scikit-learn's `r2_score`, uniform average.
    """
    between = y_squared - jnp.square(y) / weight
    # Smaller differences of the means of batches, and of y itself, are float32 rounding of `y_squared`.
    spread = y_within + jnp.where(between > 1e-6 * y_squared, between, 0)
    varies = spread > 1e-12 * y_squared
    score = 1 - squared_error / jnp.where(varies, spread, 1)
    return jnp.mean(jnp.where(varies, score, jnp.where(squared_error == 0, 1.0, 0.0)))


def labels_of(logits: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The class that is true and the one that is predicted; negative, and different, where a number is NaN.

    logits `f[..., K]`, y integers `[...]` or one-hot or soft `[..., K]`; gives `i32[...]` both. Raises `InputError` if
    the shapes do not fit.

    >>> import jax.numpy as jnp
    >>> from jaxnn import metrics
    >>> true, predicted = metrics.labels_of(jnp.array([[1.0, 2.0], [3.0, 0.0]]), jnp.array([1, 1]))
    >>> true.tolist(), predicted.tolist()
    ([1, 1], [1, 0])
    """
    target, label = class_target(logits, y), jnp.asarray(y)
    if label.shape == target.shape:
        label = jnp.where(jnp.isnan(target).any(axis=-1), -1, jnp.argmax(target, axis=-1))
    return label, jnp.where(jnp.isnan(logits).any(axis=-1), -2, jnp.argmax(logits, axis=-1))


def _signs(logits: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    """What is true and what is predicted; a NaN predicts the opposite of the truth."""
    logits, y = jnp.asarray(logits), jnp.asarray(y)
    same_shape(logits, y)
    actual = y.astype(jnp.float32) > 0.5
    return actual, jnp.where(jnp.isnan(logits), ~actual, logits > 0)
