"""Layers that trade pixels for channels and back, or one for the other: see also `max_pool` and `upsample`."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from jaxnn.errors import InputError, check
from jaxnn.nn import convolution
from jaxnn.nn.compose import stateless
from jaxnn.nn.init import Initialiser
from jaxnn.nn.layers import affine
from jaxnn.types import Model


def space_to_depth(k: int = 2) -> Model:
    """Each block of k x k pixels as one pixel: `f32[..., H, W, C]` -> `f32[..., H/k, W/k, k k C]`, no number lost.

    Channel (i k + j) C + c is channel c of the pixel in row i and column j of its block, as in TensorFlow. Raises
    `InputError` unless k divides H and W. Source: Shi et al. 2016 (pixel unshuffle).

    >>> import jax.numpy as jnp
    >>> import jaxnn
    >>> jaxnn.space_to_depth(2).apply({}, jnp.arange(8.0).reshape(2, 4, 1)).tolist()
    [[[0.0, 1.0, 4.0, 5.0], [2.0, 3.0, 6.0, 7.0]]]
    """
    check("space_to_depth k", k, ">= 1", k >= 1)

    def apply(x: jax.Array) -> jax.Array:
        convolution.check_images(x)
        *batch, h, w, c = x.shape
        if h % k or w % k:
            raise InputError(f"x={jax.typeof(x)}: height and width must be multiples of {k}; crop or resize the images")
        blocks = x.reshape(*batch, h // k, k, w // k, k, c).swapaxes(-4, -3)
        return blocks.reshape(*batch, h // k, w // k, k * k * c)

    return stateless(apply, "space_to_depth")


def depth_to_space(k: int = 2) -> Model:
    """The inverse of `space_to_depth`: `f32[..., H, W, k k C]` -> `f32[..., k H, k W, C]`. Source: Shi et al. 2016.

    Raises `InputError` unless k k divides the channels.

    >>> import jax.numpy as jnp
    >>> import jaxnn
    >>> x = jnp.arange(32.0).reshape(4, 4, 2)
    >>> bool((jaxnn.chain(jaxnn.space_to_depth(2), jaxnn.depth_to_space(2)).apply({}, x) == x).all())
    True
    """
    check("depth_to_space k", k, ">= 1", k >= 1)

    def apply(x: jax.Array) -> jax.Array:
        convolution.check_images(x)
        *batch, h, w, c = x.shape
        if c % k**2:
            raise InputError(f"x={jax.typeof(x)}: its channels must be a multiple of {k}x{k}; end with as many before")
        blocks = x.reshape(*batch, h, w, k, k, c // k**2).swapaxes(-4, -3)
        return blocks.reshape(*batch, k * h, k * w, c // k**2)

    return stateless(apply, "depth_to_space")


def conv_transpose(
    channels: int,
    kernel: int | tuple[int, int] = 2,
    stride: int | tuple[int, int] = 2,
    *,
    padding: str = "VALID",
    init: str | Initialiser = "glorot",
    bias: bool = True,
) -> Model:
    """y[h s + i, v s + j, o] += x[h, v, c] w[i, j, c, o], and a bias: each pixel of x adds its kernel to y.

    x `f32[..., H, W, C]`, `w f32[kh, kw, C, channels]` -> `f32[..., H', W', channels]`; padding VALID has
    H' = (H - 1) s + kh, SAME H' = s H (its edges cut off). Raises `InputError` for a kernel smaller than its stride,
    which would leave pixels out; one that is no multiple of the stride leaves a pattern of squares in y.
    Source: Zeiler et al. 2010; Odena et al. 2016 (the squares).

    >>> import jax, jax.numpy as jnp
    >>> import jaxnn
    >>> layer = jaxnn.conv_transpose(4)
    >>> layer.apply(layer.init(jax.random.key(0), jnp.zeros((3, 5, 2))), jnp.zeros((8, 3, 5, 2))).shape
    (8, 6, 10, 4)
    """
    sizes, strides = (
        convolution.pair("conv_transpose kernel", kernel),
        convolution.pair("conv_transpose stride", stride),
    )
    if padding not in ("VALID", "SAME"):
        raise InputError(f"conv_transpose padding={padding}: must be VALID or SAME")
    for size, step in zip(sizes, strides, strict=True):
        check("conv_transpose stride", step, f">= 1 and at most the kernel, {size}", 1 <= step <= size)

    def product(x: jax.Array, w: jax.Array) -> jax.Array:
        convolution.check_images(x)
        around = []
        for k, s in zip(sizes, strides, strict=True):
            first, last = ((k - s) // 2, (k - s + 1) // 2) if padding == "SAME" else (0, 0)  # cut off y
            around.append((k - 1 - first, k - 1 - last, s - 1))
        spread = lax.pad(x, jnp.zeros((), x.dtype), [*[(0, 0, 0)] * (x.ndim - 3), *around, (0, 0, 0)])
        return convolution.conv2d(spread, w[::-1, ::-1])

    return affine("conv_transpose", product, channels, sizes, init, bias)


def global_max_pool() -> Model:
    """The largest entry of each channel: `f32[..., H, W, C]` -> `f32[..., C]`. Equal ones share the gradient.

    >>> import jax.numpy as jnp
    >>> import jaxnn
    >>> jaxnn.global_max_pool().apply({}, jnp.arange(8.0).reshape(2, 2, 2)).tolist()
    [6.0, 7.0]
    """

    def apply(x: jax.Array) -> jax.Array:
        convolution.check_images(x)
        return x.max((-3, -2))

    return stateless(apply, "global_max_pool")
