"""Pytrees of parameters: the names of their leaves, and which of them are weights, trained, or kept."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

import jax
import jax.numpy as jnp

from jaxnn.errors import InputError, nearest
from jaxnn.types import Params

STATISTICS = "_stats"  # how the name of an entry ends that holds statistics: batch_stats, input_stats


def name(path: tuple[Any, ...]) -> str:
    """The path of a leaf as text: `dense_0/w`.

    >>> [name(path) for path, _ in jax.tree.leaves_with_path({"dense_0": {"w": 1, "b": 2}})]
    ['dense_0/b', 'dense_0/w']
    """
    return jax.tree_util.keystr(path, simple=True, separator="/")


def by_name(tree: Any) -> dict[str, Any]:
    """The leaves by their paths.

    >>> by_name({"dense_0": {"w": 1, "b": 2}})
    {'dense_0/b': 2, 'dense_0/w': 1}
    """
    return {name(path): leaf for path, leaf in jax.tree.leaves_with_path(tree)}


def zeros(shapes: Any) -> Any:
    """Arrays of 0 with these shapes and dtypes.

    >>> zeros({"b": jax.ShapeDtypeStruct((2,), "float32")})
    {'b': Array([0., 0.], dtype=float32)}
    """
    return jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), shapes)


def nbytes(tree: Any) -> int:
    """The size of all arrays, or of those that these shapes stand for, in bytes.

    >>> nbytes({"w": jnp.zeros((3, 2)), "b": jnp.zeros(2)})
    32
    """
    return sum(a.size * a.dtype.itemsize for a in jax.tree.leaves(tree))


def example(x: Any) -> Any:
    """The shapes of one row of `x [n, ...]`, an array or a pytree of them.

    >>> example(jnp.zeros((32, 28, 28, 1)))
    ShapeDtypeStruct(shape=(28, 28, 1), dtype=float32)
    """
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), x)


def is_weight(params: Params) -> Any:
    """Which leaves are weights: two axes or more, and not called `b` or `bias`. A pytree of bool like `params`.

    >>> import jax.numpy as jnp
    >>> is_weight({"dense_0": {"w": jnp.ones((3, 2)), "b": jnp.ones(2)}})
    {'dense_0': {'b': False, 'w': True}}
    """

    def weight(path: tuple[Any, ...], leaf: Any) -> bool:
        return jnp.ndim(leaf) >= 2 and name(path[-1:]) not in ("b", "bias")

    return jax.tree.map_with_path(weight, params)


def matches(leaf: str, pattern: str) -> bool:
    """Whether a pattern names a leaf, or an entry that it is in.

    >>> matches("dense_0/w", "dense_0"), matches("dense_0/w", "*/w"), matches("dense_0/w", "conv_*")
    (True, True, False)
    """
    parts = leaf.split("/")
    return any(fnmatchcase("/".join(parts[:i]), pattern) for i in range(1, len(parts) + 1))


def is_kept(leaf: str, freeze: Sequence[str] = ()) -> bool:
    """Whether the leaf of this path is kept as it is: a statistic, or one that a pattern of `freeze` names.

    >>> is_kept("input_stats/mean"), is_kept("dense_0/w"), is_kept("dense_0/w", ["dense_*"])
    (True, False, True)
    """
    statistic = any(part.endswith(STATISTICS) for part in leaf.split("/")[:-1])
    return statistic or any(matches(leaf, pattern) for pattern in freeze)


def is_frozen(params: Params, freeze: Sequence[str] = ()) -> Any:
    """Which leaves a pattern of `freeze` names. A pytree of bool like `params`.

    >>> is_frozen({"batch_stats": {"mean": 0.0}, "b": 0.0}, ["batch_stats"])
    {'b': False, 'batch_stats': {'mean': True}}
    """
    return jax.tree.map_with_path(lambda path, _: any(matches(name(path), p) for p in freeze), params)


def split(params: Params, freeze: Sequence[str] = ()) -> tuple[Params, Params]:
    """(trained, kept): each like `params`, with None in place of the leaves of the other.

    >>> split({"w": 1.0, "b": 2.0}, freeze=["b"])
    ({'b': None, 'w': 1.0}, {'b': 2.0, 'w': None})
    """

    def pick(wanted: bool) -> Params:
        return jax.tree.map_with_path(lambda path, a: a if is_kept(name(path), freeze) is wanted else None, params)

    return pick(False), pick(True)


def merge(trained: Params, kept: Params) -> Params:
    """The params that `split` came from.

    >>> merge(*split({"dense_0": {"w": 1.0, "b": 2.0}}, freeze=["*/b"]))
    {'dense_0': {'b': 2.0, 'w': 1.0}}
    """
    return jax.tree.map(lambda a, b: b if a is None else a, trained, kept, is_leaf=lambda leaf: leaf is None)


def check_patterns(flag: str, patterns: Sequence[str], names: Sequence[str]) -> None:
    """Refuse a pattern that names no parameter of these paths: `InputError`, with the nearest name.

    >>> check_patterns("freeze", ["dens_0"], ["dense_0/w", "dense_0/b"])
    Traceback (most recent call last):
    ...
    jaxnn.errors.InputError: freeze=dens_0: matches no parameter; did you mean dense_0? Choose from dense_0
    """
    entries = list(dict.fromkeys(leaf.rpartition("/")[0] or leaf for leaf in names if not is_kept(leaf)))
    for pattern in patterns:
        if not any(matches(leaf, pattern) for leaf in names):
            near = nearest(pattern, entries)
            hint = f"did you mean {near}? " if near else ""
            listed = ", ".join(entries[:20]) + ", ..." * (len(entries) > 20)
            raise InputError(f"{flag}={pattern}: matches no parameter; {hint}Choose from {listed}")


def check_freeze(flag: str, freeze: Sequence[str], params: Params) -> None:
    """Refuse a pattern that names no parameter, and patterns that leave none to train: `InputError`.

    >>> check_freeze("freeze", ["*"], {"w": jnp.ones(2)})
    Traceback (most recent call last):
    ...
    jaxnn.errors.InputError: freeze=*: leaves nothing to train; leave a layer out of it
    """
    names = [leaf for leaf in by_name(params) if not is_kept(leaf)]
    check_patterns(flag, freeze, list(by_name(params)))
    if freeze and all(is_kept(leaf, freeze) for leaf in names):
        raise InputError(f"{flag}={' '.join(freeze)}: leaves nothing to train; leave a layer out of it")
