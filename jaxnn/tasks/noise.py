"""Noise that is drawn for each row on its own, and images in the numbers that a network generates."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxnn.arrays import white
from jaxnn.errors import InputError

_ODD = (0x9E3779B1, 0x85EBCA77)  # of the places of an image, one for each word of a key


def normal(x: jax.Array, key: jax.Array | None, size: int) -> jax.Array:
    """So many normal numbers for each row of x `[B, ...]`, `f32[B, size]` (f64 where x is).

    Row i draws from `fold_in(key, i)`, without a key from its own bits. So neither the other rows nor padding change
    what a row draws, and without a key that is the same in any batch and order: a loss with such noise is a function of
    the rows alone.

    >>> import jax.numpy as jnp
    >>> drawn = normal(jnp.array([[1.0, 2.0], [3.0, 4.0], [1.0, 2.0]]), None, 5)
    >>> drawn.shape, bool((drawn[0] == drawn[2]).all()), bool((drawn[0] == drawn[1]).any())
    ((3, 5), True, False)
    """
    dtype = x.dtype if jnp.issubdtype(x.dtype, jnp.floating) else jnp.float32
    if key is None:
        keys = _own_keys(x)
    else:
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, lax.iota(jnp.uint32, len(x)))
    return jax.vmap(lambda key: jax.random.normal(key, (size,), dtype))(keys)


def _own_keys(x: jax.Array) -> jax.Array:
    """A key of the bits of each row."""
    words = _words(x).reshape(len(x), -1)
    place = lax.iota(jnp.uint32, words.shape[1])[None]
    # Sums of whole numbers modulo 2^32 are the same in any order, on any device.
    mixed = [_mixed(words ^ _mixed((place + jnp.uint32(1)) * jnp.uint32(odd))).sum(1, dtype=jnp.uint32) for odd in _ODD]
    return jax.random.wrap_key_data(jnp.stack(mixed, 1), impl="threefry2x32")


def _words(x: jax.Array) -> jax.Array:
    """The bits of each number as u32."""
    if not jnp.issubdtype(x.dtype, jnp.floating):
        return x.astype(jnp.uint32)
    return lax.bitcast_convert_type(x.astype(jnp.float32), jnp.uint32)


def _mixed(h: jax.Array) -> jax.Array:
    """u32 to u32, one to one, each bit of the result depending on each of h. Source: MurmurHash3, its last step."""
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        h = (h ^ (h >> jnp.uint32(shift))) * jnp.uint32(factor)
    return h ^ (h >> jnp.uint32(16))


def unit(x: jax.Array, scale: float) -> jax.Array:
    """x / scale, in the floating dtype of x or float32: images of 0 to `scale` become numbers of 0 to 1."""
    return (x if jnp.issubdtype(x.dtype, jnp.floating) else x.astype(jnp.float32)) / scale


def image_shape(name: str, shape: Any, scale: float) -> tuple[int, int, int]:
    """The shape (H, W, C) of images that a task generates. Raises `InputError` for another, or a scale that is none."""
    shape = tuple(shape)
    if len(shape) != 3 or min(shape) < 1:
        cure = "name images in --data.name, give grey ones as x[..., None]"
        raise InputError(f"x={list(shape)}: {name} generates images [H, W, C]; {cure}")
    if not (math.isfinite(scale) and scale > 0):
        raise InputError(f"scale={scale}: must be finite and > 0; give the value of x that is white")
    return shape


def scale_of(name: str, data: dict[str, Any]) -> float:
    """The value that is white, given what is known of the data (`Dataset.describe`).

    Raises `InputError` for images whose numbers do not lie between black, 0, and white.
    """
    if data.get("standardized"):
        rule = f"a {name} has its own range, black to white"
        raise InputError(f"--data.standardize=True: {rule}; leave it out")
    scale = white(data["dtype"], data["scale"])
    low, high = data.get("range") or (0.0, scale)
    if not 0 <= low <= high <= scale:
        rule = f"images of {low:g} to {high:g} do not lie between black, 0, and white, {scale:g}"
        raise InputError(f"--task.name={name}: {rule}; give bytes, or numbers of 0 to 1")
    return scale
