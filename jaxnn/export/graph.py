"""A network as a list of a few plain operations, `Step`, which the writers of formats take one after the other.

The first axis of x is the rows. A dimension that is k times their number is -k: x of 8 features is `(-1, 8)`.

Elementwise operations broadcast as NumPy does and are called as in `jax.lax`, beside `where(condition, a, b)` and
`cast`. The others, with their parameters:

    reshape, expand     to the shape of the output; expand by broadcasting
    transpose           axes
    slice               cuts: (start, stop, step) of each axis, as Python has it
    concat, take        axis; take of x and whole numbers
    pad                 widths: (before, after) of each axis; value
    matmul              of [..., K] and [..., K, N], as NumPy does
    reduce              kind (sum, max, min, prod, and, or); axes
    argument            kind (max, min); axis
    cumsum              axis, reverse
    window              kind (sum, max, min); sizes, strides, dilation of each axis
    conv                strides, padding, dilation, groups; x [n, ..., C], w [..., C / groups, O]

Whatever has another name is a primitive of JAX that none of these can express.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from jaxnn.errors import InputError

UNARY = (
    *("neg", "sign", "floor", "ceil", "round", "exp", "log", "log1p", "expm1", "sin", "cos", "tan", "asin", "acos"),
    *("atan", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "logistic", "sqrt", "rsqrt", "abs", "not"),
    *("is_finite", "erf"),
)
COMPARED = ("eq", "ne", "lt", "le", "gt", "ge")
BINARY = ("add", "sub", "mul", "div", "rem", "pow", "max", "min", "and", "or", "xor", *COMPARED)
ELEMENTWISE = (*UNARY, *BINARY, "where", "cast")
MOVED = ("reshape", "transpose", "expand", "concat", "slice", "take", "pad")
OPERATIONS = {*ELEMENTWISE, *MOVED, "matmul", "reduce", "argument", "cumsum", "window", "conv"}
EVERY = (None, None, 1)  # of an axis, as `slice` has it
NEUTRAL: dict[str, tuple[float | None, float]] = {  # numbers that change nothing, left and right
    "sub": (None, 0),
    "mul": (1, 1),
    "max": (-np.inf, -np.inf),
}


@dataclass(frozen=True, eq=False)
class Value:
    """What a step makes, or x."""

    shape: tuple[int, ...]
    dtype: np.dtype


@dataclass(frozen=True, eq=False)
class Constant:
    """An array, and the path of the parameter that it was made of (`dense_0/w`), if it was."""

    value: Any
    name: str = ""

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.value.shape)

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(self.value.dtype)


Operand = Value | Constant
Shape = Sequence[int]


class Step(NamedTuple):
    """One operation; `primitive` is what JAX calls it, `where` the line that asked for it."""

    operation: str
    inputs: tuple[Operand, ...]
    output: Value
    params: dict[str, Any]
    primitive: str
    where: str


def joint(shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """The shape that these broadcast to.

    >>> joint([(-1, 3), (1, 3), ()])
    (-1, 3)
    """
    n = max(map(len, shapes))
    filled = [(1,) * (n - len(shape)) + shape for shape in shapes]
    return tuple(next((size for size in sizes if size != 1), 1) for sizes in zip(*filled, strict=True))


class Graph(NamedTuple):
    """The steps from x to y."""

    x: Value
    y: Value
    steps: tuple[Step, ...]

    def arrays(self) -> dict[str, Constant]:
        """The constants that are no single number, each under a name of its own."""
        found: dict[str, Constant] = {}
        seen = set[int]()
        for a in (a for step in self.steps for a in step.inputs):
            if isinstance(a, Constant) and a.shape and id(a) not in seen:
                seen.add(id(a))
                name = base = a.name or "constant"
                number = 1
                while name in found:
                    name = f"{base}_{(number := number + 1)}"
                found[name] = a
        return found


def refuse_unknown(graph: Graph, to: str) -> None:
    """Raise `InputError` for the primitives that no operation can express, each with the line that asked for it."""
    unknown = dict.fromkeys((step.primitive, step.where) for step in graph.steps if step.operation not in OPERATIONS)
    if unknown:
        named = ", ".join(f"{name} ({where})" if where else name for name, where in unknown)
        cure = "leave it out of the network, or use --to stablehlo, which has all of them"
        raise InputError(f"--to={to}: the network needs {named}, which cannot be written so; {cure}")


class Unsupported(Exception):
    """A primitive with parameters that no operation has."""


def number(value: float, dtype: Any) -> Constant:
    return Constant(np.asarray(value, dtype))


def known(a: Operand) -> Any:
    """The number. Raises `Unsupported` where it depends on x."""
    if not isinstance(a, Constant):
        raise Unsupported
    return np.asarray(a.value)[()]


class Builder:
    """Gathers steps. What is known already is computed, and what would move numbers to no end is left out."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.made_by: dict[int, Step] = {}
        self.at: tuple[str, str] = ("", "")  # the primitive that is being written, and its line

    def add(self, operation: str, inputs: Sequence[Operand], shape: Sequence[int], dtype: Any, **params: Any) -> Value:
        step = Step(operation, tuple(inputs), Value(tuple(shape), np.dtype(dtype)), params, *self.at)
        self.steps.append(step)
        self.made_by[id(step.output)] = step
        return step.output

    def maker(self, value: Operand, operation: str) -> Step | None:
        """The step that made it, if that is such a one."""
        step = self.made_by.get(id(value))
        return step if step is not None and step.operation == operation else None

    def reshape(self, a: Operand, shape: Sequence[int]) -> Operand:
        shape = tuple(shape)
        if a.shape == shape:
            return a
        if isinstance(a, Constant):
            return Constant(np.reshape(a.value, shape), a.name)
        if before := self.maker(a, "reshape"):
            return self.reshape(before.inputs[0], shape)
        return self.add("reshape", [a], shape, a.dtype)

    def transpose(self, a: Operand, axes: Sequence[int]) -> Operand:
        axes = tuple(axes)
        if axes == tuple(range(len(axes))):
            return a
        if isinstance(a, Constant):
            return Constant(np.transpose(a.value, axes), a.name)
        if before := self.maker(a, "transpose"):
            return self.transpose(before.inputs[0], [before.params["axes"][i] for i in axes])
        return self.add("transpose", [a], [a.shape[i] for i in axes], a.dtype, axes=axes)

    def expand(self, a: Operand, shape: Sequence[int]) -> Operand:
        """As large as this, by what NumPy calls broadcasting."""
        return a if a.shape == tuple(shape) else self.add("expand", [a], shape, a.dtype)

    def cast(self, a: Operand, dtype: Any) -> Operand:
        if a.dtype == dtype:
            return a
        if isinstance(a, Constant):
            return Constant(np.asarray(a.value).astype(dtype), a.name)
        return self.elementwise("cast", [a], dtype)

    def cut(self, a: Operand, cuts: Sequence[tuple[int | None, int | None, int]]) -> Operand:
        """Some of each axis, as `slice(start, stop, step)` has it."""
        cuts = [EVERY if cut == (0, size, 1) else cut for cut, size in zip(cuts, a.shape, strict=True)]
        if all(cut == EVERY for cut in cuts):
            return a
        count = lambda cut, size: size if cut[:2] == EVERY[:2] else len(range(*slice(*cut).indices(size)))
        shape = [count(cut, size) for cut, size in zip(cuts, a.shape, strict=True)]
        return self.add("slice", [a], shape, a.dtype, cuts=tuple(cuts))

    def elementwise(self, operation: str, inputs: Sequence[Operand], dtype: Any) -> Operand:
        """Entry by entry; an operand that was made as large as another one is taken as it was before."""
        shape = joint([a.shape for a in inputs])
        full = [a for a in inputs if a.shape == shape and not self.maker(a, "expand")]
        if full:
            inputs = [step.inputs[0] if (step := self.maker(a, "expand")) else a for a in inputs]
            turned = next((step for a in full if (step := self.maker(a, "transpose"))), None)
            for i, neutral in enumerate(NEUTRAL.get(operation, ())):
                one, other = inputs[i], inputs[1 - i]
                if isinstance(one, Constant) and not one.shape and one.value == neutral and other in full:
                    return other
            if turned and (moved := self._turned_back(inputs, turned.params["axes"])):
                return self.transpose(self.elementwise(operation, moved, dtype), turned.params["axes"])
        return self.add(operation, inputs, shape, dtype)

    def _turned_back(self, inputs: Sequence[Operand], axes: Sequence[int]) -> list[Operand] | None:
        """The operands before they were transposed, where all were in the same way or are known."""
        back = tuple(int(i) for i in np.argsort(axes))
        found: list[Operand] = []
        for a in inputs:
            step = self.maker(a, "transpose")
            if step is not None and step.params["axes"] == axes:
                found.append(step.inputs[0])
            elif isinstance(a, Constant) and len(a.shape) in (0, len(axes)):
                found.append(self.transpose(a, back) if a.shape else a)
            else:
                return None
        return found

    def graph(self, x: Value, y: Value) -> Graph:
        """The steps that y needs."""
        needed, kept = {id(y)}, []
        for step in reversed(self.steps):
            if id(step.output) in needed:
                needed |= {id(a) for a in step.inputs}
                kept.append(step)
        return Graph(x, y, tuple(reversed(kept)))
