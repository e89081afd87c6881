"""Segmentation: a class for each pixel."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxnn.config.task import TaskConfig
from jaxnn.errors import InputError, check, non_negative
from jaxnn.numerics import is_zero
from jaxnn.tasks import base
from jaxnn.tasks.base import Loss, means, weighed
from jaxnn.tasks.marks import IGNORE, check_masks
from jaxnn.types import Metric, Metrics, Task

WORD = 2**12  # counts of pixels have a high and a low part: int32 holds 524,288 images, of 8.8e12 pixels together


def segmentation(
    classes: int | Sequence[Any],
    *,
    size: tuple[int, int],
    dice: float | jax.Array = 0.0,
    ignore: int = IGNORE,
    loss: Loss | None = None,
    metrics: Mapping[str, Metric] | None = None,
) -> Task:
    """Each pixel one of K classes: logits `f[B, H, W, K]`, `P(y = k) = softmax(logits)_k`, masks y `u8[B, H, W]`.

    The loss of an image is the mean cross-entropy of its pixels that are not `ignore` (0 if there are none), and `dice`
    times the mean, over the classes that it has, of

        1 - 2 sum p_k [y = k] / (sum p_k + sum [y = k])         sums over the same pixels

    which counts a small object as much as a large one. Measured are, over all pixels of a whole set,

        miou       the mean of the classes' intersection / union, without classes that are neither there nor predicted
        accuracy   the share of pixels that are right
        iou/k      intersection / union of class k (of its name, if `classes` are names); 0 where there is neither

    from whole counts, exact whatever their number. Pixels in rows of weight 0 count nowhere; another weight is one of
    the loss alone. `loss`: one of your own, `(logits, y) -> f[B]`; `metrics`: see `binary`.

    Raises `InputError` for fewer than 2 classes or more than 255, for `ignore` that is one of them, and a size of 0.
    Source: Long et al. 2015; Milletari et al. 2016 (dice).

    >>> import jax.numpy as jnp
    >>> import jaxnn
    >>> task = jaxnn.segmentation(2, size=(1, 4))
    >>> logits, y = jnp.array([[[[0, 9], [0, 9], [9, 0], [9.0, 0]]]]), jnp.array([[[1, 0, 0, 255]]], jnp.uint8)
    >>> found = task.summary(jaxnn.metrics.measure(task, logits, y, jnp.ones(1)))
    >>> {name: round(float(value), 2) for name, value in found.items()}
    {'loss': 3.0, 'miou': 0.5, 'accuracy': 0.67, 'iou/0': 0.5, 'iou/1': 0.5}
    """
    names = list(range(classes)) if isinstance(classes, int) else list(classes)
    k = len(names)
    check("classes", k, "in [2, 255], with that of the background", 2 <= k <= 255)
    check("ignore", ignore, f"in [{k}, 255], no class", k <= ignore <= 255)
    check("size", size, "height and width, >= 1", len(size) == 2 and min(size) >= 1)
    size = (size[0], size[1])
    non_negative("dice", dice)
    if loss and not is_zero(dice):
        raise InputError(f"dice={dice}: is a part of the cross-entropy's task; add it to the loss of your own")

    def outputs_of(logits: jax.Array) -> jax.Array:
        if logits.shape[-3:] != (*size, k):
            rule = f"the last axes must be {[*size, k]}"
            raise InputError(f"logits{list(logits.shape)}: {rule}; give the model outputs of that shape")
        return logits

    def loss_of(logits: jax.Array, y: jax.Array) -> jax.Array:
        logits = outputs_of(logits)
        if loss:
            return base.each(loss, logits, y, logits.shape[:-3])
        log_p, hot, seen = jax.nn.log_softmax(logits.astype(float)), _one_hot(y, k), y != ignore
        minus = -jnp.sum(jnp.where(hot, log_p, 0), -1)
        minus = jnp.where(seen, jnp.where(y < k, minus, jnp.nan), 0)  # a label that is none is no other class
        found = minus.sum((-2, -1)) / jnp.maximum(seen.sum((-2, -1)), 1).astype(minus.dtype)
        return found if is_zero(dice) else found + dice * _dice(log_p, hot, seen)

    def sums(logits: jax.Array, y: jax.Array, weight: jax.Array) -> Metrics:
        return weighed(weight) | {"pixels": _counts(outputs_of(logits), y, weight, ignore)}

    def summary(sums: Metrics) -> dict[str, Any]:
        high, low = (sums["pixels"][i].astype(float) for i in (0, 1))
        right, predicted, actual = high * WORD + low
        union = predicted + actual - right
        iou, there = _share(right, union), (union > 0).astype(float).sum()
        found = {"miou": _share(iou.sum(), there), "accuracy": _share(right.sum(), actual.sum())}
        return means(sums, loss="loss") | found | {f"iou/{name}": iou[i] for i, name in enumerate(names)}

    checked = functools.partial(check_masks, size=size, classes=k, ignore=ignore)

    def link(logits: jax.Array) -> jax.Array:
        return jax.nn.softmax(outputs_of(logits))

    rest = (_most_likely, jax.nn.log_softmax, None, checked)
    task = Task("segmentation", (*size, k), loss_of, link, sums, summary, *rest, labels="mask")
    return base.measuring(task, metrics, lambda logits, y: (outputs_of(logits), y))


def of(config: TaskConfig, data: dict[str, Any]) -> Task:
    """The task of a config, for data of which this is known (`jaxnn.data.Dataset.describe`)."""
    return segmentation(data["classes"], size=(data["shape"][0], data["shape"][1]), dice=config.dice)


def _share(part: Any, of: Any) -> Any:
    """part / of, and 0 where there is nothing; in float64 for the arrays of NumPy."""
    return part / (of + (of == 0).astype(float))


def _one_hot(y: jax.Array, k: int) -> jax.Array:
    """bool[..., K], without a True for what is no class."""
    classes = jnp.arange(k, dtype=y.dtype)
    shape = (*y.shape, k)
    return jnp.broadcast_to(y[..., None], shape) == jnp.broadcast_to(classes, shape)


def _dice(log_p: jax.Array, hot: jax.Array, seen: jax.Array) -> jax.Array:
    """f[B]: 1 - 2 |p y| / (|p| + |y|), the mean over the classes that an image has; 0 if there is none."""
    over = lambda a: a.sum((-3, -2))
    p = jnp.where(jnp.broadcast_to(seen[..., None], log_p.shape), jnp.exp(log_p), 0)
    there = over(hot).astype(p.dtype)
    apart = 1 - 2 * over(jnp.where(hot, p, 0)) / jnp.where(there > 0, over(p) + there, 1)
    present = there > 0
    return jnp.where(present, apart, 0).sum(-1) / jnp.maximum(present.sum(-1), 1).astype(p.dtype)


def _counts(logits: jax.Array, y: jax.Array, weight: jax.Array, ignore: int) -> jax.Array:
    """i32[2, 3, K]: how many pixels of each class are right, predicted and there, as high and low of high * WORD + low.

    Each image is counted and split by itself.
    """
    k = logits.shape[-1]
    seen = (y != ignore) & jnp.broadcast_to((weight != 0)[..., None, None], y.shape)
    certain = ~jnp.isnan(logits).any(-1)  # a prediction that is NaN is none
    hot = lambda mask, values: _one_hot(values, k) & jnp.broadcast_to(mask[..., None], (*mask.shape, k))
    actual, predicted = hot(seen, y), hot(seen & certain, logits.argmax(-1))
    counts = jnp.stack([a.sum((-3, -2), dtype=jnp.int32) for a in (actual & predicted, predicted, actual)], -2)
    parts = jnp.stack([counts // WORD, counts % WORD])
    return parts.reshape(2, -1, 3, k).sum(1, dtype=jnp.int32)


def _most_likely(p: Any) -> Any:
    return p.argmax(-1).astype("uint8")
