"""The rows of X, dense or sparse, as the programs take them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from scipy import sparse

from jaxnn.types import Batch, Window

SPARSE_BYTES = 2**26  # sparse rows become dense so many bytes at a time
PADDED_BYTES = 2**26  # data up to this size is padded


def dense(x: Any) -> np.ndarray:
    return x.toarray() if sparse.issparse(x) else x


def rows_of(batch: Batch, index: np.ndarray) -> Batch:
    """Some rows of a batch of arrays, or of a sparse matrix and arrays."""
    return Batch(*(a[index] for a in batch))


def rows_between(x: Any, start: int, end: int) -> np.ndarray:
    return dense(x[start:end])


class Feed:
    """The windows of an epoch over the rows in a given order: dense rows all at once, from where they already are;
    sparse ones a part of the steps at a time."""

    def __init__(self, train: Batch, batch_size: int):
        self.train, self.batch_size = train, batch_size
        n, features = train.x.shape
        self.steps, self.width = -(-n // batch_size), -(-batch_size // 8) * 8
        if sparse.issparse(train.x):
            self.train = train._replace(x=train.x.tocsr())
            self.together = max(1, SPARSE_BYTES // (self.width * features * train.x.dtype.itemsize))
        else:
            self.resident = jax.device_put(padded(train, self.steps * self.width))

    def __call__(self, order: np.ndarray) -> Iterator[Window]:
        index = np.full((self.steps, self.width), -1, np.int32)
        batches = np.full((self.steps, self.batch_size), -1, np.int32)
        batches.flat[: len(order)] = order
        index[:, : self.batch_size] = batches
        real, index = index >= 0, np.maximum(index, 0)
        if not sparse.issparse(self.train.x):
            yield Window(self.resident, index, real)
            return
        for start in range(0, self.steps, self.together):
            part = index[start : start + self.together]
            x, y, weight = rows_of(self.train, part.ravel())
            stacked = Batch(*(a.reshape(*part.shape, *a.shape[1:]) for a in (x.toarray(), y, weight)))
            yield Window(stacked, None, real[start : start + self.together])


def padded(train: Batch, rows: int) -> Batch:
    """Up to so many rows, the further ones of weight 0, so that sets of nearly the same size (the folds of a cross-
    validation) share a program. Large ones are left alone: compiling is cheap beside training on them."""
    missing = rows - len(train.weight)
    if not missing or train.x.nbytes > PADDED_BYTES:
        return train
    return Batch(*(np.concatenate([a, np.zeros((missing, *a.shape[1:]), a.dtype)]) for a in train))
