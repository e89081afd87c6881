"""Boxes x1, y1, x2, y2 (two corners): how much they overlap, and the suppression of all but the best.

Everything has a fixed shape, so that it compiles, and leading axes are free. Boxes that have no area overlap nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jaxnn.errors import InputError


def iou(a: ArrayLike, b: ArrayLike) -> jax.Array:
    """`|A and B| / |A or B|`, the intersection over the union: f[..., 4], f[..., 4] -> f[...], in [0, 1].

    One box against one; of all pairs `iou(a[:, None], b[None])`. Its gradient is 0 for boxes that do not meet. Raises
    `InputError` for arrays without four numbers in the last axis. Source: Jaccard 1901.

    >>> import jax.numpy as jnp
    >>> import jaxnn
    >>> jaxnn.iou(jnp.array([0.0, 0, 2, 2]), jnp.array([1.0, 0, 3, 2])).item()
    0.33333...
    """
    return _overlap(*_pair(a, b))[0]


def giou(a: ArrayLike, b: ArrayLike) -> jax.Array:
    """`IoU - |C without A and B| / |C|`, C the smallest box around both: f[..., 4], f[..., 4] -> f[...], in [-1, 1].

    Boxes that do not meet have a gradient, which draws them together. Source: Rezatofighi et al. 2019.

    >>> import jax.numpy as jnp
    >>> import jaxnn
    >>> jaxnn.giou(jnp.array([0.0, 0, 1, 1]), jnp.array([2.0, 0, 3, 1])).item()
    -0.33333...
    """
    a, b = _pair(a, b)
    (value, union), size = _overlap(a, b), _around(a, b)
    around = size[..., 0] * size[..., 1]
    return value - _ratio(around - union, around)


def diou(a: ArrayLike, b: ArrayLike) -> jax.Array:
    """`IoU - d^2 / c^2`, d between the centres, c the diagonal of the smallest box around both: f[...], in [-1, 1].

    Source: Zheng et al. 2020.

    >>> import jax.numpy as jnp
    >>> import jaxnn
    >>> round(float(jaxnn.diou(jnp.array([0.0, 0, 1, 1]), jnp.array([2.0, 0, 3, 1]))), 4)
    -0.4
    """
    a, b = _pair(a, b)
    apart = (a[..., :2] + a[..., 2:] - b[..., :2] - b[..., 2:]) / 2
    squared = lambda v: jnp.sum(jnp.square(v), -1)
    return _overlap(a, b)[0] - _ratio(squared(apart), squared(_around(a, b)))


def nms(boxes: ArrayLike, scores: ArrayLike, classes: ArrayLike | None, threshold: float | jax.Array) -> jax.Array:
    """Which boxes stay when the best one is taken and those are left out whose IoU with it is above `threshold`, again
    and again: boxes f[..., N, 4], scores f[..., N], classes [..., N] -> bool[..., N].

    Boxes of two classes do not touch each other; with classes None all do. Of equal scores the first counts as better.
    Equal to the loop over the boxes, by another way: whether a box stays depends on better ones alone, so the rule is
    applied to all boxes at once until nothing changes, after as many rounds as the longest row of boxes that each
    decide on the next, at most N.

    >>> import jax.numpy as jnp
    >>> import jaxnn
    >>> boxes = jnp.array([[0.0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10]])
    >>> jaxnn.nms(boxes, jnp.array([0.8, 0.9, 0.1]), None, 0.5).tolist()
    [False, True, True]
    """
    boxes, scores = jnp.asarray(boxes), jnp.asarray(scores)
    n = scores.shape[-1]
    near = iou(boxes[..., :, None, :], boxes[..., None, :, :]) > threshold
    if classes is not None:
        classes = jnp.asarray(classes)
        near &= classes[..., :, None] == classes[..., None, :]
    rivals = near & _better(scores)  # [..., i, j]: j, if it stays, leaves out i
    keep = lambda stays: ~jnp.any(rivals & stays[..., None, :], -1)
    return settled(keep, jnp.ones((*scores.shape[:-1], n), bool))


def matched(overlaps: jax.Array, scores: jax.Array, least: float) -> jax.Array:
    """Which detections find a box that is there, as COCO counts them: overlaps f[N, M], scores f[N] -> bool[N].

    From the best score downwards, each detection takes the box that it overlaps most (of equal ones the last) among
    those that are left and that it overlaps by `least`. It is the loop over the detections, in a few rounds: each takes
    what it overlaps most among the boxes that no better one holds, until nothing changes.
    """
    n, m = overlaps.shape
    if not m:
        return jnp.zeros(n, bool)
    rank = jnp.sum(_better(scores), -1, dtype=jnp.int32)  # 0: the best
    ranks = jnp.broadcast_to(rank[:, None], (n, m))

    def taken(holder: jax.Array) -> jax.Array:
        free = (ranks <= jnp.broadcast_to(holder, (n, m))) & (overlaps >= least)
        choice = m - 1 - jnp.argmax(jnp.where(free, overlaps, -1)[:, ::-1], -1)
        takes = free & (choice[:, None] == jnp.arange(m)[None, :])
        return jnp.min(jnp.where(takes, ranks, n), 0, initial=n)

    return jnp.any(ranks == settled(taken, jnp.full(m, n, jnp.int32))[None, :], -1)


def settled(rule: Callable[[jax.Array], jax.Array], start: jax.Array) -> jax.Array:
    """`rule` applied again and again until nothing changes."""
    more = lambda pair: jnp.any(pair[0] != pair[1])
    return lax.while_loop(more, lambda pair: (pair[1], rule(pair[1])), (start, rule(start)))[1]


def _better(scores: jax.Array) -> jax.Array:
    """bool[..., i, j]: whether j is better than i, or as good and before it."""
    order = jnp.arange(scores.shape[-1])
    mine, other = scores[..., :, None], scores[..., None, :]
    before = jnp.broadcast_to(order[None, :] < order[:, None], jnp.broadcast_shapes(mine.shape, other.shape))
    return (other > mine) | ((other == mine) & before)


def _pair(a: ArrayLike, b: ArrayLike) -> tuple[jax.Array, jax.Array]:
    """Both in one floating shape."""
    a, b = jnp.asarray(a, float), jnp.asarray(b, float)
    if a.shape[-1:] != (4,) or b.shape[-1:] != (4,):
        raise InputError(f"boxes={list(a.shape)}, {list(b.shape)}: must be [..., 4], x1, y1, x2, y2")
    shape = jnp.broadcast_shapes(a.shape, b.shape)
    return jnp.broadcast_to(a, shape), jnp.broadcast_to(b, shape)


def _overlap(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    """IoU and the area of the union."""
    inner = jnp.minimum(a[..., 2:], b[..., 2:]) - jnp.maximum(a[..., :2], b[..., :2])
    areas = [jnp.prod(jnp.maximum(side, 0), -1) for side in (a[..., 2:] - a[..., :2], b[..., 2:] - b[..., :2], inner)]
    union = areas[0] + areas[1] - areas[2]
    return _ratio(areas[2], union), union


def _around(a: jax.Array, b: jax.Array) -> jax.Array:
    """Width and height of the smallest box around both."""
    return jnp.maximum(a[..., 2:], b[..., 2:]) - jnp.minimum(a[..., :2], b[..., :2])


def _ratio(part: jax.Array, whole: jax.Array) -> jax.Array:
    """`part / whole`, 0 where the whole is 0."""
    return part / jnp.where(whole > 0, whole, 1)
