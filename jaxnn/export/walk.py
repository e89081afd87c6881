"""From a function of JAX to a `Graph`: calls are looked through, and what does not depend on x is computed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Literal

from jaxnn import tree
from jaxnn.errors import Error, InputError
from jaxnn.export import lower
from jaxnn.export.graph import Builder, Constant, Graph, Operand, Unsupported, Value
from jaxnn.report.signals import INNER
from jaxnn.types import Params

ALIKE = ("copy", "copy_p", "stop_gradient", "optimization_barrier", "sharding_constraint", "device_put", "pvary")
ROWS = "dim_as_value"  # the number of rows, as a number
PACKAGES = Path(jax.__file__).parent.parent
OTHERS = (*(PACKAGES / name for name in ("jax", "jaxlib", "flax")), Path(__file__).parent)
NOT_OF_THE_NETWORK = tuple(f"{path}{os.sep}" for path in OTHERS)


def walk(function: Callable[[Params, Any], Any], params: Params, example: Any) -> Graph:
    """The steps of `function(params, x)` for x of any number of rows like `example`, one row's `ShapeDtypeStruct`.

    Half precision is computed in float32. Raises `InputError` for a function that is not one from an array to an array,
    or that asks how many rows there are.
    """
    x = Value((-1, *example.shape), np.dtype(example.dtype))
    rows = rows_like(example)
    with for_any_rows():
        closed = jax.jit(function).trace(params, rows).jaxpr
    leaves = [Constant(full(jax.numpy.asarray(leaf)), name) for name, leaf in tree.by_name(params).items()]
    if len(closed.out_avals) != 1:
        raise InputError(f"model: gives {len(closed.out_avals)} arrays; must give one; export a function that does")
    walker = _Walker(rows.shape[0])
    (y,) = walker.run(closed.jaxpr, closed.consts, [*leaves, x], None)
    if not isinstance(y, Value) or y.shape[:1] != (-1,):
        raise InputError(f"model: gives {list(closed.out_avals[0].shape)} for b rows; must give a row for each of x")
    return walker.built.graph(x, y)


def rows_like(example: Any) -> jax.ShapeDtypeStruct:
    """Any number of rows."""
    (rows,) = jax.export.symbolic_shape("b")
    return jax.ShapeDtypeStruct((rows, *example.shape), example.dtype)


@contextlib.contextmanager
def for_any_rows() -> Iterator[None]:
    """Raises `InputError` for a function that cannot be traced for any number of rows."""
    try:
        yield
    except Error:
        raise
    except Exception as reason:
        first = (str(reason).splitlines() or [type(reason).__name__])[0]
        cure = "use x.shape[0], not len(x), and treat rows alike"
        raise InputError(f"model: cannot be traced for any number of rows ({first}); {cure}") from reason


def full(leaf: Any) -> Any:
    """The array, float32 if it is of half precision."""
    return leaf.astype(np.float32) if _is_half(leaf.dtype) else leaf


def _is_half(dtype: Any) -> bool:
    return bool(jax.numpy.issubdtype(dtype, np.floating)) and np.dtype(dtype).itemsize < 4


class _Walker:
    def __init__(self, rows: Any) -> None:
        self.built, self.rows = Builder(), rows

    def run(self, jaxpr: Any, consts: Sequence[Any], given: Sequence[Operand], called: Any) -> list[Operand]:
        """The outputs of a function. called: the traceback of the equation that calls it."""
        known: dict[Any, Operand] = dict(zip(jaxpr.constvars, [Constant(full(a)) for a in consts], strict=True))
        known |= dict(zip(jaxpr.invars, given, strict=True))

        def read(atom: Any) -> Operand:
            if not isinstance(atom, Literal):
                return known[atom]
            kind: Any = atom.aval
            return Constant(full(np.asarray(atom.val, kind.dtype)))

        for equation in jaxpr.eqns:
            found = self.equation(equation, [*map(read, equation.invars)], called)
            known |= dict(zip(equation.outvars, found, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def equation(self, equation: Any, given: list[Operand], called: Any) -> Sequence[Operand]:
        name, params = equation.primitive.name, {key: _in_full(value) for key, value in equation.params.items()}
        lines = fresh(frames(equation), called)
        if name in ALIKE:
            return given
        if name == "platform_index":  # the plain form, which all platforms but those that are named take
            names = params["platforms"]
            return [Constant(np.int32(names.index(None) if None in names else 0))]
        if name == "cond" and isinstance(given[0], Constant):
            branch = params["branches"][int(np.clip(given[0].value, 0, len(params["branches"]) - 1))]
            return self.run(branch.jaxpr, branch.consts, given[1:], lines)
        if name not in lower.LOOPS and (inner := next((params[key] for key in INNER if key in params), None)):
            closed = isinstance(inner, ClosedJaxpr)
            return self.run(inner.jaxpr if closed else inner, inner.consts if closed else (), given, lines)
        self.built.at = (name, place(lines))
        outputs = [(self.shape(v.aval.shape), _in_full(v.aval.dtype)) for v in equation.outvars]
        known = name != ROWS and all(_is_known(variable) for variable in equation.outvars)
        if known and all(isinstance(a, Constant) for a in given):
            return self.computed(equation.primitive, params, given)
        lowered = lower.LOWER.get(name)
        try:
            if lowered is not None:
                return lowered(self.built, given, params, *outputs[0])
        except Unsupported:
            pass
        return [self.built.add(name, given, shape, _dtype(dtype)) for shape, dtype in outputs]

    def computed(self, primitive: Any, params: dict[str, Any], given: Sequence[Operand]) -> list[Operand]:
        """What an equation gives for numbers that are known."""
        found = primitive.bind(*(a.value for a in given if isinstance(a, Constant)), **params)
        name = next((a.name for a in given if isinstance(a, Constant) and a.name), "")
        return [Constant(a, name) for a in (found if primitive.multiple_results else [found])]

    def shape(self, sizes: Sequence[Any]) -> tuple[int, ...]:
        """A shape as a `Graph` has it."""
        found = tuple(size if isinstance(size, int) else -self._times(size) for size in sizes)
        if sum(size < 0 for size in found) > 1:
            raise InputError(f"model: makes an array of {list(sizes)} for b rows; treat each row by itself")
        return found

    def _times(self, size: Any) -> int:
        k = size // self.rows
        if not isinstance(k, int) or size != k * self.rows:
            raise InputError(f"model: makes an axis of {size} for b rows; must be a multiple of b; treat rows alike")
        return k


def _in_full(value: Any) -> Any:
    """A parameter of an equation, float32 in place of half precision."""
    return np.dtype(np.float32) if isinstance(value, np.dtype) and _is_half(value) else value


def _dtype(dtype: Any) -> np.dtype:
    return dtype if isinstance(dtype, np.dtype) else np.dtype(np.float32)  # of keys there is none


def _is_known(variable: Any) -> bool:
    return all(isinstance(size, int) for size in variable.aval.shape)


Lines = list[tuple[str, int, str]]


def frames(equation: Any) -> Lines:
    """Where an equation was asked for, innermost first: file, line and function, without those of JAX and of Flax."""
    trace = equation.source_info.traceback
    found = [] if trace is None else [(f.file_name, f.line_num, f.function_name) for f in trace.frames]
    return [frame for frame in found if not frame[0].startswith(NOT_OF_THE_NETWORK)]


def fresh(own: Lines, called: Lines | None) -> Lines:
    """The lines of an equation in a function that was called.

    JAX traces a function once and takes its equations again for another call: their lines are then those of the first.
    """
    return own if not called or called[0] in own else called


def place(lines: Lines) -> str:
    """The innermost one, as text."""
    if not lines:
        return ""
    file, line, function = lines[0]
    return f"{os.path.relpath(file) if file.startswith(os.getcwd() + os.sep) else file}:{line}, in {function}"
