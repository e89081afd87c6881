"""Objects that Keras knows by a name or by a config: initializers and regularizers."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxnn.errors import InputError
from jaxnn.keras import lookup


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
    found = lookup.find(kind, given, table)
    if not callable(found):
        raise InputError(f"{kind}={given}: must be a name, an object of jaxnn.keras.{kind}s, or a function")
    return found


def config_of(kind: str, table: Mapping[str, Any], given: Any) -> dict[str, Any]:
    """The config that `find` makes the object from. Raises `InputError` for a function or class of one's own."""
    if type(given) not in table.values():
        name = getattr(given, "__name__", type(given).__name__)
        raise InputError(f"{kind}={name}: is of your own, and cannot be saved; use one of jaxnn.keras.{kind}s")
    return lookup.serialize(given)
