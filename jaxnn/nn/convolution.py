"""Convolution and pooling of images `[..., H, W, C]`, each in a plain form and, for CPUs, in a fast one.

The plain forms say what is computed, in one call of XLA's, and are what accelerators run. On a CPU XLA runs those
calls, inside a compiled loop and in their gradients, many times slower than a matrix product over the same numbers,
so there the fast forms are used: patches gathered by slicing and multiplied at once; windows cut by a reshape. Tests
hold the two equal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import lax

from jaxnn.errors import InputError, check


def _by_platform(fast: Callable[..., jax.Array], plain: Callable[..., jax.Array], *arrays: jax.Array) -> jax.Array:
    """The one place of the choice, made as the program is compiled: it holds inside jit, grad, vmap and scan."""
    return lax.platform_dependent(*arrays, cpu=fast, default=plain)


def _check(x: jax.Array, height: int, width: int, stride: int) -> None:
    """Refuse what has no axes [H, W, C], no real numbers, or is smaller than the window; and sizes of 0."""
    for name, value in (("window", height), ("window", width), ("stride", stride)):
        check(name, value, ">= 1", value >= 1)
    if x.ndim < 3:
        raise InputError(f"x={jax.typeof(x)}: must be images [..., H, W, C]; add the missing axes, as in x[..., None]")
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise InputError(f"x={jax.typeof(x)}: must be floating; put scale() before this layer")
    if x.shape[-3] < height or x.shape[-2] < width:
        rule = f"must be at least {height} high and {width} wide"
        raise InputError(f"x={jax.typeof(x)}: {rule}; use larger images, fewer layers or a smaller window")


def conv2d(x: jax.Array, w: jax.Array, *, stride: int = 1, padding: str = "VALID") -> jax.Array:
    """y[h, v, o] = sum over i, j, c of x[h s + i, v s + j, c] w[i, j, c, o], for stride s.

    x `f32[..., H, W, C]`, w `f32[kh, kw, C, O]` -> `f32[..., H', W', O]`; padding VALID has H' = (H - kh) // s + 1,
    SAME (zeros around) H' = ceil(H / s). Raises `InputError` if the channels of x and w differ or x is too small.
    Source: LeCun et al. 1989.

    >>> import jax.numpy as jnp
    >>> import jaxnn
    >>> jaxnn.conv2d(jnp.ones((32, 28, 28, 1)), jnp.ones((3, 3, 1, 16)), padding="SAME").shape
    (32, 28, 28, 16)
    """
    if padding not in ("VALID", "SAME"):
        raise InputError(f"padding={padding}: must be VALID or SAME")
    kh, kw, channels, _ = w.shape
    if x.ndim >= 3 and x.shape[-1] != channels:
        moved = x.shape[-3] == channels
        cure = "move the channels last with jnp.moveaxis(x, -3, -1)" if moved else "give images with as many channels"
        raise InputError(f"x={jax.typeof(x)}: must be [..., H, W, {channels}], as w is {jax.typeof(w)}; {cure}")
    _check(x, *((kh, kw) if padding == "VALID" else (1, 1)), stride)
    pads = lax.padtype_to_pads(x.shape[-3:-1], (kh, kw), (stride, stride), padding)
    return _by_platform(lambda x, w: _conv_fast(x, w, stride, pads), lambda x, w: _conv_plain(x, w, stride, pads), x, w)


def _conv_plain(x: jax.Array, w: jax.Array, stride: int, pads: Sequence[tuple[int, int]]) -> jax.Array:
    images = x.reshape(-1, *x.shape[-3:])
    y = lax.conv_general_dilated(images, w, (stride, stride), pads, dimension_numbers=("NHWC", "HWIO", "NHWC"))
    return y.reshape(*x.shape[:-3], *y.shape[1:])


def _conv_fast(x: jax.Array, w: jax.Array, stride: int, pads: Sequence[tuple[int, int]]) -> jax.Array:
    kh, kw, _, outputs = w.shape
    x = jnp.pad(x, [(0, 0)] * (x.ndim - 3) + [*pads, (0, 0)])
    down, right = x.shape[-3] - kh + 1, x.shape[-2] - kw + 1  # how far the kernel can move
    shifts = [x[..., i : i + down : stride, j : j + right : stride, :] for i in range(kh) for j in range(kw)]
    patches = jnp.concatenate(shifts, -1)
    y = patches.reshape(-1, patches.shape[-1]) @ w.reshape(-1, outputs)
    return y.reshape(*patches.shape[:-1], outputs)


def max_pool(x: jax.Array, window: int = 2, stride: int | None = None) -> jax.Array:
    """The largest entry of each window, for each channel: `f32[..., H, W, C]` -> `f32[..., H', W', C]`.

    H' = (H - window) // stride + 1; what is left over at the right and lower edge is not read. `stride` is `window`
    by default. The whole gradient goes to the largest entry, the first one if several are equal. Raises `InputError`
    if x is too small.

    >>> import jax.numpy as jnp
    >>> from jaxnn.nn import convolution
    >>> convolution.max_pool(jnp.arange(16.0).reshape(4, 4, 1))[..., 0].tolist()
    [[5.0, 7.0], [13.0, 15.0]]
    """
    stride = window if stride is None else stride
    _check(x, window, window, stride)
    # A reshape cannot cut windows that overlap; windows above 4x4 unroll into too many operations.
    if window != stride or window > 4:
        return _max_pool_plain(x, window, stride)
    return _by_platform(lambda x: _largest(_cut(x, window)), lambda x: _max_pool_plain(x, window, stride), x)


def _max_pool_plain(x: jax.Array, window: int, stride: int) -> jax.Array:
    return lax.reduce_window(x, -jnp.inf, lax.max, _spatial(x, window), _spatial(x, stride), "VALID")


def _spatial(x: jax.Array, size: int) -> tuple[int, ...]:
    """The size for height and width, 1 for the other axes."""
    return (*(1,) * (x.ndim - 3), size, size, 1)


def _cut(x: jax.Array, k: int) -> jax.Array:
    """[..., H, W, C] -> [..., H/k, k, W/k, k, C]."""
    *batch, h, w, c = x.shape
    return x[..., : h // k * k, : w // k * k, :].reshape(*batch, h // k, k, w // k, k, c)


@jax.custom_jvp
def _largest(z: jax.Array) -> jax.Array:
    return z.max((-4, -2))


@_largest.defjvp
def _largest_jvp(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    """Remember which entry was the largest in one byte, and let only its tangent (so only its gradient) through."""
    (z,), (dz,) = primals, tangents
    k = z.shape[-2]
    best = z[..., :, 0, :, 0, :]
    index = jnp.zeros(best.shape, jnp.int8)
    for n in range(1, k * k):
        entry = z[..., :, n // k, :, n % k, :]
        index = jnp.where(entry > best, jnp.int8(n), index)
        best = jnp.maximum(best, entry)
    place = jnp.arange(k * k, dtype=jnp.int8).reshape(k, 1, k, 1)
    chosen = jnp.expand_dims(index, (-4, -2)) == jnp.broadcast_to(place, z.shape)
    return best, jnp.where(chosen, dz, 0).sum((-4, -2))


def avg_pool(x: jax.Array, window: int = 2, stride: int | None = None) -> jax.Array:
    """The mean of each window, for each channel: `f32[..., H, W, C]` -> `f32[..., H', W', C]`, sizes as in `max_pool`.

    >>> import jax.numpy as jnp
    >>> from jaxnn.nn import convolution
    >>> convolution.avg_pool(jnp.arange(16.0).reshape(4, 4, 1))[..., 0].tolist()
    [[2.5, 4.5], [10.5, 12.5]]
    """
    stride = window if stride is None else stride
    _check(x, window, window, stride)
    if window != stride:
        return _avg_pool_plain(x, window, stride)
    return _by_platform(lambda x: _cut(x, window).mean((-4, -2)), lambda x: _avg_pool_plain(x, window, stride), x)


def _avg_pool_plain(x: jax.Array, window: int, stride: int) -> jax.Array:
    return lax.reduce_window(x, 0.0, lax.add, _spatial(x, window), _spatial(x, stride), "VALID") / window**2
