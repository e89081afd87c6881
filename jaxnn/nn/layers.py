"""Layers: every one is a `Model`, a pair of pure functions; `jaxnn.nn.compose` makes one Model of several.

    init(key, x) -> params                x: one example, or its ShapeDtypeStruct
    apply(params, x, key=None) -> y       x: [..., core axes]; a key switches dropout on

A plain function of one array is a layer without parameters. Core axes come last (`[F]`, `[H, W, C]`) and leading axes
are free. Parameters take the floating dtype of x, else float32.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from jaxnn.errors import InputError, check, fraction
from jaxnn.nn import convolution
from jaxnn.nn.compose import stateless
from jaxnn.nn.convolution import Sizes
from jaxnn.nn.init import Initialiser, initialiser
from jaxnn.numerics import is_zero
from jaxnn.types import Model, Params

IMAGES_IN_CACHE = 16  # whose patches fit the cache of a CPU together: in parts of 8 or 64 a convolution gains less


def affine(
    name: str,
    product: Callable[[jax.Array, jax.Array], jax.Array],
    width: int,
    sizes: tuple[int, ...],
    init: str | Initialiser,
    bias: bool = True,
    groups: int = 1,
    bias_init: ArrayLike | Sequence[float] = 0.0,
) -> Model:
    """y = product(x, w) + b with `w f32[*sizes, C / groups, width]`: a convolution, or one with its pool."""
    for size in (width, *sizes):
        check(f"{name} size", size, ">= 1", size >= 1)
    weights = initialiser(init)
    if np.shape(bias_init) not in ((), (width,)):
        raise InputError(f"{name} bias_init of shape {np.shape(bias_init)}: must be a number, or {width} of them")

    def init_(key: jax.Array, x: Any) -> Params:
        dtype, channels = param_dtype(x), features(x)
        if channels % groups:
            raise InputError(f"x={x.dtype}{list(x.shape)}: its channels must be a multiple of groups={groups}")
        params = {"w": weights(key, (*sizes, channels // groups, width), dtype)}
        return {**params, "b": jnp.broadcast_to(jnp.asarray(bias_init, dtype), (width,))} if bias else params

    def apply(params: Params, x: jax.Array, key: jax.Array | None = None) -> jax.Array:
        y = product(x, params["w"])
        return add_bias(y, params["b"]) if bias else y

    return Model(init_, apply, name, micro_batch=IMAGES_IN_CACHE)


def add_bias(x: jax.Array, b: jax.Array) -> jax.Array:
    """x + b with b `[F]` for x `[..., F]`, the broadcasting spelled out."""
    return x + jnp.broadcast_to(b, x.shape)


def param_dtype(x: Any) -> Any:
    """The floating dtype of x, canonical (float64 only where JAX is told so), else float32."""
    dtype = jax.dtypes.canonicalize_dtype(x.dtype)
    return dtype if jnp.issubdtype(dtype, jnp.floating) else jnp.float32


def moment_dtype(dtype: Any) -> Any:
    """The dtype that moments are taken in: float32 for half precision, which has too few digits for a variance."""
    return dtype if jnp.finfo(dtype).bits >= 32 else jnp.float32


def refuse_integers(x: jax.Array) -> None:
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise InputError(f"x={jax.typeof(x)}: must be floating; put scale() before this layer")


def features(x: Any) -> int:
    """How many features or channels an example has."""
    if not x.shape:
        raise InputError(f"x={x.dtype}[]: one example must have at least one axis; give single numbers as x[:, None]")
    return x.shape[-1]


def dense(width: int, *, init: str | Initialiser = "glorot", bias: bool = True) -> Model:
    """y = W x + b: x `f32[..., F]`, `w f32[width, F]`, `b f32[width]` -> `f32[..., width]`.

    One matrix product, whatever the leading axes. Each row of w is a unit, as in the lecture's w^T x + b; inside, the
    units come first in the product too, which makes a small network a third faster on a CPU than x W with w
    `[F, width]`; see `units_first`. Raises `InputError` if x has integers, or other features than w.
    Source: the lecture.

    >>> import jax, jax.numpy as jnp
    >>> import jaxnn
    >>> layer = jaxnn.dense(50)
    >>> params = layer.init(jax.random.key(0), jnp.zeros(784))
    >>> jax.tree.map(jnp.shape, params), layer.apply(params, jnp.zeros((32, 784))).shape
    ({'b': (50,), 'w': (50, 784)}, (32, 50))
    """
    check("dense size", width, ">= 1", width >= 1)
    weights = initialiser(init)

    def init_(key: jax.Array, x: Any) -> Params:
        dtype = param_dtype(x)
        params = {"w": weights(key, (features(x), width), dtype).T}  # initialisers have the outputs last
        return {**params, "b": jnp.zeros(width, dtype)} if bias else params

    def apply(params: Params, x: jax.Array, key: jax.Array | None = None) -> jax.Array:
        w = params["w"]
        refuse_integers(x)
        if x.shape[-1:] != w.shape[1:]:
            cure = "flatten images first, or give as many features as the model was made for"
            raise InputError(f"x={jax.typeof(x)}: must be [..., {w.shape[1]}], as w is {jax.typeof(w)}; {cure}")
        rows = x.reshape(-1, x.shape[-1])
        y = w @ units_first(rows.T)  # [width, rows]
        if bias:
            y = y + jnp.broadcast_to(params["b"][:, None], y.shape)
        return units_first(y).T.reshape(*x.shape[:-1], width)

    return Model(init_, apply, "dense")


@jax.custom_jvp
def units_first(y: jax.Array) -> jax.Array:
    """The identity, `f32[units, rows]`. On a CPU it keeps the gradient as [units, rows] too.

    Without it XLA cancels the transposes between two layers and delivers the gradient as [rows, units]. Over 256 rows
    or more, and for layers of up to 64 units, the products that take the gradient are up to a third slower so; over
    fewer rows wider layers are faster so, by up to a half.
    """
    return y


@units_first.defjvp
def _units_first_jvp(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    (y,), (dy,) = primals, tangents
    units, rows = y.shape
    if rows >= 256 or units <= 64:
        dy = lax.platform_dependent(dy, cpu=lax.optimization_barrier, default=lambda dy: dy)
    return y, dy


def maxout(width: int, pieces: int = 2, *, init: str | Initialiser = "he") -> Model:
    """y_j = max over p of (x W_p + b_p)_j: x `f32[..., F]` -> `f32[..., width]`, a learned convex function.

    The pieces lie side by side, so that it is one matrix product: `w f32[pieces * width, F]`,
    `b f32[pieces * width]`. With two pieces of which one is 0 it is `relu`. Pieces that are equal share the gradient.
    Raises `InputError` for fewer than 2 pieces. Source: the lecture; Goodfellow et al. 2013.

    >>> import jax, jax.numpy as jnp
    >>> import jaxnn
    >>> layer = jaxnn.maxout(50, pieces=3)
    >>> params = layer.init(jax.random.key(0), jnp.zeros(784))
    >>> params["w"].shape, layer.apply(params, jnp.zeros((32, 784))).shape
    ((150, 784), (32, 50))
    """
    check("maxout pieces", pieces, ">= 2", pieces >= 2)
    linear = dense(width * pieces, init=init)
    return Model(linear.init, lambda params, x, key=None: largest_piece(linear.apply(params, x), pieces), "maxout")


def largest_piece(x: jax.Array, pieces: int) -> jax.Array:
    """The maximum over the equal parts of the last axis: `f32[..., pieces * F]` -> `f32[..., F]`."""
    return functools.reduce(jnp.maximum, jnp.split(x, pieces, axis=-1))


def conv(
    channels: int,
    kernel: Sizes = 3,
    *,
    stride: Sizes = 1,
    padding: str = "VALID",
    dilation: int = 1,
    groups: int = 1,
    init: str | Initialiser = "glorot",
    bias: bool = True,
    bias_init: ArrayLike | Sequence[float] = 0.0,
) -> Model:
    """`conv2d` and a bias: x `f32[..., H, W, C]` -> `f32[..., H', W', channels]`.

    `w f32[kh, kw, C / groups, channels]`; `kernel` and `stride` are those of both height and width, or a pair. With as
    many groups as x has channels the convolution is depthwise. Padding is VALID, SAME (zeros around) or REFLECT (a
    mirror image, without its edge). The bias begins at `bias_init`, a number or one for each channel. Raises
    `InputError` if the image is too small, has other channels than w, or channels that the groups don't divide.

    >>> import jax, jax.numpy as jnp
    >>> import jaxnn
    >>> layer = jaxnn.conv(32)
    >>> params = layer.init(jax.random.key(0), jnp.zeros((28, 28, 1)))
    >>> params["w"].shape, layer.apply(params, jnp.zeros((8, 28, 28, 1))).shape
    ((3, 3, 1, 32), (8, 26, 26, 32))
    """
    sizes = convolution.pair("conv kernel", kernel)
    check("conv groups", groups, f">= 1 and divide channels={channels}", groups >= 1 and channels % groups == 0)
    settings = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return affine(
        "conv", functools.partial(convolution.conv2d, **settings), channels, sizes, init, bias, groups, bias_init
    )


def max_pool(window: Sizes = 2, stride: Sizes | None = None, *, padding: str = "VALID") -> Model:
    """The largest entry of each window, for each channel: `f32[..., H, W, C]` -> `f32[..., H', W', C]`.

    H' = (H - window) // stride + 1 without padding, ceil(H / stride) with SAME; stride is window by default. Raises
    `InputError` if x is too small.

    >>> import jax.numpy as jnp
    >>> import jaxnn
    >>> jaxnn.max_pool(2).apply({}, jnp.arange(16.0).reshape(4, 4, 1))[..., 0].tolist()
    [[5.0, 7.0], [13.0, 15.0]]
    """
    return stateless(lambda x: convolution.max_pool(x, window, stride, padding), "max_pool")


def avg_pool(window: Sizes = 2, stride: Sizes | None = None, *, padding: str = "VALID") -> Model:
    """The mean of each window, for each channel: `f32[..., H, W, C]` -> `f32[..., H', W', C]`, sizes as of `max_pool`.

    Raises `InputError` if x is too small.

    >>> import jax.numpy as jnp
    >>> import jaxnn
    >>> jaxnn.avg_pool(2).apply({}, jnp.arange(16.0).reshape(4, 4, 1))[..., 0].tolist()
    [[2.5, 4.5], [10.5, 12.5]]
    """
    return stateless(lambda x: convolution.avg_pool(x, window, stride, padding), "avg_pool")


def global_avg_pool() -> Model:
    """The mean of each channel over the whole image: `f32[..., H, W, C]` -> `f32[..., C]`. Source: Lin et al. 2014.

    >>> import jax.numpy as jnp
    >>> import jaxnn
    >>> jaxnn.global_avg_pool().apply({}, jnp.ones((32, 8, 8, 64))).shape
    (32, 64)
    """
    return stateless(convolution.global_avg_pool, "global_avg_pool")


def upsample(k: Sizes = 2, *, method: str = "nearest") -> Model:
    """An image k times as high and wide, `f32[..., H, W, C]` -> `f32[..., k H, k W, C]`: `nearest`, or `bilinear`.

    Raises `InputError` for another method.

    >>> import jax.numpy as jnp
    >>> import jaxnn
    >>> jaxnn.upsample(2).apply({}, jnp.ones((32, 8, 8, 64))).shape
    (32, 16, 16, 64)
    """
    return stateless(lambda x: convolution.upsample(x, k, method), "upsample")


def flatten(axes: int = 3) -> Model:
    """The last `axes` axes as one: `f32[..., H, W, C]` -> `f32[..., H W C]` for the 3 axes of an image.

    Raises `InputError` for an x of fewer axes.

    >>> import jax.numpy as jnp
    >>> import jaxnn
    >>> jaxnn.flatten().apply({}, jnp.zeros((32, 8, 8, 1))).shape
    (32, 64)
    """
    check("flatten axes", axes, ">= 1", axes >= 1)

    def apply(x: jax.Array) -> jax.Array:
        if x.ndim < axes:
            raise InputError(f"x={jax.typeof(x)}: must have at least {axes} axes to flatten; see flatten(axes=...)")
        return x.reshape(*x.shape[:-axes], math.prod(x.shape[-axes:]))

    return stateless(apply, "flatten")


def dropout(rate: float | jax.Array) -> Model:
    """y = x m / (1 - rate) with m = 0 or 1, and P(m = 0) = rate, for each entry: the mean of y is x.

    x `f32[...]` -> `f32[...]`. Without a key it is the identity; so a prediction needs no other mode. The rate may be
    traced; its derivative is that of 1 / (1 - rate), at a given noise. Raises `InputError` unless 0 <= rate < 1.
    Source: Srivastava et al. 2014, in the inverted form.

    >>> import jax, jax.numpy as jnp
    >>> import jaxnn
    >>> y = jaxnn.dropout(0.5).apply({}, jnp.ones(6), jax.random.key(0))
    >>> sorted(set(y.tolist())), jaxnn.dropout(0.5).apply({}, jnp.ones(2)).tolist()
    ([0.0, 2.0], [1.0, 1.0])
    """
    fraction("dropout rate", rate)

    def apply(params: Params, x: jax.Array, key: jax.Array | None = None) -> jax.Array:
        if key is None or is_zero(rate):
            return x
        return jnp.where(jax.random.bernoulli(key, 1 - rate, x.shape), x / (1 - rate), 0)

    return Model(lambda key, x: {}, apply, "dropout")
