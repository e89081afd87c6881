"""Primitives of JAX as the operations of a `Graph`."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxnn.export.graph import BINARY, EVERY, UNARY, Builder, Constant, Lowering, Operand

Shape = Sequence[int]
LOOPS = ("scan", "while")  # whose functions are no calls


class Unsupported(Exception):
    """A primitive with parameters that no operation has."""


def _same(operation: str, b: Builder, given: list[Operand], p: dict[str, Any], shape: Shape, dtype: Any) -> Any:
    return [b.elementwise(operation, given, dtype)]


def _round(b: Builder, given: list[Operand], p: dict[str, Any], shape: Shape, dtype: Any) -> list[Operand]:
    if int(p["rounding_method"]) != 1:  # to the nearest even number
        raise Unsupported
    return [b.elementwise("round", given, dtype)]


def _erfc(b: Builder, given: list[Operand], p: dict[str, Any], shape: Shape, dtype: Any) -> list[Operand]:
    return [b.elementwise("sub", [_number(1, dtype), b.elementwise("erf", given, dtype)], dtype)]


def _exp2(b: Builder, given: list[Operand], p: dict[str, Any], shape: Shape, dtype: Any) -> list[Operand]:
    return [b.elementwise("pow", [_number(2, dtype), *given], dtype)]


def _square(b: Builder, given: list[Operand], p: dict[str, Any], shape: Shape, dtype: Any) -> list[Operand]:
    return [b.elementwise("mul", [given[0], given[0]], dtype)]


def _integer_pow(b: Builder, given: list[Operand], p: dict[str, Any], shape: Shape, dtype: Any) -> list[Operand]:
    """By repeated squaring."""
    power, factor, found = abs(p["y"]), given[0], None
    while power:
        if power % 2:
            found = factor if found is None else b.elementwise("mul", [found, factor], dtype)
        power //= 2
        factor = b.elementwise("mul", [factor, factor], dtype) if power else factor
    found = b.expand(_number(1, dtype), shape) if found is None else found
    return [found if p["y"] >= 0 else b.elementwise("div", [_number(1, dtype), found], dtype)]


def _clamp(b: Builder, given: list[Operand], p: dict[str, Any], shape: Shape, dtype: Any) -> list[Operand]:
    low, x, high = given
    return [b.elementwise("min", [b.elementwise("max", [x, low], dtype), high], dtype)]


def _select(b: Builder, given: list[Operand], p: dict[str, Any], shape: Shape, dtype: Any) -> list[Operand]:
    which, *cases = given
    if len(cases) != 2 or which.dtype != bool:
        raise Unsupported
    return [b.elementwise("where", [which, cases[1], cases[0]], dtype)]


def _convert(b: Builder, given: list[Operand], p: dict[str, Any], shape: Shape, dtype: Any) -> list[Operand]:
    return [b.cast(given[0], np.dtype(p["new_dtype"]))]


def _reshape(b: Builder, given: list[Operand], p: dict[str, Any], shape: Shape, dtype: Any) -> list[Operand]:
    if p.get("dimensions") is not None:
        raise Unsupported
    return [b.reshape(given[0], shape)]


def _squeeze(b: Builder, given: list[Operand], p: dict[str, Any], shape: Shape, dtype: Any) -> list[Operand]:
    return [b.reshape(given[0], shape)]


def _broadcast(b: Builder, given: list[Operand], p: dict[str, Any], shape: Shape, dtype: Any) -> list[Operand]:
    a, places = given[0], p["broadcast_dimensions"]
    if a.shape:
        sizes = dict(zip(places, a.shape, strict=True))
        a = b.reshape(a, [sizes.get(i, 1) for i in range(len(shape))])
    return [b.expand(a, shape)]


def _transpose(b: Builder, given: list[Operand], p: dict[str, Any], shape: Shape, dtype: Any) -> list[Operand]:
    return [b.transpose(given[0], p["permutation"])]


def _concatenate(b: Builder, given: list[Operand], p: dict[str, Any], shape: Shape, dtype: Any) -> list[Operand]:
    return [b.add("concat", given, shape, dtype, axis=p["dimension"])]


def _stack(b: Builder, given: list[Operand], p: dict[str, Any], shape: Shape, dtype: Any) -> list[Operand]:
    one = [*shape[: p["axis"]], 1, *shape[p["axis"] + 1 :]]
    return [b.add("concat", [b.reshape(a, one) for a in given], shape, dtype, axis=p["axis"])]


def _unstack(b: Builder, given: list[Operand], p: dict[str, Any], shape: Shape, dtype: Any) -> list[Operand]:
    (a,), axis = given, p["axis"]
    if a.shape[axis] < 0:
        raise Unsupported
    return [b.reshape(_part(b, a, axis, i, i + 1), shape) for i in range(a.shape[axis])]


def _tile(b: Builder, given: list[Operand], p: dict[str, Any], shape: Shape, dtype: Any) -> list[Operand]:
    (a,) = given
    for axis, times in enumerate(p["reps"]):
        if times != 1:
            longer = [*a.shape[:axis], a.shape[axis] * times, *a.shape[axis + 1 :]]
            a = b.add("concat", [a] * times, longer, dtype, axis=axis)
    return [a]


def _split(b: Builder, given: list[Operand], p: dict[str, Any], shape: Shape, dtype: Any) -> list[Operand]:
    (a,), axis = given, p["axis"]
    ends = np.cumsum(p["sizes"]).tolist()
    return [_part(b, a, axis, end - size, end) for size, end in zip(p["sizes"], ends, strict=True)]


def _part(b: Builder, a: Operand, axis: int, start: int, stop: int) -> Operand:
    cuts: list[Any] = [EVERY] * len(a.shape)
    cuts[axis] = (start, stop, 1)
    return b.cut(a, cuts)


def _slice(b: Builder, given: list[Operand], p: dict[str, Any], shape: Shape, dtype: Any) -> list[Operand]:
    strides = p["strides"] or [1] * len(shape)
    return [_cut(b, given[0], p["start_indices"], p["limit_indices"], strides)]


def _cut(b: Builder, a: Operand, starts: Sequence[int], limits: Sequence[Any], strides: Sequence[int]) -> Operand:
    """Of the rows all are taken."""
    cuts: list[Any] = []
    for size, start, limit, stride in zip(a.shape, starts, limits, strides, strict=True):
        if size < 0 and (start, stride) != (0, 1):
            raise Unsupported
        cuts.append(EVERY if size < 0 else (int(start), int(limit), int(stride)))
    return b.cut(a, cuts)


def _dynamic_slice(b: Builder, given: list[Operand], p: dict[str, Any], shape: Shape, dtype: Any) -> list[Operand]:
    a, *starts = given
    return [_window_at(b, a, [_known(start) for start in starts], p["slice_sizes"])]


def _window_at(b: Builder, a: Operand, starts: Sequence[Any], sizes: Sequence[Any]) -> Operand:
    """A part of that size at a place that is known, moved inside if it lies beyond the end."""
    begins = [
        0 if size < 0 else int(np.clip(start, 0, size - part))
        for size, start, part in zip(a.shape, starts, sizes, strict=True)
    ]
    ends = [size if size < 0 else begin + part for size, begin, part in zip(a.shape, begins, sizes, strict=True)]
    return _cut(b, a, begins, ends, [1] * len(a.shape))


def _gather(b: Builder, given: list[Operand], p: dict[str, Any], shape: Shape, dtype: Any) -> list[Operand]:
    """A part at a known place, as `x[:, 3]` asks for; or entries of one axis, as `table[index]` does."""
    (a, index), dims, mode = given, p["dimension_numbers"], str(p["mode"])
    if dims.operand_batching_dims:
        raise Unsupported
    axes, sizes = dims.start_index_map, p["slice_sizes"]
    if isinstance(index, Constant) and len(index.shape) == 1:
        starts = np.zeros(len(a.shape), int)
        starts[list(axes)] = np.asarray(index.value)
        if "FILL" in mode and _clipped(starts, a.shape, sizes):
            raise Unsupported
        return [b.reshape(_window_at(b, a, starts, sizes), shape)]
    rest = [axis for axis in range(len(a.shape)) if axis != axes[0]]
    whole = all(a.shape[axis] < 0 or sizes[axis] == a.shape[axis] for axis in rest)
    if len(axes) != 1 or tuple(dims.collapsed_slice_dims) != tuple(axes) or not whole or a.shape[axes[0]] < 0:
        raise Unsupported
    places, last = b.reshape(index, index.shape[:-1]), a.shape[axes[0]] - 1
    inside = b.elementwise("min", [_at_least(b, places, 0), _number(last, index.dtype)], index.dtype)
    n = len(places.shape)
    found = [
        *(a.shape[i] for i in range(axes[0])),
        *places.shape,
        *(a.shape[i] for i in range(axes[0] + 1, len(a.shape))),
    ]
    y: Operand = b.add("take", [a, inside], found, dtype, axis=axes[0])
    if "FILL" in mode and dtype.kind == "f" and not _all_inside(places, last):
        right = b.elementwise("eq", [places, inside], np.dtype(bool))
        right = b.reshape(right, [*[1] * axes[0], *places.shape, *[1] * (len(a.shape) - 1 - axes[0])])
        y = b.add("where", [right, y, _number(np.nan, dtype)], found, dtype)
    # The axes of the indices stand where `offset_dims` are not.
    order = [i for i in range(len(found)) if i not in dims.offset_dims]
    moved = dict(zip(order, range(axes[0], axes[0] + n), strict=True))
    others = iter([i for i in range(len(found)) if not axes[0] <= i < axes[0] + n])
    return [b.transpose(y, [moved[i] if i in moved else next(others) for i in range(len(found))])]


def _clipped(starts: Sequence[Any], shape: Shape, sizes: Sequence[Any]) -> bool:
    return any(n > 0 and not 0 <= start <= n - k for start, n, k in zip(starts, shape, sizes, strict=True))


def _at_least(b: Builder, a: Operand, least: int) -> Operand:
    return b.elementwise("max", [a, _number(least, a.dtype)], a.dtype)


def _all_inside(index: Operand, last: int) -> bool:
    if not isinstance(index, Constant):
        return False
    values = np.asarray(index.value)
    return bool(((values >= 0) & (values <= last)).all())


def _rev(b: Builder, given: list[Operand], p: dict[str, Any], shape: Shape, dtype: Any) -> list[Operand]:
    if any(shape[axis] < 0 for axis in p["dimensions"]):
        raise Unsupported
    cuts = [(None, None, -1 if axis in p["dimensions"] else 1) for axis in range(len(shape))]
    return [b.cut(given[0], cuts)]


def _pad(b: Builder, given: list[Operand], p: dict[str, Any], shape: Shape, dtype: Any) -> list[Operand]:
    return [padded(b, given[0], _known(given[1]), p["padding_config"])]


def padded(b: Builder, a: Operand, value: Any, config: Sequence[tuple[int, int, int]]) -> Operand:
    """With (before, after, between) of each axis, of which the first two may be negative: that is cut off."""
    for axis, (low, high, between) in enumerate(config):
        if a.shape[axis] < 0 and (low, high, between) != (0, 0, 0):
            raise Unsupported
        if between:  # each entry with what follows it, as two axes; the last entry has none
            size, before, after = a.shape[axis], a.shape[:axis], a.shape[axis + 1 :]
            a = _around(b, b.reshape(a, (*before, size, 1, *after)), value, axis + 1, (0, int(between)))
            a = _part(b, b.reshape(a, (*before, size * (1 + between), *after)), axis, 0, size + (size - 1) * between)
    widths = [(max(int(low), 0), max(int(high), 0)) for low, high, _ in config]
    if any(map(any, widths)):
        shape = [size if size < 0 else size + sum(both) for size, both in zip(a.shape, widths, strict=True)]
        a = b.add("pad", [a], shape, a.dtype, widths=tuple(widths), value=value)
    cuts = [
        (max(-int(low), 0), size - max(-int(high), 0)) for size, (low, high, _) in zip(a.shape, config, strict=True)
    ]
    return _cut(b, a, *zip(*cuts, strict=True), [1] * len(cuts)) if cuts else a


def _around(b: Builder, a: Operand, value: Any, axis: int, both: tuple[int, int]) -> Operand:
    config = [(0, 0, 0)] * len(a.shape)
    config[axis] = (*both, 0)
    return padded(b, a, value, config)


def _reduce(kind: str, b: Builder, given: list[Operand], p: dict[str, Any], shape: Shape, dtype: Any) -> list[Operand]:
    if not p["axes"]:
        return given
    if any(given[0].shape[axis] < 0 for axis in p["axes"]):
        raise Unsupported
    return [b.add("reduce", given, shape, dtype, kind=kind, axes=tuple(p["axes"]))]


def _argument(
    kind: str, b: Builder, given: list[Operand], p: dict[str, Any], shape: Shape, dtype: Any
) -> list[Operand]:
    (axis,) = p["axes"]
    if given[0].shape[axis] < 0:
        raise Unsupported
    return [b.add("argument", given, shape, dtype, kind=kind, axis=axis)]


def _cumsum(b: Builder, given: list[Operand], p: dict[str, Any], shape: Shape, dtype: Any) -> list[Operand]:
    if shape[p["axis"]] < 0:
        raise Unsupported
    return [b.add("cumsum", given, shape, dtype, axis=p["axis"], reverse=bool(p["reverse"]))]


def _window(kind: str, b: Builder, given: list[Operand], p: dict[str, Any], shape: Shape, dtype: Any) -> list[Operand]:
    (a,), sizes = given, tuple(p["window_dimensions"])
    if dtype.kind != "f" or any(n < 0 and k != 1 for n, k in zip(a.shape, sizes, strict=True)):
        raise Unsupported
    outside = {"max": -np.inf, "min": np.inf, "sum": 0.0}[kind]
    padding, between = p["padding"], p["base_dilation"]
    config = [(low, high, k - 1) for (low, high), k in zip(padding, between, strict=True)]
    a = padded(b, a, outside, config)
    settings = {"sizes": sizes, "strides": tuple(p["window_strides"]), "dilation": tuple(p["window_dilation"])}
    return [b.add("window", [a], shape, dtype, kind=kind, **settings)]


def _conv(b: Builder, given: list[Operand], p: dict[str, Any], shape: Shape, dtype: Any) -> list[Operand]:
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


def _dot_general(b: Builder, given: list[Operand], p: dict[str, Any], shape: Shape, dtype: Any) -> list[Operand]:
    """As one product of matrices: axes that are free, or summed over, are one axis."""
    (left, right), ((over_l, over_r), (of_l, of_r)) = given, p["dimension_numbers"]
    left, right = b.cast(left, dtype), b.cast(right, dtype)
    if not of_l and isinstance(left, Constant):  # rows first, and the known one last
        turned = {"dimension_numbers": ((over_r, over_l), ((), ()))}
        if not isinstance(right, Constant):
            free_l, free_r = (len(a.shape) - len(over_l) for a in (left, right))
            out = [*shape[free_l:], *shape[:free_l]]
            (y,) = _dot_general(b, [right, left], turned, out, dtype)
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


def _number(value: float, dtype: Any) -> Constant:
    return Constant(np.asarray(value, dtype))


def _known(a: Operand) -> Any:
    if not isinstance(a, Constant):
        raise Unsupported
    return np.asarray(a.value)[()]


LOWER: dict[str, Lowering] = {
    **{name: functools.partial(_same, name) for name in (*UNARY, *BINARY)},
    **{f"reduce_{kind}": functools.partial(_reduce, kind) for kind in ("sum", "max", "min", "prod", "and", "or")},
    **{f"reduce_window_{kind}": functools.partial(_window, kind) for kind in ("sum", "max", "min")},
    **{f"arg{kind}": functools.partial(_argument, kind) for kind in ("max", "min")},
    "round": _round, "erfc": _erfc, "exp2": _exp2, "square": _square, "integer_pow": _integer_pow, "clamp": _clamp,
    "select_n": _select, "convert_element_type": _convert, "reshape": _reshape, "squeeze": _squeeze,
    "broadcast_in_dim": _broadcast, "transpose": _transpose, "concatenate": _concatenate, "split": _split,
    "stack": _stack, "unstack": _unstack, "tile": _tile,
    "slice": _slice, "dynamic_slice": _dynamic_slice, "gather": _gather, "rev": _rev, "pad": _pad, "cumsum": _cumsum,
    "conv_general_dilated": _conv, "dot_general": _dot_general, "add_any": functools.partial(_same, "add"),
}  # fmt: skip
