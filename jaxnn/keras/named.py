"""Objects that Keras knows by a name or by a config: initializers and regularizers."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxnn.errors import InputError, choices


class Configured:
    """What is made of plain arguments, each kept under its own name."""

    def get_config(self) -> dict[str, Any]:
        """The arguments, as JSON keeps them."""
        names = [name for name in inspect.signature(type(self).__init__).parameters if name != "self"]
        return {name: plain(getattr(self, name)) for name in names}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """The object with these arguments."""
        return cls(**config)


def plain(value: Any) -> Any:
    """A value as JSON keeps it. Raises `InputError` for a function, or anything else that it does not."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise InputError(f"{type(value).__name__}: cannot be saved in a config; give numbers, names or lists")


def find(kind: str, table: Mapping[str, Any], given: Any) -> Any:
    """The object of that name, config or class; any other that can be called is returned as it is.

    Raises `InputError` with the list for an unknown name.
    """
    if isinstance(given, Mapping) and "class_name" in given:
        return _named(kind, table, given["class_name"]).from_config(given.get("config", {}))
    if isinstance(given, str):
        return _named(kind, table, given)()
    if isinstance(given, type):
        return given()
    if not callable(given):
        raise InputError(f"{kind}={given}: must be a name, an object of jaxnn.keras.{kind}s, or a function")
    return given


def _named(kind: str, table: Mapping[str, Any], name: str) -> Any:
    if name not in table:
        raise choices(kind, name, table)
    return table[name]


def config_of(kind: str, table: Mapping[str, Any], given: Any) -> dict[str, Any]:
    """The config that `find` makes the object from. Raises `InputError` for a function or class of one's own."""
    if type(given) not in table.values():
        name = getattr(given, "__name__", type(given).__name__)
        raise InputError(f"{kind}={name}: is of your own, and cannot be saved; use one of jaxnn.keras.{kind}s")
    return {"class_name": type(given).__name__, "config": given.get_config()}
