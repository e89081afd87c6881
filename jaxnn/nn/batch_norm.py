"""Normalisation by the statistics of the batch while training, and by those that were kept of it afterwards."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxnn.errors import fraction, positive
from jaxnn.nn.layers import features, moment_dtype, param_dtype, refuse_integers
from jaxnn.types import Model, Params

STATISTICS = "batch_stats"


def batch_norm(momentum: float | jax.Array = 0.9, eps: float = 1e-5, *, scale_init: float = 1.0) -> Model:
    """y = (x - mean) / sqrt(var + eps) * scale + b, for each feature or channel: x, y `f32[..., F]`.

    While training, mean and var are those of the batch, over all axes but the last; all its rows count once, whatever
    they weigh in the loss, but for rows of weight 0, which have no part. What is kept of them, `batch_stats/mean` and
    `batch_stats/var`, is carried with the parameters and follows after each step, where any row has a part:

        stored <- momentum stored + (1 - momentum) batch

    Everywhere else these stand for the batch, so that the output of an example depends on no other:
    apply(xs) == vmap(apply)(xs). The variance is the mean of the squares around the mean, as in Keras and Flax; the
    one that PyTorch stores is n / (n - 1) times as much, and its momentum is 1 - momentum. Where the layer is frozen
    (`freeze` with a pattern that names its statistics), it is trained with what is stored, which stays as it is.

    In float32 at least; y in the dtype of x. `scale_init=0` for the last one of a residual block (Goyal et al. 2017).
    Raises `InputError` unless 0 <= momentum < 1 and eps > 0. Source: Ioffe and Szegedy 2015.

    >>> import jax, jax.numpy as jnp
    >>> import jaxnn
    >>> layer, x = jaxnn.batch_norm(), jnp.array([[1.0], [2.0], [3.0], [9.0]])
    >>> params = layer.init(jax.random.key(0), x[0])
    >>> weight, frozen = jnp.array([1.0, 1.0, 1.0, 0.0]), jax.tree.map(lambda _: False, params)
    >>> y, params = layer.observe(params, x, None, weight, frozen)
    >>> [f"{y:.2f}" for y in y[:3, 0].tolist()], f"{params['batch_stats']['mean'][0]:.2f}"
    (['-1.22', '0.00', '1.22'], '0.20')
    >>> [f"{y:.2f}" for y in layer.apply(params, x)[:3, 0].tolist()]
    ['0.81', '1.83', '2.85']
    """
    fraction("batch_norm momentum", momentum)
    positive("batch_norm eps", eps)

    def init(key: jax.Array, x: Any) -> Params:
        shape, dtype = features(x), param_dtype(x)
        stored = {"mean": jnp.zeros(shape, moment_dtype(dtype)), "var": jnp.ones(shape, moment_dtype(dtype))}
        return {"scale": jnp.full(shape, scale_init, dtype), "b": jnp.zeros(shape, dtype), STATISTICS: stored}

    def apply(params: Params, x: jax.Array, key: jax.Array | None = None) -> jax.Array:
        refuse_integers(x)
        stored = params[STATISTICS]
        centred = x.astype(moment_dtype(x.dtype)) - jnp.broadcast_to(stored["mean"], x.shape)
        return _scaled(params, centred, stored["var"], eps).astype(x.dtype)

    def observe(
        params: Params, x: jax.Array, key: jax.Array | None, weight: jax.Array, frozen: Any
    ) -> tuple[jax.Array, Params]:
        if any(jax.tree.leaves(frozen[STATISTICS])):
            return apply(params, x), params
        refuse_integers(x)
        real = weight > 0
        centred, moments = _centred(x.astype(moment_dtype(x.dtype)), real)
        share = jnp.where(real.any(), 1 - momentum, 0).astype(centred.dtype)
        stored = jax.tree.map(lambda a, b: a + share * (b - a), params[STATISTICS], lax.stop_gradient(moments))
        return _scaled(params, centred, moments["var"], eps).astype(x.dtype), {**params, STATISTICS: stored}

    return Model(init, apply, "batch_norm", observe)


def _centred(x: jax.Array, real: jax.Array) -> tuple[jax.Array, Params]:
    """x - mean, and mean and variance `[F]` of the rows that are real, over all axes but the last."""
    axes = tuple(range(x.ndim - 1))
    taken = jnp.broadcast_to(real.reshape(-1, *(1,) * (x.ndim - 1)), x.shape)
    # Written as a division by the count, XLA multiplies by its reciprocal or not, as the devices are many or one.
    share = 1 / (jnp.maximum(real.sum(), 1).astype(x.dtype) * (x.size // max(len(real) * x.shape[-1], 1)))
    mean = jnp.where(taken, x, 0).sum(axes) * share
    centred = x - jnp.broadcast_to(mean, x.shape)
    return centred, {"mean": mean, "var": jnp.where(taken, jnp.square(centred), 0).sum(axes) * share}


def _scaled(params: Params, centred: jax.Array, var: jax.Array, eps: float) -> jax.Array:
    factor = params["scale"].astype(var.dtype) * lax.rsqrt(var + eps)
    shift = params["b"].astype(var.dtype)
    return centred * jnp.broadcast_to(factor, centred.shape) + jnp.broadcast_to(shift, centred.shape)
