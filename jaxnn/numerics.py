"""What numbers ask for: promotion where libraries count on it, sums in one order, no half precision; keys."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from jaxnn import tree
from jaxnn.errors import InputError


@contextlib.contextmanager
def relaxed() -> Iterator[None]:
    """Inside optax and Flax integers meet floats, and scalars and vectors meet arrays, which strict settings refuse."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


_NOT_TRACEABLE = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
)


@contextlib.contextmanager
def traced(name: str) -> Iterator[None]:
    """Around a function of the user's: `InputError` names the function, `activation=clip`, if JAX cannot trace it."""
    try:
        yield
    except (*_NOT_TRACEABLE, ValueError) as error:
        # `if x > 0` of an array x of several numbers is a ValueError, traced or not
        if isinstance(error, ValueError) and "truth value of an array" not in str(error):
            raise
        cure = "use jnp instead of numpy and math, and jnp.where instead of if"
        raise InputError(f"{name}: can't be traced by JAX; {cure}") from error


def is_zero(value: Any) -> bool:
    """Whether a setting is known to be 0, so that what it scales can be left out of the program; a traced one is not.

    >>> is_zero(0.0), is_zero(0.1), is_zero(jnp.zeros(()))
    (True, False, False)
    """
    return not isinstance(value, jax.Array) and value == 0


def sum_in_pairs(a: jax.Array) -> jax.Array:
    """The sum over the last axis in one fixed order, which that of `a.sum(-1)` is not: XLA's depends on the shape."""
    while a.shape[-1] > 1:
        half = -(-a.shape[-1] // 2)
        left, right = a[..., :half], a[..., half:]
        a = left.at[..., : right.shape[-1]].add(right)
    return a[..., 0]


def refuse_half(what: str, values: Any) -> None:
    """Half precision would lose updates in silence: in bfloat16 1 - 1e-3 is 1, in float16 70,000 is infinite."""
    for path, leaf in tree.by_name(values).items():
        dtype = jnp.asarray(leaf).dtype if jnp.isscalar(leaf) else leaf.dtype
        if jnp.issubdtype(dtype, jnp.floating) and dtype.itemsize < 4:
            where = "/".join(filter(None, (what, path)))
            raise InputError(f"{where}={dtype}: half precision is not trained; convert it to float32")


def key_for(purpose: str, key: jax.Array) -> jax.Array:
    """The key of one purpose (weights, order or noise) of a run; two purposes never share one."""
    return jax.random.fold_in(key, ("weights", "order", "noise").index(purpose))
