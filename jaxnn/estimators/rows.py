"""The rows of X, dense or sparse, as the programs take them: in few shapes, so that few programs are compiled."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from scipy import sparse

from jaxnn.types import Batch, Window

BLOCKS = (16, 128, 1024)  # rows that are predicted at a time: the smallest block that holds what is left
SPARSE_BYTES = 2**26  # sparse rows become dense so many bytes at a time
PADDED_BYTES = 2**26  # data up to this size is padded


def dense(x: Any) -> np.ndarray:
    return x.toarray() if sparse.issparse(x) else x


def rows_of(batch: Batch, index: np.ndarray) -> Batch:
    """Some rows of a batch of arrays, or of a sparse matrix and arrays."""
    return Batch(*(a[index] for a in batch))


def fingerprint(train: Batch, alpha: float) -> str:
    """SHA-256 of all that an objective depends on besides the network: rows, dense or sparse, and the penalty."""
    sha = hashlib.sha256(f"{alpha!r} {train.x.shape}".encode())
    x = (train.x.data, train.x.indices, train.x.indptr) if sparse.issparse(train.x) else (train.x,)
    for array in (*x, train.y, train.weight):
        sha.update(f"{array.dtype} {array.shape}".encode())
        sha.update(np.ascontiguousarray(array).data)
    return sha.hexdigest()


def rows_between(x: Any, start: int, end: int) -> np.ndarray:
    return dense(x[start:end])


class Feed:
    """The windows of an epoch over the rows in a given order: dense rows all at once, from where they already are;
    sparse ones a part of the steps at a time, and those of a partial_fit (`alone`) step by step: a program for any
    number of them.

    Batches are `full` rows wide; where there are fewer rows, one of a few sizes.
    """

    train: Batch
    together: int | None
    batch_size: int
    steps: int
    width: int
    resident: Batch

    def __init__(self, train: Batch, full: int, alone: bool):
        self.train, self.together = train, None
        n, features = train.x.shape
        self.batch_size = min(full, n)
        self.steps, self.width = -(-n // self.batch_size), min(-(-full // 8) * 8, few_sizes(n))
        if sparse.issparse(train.x):
            self.train = train._replace(x=train.x.tocsr())
            self.together = max(1, SPARSE_BYTES // (self.width * features * train.x.dtype.itemsize))
        if alone:
            self.together = 1
        if self.together is None:
            self.resident = jax.device_put(padded(train, self.steps * self.width))

    def __call__(self, order: np.ndarray) -> Iterator[Window]:
        index = np.full((self.steps, self.width), -1, np.int32)
        batches = np.full((self.steps, self.batch_size), -1, np.int32)
        batches.flat[: len(order)] = order
        index[:, : self.batch_size] = batches
        real, index = index >= 0, np.maximum(index, 0)
        if self.together is None:
            yield Window(self.resident, index, real)
            return
        for start in range(0, self.steps, self.together):
            part = index[start : start + self.together]
            x, y, weight = rows_of(self.train, part.ravel())
            stacked = Batch(*(a.reshape(*part.shape, *a.shape[1:]) for a in (dense(x), y, weight)))
            yield Window(stacked, None, real[start : start + self.together])


def few_sizes(n: int) -> int:
    """n rounded up: to 16, 128, 256, 512 or 1024; beyond, by a quarter at most, to one of four in each power of two.

    >>> [few_sizes(n) for n in (1, 17, 100, 129, 1000, 1025, 1500)]
    [16, 128, 128, 256, 1024, 1280, 1536]
    """
    if n <= BLOCKS[1]:
        return next(size for size in BLOCKS if size >= n)
    power = 1 << (n - 1).bit_length()  # the smallest that is not less than n
    return power if n <= BLOCKS[2] else -(-n // (power // 8)) * (power // 8)


def padded(train: Batch, rows: int) -> Batch:
    """Up to so many rows, the further ones of weight 0, so that sets of nearly the same size (the folds of a cross-
    validation) share a program. Large ones are left alone: compiling is cheap beside training on them."""
    missing = rows - len(train.weight)
    if not missing or train.x.nbytes > PADDED_BYTES:
        return train
    return Batch(*(np.concatenate([a, np.zeros((missing, *a.shape[1:]), a.dtype)]) for a in train))
