"""A network as an ONNX model, of one node or a few for each step."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import jaxnn
from jaxnn.errors import InputError
from jaxnn.export.graph import EVERY, Constant, Graph, Operand, Step, Value, refuse_unknown

OPSET, IR = 20, 9  # of January 2024
LARGEST = 2**31 - 2**20  # bytes, what protobuf can hold
SIMPLE = {
    **{
        name: name.capitalize()
        for name in ("neg", "sign", "floor", "ceil", "round", "exp", "log", "sqrt", "abs", "erf")
    },
    **{name: name.capitalize() for name in ("sin", "cos", "tan", "sinh", "cosh", "tanh", "asin", "acos", "atan")},
    **{
        name: name.capitalize() for name in ("asinh", "acosh", "atanh", "add", "sub", "mul", "div", "pow", "max", "min")
    },
    **{"logistic": "Sigmoid", "lt": "Less", "le": "LessOrEqual", "gt": "Greater", "ge": "GreaterOrEqual"},
    **{"eq": "Equal", "where": "Where", "matmul": "MatMul"},
}
LOGICAL = {"not": "Not", "and": "And", "or": "Or", "xor": "Xor"}


def model(graph: Graph, about: dict[str, Any]) -> bytes:
    """The model, checked by ONNX's own checker, with `about` in its metadata.

    Raises `InputError` without the package `onnx`, for a network that needs a primitive it cannot have, and for one
    that is larger than a file of ONNX may be.
    """
    try:
        import onnx
    except ImportError:
        raise InputError("--to=onnx: needs the package onnx; install it, with pip install onnx") from None
    refuse_unknown(graph, "onnx")
    arrays = graph.arrays()
    size = sum(np.asarray(a.value).nbytes for a in arrays.values())
    if size > LARGEST:
        raise InputError(f"--to=onnx: has weights of {size:,} bytes, a file may have {LARGEST:,}; use --to stablehlo")
    nodes = _Nodes(onnx.helper, graph)
    for step in graph.steps:
        nodes.step(step)
    opset = onnx.helper.make_opsetid("", OPSET)
    versions = {"ir_version": IR, "producer_name": "jaxnn", "producer_version": jaxnn.__version__}
    found = onnx.helper.make_model(nodes.graph(graph, about["outputs"]), opset_imports=[opset], **versions)
    onnx.helper.set_model_props(found, {name: json.dumps(value) for name, value in about.items()})
    onnx.checker.check_model(found, full_check=True)
    return found.SerializeToString()


class _Nodes:
    """The nodes so far; every array has a name."""

    def __init__(self, helper: Any, graph: Graph) -> None:
        self.helper = helper
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self.names: dict[Any, str] = {id(graph.x): "x"}
        for name, a in graph.arrays().items():
            self.names[id(a)] = self.constant(np.asarray(a.value), f"weights/{name}")

    def graph(self, graph: Graph, output: str) -> Any:
        def declared(name: str, a: Value) -> Any:
            kind = self.helper.np_dtype_to_tensor_dtype(a.dtype)
            return self.helper.make_tensor_value_info(name, kind, ["n" if size < 0 else size for size in a.shape])

        self.nodes.append(self.helper.make_node("Identity", [self.names[id(graph.y)]], [output]))
        used = {name for node in self.nodes for name in node.input}
        needed = [array for array in self.initializers if array.name in used]
        ends = [declared("x", graph.x)], [declared(output, graph.y)]
        return self.helper.make_graph(self.nodes, "network", *ends, needed)

    def constant(self, value: Any, name: str = "") -> str:
        """The name of an array; of equal ones without a name of their own it is the same."""
        array = np.ascontiguousarray(value)
        array = array.reshape(np.shape(value))  # of a number the line above makes [1]
        key = (array.dtype.str, array.shape, array.tobytes()) if not name else name
        if key not in self.names:
            self.names[key] = name or f"constant_{len(self.initializers)}"
            kind = self.helper.np_dtype_to_tensor_dtype(array.dtype)
            made = self.helper.make_tensor(self.names[key], kind, array.shape, array.tobytes(), raw=True)
            self.initializers.append(made)
        return self.names[key]

    def name(self, a: Operand) -> str:
        if isinstance(a, Constant) and id(a) not in self.names:
            return self.constant(np.asarray(a.value))
        return self.names[id(a)]

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """A node, and the name of what it gives."""
        output = f"h{len(self.nodes)}"
        self.nodes.append(self.helper.make_node(kind, inputs, [output], **attributes))
        return output

    def whole(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64))

    def step(self, step: Step) -> None:
        given = [self.name(a) for a in step.inputs]
        if step.operation in OTHERS:
            made = OTHERS[step.operation](self, step, *given, **step.params)
        elif step.operation in LOGICAL:
            bits = "" if step.output.dtype == bool else "Bitwise"
            made = self.op(bits + LOGICAL[step.operation], *given)
        else:
            made = self.op(SIMPLE[step.operation], *given)
        self.names[id(step.output)] = made

    def cast(self, x: str, dtype: Any) -> str:
        return self.op("Cast", x, to=self.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def number(self, value: float, step: Step) -> str:
        return self.constant(np.asarray(value, step.inputs[0].dtype))

    def target(self, shape: Sequence[int], of: Sequence[int] = ()) -> str:
        """A shape as an array; an axis of the rows that the operand of this shape has too is 1 in it."""
        of = [1] * (len(shape) - len(of)) + list(of)
        fixed = [1 if size == own else size for size, own in zip(shape, of, strict=True)]
        if min(fixed, default=1) > 0:
            return self.whole(*fixed)
        rows = self.op("Shape", "x", start=0, end=1)
        sizes = [self.whole(size) if size > 0 else self.op("Mul", rows, self.whole(-size)) for size in fixed]
        return self.op("Concat", *sizes, axis=0)

    def reshape(self, x: str, shape: Sequence[int]) -> str:
        return self.op("Reshape", x, self.whole(*(max(size, -1) for size in shape)))


def _rem(n: _Nodes, step: Step, a: str, b: str) -> str:
    return n.op("Mod", a, b, fmod=1)


def _ne(n: _Nodes, step: Step, a: str, b: str) -> str:
    return n.op("Not", n.op("Equal", a, b))


def _rsqrt(n: _Nodes, step: Step, x: str) -> str:
    return n.op("Reciprocal", n.op("Sqrt", x))


def _is_finite(n: _Nodes, step: Step, x: str) -> str:
    return n.op("Not", n.op("Or", n.op("IsInf", x), n.op("IsNaN", x)))


def _log1p(n: _Nodes, step: Step, x: str) -> str:
    """log(u) x / (u - 1) with u = 1 + x as it is rounded, where x is small. Source: Kahan, in HP 15C's handbook."""
    one = n.number(1, step)
    u = n.op("Add", x, one)
    log = n.op("Log", u)
    near = n.op("Where", n.op("Equal", u, one), x, n.op("Div", n.op("Mul", log, x), n.op("Sub", u, one)))
    return n.op("Where", n.op("Less", n.op("Abs", x), n.number(0.5, step)), near, log)


def _expm1(n: _Nodes, step: Step, x: str) -> str:
    """(u - 1) x / log(u) with u = exp(x) as it is rounded, where x is small. Source: Kahan, as above."""
    one = n.number(1, step)
    u = n.op("Exp", x)
    less = n.op("Sub", u, one)
    near = n.op("Where", n.op("Equal", u, one), x, n.op("Div", n.op("Mul", less, x), n.op("Log", u)))
    return n.op("Where", n.op("Less", n.op("Abs", x), n.number(0.5, step)), near, less)


def _slice(n: _Nodes, step: Step, x: str, cuts: Any) -> str:
    chosen = [(axis, *cut) for axis, cut in enumerate(cuts) if cut != EVERY]
    far = np.iinfo(np.int64)
    begin = [(-1 if by < 0 else 0) if start is None else start for _, start, _, by in chosen]
    end = [(far.min if by < 0 else far.max) if stop is None else stop for _, _, stop, by in chosen]
    axes, steps = [axis for axis, *_ in chosen], [by for *_, by in chosen]
    return n.op("Slice", x, n.whole(*begin), n.whole(*end), n.whole(*axes), n.whole(*steps))


def _pad(n: _Nodes, step: Step, x: str, widths: Any, value: Any) -> str:
    pads = [both[side] for side in (0, 1) for both in widths]
    return n.op("Pad", x, n.whole(*pads), n.number(value, step))


def _reduce(n: _Nodes, step: Step, x: str, kind: str, axes: Any) -> str:
    if kind in ("and", "or"):
        x, kind = n.cast(x, np.int32), {"and": "min", "or": "max"}[kind]
        return n.cast(n.op(f"Reduce{kind.capitalize()}", x, n.whole(*axes), keepdims=0), bool)
    return n.op(f"Reduce{kind.capitalize()}", x, n.whole(*axes), keepdims=0)


def _argument(n: _Nodes, step: Step, x: str, kind: str, axis: int) -> str:
    return n.cast(n.op(f"Arg{kind.capitalize()}", x, axis=axis, keepdims=0), step.output.dtype)


def _window(n: _Nodes, step: Step, x: str, kind: str, sizes: Any, strides: Any, dilation: Any) -> str:
    """ONNX has windows of [N, C, ...]: the axes with a window go last, the others become two."""
    shape, rank = step.inputs[0].shape, len(sizes)
    moved = [i for i in range(rank) if (sizes[i], strides[i]) != (1, 1)] or [rank - 1]
    others = [i for i in range(rank) if i not in moved]
    x = n.op("Transpose", x, perm=[*others, *moved])
    if len(others) != 2:
        x = n.reshape(x, (math.prod(shape[i] for i in others), 1, *(shape[i] for i in moved)))
    how = {name: [values[i] for i in moved] for name, values in (("strides", strides), ("dilations", dilation))}
    how["kernel_shape"] = [sizes[i] for i in moved]
    if kind == "sum":
        y = n.op("Mul", n.op("AveragePool", x, **how), n.number(math.prod(sizes), step))
    else:
        y = n.op("MaxPool", x, **how) if kind == "max" else n.op("Neg", n.op("MaxPool", n.op("Neg", x), **how))
    if len(others) != 2:
        y = n.reshape(y, [step.output.shape[i] for i in (*others, *moved)])
    return n.op("Transpose", y, perm=np.argsort([*others, *moved]).tolist())


def _conv(n: _Nodes, step: Step, x: str, w: str, strides: Any, padding: Any, dilation: Any, groups: int) -> str:
    """ONNX has the channels second in images and kernels, [N, C, ...] and [O, C / groups, ...]."""
    space, kernel = len(strides), step.inputs[1]
    second = (space + 1, space, *range(space))
    if isinstance(kernel, Constant):
        w = n.constant(np.transpose(np.asarray(kernel.value), second), f"{w} as [O, C, ...]")
    else:
        w = n.op("Transpose", w, perm=second)
    x = n.op("Transpose", x, perm=[0, space + 1, *range(1, space + 1)])
    pads = [both[side] for side in (0, 1) for both in padding]
    y = n.op("Conv", x, w, strides=strides, pads=pads, dilations=dilation, group=groups)
    return n.op("Transpose", y, perm=[0, *range(2, space + 2), 1])


OTHERS: dict[str, Callable[..., str]] = {
    "rem": _rem, "ne": _ne, "rsqrt": _rsqrt, "is_finite": _is_finite, "log1p": _log1p, "expm1": _expm1,
    "slice": _slice, "pad": _pad, "reduce": _reduce, "argument": _argument, "window": _window, "conv": _conv,
    "cast": lambda n, step, x: n.cast(x, step.output.dtype),
    "reshape": lambda n, step, x: n.reshape(x, step.output.shape),
    "transpose": lambda n, step, x, axes: n.op("Transpose", x, perm=axes),
    "expand": lambda n, step, x: n.op("Expand", x, n.target(step.output.shape, step.inputs[0].shape)),
    "concat": lambda n, step, *given, axis: n.op("Concat", *given, axis=axis),
    "take": lambda n, step, x, index, axis: n.op("Gather", x, index, axis=axis),
    "cumsum": lambda n, step, x, axis, reverse: n.op("CumSum", x, n.constant(np.array(axis)), reverse=int(reverse)),
}  # fmt: skip
