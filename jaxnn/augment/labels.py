"""Labels that lie in the image, and move with it: a mask `u8[H, W]`, boxes `f32[M, 5]` of class, x1, y1, x2, y2.

A mask has 255, which is no class but ignored, where the image has nothing to show: beyond its edges. The corners of a
box move, the new box is the smallest one around them, cut at the edges of the image. Where less than a quarter of its
area is within them, it is no box any more: class -1, as padding has.

x and y are the edges of pixels: the whole image is the box 0, 0, W, H, and the middle of pixel [i, j] x = j + 1/2,
y = i + 1/2.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax import lax

from jaxnn.errors import InputError
from jaxnn.tasks.marks import IGNORE, LEFT

Size = tuple[int, int]  # H, W
Function = TypeVar("Function", bound=Callable[..., Any])


class Moves(NamedTuple):
    """What an augmentation that moves the pixels of an image does to its labels, given the same key.

    boxes: or why there is no answer.
    """

    mask: Callable[[jax.Array, jax.Array], jax.Array]  # (key, mask) -> mask
    boxes: Callable[[jax.Array, jax.Array, Size], jax.Array] | str  # (key, boxes, (H, W)) -> boxes


def moving(mask: Callable[..., jax.Array], boxes: Callable[..., jax.Array] | str) -> Callable[[Function], Function]:
    """Marks an augmentation `(key, x) -> x` as one that moves pixels, with what it does to masks and boxes.

    `mask(key, mask u8[H, W]) -> u8[H, W]`; `boxes(key, boxes f32[M, 5], (H, W)) -> f32[M, 5]`, or why boxes cannot
    follow: the words of the `InputError`.

    >>> @moving(mask=lambda key, mask: mask[::-1], boxes="it is upside down")
    ... def upside_down(key, x):
    ...     return x[::-1]
    >>> mover(upside_down, "mask")(jax.random.key(0), jnp.arange(2)[:, None], (2, 1)).ravel().tolist()
    [1, 0]
    """

    def marked(augmentation: Function) -> Function:
        augmentation.__dict__["moves"] = Moves(mask, boxes)
        return augmentation

    return marked


def mover(augmentation: Callable[..., Any], labels: str) -> Callable[[jax.Array, jax.Array, Size], jax.Array] | None:
    """`(key, y, (H, W)) -> y` for a `mask` or `boxes`; None where an augmentation moves no pixels.

    Raises `InputError` where boxes cannot follow.
    """
    moves: Moves | None = getattr(augmentation, "moves", None)
    if moves is None:
        return None
    if labels == "mask":
        return lambda key, y, size: moves.mask(key, y)
    if isinstance(moves.boxes, str):
        raise InputError(moves.boxes)
    return moves.boxes


def sources(size: Size, back: Any, offset: Any) -> tuple[jax.Array, jax.Array]:
    """Rows and columns f32[H, W] that pixels p of a moved image come from: c + back (p - c - offset), c the middle."""
    height, width = size
    # Barriers: fused into the loop over pixels, XLA would compute the cosines, and each index four times, at every one.
    ((a, b), (c, d)), (down, right) = lax.optimization_barrier((back, offset))
    middle = (height - 1) / 2, (width - 1) / 2
    i = (jnp.arange(height, dtype=a.dtype) - middle[0] - down)[:, None]
    j = (jnp.arange(width, dtype=a.dtype) - middle[1] - right)[None, :]
    return a * i + b * j + middle[0], c * i + d * j + middle[1]


def nearest(mask: jax.Array, back: Any, offset: Any) -> jax.Array:
    """The mask that moves as an image does in `warp`: the nearest pixel, 255 beyond the edges."""
    height, width = mask.shape
    row, column = (jnp.floor(at + 0.5) for at in sources((height, width), back, offset))
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    place = jnp.where(inside, row * width + column, 0).astype(jnp.int32)
    found = mask.reshape(-1).at[place].get(mode="promise_in_bounds")
    return jnp.where(inside, found, jnp.asarray(IGNORE, mask.dtype))


def mirrored(boxes: jax.Array, width: int) -> jax.Array:
    """The boxes of the mirror image.

    >>> mirrored(jnp.array([[3.0, 0, 1, 2, 4]]), 8).tolist()
    [[3.0, 6.0, 1.0, 8.0, 4.0]]
    """
    label, x1, y1, x2, y2 = boxes.T
    return jnp.where(boxes[:, :1] >= 0, jnp.stack([label, width - x2, y1, width - x1, y2], 1), boxes)


def shifted(boxes: jax.Array, down: jax.Array, right: jax.Array, size: Size) -> jax.Array:
    """The boxes of an image that is moved by so many pixels.

    >>> boxes = jnp.array([[3.0, 0, 0, 4, 4], [5, 6, 0, 8, 2]])
    >>> shifted(boxes, jnp.array(-1.0), jnp.array(2.0), (8, 8)).tolist()
    [[3.0, 2.0, 0.0, 6.0, 3.0], [-1.0, 0.0, 0.0, 0.0, 0.0]]
    """
    x, y = boxes[:, 1::2] + right, boxes[:, 2::2] + down
    return within(boxes, x, y, size)


def warped(boxes: jax.Array, back: Any, offset: Any, size: Size) -> jax.Array:
    """The boxes of an image that moves as in `warp`: around the four corners, each of which moves by the inverse."""
    ((a, b), (c, d)), (down, right) = back, offset
    middle = size[0] / 2, size[1] / 2
    j = boxes[:, jnp.array((1, 3, 1, 3))] - middle[1]
    i = boxes[:, jnp.array((2, 2, 4, 4))] - middle[0]
    area = a * d - b * c
    x, y = (a * j - c * i) / area + middle[1] + right, (d * i - b * j) / area + middle[0] + down
    return within(boxes, x, y, size)


def within(boxes: jax.Array, x: jax.Array, y: jax.Array, size: Size) -> jax.Array:
    """The boxes around points x, y `f32[M, n]`, cut at the edges of the image; padding stays as it is."""
    low, high = jnp.stack([x.min(1), y.min(1)], 1), jnp.stack([x.max(1), y.max(1)], 1)
    most = jnp.broadcast_to(jnp.array([size[1], size[0]], boxes.dtype), low.shape)
    cut_low, cut_high = jnp.clip(low, 0, most), jnp.clip(high, 0, most)
    left, whole = (cut_high - cut_low).prod(1), (high - low).prod(1)
    stays = (left > 0) & (left >= LEFT * whole)
    moved = jnp.concatenate([boxes[:, :1], cut_low, cut_high], 1)
    none = jnp.broadcast_to(jnp.array([-1.0, 0, 0, 0, 0], boxes.dtype), boxes.shape)
    return jnp.where(boxes[:, :1] < 0, boxes, jnp.where(stays[:, None], moved, none))
