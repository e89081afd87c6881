"""Primitives of JAX as the operations of a `Graph`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jaxnn.export import places, products
from jaxnn.export.graph import BINARY, UNARY, Builder, Operand, Shape, Unsupported, number

Lowering = Callable[..., Sequence[Operand]]
LOOPS = ("scan", "while")  # whose functions are no calls


def _same(operation: str, b: Builder, given: list[Operand], p: dict[str, Any], shape: Shape, dtype: Any) -> Any:
    return [b.elementwise(operation, given, dtype)]


def _round(b: Builder, given: list[Operand], p: dict[str, Any], shape: Shape, dtype: Any) -> list[Operand]:
    if int(p["rounding_method"]) != 1:  # to the nearest even number
        raise Unsupported
    return [b.elementwise("round", given, dtype)]


def _erfc(b: Builder, given: list[Operand], p: dict[str, Any], shape: Shape, dtype: Any) -> list[Operand]:
    return [b.elementwise("sub", [number(1, dtype), b.elementwise("erf", given, dtype)], dtype)]


def _exp2(b: Builder, given: list[Operand], p: dict[str, Any], shape: Shape, dtype: Any) -> list[Operand]:
    return [b.elementwise("pow", [number(2, dtype), *given], dtype)]


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
    found = b.expand(number(1, dtype), shape) if found is None else found
    return [found if p["y"] >= 0 else b.elementwise("div", [number(1, dtype), found], dtype)]


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


def _tile(b: Builder, given: list[Operand], p: dict[str, Any], shape: Shape, dtype: Any) -> list[Operand]:
    (a,) = given
    for axis, times in enumerate(p["reps"]):
        if times != 1:
            longer = [*a.shape[:axis], a.shape[axis] * times, *a.shape[axis + 1 :]]
            a = b.add("concat", [a] * times, longer, dtype, axis=axis)
    return [a]


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


LOWER: dict[str, Lowering] = {
    **{name: functools.partial(_same, name) for name in (*UNARY, *BINARY)},
    **{f"reduce_{kind}": functools.partial(_reduce, kind) for kind in ("sum", "max", "min", "prod", "and", "or")},
    **{f"reduce_window_{kind}": functools.partial(products.window, kind) for kind in ("sum", "max", "min")},
    **{f"arg{kind}": functools.partial(_argument, kind) for kind in ("max", "min")},
    "round": _round,
    "erfc": _erfc,
    "exp2": _exp2,
    "square": _square,
    "integer_pow": _integer_pow,
    "clamp": _clamp,
    "select_n": _select,
    "convert_element_type": _convert,
    "reshape": _reshape,
    "squeeze": _squeeze,
    "broadcast_in_dim": _broadcast,
    "transpose": _transpose,
    "concatenate": _concatenate,
    "split": places.split,
    "stack": _stack,
    "unstack": places.unstack,
    "tile": _tile,
    "slice": places.cut_out,
    "dynamic_slice": places.dynamic_slice,
    "gather": places.gather,
    "rev": places.reverse,
    "pad": places.pad,
    "cumsum": _cumsum,
    "conv_general_dilated": products.conv,
    "dot_general": products.dot_general,
    "add_any": functools.partial(_same, "add"),
}
