"""What is put around an optimizer: clipping of gradients, a limit on weights, a running average of the parameters."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxnn import tree
from jaxnn.types import Params


def clip_norm(max_norm: float) -> optax.GradientTransformation:
    """A gradient whose norm over all leaves is larger is scaled back to `max_norm`.

    As optax's, but for its corners: a gradient of zero has a derivative (under `grad` over the learning rate), and one
    leaf of NaN stays one leaf. Source: Pascanu et al. 2013.
    """

    def update(updates: Params, params: Params = None) -> Params:
        del params
        square = optax.tree.norm(updates, squared=True)
        outside = square > max_norm**2
        norm = jnp.sqrt(jnp.where(outside, square, 1.0))
        return jax.tree.map(lambda g: jnp.where(outside, g / norm * max_norm, g), updates)

    return optax.stateless(update)


def limit_norm(max_norm: float) -> optax.GradientTransformation:
    """After the update, each unit's incoming weights are scaled back to a norm of at most `max_norm`.

    A unit is a row of a dense layer's `w[j]`, and otherwise an entry of the last axis: `w[:, :, :, j]` of a
    convolution, `kernel[:, j]` of Flax. One that is inside gets its update untouched. Source: Srebro and Shraibman
    2005; Srivastava et al. 2014.
    """

    def project(path: tuple[Any, ...], update: jax.Array, param: jax.Array, yes: bool) -> jax.Array:
        if not yes:
            return update
        moved = param + update
        rows = moved.ndim == 2 and tree.name(path[-1:]) == "w"
        incoming = (1,) if rows else tuple(range(moved.ndim - 1))
        square = jnp.sum(jnp.square(moved), axis=incoming, keepdims=True)
        outside = square > max_norm**2
        # rsqrt(0), in the branch that is not taken, would make the derivative NaN.
        scale = max_norm * jax.lax.rsqrt(jnp.where(outside, square, 1.0))
        return jnp.where(outside, moved * scale - param, update)

    return optax.stateless(
        lambda updates, params: jax.tree.map_with_path(project, updates, params, tree.is_weight(params))
    )


def scale_rates(factors: Mapping[str, float]) -> optax.GradientTransformation:
    """The update of a parameter is multiplied by the factor of the last pattern that names its path.

    Its learning rate is scaled so: of any optimizer, decoupled weight decay included. `init` raises `InputError` for a
    pattern that names no trained parameter. Source: Howard and Ruder 2018 (discriminative fine-tuning).
    """

    def scaled(path: tuple[Any, ...], update: jax.Array) -> jax.Array:
        factor = _last(factors, path)
        return update if factor is None else update * factor

    def update(updates: Params, state: Any, params: Params = None) -> tuple[Params, Any]:
        return jax.tree.map_with_path(scaled, updates), state

    return optax.GradientTransformation(_checked("--optim.lr_scale", factors, optax.EmptyState), update)


class UnfreezeState(NamedTuple):
    count: jax.Array  # i32[]


def unfreeze(starts: Mapping[str, int]) -> optax.GradientTransformation:
    """The update of a parameter is zero before the step of the last pattern that names its path.

    The optimizer follows the gradient all the while, so that its moments are those of the gradient when the parameter
    begins to move. `init` raises `InputError` for a pattern that names no trained parameter. Source: Howard and Ruder
    2018 (gradual unfreezing).
    """

    def update(updates: Params, state: Any, params: Params = None) -> tuple[Params, UnfreezeState]:
        def held(path: tuple[Any, ...], update: jax.Array) -> jax.Array:
            start = _last(starts, path)
            # w + -0.0 is w bit for bit; w + 0.0 would make 0.0 of a weight of -0.0.
            return update if start is None else jnp.where(state.count >= start, update, -0.0).astype(update.dtype)

        return jax.tree.map_with_path(held, updates), UnfreezeState(state.count + 1)

    begin = lambda: UnfreezeState(jnp.zeros((), jnp.int32))
    return optax.GradientTransformation(_checked("--optim.unfreeze", starts, begin), update)


def _last(values: Mapping[str, Any], path: tuple[Any, ...]) -> Any:
    """The value of the last pattern that names a leaf, or None."""
    named = [value for pattern, value in values.items() if tree.matches(tree.name(path), pattern)]
    return named[-1] if named else None


def _checked(flag: str, patterns: Mapping[str, Any], state: Callable[[], Any]) -> optax.TransformInitFn:
    def init(params: Params) -> Any:
        tree.check_patterns(flag, list(patterns), list(tree.by_name(params)))
        return state()

    return init


class AverageState(NamedTuple):
    count: jax.Array  # i32[]
    average: Params


def average(decay: float) -> optax.GradientTransformationExtraArgs:
    """Follows the exponential moving average of the parameters after each update; the updates pass unchanged.

    The average after t steps is sum_i decay^(t-i) theta_i / sum_i decay^(t-i) over i = 1..t: it has weight 1 in all,
    starts at theta_1 and owes nothing to the initial parameters (those are what it holds before the first step).
    Kept up as a <- a + (theta - a) (1 - decay) / (1 - decay^t). The leaves that `kept` has and the state too, the
    statistics of a model that observes, are averaged with them. Source: Polyak and Juditsky 1992; Kingma and Ba 2015.
    """

    def init(params: Params) -> AverageState:
        return AverageState(jnp.zeros((), jnp.int32), jax.tree.map(jnp.copy, params))  # so that both can be donated

    def update(
        updates: Params, state: Any, params: Params = None, *, kept: Params = None, **extra: Any
    ) -> tuple[Params, AverageState]:
        del extra
        count = state.count + 1
        share = (1.0 - decay) / -jnp.expm1(count * math.log(decay))
        moved = optax.apply_updates(params, updates)
        moved = moved if kept is None else tree.merge(moved, kept)
        follow = lambda a, p: None if a is None else (a + share * (p - a)).astype(a.dtype)
        mean = jax.tree.map(follow, state.average, moved, is_leaf=lambda leaf: leaf is None)
        return updates, AverageState(count, mean)

    return optax.GradientTransformationExtraArgs(init, update)
