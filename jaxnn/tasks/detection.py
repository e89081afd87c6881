"""Detection: which objects are in an image, and where. A single stage: each cell of a grid tells what has its centre
there, and how far the edges of its box are.

Detections are the cells whose probability is the largest of their 3x3 neighbours', less what overlaps a better one by
an IoU above 0.5, whatever the classes. Where a split is evaluated, not of training batches, `map50` is measured: the
mean over the classes of the average precision at IoU 0.5, COCO's with scores rounded to 1,000 steps. At the end and in
`evaluate` it is exact, and `map` is the mean over IoU 0.50 to 0.95 (`jaxnn.coco_map`). An image counts there if its
weight is not 0.

Source: Zhou et al. 2019 (CenterNet); Tian et al. 2019 (FCOS: the distances); Rezatofighi et al. 2019 (GIoU); Liu et al.
2020 (TTFNet: the Gaussian).
"""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxnn.config.task import TaskConfig
from jaxnn.errors import InputError, check
from jaxnn.tasks.base import means, weighed
from jaxnn.tasks.boxes import giou, iou, matched, nms
from jaxnn.tasks.coco_map import coco_map
from jaxnn.tasks.marks import check_boxes
from jaxnn.types import Metrics, Task

MOST = 100  # detections of an image: COCO's maxDets
BINS = 1000  # of scores, in the histograms that AP is read from while a network trains
NEAR = 0.5  # above this IoU the less certain of two detections is left out; of a box that is found, at least
SPREAD = 0.09  # of the Gaussian around a centre, in widths and heights of the box: 0.54 / 6
FARTHEST = 10.0  # log of the distance of an edge, in cells; beyond, exp would leave float32
AT_ONCE = 64  # images whose detections are suppressed together, for memory
RECALLS = np.linspace(0, 1, 101)


def detection(classes: int, *, size: tuple[int, int], stride: int = 4, most: int = MOST) -> Task:
    """The boxes of the objects in images of `size` (height, width), with their classes, found on a grid of cells.

    Outputs `f[B, H / stride, W / stride, K + 4]`: the logits of the K classes (whether the centre of such an object is
    in the cell), and the logarithms of the distances, in cells, from the middle of the cell to the left, upper, right
    and lower edge of its box. Labels `f32[B, M, 5]`: class, x1, y1, x2, y2 in pixels; rows of class -1 are padding.

        loss = sum of (focal loss over cells and classes, 1 - GIoU at the cells of the centres) / boxes of the image

    of each image, where no box counts as one. Around a centre the focal loss forgives more the nearer a cell is, by a
    Gaussian of 0.09 widths and heights. Two boxes with their centres in one cell both count: in the heat map each for
    its class, and in GIoU both pull at the same four numbers.

    `link` gives probabilities and boxes in pixels, `f[B, H / stride, W / stride, K + 4]`; `decide` the detections
    `f32[B, N, 6]`, N = `most` at most: x1, y1, x2, y2, score, class, the best first, class -1 for none.

    Raises `InputError` for a size that the stride does not divide.

    >>> import jax.numpy as jnp
    >>> import jaxnn
    >>> task = jaxnn.detection(2, size=(8, 8))
    >>> logits = jnp.full((2, 2, 2), -9.0).at[0, 1, 1].set(9.0)  # an object of class 1 in the upper right cell
    >>> outputs = jnp.concatenate([logits, jnp.zeros((2, 2, 4))], -1)
    >>> task.decide(task.link(outputs))[0].round(2).tolist()
    [2.0, 0.0, 8.0, 6.0, 1.0, 1.0]
    """
    check("detection classes", classes, ">= 1", classes >= 1)
    check("detection most", most, ">= 1", most >= 1)
    shape = (*_cells(size, stride), classes + 4)
    decided = functools.partial(detections, most=min(most, math.prod(shape[:2]) * classes))
    compiled = jax.jit(_each_image(decided))

    def loss(outputs: jax.Array, y: jax.Array) -> jax.Array:
        outputs = _of_shape(outputs, shape)
        of_each = jnp.vectorize(functools.partial(image_loss, stride=stride), signature="(h,w,k),(m,n)->()")
        return of_each(outputs, jnp.asarray(y, outputs.dtype))

    def link(outputs: jax.Array) -> jax.Array:
        return probabilities(_of_shape(outputs, shape), size, stride)

    def decide(p: Any) -> Any:
        found = compiled(jnp.asarray(p))
        return np.asarray(found) if isinstance(p, np.ndarray) else found

    def whole(outputs: jax.Array, y: jax.Array, weight: jax.Array) -> Metrics:
        found = _each_image(lambda one: decided(link(one)))(outputs)
        kept = {"detections": found, "boxes": y, "counted": weight != 0}
        return kept | histograms(found, y, weight != 0, classes)

    def summary(sums: Metrics) -> dict[str, Any]:
        more = {"map50": average_precision(sums["hits"], sums["misses"], sums["there"])} if "there" in sums else {}
        return means(sums, loss="loss") | more

    def final(sums: Metrics) -> dict[str, float]:
        counted = np.asarray(sums["counted"])
        found = coco_map(*(np.asarray(sums[name])[counted] for name in ("detections", "boxes")), most=most)
        return {name: found[name] for name in ("map50", "map")}

    metrics = lambda outputs, y, weight: weighed(weight)
    checked = functools.partial(check_labels, size=size, classes=classes, most=most)
    given = {"check": checked, "whole": whole, "final": final, "labels": "boxes"}
    return Task("detection", shape, loss, link, metrics, summary, decide, **given)


def of(config: TaskConfig, data: dict[str, Any]) -> Task:
    """The task of a config, for images with boxes (`Dataset.describe`)."""
    height, width, _ = data["shape"]
    (most, _) = data["y"]["shape"]  # boxes that an image of the data has
    return detection(len(data["classes"]), size=(height, width), most=max(MOST, most))


def image_loss(outputs: jax.Array, y: jax.Array, stride: int) -> jax.Array:
    """The loss of one image: outputs f[h, w, K + 4], y f[M, 5] -> f[]."""
    logits, edges, boxes = outputs[..., :-4], outputs[..., -4:], y[:, 1:]
    there, (row, column) = y[:, 0] >= 0, centres(boxes, stride, edges.shape)
    heat = heat_map(y, row, column, stride, logits.shape)
    found = decoded(edges, stride)[row, column]
    # Padding stands for a box that is found: no gradient comes of it.
    apart = 1 - giou(found, jnp.where(there[:, None], boxes, lax.stop_gradient(found)))
    count = jnp.maximum(jnp.sum(there, dtype=outputs.dtype), 1)
    return (jnp.sum(focal(logits, heat)) + jnp.sum(jnp.where(there, apart, 0))) / count


def focal(logits: jax.Array, heat: jax.Array) -> jax.Array:
    """`-(1 - p)^2 log p` at a centre (heat 1), `-(1 - heat)^4 p^2 log(1 - p)` elsewhere; any shape. Source: Zhou 2019.

    >>> [round(float(value), 4) for value in focal(jnp.zeros(2), jnp.array([1.0, 0.0]))]  # 0.25 log 2
    [0.1733, 0.1733]
    """
    yes = jax.nn.log_sigmoid(logits)
    no = yes - logits
    return -jnp.where(heat == 1, jnp.exp(2 * no) * yes, (1 - heat) ** 4 * jnp.exp(2 * yes) * no)


def centres(boxes: jax.Array, stride: int, shape: tuple[int, ...]) -> tuple[jax.Array, jax.Array]:
    """Row and column of the cell, of `shape`, in which the centre of each box is: f[M, 4] -> i32[M] both."""
    cell = jnp.floor((boxes[:, :2] + boxes[:, 2:]) / (2 * stride)).astype(jnp.int32)
    return jnp.clip(cell[:, 1], 0, shape[0] - 1), jnp.clip(cell[:, 0], 0, shape[1] - 1)


def heat_map(y: jax.Array, row: jax.Array, column: jax.Array, stride: int, shape: tuple[int, ...]) -> jax.Array:
    """f[h, w, K]: 1 where an object of the class has its centre, a Gaussian around, the largest one where they meet."""
    h, w, classes = shape
    there = y[:, 0] >= 0

    def along(count: int, centre: jax.Array, size: jax.Array) -> jax.Array:
        off = (jnp.arange(count, dtype=centre.dtype)[None, :] - centre[:, None]).astype(y.dtype)
        return jnp.exp(-jnp.square(off / jnp.where(there, SPREAD / stride * size, 1)[:, None]) / 2)

    bumps = along(h, row, y[:, 4] - y[:, 2])[:, :, None] * along(w, column, y[:, 3] - y[:, 1])[:, None, :]
    kind = jnp.where(there, y[:, 0], classes).astype(jnp.int32)  # beyond the last: dropped
    return jnp.moveaxis(jnp.zeros((classes, h, w), y.dtype).at[kind].max(bumps, mode="drop"), 0, -1)


def decoded(edges: jax.Array, stride: int) -> jax.Array:
    """Boxes in pixels, of the logarithms of the distances of their edges: f[..., h, w, 4] -> f[..., h, w, 4]."""
    h, w = edges.shape[-3:-1]
    middles = jnp.stack(jnp.meshgrid(jnp.arange(w), jnp.arange(h)), -1).astype(edges.dtype) + 0.5
    middles = jnp.broadcast_to(middles.reshape((1,) * (edges.ndim - 3) + middles.shape), (*edges.shape[:-1], 2))
    distances = jnp.exp(jnp.minimum(edges, FARTHEST))
    return stride * jnp.concatenate([middles - distances[..., :2], middles + distances[..., 2:]], -1)


def probabilities(outputs: jax.Array, size: tuple[int, int], stride: int) -> jax.Array:
    """Of the classes, and boxes in pixels, cut off at the edges of the image: f[..., h, w, K + 4], of outputs."""
    boxes = decoded(outputs[..., -4:], stride)
    limit = jnp.broadcast_to(jnp.asarray(size[::-1] * 2, boxes.dtype), boxes.shape)
    return jnp.concatenate([jax.nn.sigmoid(outputs[..., :-4]), jnp.clip(boxes, 0, limit)], -1)


def detections(p: jax.Array, most: int) -> jax.Array:
    """The best detections of one image: f[h, w, K + 4] -> f32[most, 6], x1, y1, x2, y2, score, class; -1: none."""
    p = p.astype(jnp.float32)
    scores, boxes, classes = p[..., :-4], p[..., -4:].reshape(-1, 4), p.shape[-1] - 4
    around = lax.reduce_window(scores, -jnp.inf, lax.max, (3, 3, 1), (1, 1, 1), "SAME")
    score, place = lax.top_k(jnp.where(scores == around, scores, 0).ravel(), most)
    boxes = boxes[place // classes]
    score, order = lax.top_k(jnp.where(nms(boxes, score, None, NEAR), score, 0), most)
    kind = jnp.where(score > 0, place[order] % classes, -1).astype(jnp.float32)
    return jnp.concatenate([jnp.where(score[:, None] > 0, boxes[order], 0), score[:, None], kind[:, None]], -1)


def histograms(found: jax.Array, y: jax.Array, counted: jax.Array, classes: int) -> Metrics:
    """How many detections of each class and score are right at IoU 0.5, and how many are not: `hits` and `misses`
    f32[K, 1000]; and how many boxes of each class there are, `there` f32[K]. Found f32[n, N, 6], y f32[n, M, 5];
    of images that are not counted, bool[n], nothing."""

    def of_image(row: tuple[jax.Array, jax.Array]) -> jax.Array:
        found, y = row
        alike = (found[:, None, 5] == y[None, :, 0]) & (y[None, :, 0] >= 0)
        return matched(jnp.where(alike, iou(found[:, None, :4], y[None, :, 1:]), -1), found[:, 4], NEAR)

    right = lax.map(of_image, (found, y), batch_size=AT_ONCE)
    bins = jnp.clip((found[..., 4] * BINS).astype(jnp.int32), 0, BINS - 1)

    def count(kind: jax.Array, yes: jax.Array, *bins: jax.Array) -> jax.Array:
        counts = jnp.zeros((classes, BINS)[: 1 + len(bins)], jnp.float32)
        kind = jnp.where(yes & (kind >= 0) & counted[:, None], kind, classes).astype(jnp.int32)  # beyond: dropped
        return counts.at[(kind, *bins)].add(1, mode="drop")

    kind, real = found[..., 5], y[..., 0]
    return {"hits": count(kind, right, bins), "misses": count(kind, ~right, bins), "there": count(real, real >= 0)}


@jax.jit  # by itself XLA never holds [K, 101, bins] at once
def average_precision(hits: Any, misses: Any, there: Any) -> jax.Array:
    """COCO's AP from histograms `[K, bins]` of scores from 0 to 1, averaged over the classes that are there: f[].

    The mean over the recalls 0, 0.01, ..., 1 of the best precision at that recall or a higher one; NaN of no class.
    """
    hits, misses, there = (jnp.asarray(a, float) for a in (hits, misses, there))
    right, wrong = (jnp.cumsum(a[:, ::-1], 1) for a in (hits, misses))
    precision = right / jnp.maximum(right + wrong, 1)
    recall = right / jnp.maximum(there, 1)[:, None]
    least = jnp.asarray(RECALLS, recall.dtype) - 1e-6  # of rounding
    reached = recall[:, None, :] >= least[None, :, None]
    ap = jnp.mean(jnp.max(jnp.where(reached, precision[:, None, :], 0), -1), -1)
    return jnp.mean(ap, where=there > 0)


def check_labels(y: Any, size: tuple[int, int], classes: int, most: int) -> None:
    """`check_boxes`; and of no image more than are ever found."""
    check_boxes(y, size, classes)
    count = (np.asarray(y)[..., 0] != -1).sum(1)
    if count.max(initial=0) > most:
        i = int(count.argmax())
        raise InputError(f"boxes[{i}]: has {count[i]}, and at most {most} are found in an image; give a larger most=")


def _cells(size: tuple[int, int], stride: int) -> tuple[int, int]:
    """Height and width of the grid."""
    check("detection stride", stride, ">= 1", stride >= 1)
    height, width = size
    if height % stride or width % stride:
        near = "x".join(str(max(1, round(side / stride)) * stride) for side in size)
        rule = f"must be multiples of {stride}, the stride of the grid"
        raise InputError(f"size={height}x{width}: {rule}; make the images {near}, with --data.image_size")
    return height // stride, width // stride


def _of_shape(outputs: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    if outputs.shape[-3:] != shape:
        raise InputError(f"outputs{list(outputs.shape)}: must be [..., {', '.join(map(str, shape))}]; change the model")
    return outputs


def _each_image(function: Any) -> Any:
    """The function of each image, some at a time: f[..., h, w, k] -> f[..., N, 6]."""

    def each(a: jax.Array) -> jax.Array:
        found = lax.map(function, a.reshape(-1, *a.shape[-3:]), batch_size=AT_ONCE)
        return found.reshape(*a.shape[:-3], *found.shape[1:])

    return each
