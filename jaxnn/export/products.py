"""Convolutions, windows and matrix products of JAX as operations of a `Graph`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxnn.export.graph import Builder, Constant, Operand, Shape, Unsupported
from jaxnn.export.places import padded


def window(kind: str, b: Builder, given: list[Operand], p: dict[str, Any], shape: Shape, dtype: Any) -> list[Operand]:
    (a,), sizes = given, tuple(p["window_dimensions"])
    if dtype.kind != "f" or any(n < 0 and k != 1 for n, k in zip(a.shape, sizes, strict=True)):
        raise Unsupported
    outside = {"max": -np.inf, "min": np.inf, "sum": 0.0}[kind]
    padding, between = p["padding"], p["base_dilation"]
    config = [(low, high, k - 1) for (low, high), k in zip(padding, between, strict=True)]
    a = padded(b, a, outside, config)
    settings = {"sizes": sizes, "strides": tuple(p["window_strides"]), "dilation": tuple(p["window_dilation"])}
    return [b.add("window", [a], shape, dtype, kind=kind, **settings)]


def conv(b: Builder, given: list[Operand], p: dict[str, Any], shape: Shape, dtype: Any) -> list[Operand]:
    """With the channels last, in the images, in the kernel (in, out), and in what comes out."""
    (x, w), (of_x, of_w, of_y) = given, p["dimension_numbers"]
    if p["batch_group_count"] != 1 or dtype.kind != "f":
        raise Unsupported
    x = b.transpose(x, [of_x[0], *of_x[2:], of_x[1]])
    w = b.transpose(w, [*of_w[2:], of_w[1], of_w[0]])
    around = [(int(low), int(high), k - 1) for (low, high), k in zip(p["padding"], p["lhs_dilation"], strict=True)]
    padding = tuple((low, high) for low, high, _ in around)
    if any(between or min(low, high) < 0 for low, high, between in around):  # a transposed convolution, or a cut
        x = padded(b, x, 0.0, [(0, 0, 0), *around, (0, 0, 0)])
        padding = ((0, 0),) * len(around)
    order = (of_y[0], *of_y[2:], of_y[1])
    settings = {"strides": tuple(p["window_strides"]), "dilation": tuple(p["rhs_dilation"]), "padding": padding}
    y = b.add("conv", [x, w], [shape[i] for i in order], dtype, groups=p["feature_group_count"], **settings)
    return [b.transpose(y, np.argsort(order).tolist())]


def dot_general(b: Builder, given: list[Operand], p: dict[str, Any], shape: Shape, dtype: Any) -> list[Operand]:
    """As one product of matrices: axes that are free, or summed over, are one axis."""
    (left, right), ((over_l, over_r), (of_l, of_r)) = given, p["dimension_numbers"]
    left, right = b.cast(left, dtype), b.cast(right, dtype)
    if not of_l and isinstance(left, Constant):  # rows first, and the known one last
        turned = {"dimension_numbers": ((over_r, over_l), ((), ()))}
        if not isinstance(right, Constant):
            free_l, free_r = (len(a.shape) - len(over_l) for a in (left, right))
            out = [*shape[free_l:], *shape[:free_l]]
            (y,) = dot_general(b, [right, left], turned, out, dtype)
            return [b.transpose(y, [*range(free_r, free_r + free_l), *range(free_r)])]
    left, over_l = _before_transpose(b, left, over_l, of_l)
    right, over_r = _before_transpose(b, right, over_r, of_r)
    free = lambda a, *taken: [i for i in range(len(a.shape)) if i not in {*taken[0], *taken[1]}]
    free_l, free_r = free(left, over_l, of_l), free(right, over_r, of_r)
    sizes = lambda a, axes: tuple(a.shape[i] for i in axes)
    one = lambda a, axes: math.prod(sizes(a, axes))
    batch, k = sizes(left, of_l), one(left, over_l)
    rows = sizes(left, free_l) if not batch else (one(left, free_l),)
    left = b.reshape(b.transpose(left, [*of_l, *free_l, *over_l]), (*batch, *rows, k))
    right = b.reshape(b.transpose(right, [*of_r, *over_r, *free_r]), (*batch, k, one(right, free_r)))
    product = b.add("matmul", [left, right], (*batch, *rows, right.shape[-1]), dtype)
    return [b.reshape(product, shape)]


def _before_transpose(b: Builder, a: Operand, over: Sequence[int], of: Sequence[int]) -> tuple[Operand, Sequence[int]]:
    """The operand as it was before a transpose, where one axis is left and one is summed over."""
    step = b.maker(a, "transpose")
    if step is None or of or len(a.shape) != 2 or len(over) != 1:
        return a, over
    return step.inputs[0], [step.params["axes"][over[0]]]
