"""`predict_numpy.py`: a network as one file of Python that needs NumPy alone, with `weights.npz` beside it."""

from __future__ import annotations

import inspect
import io
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxnn.export import plain
from jaxnn.export.graph import COMPARED, Constant, Graph, Operand, Step, Value, refuse_unknown

HEAD = '''"""A trained network in NumPy alone; weights.npz must lie beside this file.

    python predict_numpy.py new.npy       a line for each row; of a .csv too, which has the columns of FEATURES

    import predict_numpy
    predict_numpy.predict(x)              the answers for x [n, *SHAPE]
    predict_numpy.outputs(x)              what the network gives: OUTPUTS
"""

{imports}
from pathlib import Path

import numpy as np

{known}
BLOCK = 64  # rows at a time, so that memory does not grow with their number

with np.load(Path(__file__).with_name("weights.npz"), allow_pickle=False) as file:
    W = {name: file[name] for name in file.files}
'''
TAIL = '''def outputs(x):
    """What the network gives for x [n, *SHAPE]; raises ValueError for another shape, or numbers that DTYPE has not."""
    x = np.asarray(x)
    if x.shape[1:] != SHAPE or len(x) == 0:
        raise ValueError(f"x.shape={x.shape}: must be (n, {', '.join(map(str, SHAPE))}) with n >= 1")
    with np.errstate(all="ignore"):
        cast = x.astype(DTYPE)
        if cast.dtype.kind != "f" and (cast != x).any():
            raise ValueError(f"x={x.dtype}: must be {DTYPE}, as in training")
        return np.concatenate([network(cast[i : i + BLOCK]) for i in range(0, len(x), BLOCK)])


def predict(x):
    """The answer for each row: its label, yes or no for each label, a class for each pixel, or numbers."""
    y = outputs(x)
    if ANSWER == "yes or no":
        return (y > 0.5).astype(np.int32)
    if ANSWER != "most likely":
        return y
    best = y.argmax(-1)
    return best if LABELS is None or best.ndim > 1 else np.array(LABELS)[best]


def read(path):
    if not path.endswith(".csv"):
        return np.load(path, allow_pickle=False)
    with open(path, newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    missing = [name for name in FEATURES or ["FEATURES"] if not rows or name not in rows[0]]
    if missing:
        raise ValueError(f"{path}: has no column {missing[0]}")
    return np.array([[float(row[name]) for name in FEATURES] for row in rows])


def main(paths):
    if len(paths) != 1:
        sys.exit("usage: python predict_numpy.py new.npy")
    try:
        answers = predict(read(paths[0]))
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    if answers.ndim > 2:
        sys.exit("error: an answer has many numbers; import predict_numpy and call predict")
    csv.writer(sys.stdout, lineterminator="\\n").writerows(answers.reshape(len(answers), -1).tolist())


if __name__ == "__main__":
    main(sys.argv[1:])
'''
INFIX = {
    **{"add": "+", "sub": "-", "mul": "*", "div": "/", "and": "&", "or": "|", "xor": "^"},
    **dict(zip(COMPARED, ("==", "!=", "<", "<=", ">", ">="), strict=True)),
}
NAMES = {  # of functions that NumPy calls otherwise
    "max": "maximum", "min": "minimum", "rem": "fmod", "pow": "power", "is_finite": "isfinite",
    "asin": "arcsin", "acos": "arccos", "atan": "arctan", "asinh": "arcsinh", "acosh": "arccosh", "atanh": "arctanh",
}  # fmt: skip
FORMS = {"neg": "-{}", "not": "~{}", "logistic": "1 / (1 + np.exp(-{}))", "rsqrt": "1 / np.sqrt({})", "erf": "erf({})"}
JOINS = {"sum": "add", "max": "maximum", "min": "minimum"}
KINDS = {"and": "all", "or": "any"}


def files(graph: Graph, about: dict[str, Any]) -> tuple[bytes, bytes]:
    """What is in `predict_numpy.py` and in `weights.npz`.

    Raises `InputError` for a network that needs a primitive which none of the operations is.
    """
    refuse_unknown(graph, "numpy")
    arrays = graph.arrays()
    body = _Function({id(a): f"W[{name!r}]" for name, a in arrays.items()}).lines(graph)
    used = {step.operation for step in graph.steps}
    functions = [inspect.getsource(f) for f in (plain.conv, plain.window, plain.erf) if f.__name__ in used]
    known = "".join(f"{name.upper()} = {value!r}\n" for name, value in about.items())
    imports = {"csv": True, "functools": "window" in used, "math": bool(used & {"conv", "erf"}), "sys": True}
    head = HEAD.replace("{imports}", "\n".join(f"import {name}" for name, needed in imports.items() if needed))
    text = "\n\n".join([head.replace("{known}\n", known), *functions, "\n".join(body) + "\n", TAIL])
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:  # np.savez takes no array that is called `file`
        for name, a in arrays.items():
            with file.open(f"{name}.npy", "w") as part:
                np.lib.format.write_array(part, np.asarray(a.value), allow_pickle=False)
    return text.encode(), packed.getvalue()


class _Function:
    """The text of `network(x)`, a line for each step; a variable that is not needed any more is taken again."""

    def __init__(self, arrays: dict[int, str]) -> None:
        self.names = dict(arrays)

    def lines(self, graph: Graph) -> list[str]:
        self.names[id(graph.x)] = "x"
        last = {id(a): i for i, step in enumerate(graph.steps) for a in step.inputs}
        last[id(graph.y)] = len(graph.steps)
        free: list[str] = []
        found, count = [], 0
        for i, step in enumerate(graph.steps):
            text = self.expression(step)
            ended = {id(a) for a in step.inputs if isinstance(a, Value) and a is not graph.x and last[id(a)] == i}
            free = sorted({*free, *(self.names[number] for number in ended)}, key=lambda name: int(name[1:]))
            if not free:
                free, count = [f"h{count}"], count + 1
            self.names[id(step.output)] = free.pop(0)
            found.append(f"    {self.names[id(step.output)]} = {text}")
        rows = ["    n = len(x)"] * any(step.operation == "expand" for step in graph.steps)
        about = f'    """{_typed(graph.x)} -> {_typed(graph.y)}"""'
        return ["def network(x):", about, *rows, *found, f"    return {self.names[id(graph.y)]}"]

    def text(self, a: Operand) -> str:
        if isinstance(a, Constant) and not a.shape:
            return _number(np.asarray(a.value)[()], a.dtype)
        return self.names[id(a)]

    def expression(self, step: Step) -> str:
        given, dtype = [self.text(a) for a in step.inputs], step.output.dtype
        if step.operation in OTHERS:
            return OTHERS[step.operation](*given, step, **step.params)
        if step.operation == "div" and dtype.kind != "f":
            return f"np.trunc({given[0]} / {given[1]}).astype(np.{dtype.name})"
        if step.operation == "pow" and step.inputs[0].dtype != step.inputs[1].dtype:
            given[1] = f"{given[1]}.astype(np.{dtype.name})"
        if step.operation in INFIX:
            return f" {INFIX[step.operation]} ".join(given)
        if step.operation in FORMS:
            return FORMS[step.operation].format(*given)
        return f"np.{NAMES.get(step.operation, step.operation)}({', '.join(given)})"


def _number(value: Any, dtype: np.dtype) -> str:
    """A number of this dtype, to the last digit."""
    plain = value.item()
    if dtype.kind == "b":
        return str(plain)
    return f"np.{dtype.name}({plain!r})" if np.isfinite(plain) else f'np.{dtype.name}("{plain}")'


def _typed(a: Value) -> str:
    sizes = ("n" if size == -1 else f"{-size} n" if size < 0 else str(size) for size in a.shape)
    return f"{a.dtype.name}[{', '.join(sizes)}]"


def _size(size: int) -> str:
    return "n" if size == -1 else f"{-size} * n" if size < 0 else str(size)


def _concat(*given: Any, axis: int) -> str:
    return f"np.concatenate([{', '.join(given[:-1])}], {axis})"


def _slice(x: str, step: Step, cuts: Any) -> str:
    bound = lambda value: "" if value is None else str(value)
    part = lambda start, stop, by: f"{bound(start)}:{bound(stop)}" + f":{by}" * (by != 1)
    return f"{x}[{', '.join(part(*cut) for cut in cuts)}]"


def _pad(x: str, step: Step, widths: Any, value: Any) -> str:
    return f"np.pad({x}, {widths}, constant_values={_number(np.asarray(value), step.output.dtype)})"


def _reduce(x: str, step: Step, kind: str, axes: Any) -> str:
    exact = f", dtype=np.{step.output.dtype.name}" if kind in ("sum", "prod") else ""
    return f"np.{KINDS.get(kind, kind)}({x}, {axes}{exact})"


def _cumsum(x: str, step: Step, axis: int, reverse: bool) -> str:
    turned = f"np.flip({x}, {axis})" if reverse else x
    text = f"np.cumsum({turned}, {axis}, np.{step.output.dtype.name})"
    return f"np.flip({text}, {axis})" if reverse else text


OTHERS: dict[str, Callable[..., str]] = {
    "cast": lambda x, step: f"{x}.astype(np.{step.output.dtype.name})",
    "reshape": lambda x, step: f"{x}.reshape({', '.join(str(max(size, -1)) for size in step.output.shape)})",
    "transpose": lambda x, step, axes: f"{x}.transpose({', '.join(map(str, axes))})",
    "expand": lambda x, step: f"np.broadcast_to({x}, ({''.join(f'{_size(size)}, ' for size in step.output.shape)}))",
    "concat": _concat,
    "slice": _slice,
    "take": lambda x, index, step, axis: f"np.take({x}, {index}, {axis})",
    "pad": _pad,
    "matmul": lambda a, b, step: f"{a} @ {b}",
    "reduce": _reduce,
    "argument": lambda x, step, kind, axis: f"np.arg{kind}({x}, {axis}).astype(np.{step.output.dtype.name})",
    "cumsum": _cumsum,
    "window": lambda x, step, kind, **settings: f"window(np.{JOINS[kind]}, {x}{_listed(settings)})",
    "conv": lambda x, w, step, **settings: f"conv({x}, {w}{_listed(settings)})",
}


def _listed(settings: dict[str, Any]) -> str:
    return "".join(f", {name}={value}" for name, value in settings.items())
