"""Layers: every one is a `Model`, a pair of pure functions, and `chain` makes one Model of several.

    init(key, x) -> params                x: one example, or its ShapeDtypeStruct
    apply(params, x, key=None) -> y       x: [..., core axes]; a key switches dropout on

A plain function of one array is a layer without parameters. Core axes come last (`[F]`, `[H, W, C]`) and leading axes
are free. Parameters take the floating dtype of x, else float32.

Normalisation is batch-free (`layer_norm`, `group_norm`). Batch statistics would make the prediction for one example
depend on the others in its batch, so that apply(xs) is not vmap(apply)(xs), and would need running averages that a
pure function has no place for.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxnn import convolution
from jaxnn.config import check, fraction
from jaxnn.errors import InputError
from jaxnn.init import Initialiser, initialiser
from jaxnn.types import Model, Params

Layer = Model | Callable[[jax.Array], jax.Array]


def stateless(function: Callable[..., jax.Array], name: str) -> Model:
    """The layer without parameters that a function is."""
    return Model(lambda key, x: {}, lambda params, x, key=None: function(x), name)


def affine(
    name: str,
    product: Callable[[jax.Array, jax.Array], jax.Array],
    width: int,
    sizes: tuple[int, ...],
    init: str | Initialiser,
    bias: bool = True,
) -> Model:
    """y = product(x, w) + b with `w f32[*sizes, C, width]` and `b f32[width]`: a convolution, or one with its pool."""
    for size in (width, *sizes):
        check(f"{name} size", size, ">= 1", size >= 1)
    weights = initialiser(init)

    def init_(key: jax.Array, x: Any) -> Params:
        dtype = _param_dtype(x)
        params = {"w": weights(key, (*sizes, _last(x), width), dtype)}
        return {**params, "b": jnp.zeros(width, dtype)} if bias else params

    def apply(params: Params, x: jax.Array, key: jax.Array | None = None) -> jax.Array:
        y = product(x, params["w"])
        return _add_bias(y, params["b"]) if bias else y

    return Model(init_, apply, name)


def _add_bias(x: jax.Array, b: jax.Array) -> jax.Array:
    """x + b with b `[F]` for x `[..., F]`, the broadcasting spelled out."""
    return x + jnp.broadcast_to(b, x.shape)


def _param_dtype(x: Any) -> Any:
    """The floating dtype of x, canonical (float64 only where JAX is told so), else float32."""
    dtype = jax.dtypes.canonicalize_dtype(x.dtype)
    return dtype if jnp.issubdtype(dtype, jnp.floating) else jnp.float32


def _refuse_integers(x: jax.Array) -> None:
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise InputError(f"x={jax.typeof(x)}: must be floating; put scale() before this layer")


def _last(x: Any) -> int:
    """How many features or channels an example has."""
    if not x.shape:
        raise InputError(f"x={x.dtype}[]: one example must have at least one axis; give single numbers as x[:, None]")
    return x.shape[-1]


def dense(width: int, *, init: str | Initialiser = "glorot", bias: bool = True) -> Model:
    """y = W x + b: x `f32[..., F]`, `w f32[width, F]`, `b f32[width]` -> `f32[..., width]`.

    One matrix product, whatever the leading axes. Each row of w is a unit, as in the lecture's w^T x + b; inside, the
    units come first in the product too, which makes a small network a third faster on a CPU than x W with w
    `[F, width]`; see `units_first`. Raises `InputError` if x has integers, or other features than w.

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
        dtype = _param_dtype(x)
        params = {"w": weights(key, (_last(x), width), dtype).T}  # initialisers have the outputs last
        return {**params, "b": jnp.zeros(width, dtype)} if bias else params

    def apply(params: Params, x: jax.Array, key: jax.Array | None = None) -> jax.Array:
        w = params["w"]
        _refuse_integers(x)
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
    """y itself, `f32[units, rows]`; on a CPU its gradient may be laid out like that too, not as `[rows, units]`.

    XLA cancels the transposes between two layers, so that the gradient comes with the rows first. Over 256 rows or
    more, and for layers of up to 64 units, the products that take it are up to a third faster with the units first;
    over fewer rows wider layers are slower, down to two thirds of the speed.
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
    Source: the lecture; Goodfellow et al. 2013.

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
    kernel: int = 3,
    *,
    stride: int = 1,
    padding: str = "VALID",
    init: str | Initialiser = "glorot",
    bias: bool = True,
) -> Model:
    """`conv2d` and a bias: x `f32[..., H, W, C]`, `w f32[kernel, kernel, C, channels]` -> `f32[..., H', W', channels]`.

    Raises `InputError` if the image is too small, or has other channels than w.

    >>> import jax, jax.numpy as jnp
    >>> import jaxnn
    >>> layer = jaxnn.conv(32)
    >>> params = layer.init(jax.random.key(0), jnp.zeros((28, 28, 1)))
    >>> params["w"].shape, layer.apply(params, jnp.zeros((8, 28, 28, 1))).shape
    ((3, 3, 1, 32), (8, 26, 26, 32))
    """
    product = functools.partial(convolution.conv2d, stride=stride, padding=padding)
    return affine("conv", product, channels, (kernel, kernel), init, bias)


def max_pool(window: int = 2, stride: int | None = None) -> Model:
    """The largest entry of each window of an image `f32[..., H, W, C]`; see `jaxnn.convolution.max_pool`.

    >>> import jax.numpy as jnp
    >>> import jaxnn
    >>> jaxnn.max_pool(2).apply({}, jnp.arange(16.0).reshape(4, 4, 1))[..., 0].tolist()
    [[5.0, 7.0], [13.0, 15.0]]
    """
    return stateless(lambda x: convolution.max_pool(x, window, stride), "max_pool")


def avg_pool(window: int = 2, stride: int | None = None) -> Model:
    """The mean of each window of an image `f32[..., H, W, C]`; see `jaxnn.convolution.avg_pool`.

    >>> import jax.numpy as jnp
    >>> import jaxnn
    >>> jaxnn.avg_pool(2).apply({}, jnp.arange(16.0).reshape(4, 4, 1))[..., 0].tolist()
    [[2.5, 4.5], [10.5, 12.5]]
    """
    return stateless(lambda x: convolution.avg_pool(x, window, stride), "avg_pool")


def flatten(axes: int = 3) -> Model:
    """The last `axes` axes as one: `f32[..., H, W, C]` -> `f32[..., H W C]` for the 3 axes of an image.

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


def dropout(rate: float) -> Model:
    """y = x m / (1 - rate) with m = 0 or 1, and P(m = 0) = rate, for each entry: the mean of y is x.

    Without a key it is the identity; so a prediction needs no other mode. Raises `InputError` unless 0 <= rate < 1.
    Source: Srivastava et al. 2014, in the inverted form.

    >>> import jax, jax.numpy as jnp
    >>> import jaxnn
    >>> y = jaxnn.dropout(0.5).apply({}, jnp.ones(6), jax.random.key(0))
    >>> sorted(set(y.tolist())), jaxnn.dropout(0.5).apply({}, jnp.ones(2)).tolist()
    ([0.0, 2.0], [1.0, 1.0])
    """
    fraction("dropout rate", rate)

    def apply(params: Params, x: jax.Array, key: jax.Array | None = None) -> jax.Array:
        if key is None or rate == 0:
            return x
        return jnp.where(jax.random.bernoulli(key, 1 - rate, x.shape), x / (1 - rate), 0)

    return Model(lambda key, x: {}, apply, "dropout")


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
    return Model(_init_norm, lambda params, x, key=None: _affine(params, _normalise(x, (-1,), eps)), "layer_norm")


def group_norm(groups: int, eps: float = 1e-5) -> Model:
    """`layer_norm` over height, width and one group of channels: x, y `f32[..., H, W, C]`.

    Raises `InputError` if the groups don't divide the channels. Source: Wu and He 2018.

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

    return Model(_init_norm, apply, "group_norm")


def _init_norm(key: jax.Array, x: Any) -> Params:
    return {"scale": jnp.ones(_last(x), _param_dtype(x)), "b": jnp.zeros(_last(x), _param_dtype(x))}


def _normalise(x: jax.Array, axes: tuple[int, ...], eps: float) -> jax.Array:
    _refuse_integers(x)
    centred = x - x.mean(axes, keepdims=True)
    return centred * lax.rsqrt(jnp.square(centred).mean(axes, keepdims=True) + eps)


def _affine(params: Params, x: jax.Array) -> jax.Array:
    return _add_bias(x * jnp.broadcast_to(params["scale"], x.shape), params["b"])


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
    if not (np.isfinite(mean).all() and np.isfinite(std).all() and (std >= 0).all()):
        raise InputError("scale mean, std: must be finite, std >= 0; look for nan and inf in the training examples")
    factor = 1 / np.where(std == 0, 1.0, std)

    def apply(x: jax.Array) -> jax.Array:
        for values in (mean, factor):
            if values.shape != x.shape[max(0, x.ndim - values.ndim) :]:
                raise InputError(f"scale mean, std={values.shape}: must fit the last axes of x, {jax.typeof(x)}")
        dtype = _param_dtype(x)
        centred = x.astype(dtype) - jnp.broadcast_to(jnp.asarray(mean, dtype), x.shape)
        return centred * jnp.broadcast_to(jnp.asarray(factor, dtype), x.shape)

    return stateless(apply, "scale")


def residual(model: Model) -> Model:
    """y = x + f(x), so that the gradient has a way around f. Raises `InputError` if f changes the shape.

    Source: He et al. 2015 (deep residual learning).

    >>> import jax, jax.numpy as jnp
    >>> import jaxnn
    >>> layer = jaxnn.residual(jaxnn.chain(jaxnn.dense(4), jaxnn.relu))
    >>> params = layer.init(jax.random.key(0), jnp.zeros(4))
    >>> layer.apply(params, jnp.zeros((2, 4))).shape
    (2, 4)
    """

    def apply(params: Params, x: jax.Array, key: jax.Array | None = None) -> jax.Array:
        y = model.apply(params, x, key)
        if y.shape != x.shape:
            cure = "end f with a layer as wide as x"
            raise InputError(f"residual f(x)={jax.typeof(y)}: must have the shape of x, {jax.typeof(x)}; {cure}")
        return x + y

    return Model(model.init, apply, "residual")


def chain(*layers: Layer, name: str = "chain") -> Model:
    """One Model that applies the layers in turn.

    Parameters are a dict with an entry for each layer that has any, called by its kind and counted for each kind:
    `dense_0`, `dense_1`, `conv_0`. Shapes are found by tracing each layer once, in `init`; a plain function that
    can't be traced (it looks at values with `if`, or calls NumPy) is refused there with an `InputError`.

    >>> import jax, jax.numpy as jnp
    >>> import jaxnn
    >>> model = jaxnn.chain(jaxnn.dense(8), jaxnn.relu, lambda x: 2 * x, jaxnn.dense(1))
    >>> params = model.init(jax.random.key(0), jnp.zeros(2))
    >>> sorted(params), model.apply(params, jnp.zeros((5, 2))).shape
    (['dense_0', 'dense_1'], (5, 1))
    """
    models = [layer if isinstance(layer, Model) else _from_function(layer) for layer in layers]
    seen = Counter[str]()
    names = []
    for model in models:
        names.append(f"{model.name}_{seen[model.name]}")
        seen[model.name] += 1

    def init(key: jax.Array, x: Any) -> Params:
        x = jax.ShapeDtypeStruct(x.shape, jax.dtypes.canonicalize_dtype(x.dtype))
        params = {}
        for i, (entry, model) in enumerate(zip(names, models, strict=True)):
            made = model.init(jax.random.fold_in(key, i), x)
            if jax.tree.leaves(made):
                params[entry] = made
            x = jax.eval_shape(model.apply, made, x)
        return params

    def apply(params: Params, x: jax.Array, key: jax.Array | None = None) -> jax.Array:
        for i, (entry, model) in enumerate(zip(names, models, strict=True)):
            x = model.apply(params.get(entry, {}), x, None if key is None else jax.random.fold_in(key, i))
        return x

    return Model(init, apply, name)


_NOT_TRACEABLE = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
)


def _from_function(function: Callable[[jax.Array], jax.Array]) -> Model:
    name = getattr(function, "__name__", type(function).__name__)

    def apply(x: jax.Array) -> jax.Array:
        try:
            return function(x)
        except _NOT_TRACEABLE as error:
            cure = "use jnp instead of numpy and math, and jnp.where instead of if"
            raise InputError(f"activation={name}: can't be traced by JAX; {cure}") from error

    return stateless(apply, name)
