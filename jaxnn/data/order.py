"""Which rows step t sees: a pure function of (key, t), so nothing about the data is saved to resume.

Each epoch is a true permutation of the rows, made row by row by a keyed bijection instead of a sort: a Feistel
network on the smallest power of two that holds n, walked until it lands below n (Black and Rogaway 2002, "Ciphers
with arbitrary finite domains"). A row costs a few integer operations wherever it stands, so a chunk may begin
and end anywhere; `jax.random.permutation` would sort all n for every chunk (40x slower at n = 60,000).
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

ROUNDS = 8  # at 6, a chi-square test of 50,000 permutations of 64 still tells them from random


def _hash(value: Any, key: Any) -> Any:
    """The finaliser of MurmurHash3 (Appleby 2011): every input bit flips each output bit half of the time."""
    value = value ^ key
    value = (value ^ (value >> 16)) * np.uint32(0x85EBCA6B)
    value = (value ^ (value >> 13)) * np.uint32(0xC2B2AE35)
    return value ^ (value >> 16)


def encrypt(keys: Any, value: Any, n: int) -> Any:
    """The image of each value under the Feistel network on the smallest power of two that holds n: it may be n or more.

    Args:
      keys: u32[8], of the rounds.
      value: u32[...], of NumPy or JAX.
      n: how many there are, below 2^31.
    """
    bits = max((n - 1).bit_length(), 6)  # below 2^6 some permutations would be likelier than others
    low = bits // 2
    low_mask, high_mask = np.uint32((1 << low) - 1), np.uint32((1 << (bits - low)) - 1)
    left, right = value >> low, value & low_mask
    for i in range(0, ROUNDS, 2):
        left ^= _hash(right, keys[i]) & high_mask
        right ^= _hash(left, keys[i + 1]) & low_mask
    return (left << low) | right


def permute(key: jax.Array, index: jax.Array, n: int) -> jax.Array:
    """Where a random permutation of `range(n)`, chosen by `key`, sends `index`.

    Args:
      key: a typed PRNG key.
      index: i32[...], each in [0, n).
      n: how many there are, below 2^31.

    Returns:
      i32[...], the image of each index.

    >>> import jax, jax.numpy as jnp
    >>> sorted(permute(jax.random.key(0), jnp.arange(10), 10).tolist())
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    """
    keys = jax.random.bits(key, (ROUNDS,), jnp.uint32)
    outside = lambda value: value >= jnp.uint32(n)  # noqa: E731
    walk = lambda value: jnp.where(outside(value), encrypt(keys, value, n), value)  # noqa: E731
    image = lax.while_loop(lambda value: outside(value).any(), walk, encrypt(keys, index.astype(jnp.uint32), n))
    return image.astype(jnp.int32)


def rows(key: jax.Array, step: jax.Array, n: int, batch_size: int, width: int) -> tuple[jax.Array, jax.Array]:
    """The rows of one step and whether each is real.

    Args:
      key: the run's key for the order.
      step: i32[], counted from 0 over the whole run.
      n: rows in the data.
      batch_size: rows in a step; the last step of an epoch has what is left.
      width: rows in the returned arrays, at least `batch_size`; the rest is padding.

    Returns:
      `(index, real)`: i32[width], 0 where padded; bool[width].
    """
    steps_per_epoch = -(-n // batch_size)
    epoch, within = step // steps_per_epoch, step % steps_per_epoch
    slot = lax.iota(jnp.int32, width)
    place = within * batch_size + slot
    real = (slot < batch_size) & (place < n)
    return jnp.where(real, permute(jax.random.fold_in(key, epoch), jnp.where(real, place, 0), n), 0), real
