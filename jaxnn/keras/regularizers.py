"""Penalties on weights or outputs, added to the loss: functions of one array `f32[...] -> f32[]`, as in Keras."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxnn.errors import InputError, choices, non_negative
from jaxnn.keras import lookup

Penalty = Callable[[jax.Array], jax.Array]  # a `Regularizer`, or a function of an array


class Regularizer(lookup.Configured):
    """A penalty `f32[...] -> f32[]`; your own defines `__call__(x)`, in `jax.numpy`, with a kernel as `[in, out]`.

    A model with your own cannot be saved.

    >>> class Largest(Regularizer):
    ...     def __call__(self, x):
    ...         return jnp.abs(x).max()
    >>> Largest()(jnp.array([1.0, -2.0])).item()
    2.0
    """

    def __call__(self, x: jax.Array) -> jax.Array:
        """The penalty on x."""
        return jnp.zeros((), x.dtype)


class L1L2(Regularizer):
    """l1 sum |x| + l2 sum x^2. Raises `InputError` for factors < 0.

    >>> import jax.numpy as jnp
    >>> L1L2(l1=0.5, l2=2.0)(jnp.array([1.0, -2.0])).item()
    11.5
    """

    l1: float
    l2: float

    def __init__(self, l1: float = 0.0, l2: float = 0.0):
        self.l1, self.l2 = (0.0 if factor is None else factor for factor in (l1, l2))
        for name, factor in (("l1", self.l1), ("l2", self.l2)):
            non_negative(f"{type(self).__name__} {name}", factor)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.l1 * jnp.abs(x).sum() + self.l2 * jnp.square(x).sum()


class L1(L1L2):
    """l1 sum |x|. Raises `InputError` for a factor < 0.

    >>> L1(0.5)(jnp.array([1.0, -2.0])).item()
    1.5
    """

    def __init__(self, l1: float = 0.01):
        super().__init__(l1=l1)


class L2(L1L2):
    """l2 sum x^2, without the half of `jaxnn`'s alpha. Raises `InputError` for a factor < 0.

    >>> L2(0.5)(jnp.array([1.0, -2.0])).item()
    2.5
    """

    def __init__(self, l2: float = 0.01):
        super().__init__(l2=l2)


class OrthogonalRegularizer(Regularizer):
    """factor times the mean |cosine| between two rows (or columns) of a matrix.

    >>> import jax.numpy as jnp
    >>> float(OrthogonalRegularizer(1.0)(jnp.eye(3))), float(OrthogonalRegularizer(1.0)(jnp.ones((2, 1))))
    (0.0, 1.0)
    """

    def __init__(self, factor: float = 0.01, mode: str = "rows"):
        non_negative("OrthogonalRegularizer factor", factor)
        if mode not in ("rows", "columns"):
            raise choices("OrthogonalRegularizer mode", mode, ("rows", "columns"))
        self.factor: float = factor
        self.mode: str = mode

    def __call__(self, x: jax.Array) -> jax.Array:
        if x.ndim != 2:
            raise InputError(f"OrthogonalRegularizer x={jax.typeof(x)}: must be a matrix; use it with Dense")
        rows = x if self.mode == "rows" else x.T
        unit = rows / jnp.maximum(jnp.sqrt(jnp.square(rows).sum(1, keepdims=True)), 1e-12)
        n = len(rows)
        return self.factor * jnp.abs(jnp.where(jnp.eye(n, dtype=bool), 0, unit @ unit.T)).sum() / (n * (n - 1))


l1 = L1
l2 = L2
l1_l2 = L1L2
orthogonal_regularizer = OrthogonalRegularizer
TABLE: dict[str, Any] = {
    **{"L1": L1, "l1": L1, "L2": L2, "l2": L2, "L1L2": L1L2, "l1_l2": L1L2, "l1l2": L1L2},
    **{"OrthogonalRegularizer": OrthogonalRegularizer, "orthogonal_regularizer": OrthogonalRegularizer},
}


def get(identifier: Any) -> Any:
    """The penalty of that name, config or class, or the function itself; None is None. `l1_l2` has two factors of 0.01.

    Raises `InputError` with the list for an unknown name.

    >>> get("l2").l2, get("l1_l2").l1, get(None)
    (0.01, 0.01, None)
    """
    if identifier is None:
        return None
    if isinstance(identifier, str) and TABLE.get(identifier) is L1L2:
        return L1L2(0.01, 0.01)
    return lookup.find_function("regularizer", TABLE, identifier)


def serialize(regularizer: Any) -> dict[str, Any]:
    """Its config. Raises `InputError` for one of your own.

    >>> serialize(L1L2(l2=0.5))
    {'class_name': 'L1L2', 'config': {'l1': 0.0, 'l2': 0.5}}
    """
    return lookup.config_of("regularizer", TABLE, regularizer)


def deserialize(config: Any) -> Any:
    """The penalty of this config, or of a name.

    >>> deserialize({"class_name": "L2", "config": {"l2": 0.5}}).l2
    0.5
    """
    return get(config)
