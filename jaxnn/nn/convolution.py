"""Convolution and pooling of images `[..., H, W, C]`, each in a plain form and, for CPUs, in a fast one.

The plain forms say what is computed, in one call of XLA's, and are what accelerators run. On a CPU XLA runs those
calls, inside a compiled loop and in their gradients, many times slower than a matrix product over the same numbers,
so there the fast forms are used: patches gathered by slicing and multiplied at once; windows cut by a reshape. Tests
hold the two equal.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxnn.errors import InputError, check, choices

Sizes = int | tuple[int, int]  # of height and width, or one for both
Pads = Sequence[tuple[int, int]]  # before and after, in height and width


def _by_platform(fast: Callable[..., jax.Array], plain: Callable[..., jax.Array], *arrays: jax.Array) -> jax.Array:
    """The one place of the choice, made as the program is compiled: it holds inside jit, grad, vmap and scan."""
    return lax.platform_dependent(*arrays, cpu=fast, default=plain)


def pair(name: str, value: int | Sequence[int]) -> tuple[int, int]:
    """Height and width, of which a number is both. Raises `InputError` for anything but a number or two."""
    both = (value, value) if isinstance(value, int) else tuple(value)
    if len(both) != 2:
        raise InputError(f"{name}={value}: must be a number, or height and width")
    return both


def _check(x: jax.Array, height: int, width: int, stride: Sizes = 1, dilation: int = 1) -> None:
    """Refuse what has no axes [H, W, C], no real numbers, or is smaller than the window; and sizes of 0."""
    strides = [("stride", size) for size in pair("stride", stride)]
    for name, value in (("window", height), ("window", width), *strides, ("dilation", dilation)):
        check(name, value, ">= 1", value >= 1)
    if x.ndim < 3:
        raise InputError(f"x={jax.typeof(x)}: must be images [..., H, W, C]; add the missing axes, as in x[..., None]")
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise InputError(f"x={jax.typeof(x)}: must be floating; put scale() before this layer")
    if x.shape[-3] < height or x.shape[-2] < width:
        rule = f"must be at least {height} high and {width} wide"
        raise InputError(f"x={jax.typeof(x)}: {rule}; use larger images, fewer layers or a smaller window")


def check_images(x: jax.Array) -> None:
    """Refuse anything but images `f[..., H, W, C]` of at least one pixel."""
    _check(x, 1, 1)


def check_axes(kind: str, shape: Sequence[int]) -> None:
    """Refuse an example that is no image [H, W, C], for a model of that kind."""
    if len(shape) != 3:
        cure = "use mlp for other data, x[..., None] for grey images"
        raise InputError(f"x={list(shape)}: {kind} needs images [H, W, C]; {cure}")
    height, width, channels = shape
    if height in (1, 3, 4) and channels not in (1, 3, 4) and height < min(width, channels):
        cure = "these look like [C, H, W]: use np.moveaxis(x, -3, -1)"
        raise InputError(f"x={list(shape)}: {kind} needs images [H, W, C]; {cure}")


def _pads(x: jax.Array, height: int, width: int, stride: Sizes, padding: str, dilation: int = 1) -> Pads:
    """What is added above and below, left and right of the image for a window of that size; refuse what can't be."""
    if padding not in ("VALID", "SAME"):
        raise InputError(f"padding={padding}: must be VALID or SAME")
    _check(x, *((height, width) if padding == "VALID" else (1, 1)), stride, dilation)
    return lax.padtype_to_pads(x.shape[-3:-1], (height, width), pair("stride", stride), padding)


def conv2d(
    x: jax.Array,
    w: jax.Array,
    *,
    stride: Sizes = 1,
    padding: str = "VALID",
    dilation: int = 1,
    groups: int = 1,
) -> jax.Array:
    """y[h, v, o] = sum over i, j, c of x[h s + i d, v s + j d, c] w[i, j, c, o], for stride s and dilation d.

    x `f32[..., H, W, C]`, w `f32[kh, kw, C, O]` -> `f32[..., H', W', O]`; padding VALID has
    H' = (H - (kh - 1) d - 1) // s + 1, SAME (zeros around) H' = ceil(H / s), and so has REFLECT (a mirror image around,
    in which the edge itself is not repeated). `stride` is one number, or that of the height and of the width. Channels
    can be cut into groups, each of which makes its part of the outputs: w `f32[kh, kw, C / groups, O]`; as many groups
    as channels: depthwise.

    Raises `InputError` if the channels of x and w differ, the groups don't divide both, or x is too small: for REFLECT
    also where it is no larger than what is added at an edge.
    Source: LeCun et al. 1989; Yu and Koltun 2016 (dilation); Chollet 2017 (depthwise).

    >>> import jax.numpy as jnp
    >>> import jaxnn
    >>> jaxnn.conv2d(jnp.ones((32, 28, 28, 1)), jnp.ones((3, 3, 1, 16)), padding="SAME").shape
    (32, 28, 28, 16)
    >>> jaxnn.conv2d(jnp.ones((28, 28, 8)), jnp.ones((3, 5, 1, 8)), dilation=2, groups=8).shape
    (24, 20, 8)
    """
    kh, kw, channels, outputs = w.shape
    check("groups", groups, f">= 1 and divide the {outputs} outputs of w", groups >= 1 and outputs % groups == 0)
    channels *= groups
    if x.ndim >= 3 and x.shape[-1] != channels:
        moved = x.shape[-3] == channels
        cure = "move the channels last with jnp.moveaxis(x, -3, -1)" if moved else "give images with as many channels"
        raise InputError(f"x={jax.typeof(x)}: must be [..., H, W, {channels}], as w is {jax.typeof(w)}; {cure}")
    kernel, reflect = ((kh - 1) * dilation + 1, (kw - 1) * dilation + 1), padding == "REFLECT"
    if padding not in ("VALID", "SAME", "REFLECT"):
        raise InputError(f"padding={padding}: must be VALID, SAME or REFLECT")
    pads = _pads(x, *kernel, stride, "SAME" if reflect else padding, dilation)
    if reflect:
        _check(x, *(max(both) + 1 for both in pads))
        x, pads = jnp.pad(x, _around(x, pads), mode="reflect"), ((0, 0), (0, 0))
    strides = pair("stride", stride)
    fast = lambda x, w: _conv_fast(x, w, strides, pads, dilation, groups)
    return _by_platform(fast, lambda x, w: _conv_plain(x, w, strides, pads, dilation, groups), x, w)


def _conv_plain(
    x: jax.Array, w: jax.Array, strides: tuple[int, int], pads: Pads, dilation: int = 1, groups: int = 1
) -> jax.Array:
    y = lax.conv_general_dilated(
        x.reshape(-1, *x.shape[-3:]), w, strides, pads, rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=groups,
    )  # fmt: skip
    return y.reshape(*x.shape[:-3], *y.shape[1:])


def _conv_fast(
    x: jax.Array, w: jax.Array, strides: tuple[int, int], pads: Pads, dilation: int = 1, groups: int = 1
) -> jax.Array:
    kh, kw, each, outputs = w.shape
    x = jnp.pad(x, _around(x, pads))
    down, right = x.shape[-3] - (kh - 1) * dilation, x.shape[-2] - (kw - 1) * dilation  # how far the kernel can move
    corners = [(i * dilation, j * dilation) for i in range(kh) for j in range(kw)]
    shifts = [x[..., i : i + down : strides[0], j : j + right : strides[1], :] for i, j in corners]
    if groups > 1 and each == 1:
        return _depthwise(shifts, w.reshape(kh * kw, groups, outputs // groups))
    if groups > 1:
        patches = jnp.stack([shift.reshape(-1, groups, each) for shift in shifts])
        y = jnp.einsum("krgc,kcgo->rgo", patches, w.reshape(kh * kw, each, groups, outputs // groups))
        return y.reshape(*shifts[0].shape[:-1], outputs)
    patches = jnp.concatenate(shifts, -1)
    y = patches.reshape(-1, patches.shape[-1]) @ w.reshape(-1, outputs)
    return y.reshape(*patches.shape[:-1], outputs)


def _depthwise(shifts: Sequence[jax.Array], w: jax.Array) -> jax.Array:
    """Each channel with the kernels of its own, w `f32[kh kw, C, O / C]`."""
    *space, channels = shifts[0].shape
    shape = (*space, *w.shape[1:])
    kernels = (jnp.broadcast_to(one, shape) for one in w)
    products = (jnp.broadcast_to(x[..., None], shape) * one for x, one in zip(shifts, kernels, strict=True))
    return functools.reduce(jnp.add, products).reshape(*space, -1)


def max_pool(x: jax.Array, window: Sizes = 2, stride: Sizes | None = None, padding: str = "VALID") -> jax.Array:
    """The largest entry of each window, for each channel: `f32[..., H, W, C]` -> `f32[..., H', W', C]`.

    `window` and `stride` are those of both height and width, or a pair. Padding VALID has
    H' = (H - window) // stride + 1; what is left over at the right and lower edge is not read. SAME
    has H' = ceil(H / stride); what stands around the image is never the largest. `stride` is `window` by default. The
    whole gradient goes to the largest entry, the first one if several are equal. Raises `InputError` if x is too small.

    >>> import jax.numpy as jnp
    >>> from jaxnn.nn import convolution
    >>> convolution.max_pool(jnp.arange(16.0).reshape(4, 4, 1))[..., 0].tolist()
    [[5.0, 7.0], [13.0, 15.0]]
    """
    windows, strides, pads = _pool(x, window, stride, padding)
    plain = lambda x: _max_pool_plain(x, windows, strides, pads)
    # A reshape cannot cut windows that overlap; windows above 4x4 unroll into too many operations.
    if windows != strides or max(windows) > 4:
        return plain(x)
    padded = lambda x: x if padding == "VALID" else jnp.pad(x, _around(x, pads), constant_values=-jnp.inf)
    return _by_platform(lambda x: _largest(_cut(padded(x), windows)), plain, x)


def _pool(x: jax.Array, window: Sizes, stride: Sizes | None, padding: str) -> tuple[Any, Any, Pads]:
    windows = pair("window", window)
    strides = windows if stride is None else pair("stride", stride)
    return windows, strides, _pads(x, *windows, strides, padding)


def _max_pool_plain(x: jax.Array, window: Sizes, stride: Sizes, pads: Pads = ((0, 0), (0, 0))) -> jax.Array:
    return lax.reduce_window(x, -jnp.inf, lax.max, _spatial(x, window), _spatial(x, stride), _around(x, pads))


def _spatial(x: jax.Array, sizes: Sizes) -> tuple[int, ...]:
    """The sizes for height and width, 1 for the other axes."""
    return (*(1,) * (x.ndim - 3), *pair("window", sizes), 1)


def _around(x: jax.Array, pads: Pads) -> list[tuple[int, int]]:
    """The pads of height and width, none for the other axes."""
    return [*[(0, 0)] * (x.ndim - 3), *pads, (0, 0)]


def _cut(x: jax.Array, window: tuple[int, int]) -> jax.Array:
    """[..., H, W, C] -> [..., H/k, k, W/l, l, C] for a window k x l."""
    *batch, h, w, c = x.shape
    k, l = window
    return x[..., : h // k * k, : w // l * l, :].reshape(*batch, h // k, k, w // l, l, c)


@jax.custom_jvp
def _largest(z: jax.Array) -> jax.Array:
    return z.max((-4, -2))


@_largest.defjvp
def _largest_jvp(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    """Remember which entry was the largest in one byte, and let only its tangent (so only its gradient) through."""
    (z,), (dz,) = primals, tangents
    k, l = z.shape[-4], z.shape[-2]
    best = z[..., :, 0, :, 0, :]
    index = jnp.zeros(best.shape, jnp.int8)
    for n in range(1, k * l):
        entry = z[..., :, n // l, :, n % l, :]
        index = jnp.where(entry > best, jnp.int8(n), index)
        best = jnp.maximum(best, entry)
    place = jnp.arange(k * l, dtype=jnp.int8).reshape(k, 1, l, 1)
    chosen = jnp.expand_dims(index, (-4, -2)) == jnp.broadcast_to(place, z.shape)
    return best, jnp.where(chosen, dz, 0).sum((-4, -2))


def avg_pool(x: jax.Array, window: Sizes = 2, stride: Sizes | None = None, padding: str = "VALID") -> jax.Array:
    """The mean of each window, for each channel: `f32[..., H, W, C]` -> `f32[..., H', W', C]`, sizes as in `max_pool`.

    What stands around the image for SAME is not counted.

    >>> import jax.numpy as jnp
    >>> from jaxnn.nn import convolution
    >>> convolution.avg_pool(jnp.arange(16.0).reshape(4, 4, 1))[..., 0].tolist()
    [[2.5, 4.5], [10.5, 12.5]]
    """
    windows, strides, pads = _pool(x, window, stride, padding)
    plain = lambda x: _avg_pool_plain(x, windows, strides, pads)
    if windows != strides or any(map(any, pads)):
        return plain(x)
    return _by_platform(lambda x: _cut(x, windows).mean((-4, -2)), plain, x)


def _avg_pool_plain(x: jax.Array, window: Sizes, stride: Sizes, pads: Pads = ((0, 0), (0, 0))) -> jax.Array:
    sizes = _spatial(x, window), _spatial(x, stride), _around(x, pads)
    total = lambda x: lax.reduce_window(x, 0.0, lax.add, *sizes)
    return total(x) / (total(jnp.ones_like(x)) if any(map(any, pads)) else math.prod(sizes[0]))


def global_avg_pool(x: jax.Array) -> jax.Array:
    """The mean of each channel over the whole image: `f32[..., H, W, C]` -> `f32[..., C]`. Source: Lin et al. 2014.

    Raises `InputError` for anything but images of real numbers.

    >>> import jax.numpy as jnp
    >>> from jaxnn.nn import convolution
    >>> convolution.global_avg_pool(jnp.arange(8.0).reshape(2, 2, 2)).tolist()
    [3.0, 4.0]
    """
    check_images(x)
    return x.mean((-3, -2))


def upsample(x: jax.Array, k: Sizes = 2, method: str = "nearest") -> jax.Array:
    """k times as high and wide: `f32[..., H, W, C]` -> `f32[..., k H, k W, C]`; each pixel k x k times, or `bilinear`.

    k may be a pair. Pixels are squares: the new pixel i has its centre at (i + 1/2) / k - 1/2 of the old ones. Between
    their centres bilinear is the interpolation in both directions, beyond the outermost it is the edge. Raises
    `InputError` for another method.

    >>> import jax.numpy as jnp
    >>> from jaxnn.nn import convolution
    >>> convolution.upsample(jnp.array([[[0.0], [4.0]]]), 2)[..., 0].tolist()
    [[0.0, 0.0, 4.0, 4.0], [0.0, 0.0, 4.0, 4.0]]
    >>> convolution.upsample(jnp.array([[[0.0], [4.0]]]), 2, "bilinear")[0, :, 0].tolist()
    [0.0, 1.0, 3.0, 4.0]
    """
    if method not in ("nearest", "bilinear"):
        raise choices("upsample method", method, ("nearest", "bilinear"))
    k, l = pair("upsample k", k)
    check("upsample k", min(k, l), ">= 1", min(k, l) >= 1)
    check_images(x)
    *batch, h, w, c = x.shape
    if method == "bilinear":
        return jax.image.resize(x, (*batch, k * h, l * w, c), "bilinear")
    blocks = jnp.broadcast_to(x[..., :, None, :, None, :], (*batch, h, k, w, l, c))
    return blocks.reshape(*batch, k * h, l * w, c)
