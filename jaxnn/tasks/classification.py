"""The tasks whose labels are classes: yes or no, one of K, any of K."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxnn.errors import InputError
from jaxnn.numerics import is_zero
from jaxnn.tasks import base, losses
from jaxnn.tasks.base import Loss, as_they_are, means, outputs_of, weighed
from jaxnn.tasks.labels import check_labels
from jaxnn.tasks.metrics import binary_sums, multiclass_sums, multilabel_sums, ratio
from jaxnn.types import Metric, Metrics, Task


def binary(
    *, label_smoothing: float | jax.Array = 0.0, loss: Loss | None = None, metrics: Mapping[str, Metric] | None = None
) -> Task:
    """Yes or no: one logit, `P(y = 1) = sigmoid(logit)`; accuracy, precision, recall and F1.

    `loss`: one of your own in place of the cross-entropy, `(logits f[B], y [B]) -> f[B]`, any B: one number for each
    example. `metrics`: more of them by name, `jaxnn.Metric`. The same in all tasks.

    >>> import jax.numpy as jnp
    >>> import jaxnn
    >>> task = jaxnn.binary()
    >>> sums = jaxnn.metrics.measure(task, jnp.array([[3.0], [-3.0]]), jnp.array([1, 1]), jnp.ones(2))
    >>> {name: round(float(value), 2) for name, value in task.summary(sums).items()}
    {'loss': 1.55, 'accuracy': 0.5, 'precision': 1.0, 'recall': 0.5, 'f1': 0.67}
    >>> hinge = jaxnn.binary(loss=lambda z, y: jnp.maximum(0, 1 - (2 * y - 1) * z))
    >>> hinge.loss(jnp.array([[3.0], [-3.0]]), jnp.array([1, 1])).tolist()
    [0.0, 4.0]
    """
    _check_smoothing(label_smoothing, loss)

    def loss_of(logits: jax.Array, y: jax.Array) -> jax.Array:
        logits = _one(logits)
        if loss:
            return base.each(loss, logits, y, logits.shape)
        return losses.binary_cross_entropy(logits, y, label_smoothing=label_smoothing)

    def sums(logits: jax.Array, y: jax.Array, weight: jax.Array) -> Metrics:
        return weighed(weight) | binary_sums(_one(logits), y, weight)

    def summary(sums: Metrics) -> dict[str, Any]:
        tp, fp, fn = sums["tp"], sums["fp"], sums["fn"]
        return means(sums, loss="loss", accuracy="correct") | {
            "precision": ratio(tp, tp + fp),
            "recall": ratio(tp, tp + fn),
            "f1": ratio(2 * tp, 2 * tp + fp + fn),
        }

    def link(logits: jax.Array) -> jax.Array:
        return jax.nn.sigmoid(_one(logits))

    def log_link(logits: jax.Array) -> jax.Array:
        return jnp.concatenate([jax.nn.log_sigmoid(-outputs_of(logits, 1)), jax.nn.log_sigmoid(logits)], axis=-1)

    check = functools.partial(labels_in, classes=2)
    task = Task("binary", 1, loss_of, link, sums, summary, _more_likely, log_link, _no_and_yes, check)
    return base.measuring(task, metrics, lambda logits, y: (_one(logits), y))


def multiclass(
    classes: int,
    *,
    label_smoothing: float | jax.Array = 0.0,
    loss: Loss | None = None,
    metrics: Mapping[str, Metric] | None = None,
) -> Task:
    """One of K classes: K logits, `P(y = k) = softmax(logits)_k`; accuracy. Raises `InputError` if classes < 2.

    `loss`: one of your own, `(logits f[B, K], y i32[B]) -> f[B]`; `metrics`: see `binary`.

    >>> import jax.numpy as jnp
    >>> import jaxnn
    >>> task = jaxnn.multiclass(3)
    >>> task.outputs, task.link(jnp.zeros((2, 3))).shape, round(task.loss(jnp.zeros(3), jnp.array(2)).item(), 4)
    (3, (2, 3), 1.0986)
    """
    if classes < 2:
        raise InputError(f"classes={classes}: must be >= 2; there is nothing to learn from one class")

    _check_smoothing(label_smoothing, loss)

    def loss_of(logits: jax.Array, y: jax.Array) -> jax.Array:
        logits = outputs_of(logits, classes)
        if loss:
            return base.each(loss, logits, y, logits.shape[:-1])
        return losses.cross_entropy(logits, y, label_smoothing=label_smoothing)

    def summary(sums: Metrics) -> dict[str, Any]:
        return means(sums, loss="loss", accuracy="correct")

    def link(logits: jax.Array) -> jax.Array:
        return jax.nn.softmax(outputs_of(logits, classes))

    check = functools.partial(labels_in, classes=classes)

    def sums(logits: jax.Array, y: jax.Array, weight: jax.Array) -> Metrics:
        return weighed(weight) | multiclass_sums(logits, y, weight)

    rest = (_most_likely, jax.nn.log_softmax, as_they_are, check)
    task = Task("multiclass", classes, loss_of, link, sums, summary, *rest)
    return base.measuring(task, metrics, lambda logits, y: (outputs_of(logits, classes), y))


def multilabel(
    labels: int,
    *,
    label_smoothing: float | jax.Array = 0.0,
    loss: Loss | None = None,
    metrics: Mapping[str, Metric] | None = None,
) -> Task:
    """Any of K labels: K logits, each a yes or no; the loss is the sum over the labels, minus their log-likelihood.

    `loss`: one of your own, `(logits f[B, K], y [B, K]) -> f[B]`; `metrics`: see `binary`.

    `accuracy` counts examples with every label right, `label_accuracy` single labels. Raises `InputError` if
    labels < 1.

    >>> import jax.numpy as jnp
    >>> import jaxnn
    >>> task = jaxnn.multilabel(2)
    >>> sums = jaxnn.metrics.measure(task, jnp.array([[5.0, 5.0]]), jnp.array([[1, 0]]), jnp.ones(1))
    >>> {name: round(float(value), 2) for name, value in task.summary(sums).items()}
    {'loss': 5.01, 'accuracy': 0.0, 'label_accuracy': 0.5}
    """
    if labels < 1:
        raise InputError(f"labels={labels}: must be >= 1; give the number of labels")

    _check_smoothing(label_smoothing, loss)

    def loss_of(logits: jax.Array, y: jax.Array) -> jax.Array:
        logits = outputs_of(logits, labels)
        if loss:
            return base.each(loss, logits, y, logits.shape[:-1])
        return jnp.sum(losses.binary_cross_entropy(logits, y, label_smoothing=label_smoothing), axis=-1)

    def summary(sums: Metrics) -> dict[str, Any]:
        return means(sums, loss="loss", accuracy="correct", label_accuracy="labels_correct")

    def link(logits: jax.Array) -> jax.Array:
        return jax.nn.sigmoid(outputs_of(logits, labels))

    def sums(logits: jax.Array, y: jax.Array, weight: jax.Array) -> Metrics:
        return weighed(weight) | multilabel_sums(logits, y, weight)

    rest = (_more_likely, jax.nn.log_sigmoid, as_they_are)
    task = Task("multilabel", labels, loss_of, link, sums, summary, *rest)
    return base.measuring(task, metrics, lambda logits, y: (outputs_of(logits, labels), y))


def _check_smoothing(label_smoothing: float | jax.Array, loss: Loss | None) -> None:
    if loss and not is_zero(label_smoothing):
        raise InputError(
            f"label_smoothing={label_smoothing}: is that of the cross-entropy; smooth in a loss of your own"
        )


def _one(logits: jax.Array) -> jax.Array:
    return jnp.squeeze(outputs_of(logits, 1), -1)


def labels_in(y: Any, classes: int) -> None:
    """`check_labels` of class numbers; one-hot and soft labels are probabilities, which the loss checks itself."""
    if jnp.ndim(y) == 1:
        check_labels(y, classes)


def _most_likely(p: Any) -> Any:
    return p.argmax(-1)


def _more_likely(p: Any) -> Any:
    return (p > 0.5).astype("int32")


def _no_and_yes(p: Any) -> Any:
    return p.__array_namespace__().stack([1 - p, p], axis=-1)  # NumPy's arrays stay NumPy's, and float64
