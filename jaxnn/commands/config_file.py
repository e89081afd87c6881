"""A config file: Python that defines `config = Config(...)`, and what else it brings (`jaxnn.config.own.Own`).

    def model(outputs)                       -> a network from an example to so many outputs
    def loss(outputs, y)                     -> one number for each example
    metrics = {name: jaxnn.Metric(...)}
    def optimizer(learning_rate)             -> an optax transformation
    def schedule(learning_rate, total_steps) -> a function of the step
    def task(data)                           -> a jaxnn.Task, by what is known of the data
    def data()                               -> arrays by the names that a .npz has

What it defines besides and does not use would be ignored in silence (`def build_model`, `conf = Config(...)`), and the
default network trained: it is refused by name.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import inspect
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from jaxnn.config.own import Own
from jaxnn.config.settings import Config
from jaxnn.errors import InputError, nearest, printable

TAKES: dict[str, tuple[str, ...]] = {  # the functions, and what each is given
    "model": ("outputs",),
    "loss": ("outputs", "y"),
    "optimizer": ("learning_rate",),
    "schedule": ("learning_rate", "total_steps"),
    "task": ("data",),
    "data": (),
}
GIVES = {
    "model": "network",
    "loss": "f[B]",
    "optimizer": "optax transformation",
    "schedule": "function of the step",
    "task": "jaxnn.Task",
    "data": "arrays",
}
KNOWN = ("config", "metrics", *TAKES)
NAME = "__config__"  # of the module: no file that is imported can have it


class Brought(NamedTuple):
    """What a config file defines."""

    config: Config = Config()
    own: Own = Own()
    digest: str | None = None  # SHA-256 of the file, if it brought anything


def run(path: Path, source: str) -> Brought:
    """Run a config file. It may import its neighbours, in functions too: its folder is from now on last on `sys.path`.

    Last, so that a neighbour stands in the place of no module that jaxnn, jax or Python itself is going to import.

    Raises:
      InputError: naming `source`, for a file that is no Python, without a `config`, or with a `model` (or `loss`, ...)
        that is no function of what it is given; for what nothing uses; and for an import that finds something else than
        the neighbour of that name.
    """
    flag, text, folder = f"config={source}", path.read_bytes(), path.resolve().parent
    try:
        tree = ast.parse(text, str(path))
    except (SyntaxError, ValueError) as reason:  # ValueError: a NUL, before Python 3.12
        line = f"line {reason.lineno}: {reason.msg}" if isinstance(reason, SyntaxError) else str(reason)
        raise InputError(f"{flag}: is no Python ({line}); mend it") from None
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    _check_neighbours(flag, tree, folder)
    module = sys.modules[NAME] = ModuleType(NAME)
    module.__file__ = str(path)
    exec(compile(tree, str(path), "exec"), vars(module))
    values = vars(module)
    _check_used(flag, tree, values)
    if not isinstance(values.get("config"), Config):
        raise InputError(f"{flag}: {path.name} must define `config = Config(...)`; see configs/digits_mlp.py")
    found, loads = {name: values[name] for name in Own._fields if name in values}, _loads(tree)
    for name, value in list(found.items()):  # neither `import metrics` nor `data = DataConfig(...)` brings a function
        if isinstance(value, ModuleType) or (_is_setting(value) and loads[name]):
            del found[name]
    for name, value in found.items():
        _check_metrics(flag, value) if name == "metrics" else _check_function(flag, name, value)
    return Brought(values["config"], Own(**found), hashlib.sha256(text).hexdigest() if found else None)


def check_replayed(source: str | None, brought: Brought, replayed: dict[str, Any]) -> None:
    """Refuse to replay a run without the functions that it had; a note says that their file has changed."""
    had, has = ["model"] * replayed["own_model"] + replayed.get("own", []), brought.own.names()
    if has != had:
        said = [" and ".join(names) or "nothing of its own" for names in (has, had)]
        raise InputError(f"config={source}: brings {said[0]}, and the run had {said[1]}; name the file as it was")
    if replayed.get("source_digest") not in (None, brought.digest):
        note = f"config={source}: the file has changed since the run; its functions may differ"
        print(f"note: {printable(note)}", file=sys.stderr)


def _check_neighbours(flag: str, tree: ast.Module, folder: Path) -> None:
    """Refuse an import of a neighbour that finds an installed module of the same name."""
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    for name in {name.partition(".")[0] for name in names} - {"jaxnn"}:
        if (folder / f"{name}.py").is_file() or (folder / name / "__init__.py").is_file():
            found = importlib.util.find_spec(name)
            origin = found.origin if found and found.has_location else None
            if origin is None or not Path(origin).resolve().is_relative_to(folder):
                raise InputError(f"{flag}: import {name} finds {origin or 'a part of Python'}; rename the neighbour")


def _check_used(flag: str, tree: ast.Module, values: dict[str, Any]) -> None:
    """Refuse a function or a config that was meant for something, and that nothing takes."""
    loads, bound = _loads(tree), dict(_bound(tree))
    for name, node in bound.items():
        value = values.get(name)
        meant = callable(value) or _is_setting(value)
        if not meant or name in KNOWN or name.startswith("_") or loads[name] > _loads(node)[name]:
            continue
        decorators = {use for each in getattr(node, "decorator_list", ()) for use in _loads(each)}
        if decorators & bound.keys():  # as in `@f.defjvp`: f takes it
            continue
        near = "config" if isinstance(value, Config) else nearest(name, KNOWN)
        hint = f"did you mean {near}?" if near else f"a config file brings {', '.join(sorted(KNOWN))};"
        raise InputError(f"{flag}: nothing uses {name}; {hint} begin the name of a helper with _")


def _is_setting(value: Any) -> bool:
    return type(value).__module__.startswith("jaxnn.config.")


def _bound(tree: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """The names that are bound at the top level, but for those that are imported, and where."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name, node
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node
        elif not isinstance(node, ast.Lambda | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
            yield from _bound(node)


def _loads(tree: ast.AST) -> Counter[str]:
    """How often each name is read."""
    return Counter(node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load))


def _check_function(flag: str, name: str, value: Any) -> None:
    takes = ", ".join(TAKES[name])
    cure = f"write def {name}({takes}): return ..."
    if not callable(value):
        rule = f"must be a function, {takes or '()'} -> {GIVES[name]}"
        raise InputError(f"{flag}: {name} is a {type(value).__name__}, and {rule}; {cure}")
    try:
        inspect.signature(value).bind(*TAKES[name])
    except TypeError:
        raise InputError(f"{flag}: {name}{inspect.signature(value)} must take {takes or 'nothing'}; {cure}") from None
    except ValueError:  # a built-in that does not tell what it takes
        return


def _check_metrics(flag: str, metrics: Any) -> None:
    if not isinstance(metrics, dict) or not metrics:
        rule = 'must be a dict of them by name; write metrics = {"name": jaxnn.Metric(sums, value)}'
        raise InputError(f"{flag}: metrics is a {type(metrics).__name__}, and {rule}")
