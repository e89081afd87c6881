"""Mixing: each example with a partner, and its label with that of the partner. Functions `(batch, key) -> batch`.

The partner of a row is the next one of positive weight, that of the last the first. One share lam is drawn for the
whole batch. So the weights of a batch add up to what they were, since each row is the partner of one other.

    x = lam x_i + (1 - lam) x_k        loss = lam w_i loss(y_i) + (1 - lam) w_k loss(y_k)

So mixed, any loss serves; for weights that are equal that of the cross-entropy is the loss of the soft label
`lam y_i + (1 - lam) y_k`. Metrics are against the label of the larger share. One row alone is not mixed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxnn.augment.images import box, check_image
from jaxnn.config.augment import check_number
from jaxnn.errors import InputError
from jaxnn.types import Batch, Mixed, Task, unchanged


def mixup(alpha: float) -> Callable[[Batch, jax.Array], Batch]:
    """`lam x_i + (1 - lam) x_k`, lam ~ Beta(alpha, alpha), and the labels (see above); any x, whole numbers as f32.

    x `f32[B, ...]`, y `[B, ...]`; lam is the `share f32[B]` of the labels. Raises `InputError` unless alpha > 0.

    >>> import jax, jax.numpy as jnp, jaxnn
    >>> batch = jaxnn.Batch(jnp.array([0.0, 1, 2]), jnp.arange(3), jnp.ones(3))
    >>> mixed = jaxnn.augment.mixup(1.0)(batch, jax.random.key(0))
    >>> mixed.y.partner.tolist(), bool(jnp.allclose(mixed.x[0], 1 - mixed.y.share[0]))
    ([1, 2, 0], True)

    Source: Zhang et al. 2018, arXiv:1710.09412.
    """
    check_number("alpha", alpha)

    def mixed(batch: Batch, key: jax.Array) -> Batch:
        share, k = beta(key, alpha), partners(batch.weight)

        def mix(x: jax.Array) -> jax.Array:
            x = x if jnp.issubdtype(x.dtype, jnp.floating) else x.astype(jnp.float32)
            return x + (1 - share).astype(x.dtype) * (x[k] - x)

        return _labelled(batch._replace(x=jax.tree.map(mix, batch.x)), k, share)

    return mixed


def cutmix(alpha: float) -> Callable[[Batch, jax.Array], Batch]:
    """A box of the partner's image in the place of one's own, of 1 - lam of the area, lam ~ Beta(alpha, alpha).

    Its middle is uniform over the image, and lam, for the labels, what is left of it within the edges. One box for the
    whole batch. Images `u8[B, H, W, C]` or `f[B, H, W, C]`. Raises `InputError` unless alpha > 0.

    >>> import jax, jax.numpy as jnp, jaxnn
    >>> batch = jaxnn.Batch(jnp.zeros((2, 4, 4, 1)).at[1].set(1), jnp.arange(2), jnp.ones(2))
    >>> mixed = jaxnn.augment.cutmix(1.0)(batch, jax.random.key(0))
    >>> bool(mixed.x[0].mean() == 1 - mixed.y.share[0])
    True

    Source: Yun et al. 2019, arXiv:1905.04899.
    """
    check_number("alpha", alpha)

    def mixed(batch: Batch, key: jax.Array) -> Batch:
        height, width = check_image(jax.eval_shape(lambda x: x[0], batch.x)).shape[:2]
        draw, place = jax.random.split(key)
        side = jnp.sqrt(1 - beta(draw, alpha))
        size = [jnp.round(side * n).astype(jnp.int32) for n in (height, width)]
        middle = jax.random.randint(place, (2,), 0, jnp.array((height, width)))
        inside = box((height, width), [m - n // 2 for m, n in zip(middle, size, strict=True)], size)
        k = partners(batch.weight)
        x = jnp.where(inside[None], batch.x[k], batch.x)
        return _labelled(batch._replace(x=x), k, 1 - inside.mean(dtype=jnp.float32))

    return mixed


def beta(key: jax.Array, alpha: Any) -> jax.Array:
    """One draw from Beta(alpha, alpha), f32[], without a loop of rejections.

    B / (B + (1 - B) (V / U)^(1 / alpha)), U and V uniform and B from Beta(alpha + 1, alpha + 1): that is the ratio of
    two gamma variables, each U^(1 / alpha) times one of a shape greater by 1. B = (1 + t) / 2 is the place along one
    axis of a point that is uniform on a sphere, t = sqrt(1 - W^(2 / (2 alpha + 1))) cos 2 pi Z.

    Source: Devroye 1986, "Non-uniform random variate generation", IX.3.1 and IX.3.5; Ulrich 1984.
    """
    u, v, w, z = 1 - jax.random.uniform(key, (4,))  # in (0, 1]
    t = jnp.sqrt(1 - w ** (2 / (2 * alpha + 1))) * jnp.cos(2 * jnp.pi * z)
    return jax.nn.sigmoid(2 * jnp.arctanh(t) + (jnp.log(u) - jnp.log(v)) / alpha)


def partners(weight: jax.Array) -> jax.Array:
    """i32[B]: for each row the next one of positive weight, around the end.

    >>> partners(jnp.array([1.0, 0.0, 2.0, 0.0])).tolist()
    [2, 2, 0, 0]
    """
    n, counts = len(weight), weight > 0
    at = jnp.where(counts, lax.iota(jnp.int32, n), n)
    after = jnp.append(lax.cummin(at, reverse=True)[1:], n)
    return jnp.where(after < n, after, jnp.argmax(counts)).astype(jnp.int32)


def _labelled(batch: Batch, k: jax.Array, share: jax.Array) -> Batch:
    partner = jax.tree.map(lambda a: a[k], batch.y)
    share = jnp.broadcast_to(share, batch.weight.shape).astype(batch.weight.dtype)
    return batch._replace(y=Mixed(batch.y, partner, share, batch.weight[k]))


def sides(batch: Batch) -> list[Batch]:
    """What the loss of a batch is the sum of: the batch, or with mixed labels both of them, by their shares."""
    if not isinstance(batch.y, Mixed):
        return [batch]
    y, partner, share, weight = batch.y
    weight = jnp.where(batch.weight > 0, weight, 0)  # padding has none, whatever its partner has
    return [batch._replace(y=y, weight=share * batch.weight), batch._replace(y=partner, weight=(1 - share) * weight)]


def leading(batch: Batch) -> Batch:
    """The batch with, of mixed labels, those of the larger share and the weights of the rows that these are from."""
    if not isinstance(batch.y, Mixed):
        return batch
    y, partner, share, weight = batch.y
    own = lambda a: (share >= 0.5).reshape(-1, *[1] * (a.ndim - 1))
    y = jax.tree.map(lambda a, b: jnp.where(own(a), a, b), y, partner)
    return batch._replace(y=y, weight=jnp.where((share >= 0.5) | (batch.weight == 0), batch.weight, weight))


def check(flag: str, task: Task) -> None:
    """Refuse a task of which no two labels have one between them. Raises `InputError`."""
    if task.labels != "whole":
        raise InputError(f"{flag}: the labels of a {task.name} lie in the image, so no two can be mixed; leave it out")
    if task.distribution is None:
        raise InputError(
            f"{flag}: a {task.name} has no soft labels, so no two can be mixed; leave mixup and cutmix out"
        )
    if task.prepare is not unchanged:
        raise InputError(f"{flag}: the task {task.name} prepares its labels itself; mix them there")
