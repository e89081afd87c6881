"""Compute in half precision what is kept in full: mixed precision."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jaxnn import tree
from jaxnn.types import Model, Params


def in_bfloat16(model: Model) -> Model:
    """The model computed in bfloat16, over the same float32 parameters: x `f32[..., F]` -> `f32[..., outputs]`.

        y = float32(f(bfloat16(theta), bfloat16(x)))

    Parameters, gradients, statistics and the loss stay in float32, which loses no small update; normalisation layers
    take their moments in float32. bfloat16 has the exponents of float32, so that no loss has to be scaled. A gain of
    time and memory on accelerators; a CPU without such instructions is slower so. Source: Micikevicius et al. 2018;
    Kalamkar et al. 2019.

    >>> import jax, jax.numpy as jnp, jaxnn
    >>> model = jaxnn.in_bfloat16(jaxnn.linear(1))
    >>> params = {"dense_0": {"w": jnp.full((1, 2), 1 / 3), "b": jnp.zeros(1)}}
    >>> y = model.apply(params, jnp.array([1.0, 0.0]))
    >>> float(y[0]), str(y.dtype)
    (0.333984375, 'float32')
    """

    def apply(params: Params, x: Any, key: jax.Array | None = None) -> Any:
        return _to(jnp.float32, model.apply(_halved(params), _to(jnp.bfloat16, x), key))

    def observe(params: Params, x: Any, key: jax.Array | None, weight: jax.Array, frozen: Any) -> tuple[Any, Params]:
        assert model.observe
        y, seen = model.observe(_halved(params), _to(jnp.bfloat16, x), key, weight, frozen)
        kept = lambda path, old, new: new if tree.is_kept(tree.name(path)) else old
        return _to(jnp.float32, y), jax.tree.map_with_path(kept, params, seen)

    return model._replace(apply=apply, observe=observe if model.observe else None)


def _to(dtype: Any, values: Any) -> Any:
    """Those that are floating, in this dtype."""
    return jax.tree.map(lambda a: a.astype(dtype) if jnp.issubdtype(a.dtype, jnp.floating) else a, values)


def _halved(params: Params) -> Params:
    """All but the statistics, whose running means would lose their small changes."""
    half = lambda path, leaf: leaf if tree.is_kept(tree.name(path)) else _to(jnp.bfloat16, leaf)
    return jax.tree.map_with_path(half, params)
