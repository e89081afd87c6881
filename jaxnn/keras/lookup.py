"""Losses, metrics, optimizers, initializers, ... by the name that Keras gives them, and back to plain values."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.errors import InputError, choices, nearest

FUNCTION = "function"  # the class name of what is saved by its name alone


def find(kind: str, spec: Any, table: Mapping[str, Any], own: Mapping[str, Any] | None = None) -> Any:
    """What a string, a class or a saved `{"class_name", "config"}` stands for; anything else is returned as it is.

    `own` has the classes and functions of the user's by their names (`custom_objects`). Raises `InputError` for an
    unknown name, with the nearest.

    >>> find("loss", "mse", {"mse": dict})
    {}
    """
    table = {**table, **(own or {})}
    if isinstance(spec, Mapping) and spec.get("class_name") == FUNCTION:
        name = spec["config"]
        if name not in table:
            raise InputError(f"{kind}={name}: a function of one's own; give custom_objects={{'{name}': {name}}}")
        spec = table[name]
    if isinstance(spec, str):
        if spec not in table:
            raise choices(kind, spec, [name for name in table if name.islower()])
        spec = table[spec]
    if isinstance(spec, Mapping) and set(spec) == {"class_name", "config"}:
        if spec["class_name"] not in table:
            raise choices(f"{kind} class_name", spec["class_name"], table)
        return table[spec["class_name"]].from_config(dict(spec["config"]))
    return spec() if isinstance(spec, type) else spec


def serialize(value: Any) -> Any:
    """`{"class_name", "config"}`, in JSON values; a string as it is, and a function by its name.

    >>> from jaxnn.keras import losses
    >>> serialize(losses.get("mse"))
    {'class_name': 'MeanSquaredError', 'config': {'name': 'mse', 'reduction': 'sum_over_batch_size'}}
    """
    if isinstance(value, str):
        return value
    value = value() if isinstance(value, type) else getattr(value, "custom", None) or value
    if not hasattr(value, "get_config"):
        return {"class_name": FUNCTION, "config": named(value)}
    return {"class_name": type(value).__name__, "config": value.get_config()}


def find_function(kind: str, table: Mapping[str, Any], given: Any) -> Any:
    """`find` of what can be called: an initializer or a regularizer. Raises `InputError` for anything else."""
    found = find(kind, given, table)
    if not callable(found):
        raise InputError(f"{kind}={given}: must be a name, an object of jaxnn.keras.{kind}s, or a function")
    return found


def config_of(kind: str, table: Mapping[str, Any], given: Any) -> dict[str, Any]:
    """The config that `find_function` makes the object from. Raises `InputError` for one of your own."""
    if type(given) not in table.values():
        name = getattr(given, "__name__", type(given).__name__)
        raise InputError(f"{kind}={name}: is of your own, and cannot be saved; use one of jaxnn.keras.{kind}s")
    return serialize(given)


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


def refuse_unknown(owner: str, given: Mapping[str, Any], known: Iterable[str]) -> None:
    """Raise `InputError` for the first argument that `owner` does not take, with the nearest that it takes."""
    known = list(known)
    for name, value in given.items():
        if name not in known:
            near = nearest(name, known)
            hint = f"did you mean {near}? " if near else ""
            raise InputError(f"{owner} {name}={value}: unknown argument; {hint}{owner} takes {', '.join(known)}")


def snake_case(name: str) -> str:
    """As Keras names an object after its class.

    >>> snake_case("MeanSquaredError"), snake_case("AUC"), snake_case("F1Score")
    ('mean_squared_error', 'auc', 'f1_score')
    """
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def named(function: Any) -> str:
    """The name of a function or of an object with `__call__`."""
    return getattr(function, "__name__", None) or snake_case(type(function).__name__)


def weights(sample_weight: Any, values: jax.Array) -> jax.Array:
    """Weights `[B]`, `[B, 1]` or `[B, ...]` as the values `[B, ...]` that they belong to are.

    Raises `InputError` where they do not fit: Keras would broadcast `[B]` over another axis than that of the rows.
    """
    weight = jnp.asarray(sample_weight, float)
    if weight.ndim == values.ndim + 1 and weight.shape[-1] == 1:
        weight = weight[..., 0]
    if weight.shape != values.shape[: weight.ndim]:
        rule = f"does not fit losses{list(values.shape)}"
        raise InputError(f"sample_weight{list(weight.shape)}: {rule}; give one number for each row")
    return jnp.broadcast_to(weight.reshape(weight.shape + (1,) * (values.ndim - weight.ndim)), values.shape)


def parameters(function: Any) -> list[str]:
    """The arguments of a function `(y_true, y_pred, ...)` after these two."""
    return list(inspect.signature(function).parameters)[2:]


def only_float32(owner: str, dtype: Any) -> None:
    """Raise `InputError` for another dtype than float32, which losses and metrics are computed in."""
    if dtype not in (None, "float32", jnp.float32):
        raise InputError(f"{owner} dtype={dtype}: losses and metrics are computed in float32; leave it out")
