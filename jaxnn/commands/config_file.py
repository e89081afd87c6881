"""A config file: Python that defines `config = Config(...)`, and `model` where it brings a network of its own.

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
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from jaxnn.config.settings import Config
from jaxnn.errors import InputError, nearest

KNOWN = ("config", "model")
NAME = "__config__"  # of the module: no file that is imported can have it


class Brought(NamedTuple):
    """What a config file defines."""

    config: Config = Config()
    model: Callable[[int], Any] | None = None  # given the number of outputs
    digest: str | None = None  # SHA-256 of the file, if it brought a model


def run(path: Path, source: str) -> Brought:
    """Run a config file. It may import its neighbours, in `model` too: its folder comes last on `sys.path` from now on.

    Last, so that a neighbour stands in the place of no module that jaxnn, jax or Python itself is going to import.

    Raises:
      InputError: naming `source`, for a file that is no Python, without a `config`, or with a `model` that is no
        function; for what nothing uses; and for an import that finds something else than the neighbour of that name.
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
    if "model" not in values:
        return Brought(values["config"])
    _check_model(flag, values["model"])
    return Brought(values["config"], values["model"], hashlib.sha256(text).hexdigest())


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
        meant = callable(value) or type(value).__module__.startswith("jaxnn.config.")
        if not meant or name in KNOWN or name.startswith("_") or loads[name] > _loads(node)[name]:
            continue
        decorators = {use for each in getattr(node, "decorator_list", ()) for use in _loads(each)}
        if decorators & bound.keys():  # as in `@f.defjvp`: f takes it
            continue
        near = "config" if isinstance(value, Config) else nearest(name, KNOWN)
        hint = f"did you mean {near}?" if near else "a config file brings config and model;"
        raise InputError(f"{flag}: nothing uses {name}; {hint} begin the name of a helper with _")


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


def _check_model(flag: str, model: Any) -> None:
    cure = "write def model(outputs): return ..."
    if not callable(model):
        raise InputError(
            f"{flag}: model is a {type(model).__name__}, and must be a function, outputs -> network; {cure}"
        )
    try:
        inspect.signature(model).bind(1)
    except TypeError:
        raise InputError(f"{flag}: model{inspect.signature(model)} must take the number of outputs; {cure}") from None
    except ValueError:  # a built-in that does not tell what it takes
        return
