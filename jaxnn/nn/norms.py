"""Normalisation: of the features of one example, and of the inputs by what is known of the training examples.

`layer_norm` and `group_norm` are batch-free: the output for an example does not depend on the others in its batch, so
apply(xs) == vmap(apply)(xs).
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxnn.errors import InputError, check
from jaxnn.nn.compose import after, stateless
from jaxnn.nn.layers import add_bias, features, moment_dtype, param_dtype, refuse_integers
from jaxnn.types import Model, Params

INPUT_STATISTICS = "input_stats"
TARGET_STATISTICS = "target_stats"


def layer_norm(eps: float = 1e-5) -> Model:
    """y = (x - mean) / sqrt(variance + eps) * scale + b, over the features of an example: x, y `f32[..., F]`.

    Source: Ba et al. 2016.

    >>> import jax, jax.numpy as jnp
    >>> import jaxnn
    >>> layer = jaxnn.layer_norm()
    >>> x = jnp.array([1.0, 2.0, 3.0])
    >>> [f"{y:.3f}" for y in layer.apply(layer.init(jax.random.key(0), x), x).tolist()]
    ['-1.225', '0.000', '1.225']
    """
    init = functools.partial(_init_norm, 1.0)
    return Model(init, lambda params, x, key=None: _affine(params, _normalise(x, (-1,), eps)), "layer_norm")


def group_norm(groups: int, eps: float = 1e-5, *, scale_init: float = 1.0) -> Model:
    """`layer_norm` over height, width and one group of channels: x, y `f32[..., H, W, C]`.

    `scale_init=0` for the last one of a residual block, as in `jaxnn.batch_norm`. Raises `InputError` if the groups
    don't divide the channels. Source: Wu and He 2018.

    >>> import jax, jax.numpy as jnp
    >>> import jaxnn
    >>> layer = jaxnn.group_norm(2)
    >>> x = jnp.arange(16.0).reshape(2, 2, 4)
    >>> bool(abs(layer.apply(layer.init(jax.random.key(0), x), x)[..., :2].mean()) < 1e-5)
    True
    """
    check("group_norm groups", groups, ">= 1", groups >= 1)

    def apply(params: Params, x: jax.Array, key: jax.Array | None = None) -> jax.Array:
        if x.ndim < 3 or x.shape[-1] % groups:
            raise InputError(f"x={jax.typeof(x)}: must be [..., H, W, C] with C a multiple of groups={groups}")
        grouped = x.reshape(*x.shape[:-1], groups, x.shape[-1] // groups)
        return _affine(params, _normalise(grouped, (-4, -3, -1), eps).reshape(x.shape))

    return Model(functools.partial(_init_norm, scale_init), apply, "group_norm")


def _init_norm(scale: float, key: jax.Array, x: Any) -> Params:
    return {"scale": jnp.full(features(x), scale, param_dtype(x)), "b": jnp.zeros(features(x), param_dtype(x))}


def _normalise(x: jax.Array, axes: tuple[int, ...], eps: float) -> jax.Array:
    refuse_integers(x)
    full = x.astype(moment_dtype(x.dtype))
    centred = full - full.mean(axes, keepdims=True)
    return (centred * lax.rsqrt(jnp.square(centred).mean(axes, keepdims=True) + eps)).astype(x.dtype)


def _affine(params: Params, x: jax.Array) -> jax.Array:
    return add_bias(x * jnp.broadcast_to(params["scale"], x.shape), params["b"])


def scale(mean: Any = 0.0, std: Any = 1.0) -> Model:
    """y = (x - mean) / std, in floating point: `scale(std=255)` brings uint8 pixels to [0, 1]; both standardise.

    mean and std: one number, or arrays that fit the last axes of x. A feature whose std is 0 is constant: it is only
    centred. No parameters: what is given here is not trained. Raises `InputError` if they are not finite, or std < 0.

    >>> import jax.numpy as jnp
    >>> import jaxnn
    >>> [f"{y:.4f}" for y in jaxnn.scale(std=255).apply({}, jnp.array([0, 51, 255], jnp.uint8)).tolist()]
    ['0.0000', '0.2000', '1.0000']
    """
    mean, std = np.asarray(mean, np.float64), np.asarray(std, np.float64)
    _check_moments(mean, std)
    factor = 1 / np.where(std == 0, 1.0, std)
    return stateless(lambda x: _moved(x, mean, factor), "scale")


def standardized(model: Model, mean: Any, std: Any) -> Model:
    """The model of y = (x - mean) / std, with both among its parameters: `input_stats/mean`, `input_stats/std`.

    They are statistics of the training examples, arrays in the shape of one example and in the units of x: kept with
    the weights, and not trained. A feature whose std is 0 is constant: it is only centred. Raises `InputError` if they
    are not finite, or std < 0. Source: LeCun et al. 1998, "Efficient BackProp", 4.3.

    >>> import jax, jax.numpy as jnp, jaxnn
    >>> model = jaxnn.standardized(jaxnn.linear(1), mean=jnp.array([1.0, 2.0]), std=jnp.array([1.0, 4.0]))
    >>> params = model.init(jax.random.key(0), jnp.zeros(2))
    >>> sorted(params), jaxnn.tree.is_kept("input_stats/mean")
    (['dense_0', 'input_stats'], True)
    """
    mean, std = np.asarray(mean, np.float64), np.asarray(std, np.float64)
    _check_moments(mean, std)

    def init(key: jax.Array, x: Any) -> Params:
        params, dtype = model.init(key, jax.ShapeDtypeStruct(x.shape, param_dtype(x))), param_dtype(x)
        moments = {"mean": mean, "std": std}
        given = {name: jnp.broadcast_to(jnp.asarray(value, dtype), x.shape) for name, value in moments.items()}
        return {**_dict(params), INPUT_STATISTICS: given}

    def centred(params: Params, x: jax.Array, key: jax.Array | None) -> jax.Array:
        del key  # there is no noise in it
        mean, std = params[INPUT_STATISTICS]["mean"], params[INPUT_STATISTICS]["std"]
        return _moved(x, mean, 1 / jnp.where(std == 0, 1, std))

    return after(_beside(model, INPUT_STATISTICS), init, centred)


def in_units(model: Model, mean: Any, std: Any) -> Model:
    """The model of mean + std y, with both among its parameters: `target_stats/mean`, `target_stats/std`.

    For amounts to predict, `[outputs]` each, in any unit: what the model itself gives is of the order of 1. They are
    statistics of the training examples, kept with the weights and not trained. Raises `InputError` if they are not
    finite, or std < 0.

    >>> import jax, jax.numpy as jnp, jaxnn
    >>> model = jaxnn.in_units(jaxnn.linear(1), mean=[200.0], std=[50.0])
    >>> params = model.init(jax.random.key(0), jnp.zeros(2))
    >>> model.apply(params, jnp.zeros(2)).tolist(), sorted(params)
    ([200.0], ['dense_0', 'target_stats'])
    """
    mean, std = np.asarray(mean, np.float64), np.asarray(std, np.float64)
    _check_moments(mean, std)
    inner = _beside(model, TARGET_STATISTICS)

    def init(key: jax.Array, x: Any) -> Params:
        params = model.init(key, x)
        moments = {"mean": mean, "std": std}
        dtype = jax.tree.leaves(params)[0].dtype
        return {
            **_dict(params),
            TARGET_STATISTICS: {name: jnp.asarray(value, dtype) for name, value in moments.items()},
        }

    def moved(params: Params, y: jax.Array) -> jax.Array:
        stats = {name: jnp.broadcast_to(value, y.shape) for name, value in params[TARGET_STATISTICS].items()}
        return stats["mean"] + stats["std"] * y

    def apply(params: Params, x: jax.Array, key: jax.Array | None = None) -> jax.Array:
        return moved(params, inner.apply(params, x, key))

    def observe(
        params: Params, x: jax.Array, key: jax.Array | None, weight: jax.Array, frozen: Any
    ) -> tuple[jax.Array, Params]:
        assert inner.observe
        y, renewed = inner.observe(params, x, key, weight, frozen)
        return moved(params, y), renewed

    return model._replace(init=init, apply=apply, observe=observe if model.observe else None)


def _beside(model: Model, entry: str) -> Model:
    """The model, whose parameters have one more entry that it does not see."""

    def own(params: Params) -> Params:
        return {name: value for name, value in params.items() if name != entry}

    def apply(params: Params, x: jax.Array, key: jax.Array | None = None) -> jax.Array:
        return model.apply(own(params), x, key)

    def observe(
        params: Params, x: jax.Array, key: jax.Array | None, weight: jax.Array, frozen: Any
    ) -> tuple[jax.Array, Params]:
        assert model.observe
        y, renewed = model.observe(own(params), x, key, weight, own(frozen))
        return y, {**renewed, entry: params[entry]}

    return model._replace(apply=apply, observe=observe if model.observe else None)


def _dict(params: Params) -> dict[str, Any]:
    if not isinstance(params, dict):
        raise InputError(f"model: its parameters are a {type(params).__name__}: must be a dict; wrap it in a chain")
    return params


def _check_moments(mean: np.ndarray, std: np.ndarray) -> None:
    if not (np.isfinite(mean).all() and np.isfinite(std).all() and (std >= 0).all()):
        raise InputError("scale mean, std: must be finite, std >= 0; look for nan and inf in the training examples")


def _moved(x: jax.Array, mean: Any, factor: Any) -> jax.Array:
    """(x - mean) factor, in floating point."""
    for values in (mean, factor):
        if values.shape != x.shape[max(0, x.ndim - values.ndim) :]:
            raise InputError(f"scale mean, std={values.shape}: must fit the last axes of x, {jax.typeof(x)}")
    dtype = param_dtype(x)
    centred = x.astype(dtype) - jnp.broadcast_to(jnp.asarray(mean, dtype), x.shape)
    return centred * jnp.broadcast_to(jnp.asarray(factor, dtype), x.shape)
