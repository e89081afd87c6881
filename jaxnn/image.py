"""Images are [..., H, W, C] arrays of numbers from 0 to 1: bytes, greys, colours, and a way to look at them as text."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.errors import InputError

# Luma of ITU-R BT.601, as JPEG and Pillow weigh red, green and blue; the three add up to 1.
RED, GREEN, BLUE = 0.299, 0.587, 0.114


def ascii(x: Any) -> str:
    """The grid of numbers that a grey image is, one decimal each: 0, .1, ... .9, 1.

    Args:
      x: one image `f[H, W]` or `f[H, W, 1]` in [0, 1], or `u8` of these shapes.

    Returns:
      H lines of W numbers.

    Raises:
      InputError: another shape, or a value outside [0, 1].

    >>> from jaxnn import image
    >>> print(image.ascii([[0.0, 0.6, 0.8], [0.0, 0.72, 1.0]]))
     0 .6 .8
     0 .7  1

    Source: the lecture, "Grayscale image representation".
    """
    x = np.asarray(x)
    if x.ndim == 3 and x.shape[-1] == 1:
        x = x[..., 0]
    if x.ndim != 2:
        raise InputError(f"x={x.shape}: must be one grey image [H, W] or [H, W, 1]; use to_gray first")
    x = x / 255 if x.dtype == np.uint8 else x
    if not ((x >= 0) & (x <= 1)).all():
        raise InputError(f"x={x[~((x >= 0) & (x <= 1))][0]}: must be in [0, 1]; divide by the largest value")
    cells = [[f"{v:g}".removeprefix("0") or "0" for v in row] for row in np.round(np.abs(x), 1)]
    return "\n".join(" ".join(cell.rjust(2) for cell in row) for row in cells)


def to_float(x: jax.Array) -> jax.Array:
    """x / 255: `u8[...]` -> `f32[...]` in [0, 1]. Raises `InputError` for floats.

    >>> import jax.numpy as jnp
    >>> from jaxnn import image
    >>> image.to_float(jnp.array([0, 255], jnp.uint8)).tolist()
    [0.0, 1.0]
    """
    if x.dtype != jnp.uint8:
        raise InputError(f"x={x.dtype}: must be uint8; an image of floats needs no conversion")
    return x.astype(jnp.float32) / 255


def to_uint8(x: jax.Array) -> jax.Array:
    """round(255 x), clipped to 0..255: `f[...]` -> `u8[...]`; the inverse of `to_float`. Raises `InputError` for bytes.

    >>> import jax.numpy as jnp
    >>> from jaxnn import image
    >>> image.to_uint8(jnp.array([0.0, 0.2, 1.0])).tolist()
    [0, 51, 255]
    """
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise InputError(f"x={x.dtype}: must be floats in [0, 1]; bytes need no conversion")
    return jnp.round(jnp.clip(x, 0, 1) * 255).astype(jnp.uint8)


def _channels(x: jax.Array, n: int) -> tuple[jax.Array, ...]:
    """The channels of float images [..., H, W, n], each [..., H, W]."""
    if x.ndim < 3 or x.shape[-1] != n:
        first = "; it seems channels-first: use jnp.moveaxis(x, -3, -1)" if x.ndim >= 3 and x.shape[-3] == n else ""
        raise InputError(f"x={x.shape}: must be [..., H, W, {n}], channels last{first}")
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise InputError(f"x={x.dtype}: must be floats in [0, 1]; use to_float first")
    return tuple(x[..., c] for c in range(n))


def to_gray(x: jax.Array) -> jax.Array:
    """Y = 0.299 R + 0.587 G + 0.114 B: `f[..., H, W, 3]` -> `f[..., H, W, 1]`.

    Raises `InputError` for another shape, and for bytes.

    >>> import jax.numpy as jnp
    >>> from jaxnn import image
    >>> image.to_gray(jnp.ones((2, 4, 4, 3))).shape
    (2, 4, 4, 1)

    Source: ITU-R BT.601.
    """
    r, g, b = _channels(x, 3)
    return (RED * r + GREEN * g + BLUE * b)[..., None]


def to_rgb(x: jax.Array) -> jax.Array:
    """The same grey in all three channels: `f[..., H, W, 1]` -> `f[..., H, W, 3]`.

    Raises `InputError` for another shape, and for bytes.

    >>> import jax.numpy as jnp
    >>> from jaxnn import image
    >>> image.to_rgb(jnp.full((1, 1, 1), 0.5)).tolist()
    [[[0.5, 0.5, 0.5]]]
    """
    (grey,) = _channels(x, 1)
    return jnp.stack([grey, grey, grey], axis=-1)


def rgb_to_hsv(x: jax.Array) -> jax.Array:
    """Hue, saturation and value, each in [0, 1]: `f[..., H, W, 3]` -> `f[..., H, W, 3]`; the hue of a grey is 0.

    V = max, S = (max - min) / max, H = a sixth of the place between the three primaries.
    Raises `InputError` for another shape, and for bytes.

    >>> import jax.numpy as jnp
    >>> from jaxnn import image
    >>> image.rgb_to_hsv(jnp.array([[[0.5, 0.0, 0.0]]])).tolist()
    [[[0.0, 1.0, 0.5]]]

    Source: Smith 1978, "Color gamut transform pairs".
    """
    r, g, b = _channels(x, 3)
    value = jnp.maximum(jnp.maximum(r, g), b)
    chroma = value - jnp.minimum(jnp.minimum(r, g), b)
    safe = jnp.where(chroma > 0, chroma, 1)  # a grey has no hue: 0 / 1, not 0 / 0
    sixth = jnp.where(value == r, (g - b) / safe % 6, jnp.where(value == g, (b - r) / safe + 2, (r - g) / safe + 4))
    saturation = chroma / jnp.where(value > 0, value, 1)
    return jnp.stack([sixth / 6, saturation, value], axis=-1)


def hsv_to_rgb(x: jax.Array) -> jax.Array:
    """The inverse of `rgb_to_hsv`: V - V S max(0, min(k, 4 - k, 1)), k = (n + 6 H) mod 6, n = 5, 3, 1 for R, G, B.

    Shapes: `f[..., H, W, 3]` -> `f[..., H, W, 3]`. Raises `InputError` for another shape, and for bytes.

    >>> import jax.numpy as jnp
    >>> from jaxnn import image
    >>> image.hsv_to_rgb(jnp.array([[[0.0, 1.0, 0.5]]])).tolist()
    [[[0.5, 0.0, 0.0]]]

    Source: Smith 1978, "Color gamut transform pairs".
    """
    hue, saturation, value = _channels(x, 3)

    def channel(n: int) -> jax.Array:
        k = (n + 6 * hue) % 6
        return value - value * saturation * jnp.maximum(jnp.minimum(jnp.minimum(k, 4 - k), 1), 0)

    return jnp.stack([channel(5), channel(3), channel(1)], axis=-1)


def rgb_to_ycbcr(x: jax.Array) -> jax.Array:
    """Y = luma, Cb = (B - Y) / 1.772 + 0.5, Cr = (R - Y) / 1.402 + 0.5, each in [0, 1].

    Shapes: `f[..., H, W, 3]` -> `f[..., H, W, 3]`. Raises `InputError` for another shape, and for bytes.

    >>> import jax.numpy as jnp
    >>> from jaxnn import image
    >>> image.rgb_to_ycbcr(jnp.ones((1, 1, 3))).round(4).tolist()
    [[[1.0, 0.5, 0.5]]]

    Source: ITU-R BT.601 in the full range of JPEG (JFIF 1.02).
    """
    r, _, b = _channels(x, 3)
    # Written out: a matrix product in a GPU's fast mode would keep three digits only.
    y = to_gray(x)[..., 0]
    return jnp.stack([y, (b - y) / (2 - 2 * BLUE) + 0.5, (r - y) / (2 - 2 * RED) + 0.5], axis=-1)


def ycbcr_to_rgb(x: jax.Array) -> jax.Array:
    """The inverse of `rgb_to_ycbcr`: R = Y + 1.402 (Cr - 0.5), B = Y + 1.772 (Cb - 0.5), and G from Y = luma.

    Shapes: `f[..., H, W, 3]` -> `f[..., H, W, 3]`. Raises `InputError` for another shape, and for bytes.

    >>> import jax.numpy as jnp
    >>> from jaxnn import image
    >>> image.to_uint8(image.ycbcr_to_rgb(jnp.array([[[0.2, 0.5, 0.5]]]))).tolist()
    [[[51, 51, 51]]]

    Source: ITU-R BT.601 in the full range of JPEG (JFIF 1.02).
    """
    y, cb, cr = _channels(x, 3)
    b = y + (2 - 2 * BLUE) * (cb - 0.5)
    r = y + (2 - 2 * RED) * (cr - 0.5)
    return jnp.stack([r, (y - RED * r - BLUE * b) / GREEN, b], axis=-1)
