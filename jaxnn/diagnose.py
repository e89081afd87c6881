"""What can go wrong inside a network: gradients that vanish, units that are dead."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxnn.types import Model, Params


def gradient_norms(grads: Params) -> dict[str, jax.Array]:
    """The norm of each leaf of a gradient, by path, `float[]` each: where it vanishes or explodes on its way back.

    >>> import jax.numpy as jnp
    >>> import jaxnn
    >>> norms = jaxnn.gradient_norms({"dense_0": {"w": jnp.full((2, 2), 1.5)}})
    >>> {path: float(norm) for path, norm in norms.items()}
    {'dense_0/w': 3.0}

    Source: the lecture (the vanishing gradient problem).
    """
    return _by_path(jnp.linalg.norm, grads)


def dead_units(model: Model, params: Params, x: jax.Array) -> dict[str, jax.Array]:
    """Which units never pass a gradient back for any example of x: bool[F] for each bias, by path.

    A unit whose activation is flat for every example (a ReLU that is always 0) has d(output)/d(bias) = 0 throughout,
    and no training on these examples will bring it back. Outputs are weighted at random, example by example, so that
    nothing cancels by accident; x `[n, ...]`.

    >>> import jax, jax.numpy as jnp
    >>> import jaxnn
    >>> model = jaxnn.mlp((3,), 1)
    >>> params = model.init(jax.random.key(0), jnp.ones(2))
    >>> params["dense_0"]["b"] = jnp.array([100.0, -100.0, 100.0])
    >>> jaxnn.dead_units(model, params, jnp.ones((5, 2)))["dense_0/b"].tolist()
    [False, True, False]

    Source: the lecture (dying ReLU).
    """
    y, pullback = jax.vjp(lambda params: model.apply(params, x), params)
    (grads,) = pullback(jax.random.normal(jax.random.key(0), y.shape, y.dtype))
    return {path: dead for path, dead in _by_path(lambda g: g == 0, grads).items() if path.endswith(("b", "bias"))}


def _by_path(f: Callable[[jax.Array], jax.Array], tree: Params) -> dict[str, jax.Array]:
    leaves = jax.tree.leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): f(leaf) for path, leaf in leaves}
