"""Primitives of JAX that take or add a part of an array, as operations of a `Graph`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxnn.export.graph import EVERY, Builder, Constant, Operand, Shape, Unsupported, known, number


def split(b: Builder, given: list[Operand], p: dict[str, Any], shape: Shape, dtype: Any) -> list[Operand]:
    (a,), axis = given, p["axis"]
    ends = np.cumsum(p["sizes"]).tolist()
    return [_part(b, a, axis, end - size, end) for size, end in zip(p["sizes"], ends, strict=True)]


def unstack(b: Builder, given: list[Operand], p: dict[str, Any], shape: Shape, dtype: Any) -> list[Operand]:
    (a,), axis = given, p["axis"]
    if a.shape[axis] < 0:
        raise Unsupported
    return [b.reshape(_part(b, a, axis, i, i + 1), shape) for i in range(a.shape[axis])]


def _part(b: Builder, a: Operand, axis: int, start: int, stop: int) -> Operand:
    cuts: list[Any] = [EVERY] * len(a.shape)
    cuts[axis] = (start, stop, 1)
    return b.cut(a, cuts)


def cut_out(b: Builder, given: list[Operand], p: dict[str, Any], shape: Shape, dtype: Any) -> list[Operand]:
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


def dynamic_slice(b: Builder, given: list[Operand], p: dict[str, Any], shape: Shape, dtype: Any) -> list[Operand]:
    a, *starts = given
    at = [0 if size < 0 else known(start) for size, start in zip(a.shape, starts, strict=True)]
    return [_window_at(b, a, at, p["slice_sizes"])]


def _window_at(b: Builder, a: Operand, starts: Sequence[Any], sizes: Sequence[Any]) -> Operand:
    """A part of that size at a place that is known, moved inside if it lies beyond the end."""
    begins = [
        0 if size < 0 else int(np.clip(start, 0, size - part))
        for size, start, part in zip(a.shape, starts, sizes, strict=True)
    ]
    ends = [size if size < 0 else begin + part for size, begin, part in zip(a.shape, begins, sizes, strict=True)]
    return _cut(b, a, begins, ends, [1] * len(a.shape))


def gather(b: Builder, given: list[Operand], p: dict[str, Any], shape: Shape, dtype: Any) -> list[Operand]:
    """A part at a known place, as `x[:, 3]` asks for; or entries of one axis, as `table[index]` does."""
    (a, index), dims, mode = given, p["dimension_numbers"], str(p["mode"])
    if dims.operand_batching_dims:
        raise Unsupported
    axes, sizes = dims.start_index_map, p["slice_sizes"]
    if isinstance(index, Constant) and len(index.shape) == 1:
        at = dict(zip(axes, np.asarray(index.value).tolist(), strict=True))
        starts = [at.get(axis, 0) for axis in range(len(a.shape))]
        if "FILL" in mode and _clipped(starts, a.shape, sizes):
            raise Unsupported
        return [b.reshape(_window_at(b, a, starts, sizes), shape)]
    rest = [axis for axis in range(len(a.shape)) if axis != axes[0]]
    whole = all(a.shape[axis] < 0 or sizes[axis] == a.shape[axis] for axis in rest)
    if len(axes) != 1 or tuple(dims.collapsed_slice_dims) != tuple(axes) or not whole or a.shape[axes[0]] < 0:
        raise Unsupported
    places, last = b.reshape(index, index.shape[:-1]), a.shape[axes[0]] - 1
    inside = places if _all_inside(places, last) else _clip(b, places, last)
    n = len(places.shape)
    found = [
        *(a.shape[i] for i in range(axes[0])),
        *places.shape,
        *(a.shape[i] for i in range(axes[0] + 1, len(a.shape))),
    ]
    y: Operand = b.add("take", [a, inside], found, dtype, axis=axes[0])
    if "FILL" in mode and dtype.kind == "f" and inside is not places:
        right = b.elementwise("eq", [places, inside], np.dtype(bool))
        right = b.reshape(right, [*[1] * axes[0], *places.shape, *[1] * (len(a.shape) - 1 - axes[0])])
        y = b.add("where", [right, y, number(np.nan, dtype)], found, dtype)
    # The axes of the indices stand where `offset_dims` are not.
    order = [i for i in range(len(found)) if i not in dims.offset_dims]
    moved = dict(zip(order, range(axes[0], axes[0] + n), strict=True))
    others = iter([i for i in range(len(found)) if not axes[0] <= i < axes[0] + n])
    return [b.transpose(y, [moved[i] if i in moved else next(others) for i in range(len(found))])]


def _clipped(starts: Sequence[Any], shape: Shape, sizes: Sequence[Any]) -> bool:
    return any(n > 0 and not 0 <= start <= n - k for start, n, k in zip(starts, shape, sizes, strict=True))


def _clip(b: Builder, index: Operand, last: int) -> Operand:
    """Between 0 and the last one."""
    low = b.elementwise("max", [index, number(0, index.dtype)], index.dtype)
    return b.elementwise("min", [low, number(last, index.dtype)], index.dtype)


def _all_inside(index: Operand, last: int) -> bool:
    if not isinstance(index, Constant):
        return False
    values = np.asarray(index.value)
    return bool(((values >= 0) & (values <= last)).all())


def reverse(b: Builder, given: list[Operand], p: dict[str, Any], shape: Shape, dtype: Any) -> list[Operand]:
    if any(shape[axis] < 0 for axis in p["dimensions"]):
        raise Unsupported
    cuts = [(None, None, -1 if axis in p["dimensions"] else 1) for axis in range(len(shape))]
    return [b.cut(given[0], cuts)]


def pad(b: Builder, given: list[Operand], p: dict[str, Any], shape: Shape, dtype: Any) -> list[Operand]:
    return [padded(b, given[0], known(given[1]), p["padding_config"])]


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
    return _cut(b, a, [start for start, _ in cuts], [stop for _, stop in cuts], [1] * len(cuts))


def _around(b: Builder, a: Operand, value: Any, axis: int, both: tuple[int, int]) -> Operand:
    config = [(0, 0, 0)] * len(a.shape)
    config[axis] = (*both, 0)
    return padded(b, a, value, config)
