"""The order of `jaxnn.data.order` on the host, in NumPy: the same numbers, for those who read the rows."""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import numpy as np

from jaxnn.data.order import ROUNDS, encrypt


def permute(keys: np.ndarray, index: np.ndarray, n: int) -> np.ndarray:
    """`jaxnn.data.order.permute` by the keys of its rounds, u32[8]; index and result are i64[k]."""
    image = encrypt(keys, index.astype(np.uint32), n)
    while (outside := np.flatnonzero(image >= n)).size:
        image[outside] = encrypt(keys, image[outside], n)
    return image.astype(np.int64)


class Order:
    """The rows of each step, as `jaxnn.data.order.rows` has them.

    Args:
      key: the run's key for the order.
      n: rows in the data.
      batch_size: rows in a step; the last step of an epoch has what is left.
      width: rows in the returned arrays, at least `batch_size`; the rest is padding.

    >>> import jax
    >>> index, real = Order(jax.random.key(0), 5, 3, 4)(step=0, steps=2)
    >>> sorted(index[real].tolist()), real.tolist()
    ([0, 1, 2, 3, 4], [[True, True, True, False], [True, True, False, False]])
    """

    n: int
    batch_size: int
    width: int
    keys: Callable[[int], np.ndarray]  # of an epoch: u32[ROUNDS]

    def __init__(self, key: jax.Array, n: int, batch_size: int, width: int):
        self.n, self.batch_size, self.width = n, batch_size, width
        self.keys = functools.lru_cache(4)(
            lambda epoch: np.asarray(jax.random.bits(jax.random.fold_in(key, int(epoch)), (ROUNDS,), np.uint32))
        )

    def __call__(self, step: int, steps: int) -> tuple[np.ndarray, np.ndarray]:
        """`(index i64[steps, width], real bool[steps, width])` from a step on; index is 0 where not real."""
        per_epoch = -(-self.n // self.batch_size)
        slot, numbers = np.arange(self.width), np.arange(step, step + steps)
        place = (numbers % per_epoch * self.batch_size)[:, None] + slot
        real = (slot < self.batch_size) & (place < self.n)
        index, epochs = np.zeros(place.shape, np.int64), numbers // per_epoch
        for epoch in range(epochs[0], epochs[-1] + 1):
            chosen = real & (epochs == epoch)[:, None]
            index[chosen] = permute(self.keys(epoch), place[chosen], self.n)
        return index, real
