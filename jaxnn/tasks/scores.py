"""Metrics that a task measures where it is asked to (`--task.metrics`): each a `jaxnn.Metric`.

    jaxnn.multiclass(10, metrics={"top_5": jaxnn.top_k(5)})

Names and values are scikit-learn's.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from jaxnn.errors import InputError, check, choices
from jaxnn.numerics import sum_in_pairs
from jaxnn.tasks import metrics
from jaxnn.types import Metric, Metrics


def auc() -> Metric:
    """Area under the ROC curve, of a binary task: how often a yes has the greater logit than a no; ties count half.

        sum_ij w_i w_j ([z_i > z_j] + [z_i = z_j] / 2) / sum_ij w_i w_j     over i with y = 1, j with y = 0

    Exact, by sorting, so of a whole split: it is measured where one is evaluated, and not of training batches. Of the
    logits, which are in the order of the probabilities and do not round to 1. NaN for rows of one class; a logit of NaN
    is the wrong way round.

    >>> import jax.numpy as jnp, jaxnn
    >>> task = jaxnn.binary(metrics={"auc": jaxnn.auc()})
    >>> logits, y = jnp.array([[2.0], [0.5], [1.0], [-1.0]]), jnp.array([1, 1, 0, 0])
    >>> float(task.summary(jaxnn.metrics.measure(task, logits, y, jnp.ones(4)))["auc"])  # 3 of 4 pairs
    0.75

    Source: Fawcett 2006, doi:10.1016/j.patrec.2005.10.010; scikit-learn's `roc_auc_score`.
    """
    return Metric(_pairs, lambda sums: jnp.divide(sums["ordered"], sums["pairs"]), whole=True)


def _pairs(logits: jax.Array, y: jax.Array, weight: jax.Array) -> Metrics:
    yes, weight = jnp.ravel(y) > 0.5, jnp.ravel(jnp.asarray(weight, float))
    score = jnp.ravel(logits)
    score = jnp.where(jnp.isnan(score), jnp.where(yes, -jnp.inf, jnp.inf), score)
    order = jnp.argsort(score)
    placed, no = score[order], jnp.where(yes, 0, weight)
    up_to = jnp.concatenate([jnp.zeros(1), jnp.cumsum(no[order])])  # the weight of the first 0, 1, ..., n
    below, or_equal = (up_to[jnp.searchsorted(placed, score, side=side)] for side in ("left", "right"))
    of_yes = jnp.where(yes, weight, 0)
    return {"ordered": sum_in_pairs(of_yes * (below + or_equal) / 2), "pairs": sum_in_pairs(of_yes) * sum_in_pairs(no)}


def top_k(k: int) -> Metric:
    """The share of examples whose label is among the k largest logits, of a multiclass task. Of equal ones the first
    counts more, as in accuracy, which is `top_k(1)`. Raises `InputError` if k < 1.

    >>> import jax.numpy as jnp, jaxnn
    >>> task = jaxnn.multiclass(3, metrics={"top_2": jaxnn.top_k(2)})
    >>> logits = jnp.array([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0]])
    >>> float(task.summary(jaxnn.metrics.measure(task, logits, jnp.array([1, 2]), jnp.ones(2)))["top_2"])
    0.5

    Source: scikit-learn's `top_k_accuracy_score`.
    """
    check("top_k", k, ">= 1", k >= 1)

    def sums(logits: jax.Array, y: jax.Array, weight: jax.Array) -> Metrics:
        label, predicted = metrics.labels_of(logits, y)
        place = jnp.clip(label, 0, logits.shape[-1] - 1)
        own = jnp.broadcast_to(jnp.take_along_axis(logits, place[..., None], -1), logits.shape)
        earlier = jnp.arange(logits.shape[-1]) < jnp.expand_dims(label, -1)
        ahead = jnp.sum((logits > own) | ((logits == own) & earlier), axis=-1)
        right = (ahead < k) & (label == place) & (predicted >= 0)
        return {"right": metrics.weighted_sum(right, weight), "weight": jnp.sum(jnp.asarray(weight, float))}

    return Metric(sums, lambda sums: sums["right"] / sums["weight"])


def macro_f1() -> Metric:
    """The mean over the classes of F1, of a multiclass task: 2 hits / (examples + predictions) of a class.

    A class that is neither there nor predicted is left out.

    >>> import jax.numpy as jnp, jaxnn
    >>> task = jaxnn.multiclass(2, metrics={"macro_f1": jaxnn.macro_f1()})
    >>> logits = jnp.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    >>> found = task.summary(jaxnn.metrics.measure(task, logits, jnp.array([0, 1, 1]), jnp.ones(3)))
    >>> round(float(found["macro_f1"]), 4)  # 2/3 of both classes
    0.6667

    Source: scikit-learn's `f1_score(average="macro")`.
    """

    def value(sums: Metrics) -> jax.Array:
        return _mean_of_classes(2 * sums["hits"], sums["actual"] + sums["predicted"])

    return Metric(_by_class, value)


def balanced_accuracy(*, binary: bool = False) -> Metric:
    """The mean over the classes of recall, the share of their examples that are right: of a multiclass task, or a
    `binary` one. A class that is not there is left out.

    >>> import jax.numpy as jnp, jaxnn
    >>> task = jaxnn.binary(metrics={"balanced_accuracy": jaxnn.balanced_accuracy(binary=True)})
    >>> logits, y = jnp.array([[1.0], [1.0], [-1.0], [1.0]]), jnp.array([1, 1, 0, 0])
    >>> float(task.summary(jaxnn.metrics.measure(task, logits, y, jnp.ones(4)))["balanced_accuracy"])
    0.75

    Source: scikit-learn's `balanced_accuracy_score`.
    """

    def two(logits: jax.Array, y: jax.Array, weight: jax.Array) -> Metrics:
        sums = metrics.binary_sums(logits, y, weight)
        hits = jnp.stack([sums["tn"], sums["tp"]])
        return {"hits": hits, "actual": hits + jnp.stack([sums["fp"], sums["fn"]])}

    def value(sums: Metrics) -> jax.Array:
        return _mean_of_classes(sums["hits"], sums["actual"])

    return Metric(two if binary else _by_class, value)


def _by_class(logits: jax.Array, y: jax.Array, weight: jax.Array) -> Metrics:
    """What a confusion matrix comes to, for each class: its diagonal and its margins, `[K]`."""
    label, predicted = metrics.labels_of(logits, y)
    classes = jnp.arange(logits.shape[-1])
    label, predicted = (jnp.expand_dims(number, -1) == classes.astype(number.dtype) for number in (label, predicted))
    summed = lambda hot: jax.vmap(metrics.weighted_sum, (-1, None))(hot, weight)
    return {"hits": summed(label & predicted), "actual": summed(label), "predicted": summed(predicted)}


def _mean_of_classes(part: jax.Array, whole: jax.Array) -> jax.Array:
    there = whole > 0
    return jnp.sum(metrics.ratio(part, whole)) / jnp.sum(there)


def named(names: tuple[str, ...], kind: str, classes: int) -> dict[str, Metric]:
    """The metrics that a config asks of a task. Raises `InputError` for those that it does not have.

    >>> list(named(("top_2", "macro_f1"), "multiclass", 10))
    ['top_2', 'macro_f1']
    """
    known: Mapping[str, Metric] = {
        "binary": {"auc": auc(), "balanced_accuracy": balanced_accuracy(binary=True)},
        "multiclass": {"balanced_accuracy": balanced_accuracy(), "macro_f1": macro_f1()}
        | {f"top_{k}": top_k(k) for k in range(1, classes)},
    }.get(kind, {})
    for name in names:
        if name not in known and not known:
            raise InputError(f"--task.metrics={name}: this task is {kind}, and is measured by its own; leave it out")
        if name not in known:
            raise choices("--task.metrics", name, known)
    return {name: known[name] for name in names}
