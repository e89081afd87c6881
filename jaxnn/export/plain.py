"""What NumPy has no function for. `predict_numpy.py` has a copy of those that it needs, so they need NumPy alone."""

import functools
import math

import numpy as np


def conv(x, w, strides, padding, dilation, groups):
    """x [n, ..., C], w [..., C / groups, O] -> y [n, ..., O]: patches of x times w."""
    axes = tuple(range(1, x.ndim - 1))
    x = np.pad(x, ((0, 0), *padding, (0, 0)))
    reach = [(k - 1) * d + 1 for k, d in zip(w.shape, dilation, strict=False)]
    patches = np.lib.stride_tricks.sliding_window_view(x, reach, axes)  # [n, ..., C, *reach]
    every = lambda steps: [slice(None, None, step) for step in steps]
    patches = patches[(slice(None), *every(strides), slice(None), *every(dilation))]
    patches = np.moveaxis(patches, x.ndim - 1, -1)  # [n, ..., *kernel, C]
    *kernel, each, outputs = w.shape
    place = patches.shape[: x.ndim - 1]
    patches = patches.reshape(math.prod(place), math.prod(kernel), groups, each).transpose(2, 0, 1, 3)
    w = w.reshape(math.prod(kernel), each, groups, outputs // groups).transpose(2, 0, 1, 3)
    y = patches.reshape(groups, math.prod(place), -1) @ w.reshape(groups, math.prod(kernel) * each, -1)
    return y.transpose(1, 0, 2).reshape(*place, outputs)


def window(join, x, sizes, strides, dilation):
    """The sum, maximum or minimum (`join` of two arrays) of each window."""
    counts = [(n - (k - 1) * d - 1) // s + 1 for n, k, s, d in zip(x.shape, sizes, strides, dilation, strict=True)]
    cut = lambda i, n, s, d: slice(i * d, i * d + (n - 1) * s + 1, s)
    parts = (x[tuple(map(cut, place, counts, strides, dilation))] for place in np.ndindex(*sizes))
    return functools.reduce(join, parts)


def erf(x):
    return np.vectorize(math.erf, otypes=[x.dtype])(x)
