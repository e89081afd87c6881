"""Each primitive of JAX that is exported gives in ONNX and in NumPy what it gives in JAX."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from exporting import IMAGES, WHOLE, F, agree
from jax import lax

import jaxnn
from jaxnn import export
from jaxnn.nn.convolution import conv2d

RNG = np.random.default_rng(1)
TABLE = jnp.asarray(RNG.normal(size=(9, 4)), jnp.float32)
KERNEL = jnp.asarray(RNG.normal(size=(3, 2, 4, 6)), jnp.float32)
conv = lax.conv_general_dilated
PRIMITIVES: dict[str, tuple[Callable[[Any], Any], np.ndarray]] = {
    "arithmetic": (lambda x: (x + 1) * (x - 2) / (x * x + 1) - (-x) + (0 - x) * 2, F),
    "powers": (lambda x: x**3 + x**-2 + lax.integer_pow(x, 0) + jnp.power(jnp.abs(x), 1.5) + jnp.square(x), F),
    "exponentials": (lambda x: jnp.exp(x) + jnp.exp2(x) + jnp.log(jnp.abs(x)) + jnp.log1p(jnp.exp(x)), F),
    "near nothing": (lambda x: jnp.stack([jnp.log1p(x) * 1e6, jnp.expm1(x) * 1e6], 1), F * 1e-6),
    "log1p and expm1 far away": (lambda x: jnp.log1p(jnp.abs(x) * 1e30) + jnp.expm1(-jnp.abs(x) * 1e3), F),
    "infinite": (lambda x: jnp.expm1(x) + jnp.log1p(jnp.exp(x)), F * 1e3),
    "circular": (lambda x: jnp.sin(x) + jnp.cos(x) * jnp.tan(x / 4) + jnp.arctan(x), F),
    "inverses": (lambda x: jnp.arcsin(x) + jnp.arccos(x) + jnp.arctanh(x), np.tanh(F)),
    "hyperbolic": (lambda x: jnp.sinh(x) + jnp.cosh(x) + jnp.tanh(x) + jnp.arcsinh(x) + jnp.arccosh(1 + x * x), F),
    "roots": (lambda x: jnp.sqrt(jnp.abs(x)) + lax.rsqrt(jnp.abs(x) + 1), F),
    "logistic": (lambda x: jax.nn.sigmoid(x * 100), F),
    "erf": (lambda x: lax.erf(x) + lax.erfc(x), F),
    "rounding": (lambda x: jnp.floor(x) + jnp.ceil(x) + jnp.round(x * 2) + jnp.sign(x), F),
    "comparing": (lambda x: jnp.stack([x == 0, x != 0, x < 1, x <= 1, x > 1, x >= 1], -1), F),
    "logic": (lambda x: (x > 0) & (x < 1) | ~(x > -1) ^ jnp.isfinite(x), F),
    "bits": (lambda x: (x & 6) | (x ^ 3) + ~x, WHOLE),
    "whole numbers": (
        lambda x: lax.div(x, jnp.full_like(x, 2)) + lax.rem(x, jnp.full_like(x, 3)) + x // 3 + x % 4,
        WHOLE,
    ),
    "remainder": (lambda x: jnp.fmod(x, 0.7) + x % 0.3, F),
    "choice": (lambda x: jnp.where(x > 0, x, jnp.maximum(x, -1) + jnp.minimum(x, 0.5)) + jnp.clip(x, -0.5, 0.5), F),
    "casting": (lambda x: x.astype(jnp.int32).astype(jnp.float32) + (x > 0).astype(jnp.float32), F * 3),
    "bfloat16": (lambda x: (x.astype(jnp.bfloat16) * 2).astype(jnp.float32), np.round(F)),
    "reshaping": (lambda x: x.reshape(-1, 2, 3).swapaxes(1, 2).reshape(x.shape[0], 6)[:, :, None].squeeze(-1), F),
    "rows side by side": (
        lambda x: (x.reshape(-1, 3) * 2).reshape(x.shape) + x.reshape(-1)[:, None].reshape(x.shape),
        F,
    ),
    "turned": (lambda x: ((x.T + jnp.arange(6.0)[:, None]) * x.T).T @ jnp.ones((6, 2)), F),
    "broadcasting": (lambda x: jnp.broadcast_to(x[:, :, None], (*x.shape, 2)) + jnp.zeros((x.shape[0], 6, 2)), F),
    "tiling": (lambda x: jnp.concatenate([jnp.tile(x, (1, 2)), jnp.repeat(x, 2, 1), jnp.roll(x, 1, 1)], 1), F),
    "splitting": (lambda x: jnp.concatenate(jnp.split(x, 3, 1)[::-1], 1) + jnp.stack(jnp.unstack(x, axis=1), 1), F),
    "slicing": (lambda x: jnp.concatenate([x[:, 4:0:-2], x[:, ::3], x[:, -1:], x[:, 2][:, None]], 1), F),
    "reversing": (lambda x: jnp.flip(x, 1) - x[:, ::-1] * 2, F),
    "a part at a known place": (
        lambda x: lax.dynamic_slice_in_dim(x, 4, 3, 1) + lax.dynamic_slice_in_dim(x, 9, 3, 1),
        F,
    ),
    "picking": (lambda x: x[:, jnp.array([5, 0, -1])] + jnp.take(x, jnp.array([1, 1, 2]), 1, mode="clip"), F),
    "a table": (lambda x: TABLE[x] + jnp.take(TABLE, x, 0, mode="clip"), WHOLE),
    "out of a table": (lambda x: jnp.take(TABLE.T, x * 5, 1, mode="fill").swapaxes(0, 1), WHOLE),
    "padding": (lambda x: lax.pad(x, 2.0, ((0, 0, 0), (2, -1, 2), (-1, 3, 0), (1, 1, 1))), IMAGES),
    "a mirror around": (lambda x: jnp.pad(x, ((0, 0), (2, 1), (1, 2), (0, 0)), "reflect"), IMAGES),
    "sums": (lambda x: x.sum(1) + x.prod(1) + x.max(1) - x.min(1) + x.mean((1,)) + x.std(1), F),
    "sums of whole numbers": (lambda x: x.sum(1) + x.max(1), WHOLE),
    "any and all": (lambda x: jnp.stack([(x > -1).all(1), (x > 1).any(1)], 1), F),
    "places of the best": (lambda x: x.argmax(1) - x.argmin(1), F),
    "running sums": (lambda x: jnp.cumsum(x, 1) + lax.cumsum(x, 1, reverse=True), F),
    "products": (lambda x: jnp.einsum("nhwc,hwco->no", x, jnp.ones((8, 8, 4, 2))) @ jnp.ones((2, 3)), IMAGES),
    "products of one row": (
        lambda x: jnp.einsum("nhwc,nvwc->nhv", x, x) + jnp.einsum("nhwc,nhwd->ncd", x, x)[:, :1, :1],
        IMAGES,
    ),
    "vectors": (lambda x: jnp.stack([x @ jnp.arange(6.0), jnp.einsum("nk,nk->n", x, x)], 1), F),
    "softmax": (lambda x: jax.nn.softmax(x) + jax.nn.log_softmax(x) + jax.nn.logsumexp(x, 1)[:, None], F),
    "convolution": (lambda x: conv2d(x, KERNEL, stride=(2, 1), padding="SAME"), IMAGES),
    "convolution, channels first": (
        lambda x: conv(x, KERNEL.transpose(3, 2, 0, 1), (1, 2), ((2, 0), (-1, 1)), rhs_dilation=(1, 2)),
        IMAGES.transpose(0, 3, 1, 2),
    ),
    "convolution in groups": (lambda x: conv2d(x, KERNEL[:, :, :2], dilation=2, groups=2), IMAGES),
    "convolution of each channel": (lambda x: conv2d(x, KERNEL[:, :, :1, :4], groups=4), IMAGES),
    "convolution, transposed": (lambda x: lax.conv_transpose(x, KERNEL, (2, 3), "SAME"), IMAGES),
    "convolution of a series": (
        lambda x: conv(x, KERNEL[:, 0], (1,), "SAME", dimension_numbers=("NWC", "WIO", "NWC")),
        IMAGES[:, 0],
    ),
    "largest of windows": (
        lambda x: lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 2, 1), (1, 2, 1, 1), "SAME"),
        IMAGES,
    ),
    "least of windows": (
        lambda x: lax.reduce_window(
            x, jnp.inf, lax.min, (1, 2, 2, 1), (1, 1, 1, 1), "VALID", window_dilation=(1, 2, 3, 1)
        ),
        IMAGES,
    ),
    "sums of windows": (lambda x: lax.reduce_window(x, 0.0, lax.add, (1, 3, 3, 1), (1, 2, 2, 1), "SAME"), IMAGES),
    "windows of a row": (lambda x: lax.reduce_window(x, -jnp.inf, lax.max, (1, 2), (1, 2), "VALID"), F),
    "a window of channels": (lambda x: lax.reduce_window(x, 0.0, lax.add, (1, 1, 2, 3), (1, 1, 1, 1), "SAME"), IMAGES),
    "what is looked through": (
        lambda x: jax.checkpoint(jax.jit(lambda x: lax.optimization_barrier(jax.nn.relu(x)) * 2))(lax.stop_gradient(x)),
        F,
    ),
    "what is known": (
        lambda x: x + jax.random.normal(jax.random.key(0), (6,))[None],
        F,
    ),
    "a known branch": (
        lambda x: lax.cond(jnp.array(True), jnp.sin, jnp.cos, x) + lax.switch(2, [jnp.sin] * 2 + [jnp.exp], x),
        F,
    ),
    "x itself": (lambda x: x, F),
}


@pytest.mark.long
@pytest.mark.parametrize("name", PRIMITIVES)
def test_each_primitive_gives_what_jax_gives(name, tmp_path):
    function, x = PRIMITIVES[name]
    network = export.of(lambda params, x: function(x), {}, jax.ShapeDtypeStruct(x.shape[1:], x.dtype))
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        agree(tmp_path, network, x)


@pytest.mark.parametrize("name", jaxnn.activations.TABLE)
def test_each_activation_gives_what_jax_gives(name, tmp_path):
    function = jaxnn.activation(name)
    x = 1 / (1 + np.exp(-F)) if name == "logit" else F * 3
    agree(tmp_path, export.of(lambda params, x: function(x), {}, F[0]), x)
