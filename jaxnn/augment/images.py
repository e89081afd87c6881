"""Augmentations of one image: pure functions `(key, x) -> x`, of the shape and dtype of x.

What is drawn depends on the key alone, not on x: so the mask or the boxes of an image move as it does (`moving`).
Images are `[H, W, C]`, in bytes or floats; `jaxnn.augment.rows` maps them over a batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxnn import arrays, image
from jaxnn.augment import labels
from jaxnn.augment.labels import moving
from jaxnn.config.augment import check_number
from jaxnn.errors import InputError, check, positive
from jaxnn.numerics import is_zero
from jaxnn.tasks.marks import IGNORE

Augmentation = Callable[[jax.Array, jax.Array], jax.Array]  # (key, x) -> x


@moving(
    mask=lambda key, mask: jnp.where(jax.random.bernoulli(key), jnp.flip(mask, -1), mask),
    boxes=lambda key, boxes, size: jnp.where(jax.random.bernoulli(key), labels.mirrored(boxes, size[1]), boxes),
)
def flip(key: jax.Array, x: jax.Array) -> jax.Array:
    """The mirror image in half of the cases: `x[i, W - 1 - j]`, x `u8[H, W, C]` or `f[H, W, C]`.

    Raises `InputError` for what is no image.

    >>> import jax, jax.numpy as jnp, jaxnn
    >>> x = jnp.arange(3)[None, :, None]
    >>> [jaxnn.augment.flip(jax.random.key(seed), x).ravel().tolist() for seed in (0, 1)]
    [[0, 1, 2], [2, 1, 0]]

    Source: Krizhevsky, Sutskever, Hinton 2012, "ImageNet classification with deep convolutional neural networks".
    """
    return jnp.where(jax.random.bernoulli(key), mirrored(check_image(x)), x)


def mirrored(x: jax.Array) -> jax.Array:
    """The mirror image: [..., H, W, C]."""
    return jnp.flip(x, -2)


def crop(pad: int) -> Augmentation:
    """A part of the size of x, anywhere in x with `pad` pixels mirrored at each edge (the edge itself not repeated).

    `P[i + a, j + b]`, P the padded image, a and b uniform in 0..2 pad. Mirrored, and not 0 as in the source: so no dark
    edge tells how far the image was moved (`shift` has zeros). Raises `InputError` unless 1 <= pad < H, W.

    >>> import jax, jax.numpy as jnp, jaxnn
    >>> x = jnp.arange(1, 5)[:, None, None] * jnp.ones((1, 4, 1), int)
    >>> jaxnn.augment.crop(2)(jax.random.key(1), x)[:, 0, 0].tolist()
    [2, 1, 2, 3]

    Source: He et al. 2015, "Deep residual learning", 4.2 (zeros); reflection as in airbench (Jordan 2024).
    """
    check_number("pad", pad)
    pad = int(pad)

    def part(key: jax.Array, x: jax.Array) -> jax.Array:
        return _moved(key, jnp.pad(x, ((pad, pad), (pad, pad), (0, 0)), mode="reflect"), pad, x.shape)

    @moving(
        mask=lambda key, mask: part(key, mask[..., None])[..., 0],
        boxes=f"objects are mirrored at the edges, where they have no boxes; use shift:{pad}",
    )
    def cropped(key: jax.Array, x: jax.Array) -> jax.Array:
        most = min(check_image(x).shape[:2])
        check("pad", pad, f"less than {most}, the size of the image", pad < most)
        return part(key, x)

    return cropped


def shift(pixels: int) -> Augmentation:
    """`x[i + a, j + b]`, a and b uniform in -pixels..pixels; 0 beyond the edges.

    Raises `InputError` unless 1 <= pixels < H, W.

    >>> import jax, jax.numpy as jnp, jaxnn
    >>> x = jnp.arange(1, 5)[:, None, None] * jnp.ones((1, 4, 1), int)
    >>> jaxnn.augment.shift(2)(jax.random.key(1), x).max((1, 2)).tolist()
    [0, 1, 2, 3]

    Source: LeCun et al. 1998, "Gradient-based learning applied to document recognition"; with zeros the crop of He et
    al. 2015.
    """
    check_number("pixels", pixels)
    pixels = int(pixels)

    around = ((pixels, pixels), (pixels, pixels), (0, 0))

    def mask_shifted(key: jax.Array, mask: jax.Array) -> jax.Array:
        padded = jnp.pad(mask[..., None], around, constant_values=IGNORE)
        return _moved(key, padded, pixels, (*mask.shape, 1))[..., 0]

    def boxes_shifted(key: jax.Array, boxes: jax.Array, size: labels.Size) -> jax.Array:
        down, right = pixels - _corner(key, pixels).astype(boxes.dtype)
        return labels.shifted(boxes, down, right, size)

    @moving(mask_shifted, boxes_shifted)
    def shifted(key: jax.Array, x: jax.Array) -> jax.Array:
        most = min(check_image(x).shape[:2])
        check("pixels", pixels, f"less than {most}, the size of the image", pixels < most)
        return _moved(key, jnp.pad(x, around), pixels, x.shape)

    return shifted


def _moved(key: jax.Array, padded: jax.Array, pad: int, shape: tuple[int, ...]) -> jax.Array:
    """A random part of the padded image."""
    a, b = _corner(key, pad)
    return lax.dynamic_slice(padded, (a, b, jnp.zeros_like(a)), shape)


def _corner(key: jax.Array, pad: int) -> jax.Array:
    """Where that part begins, i32[2]."""
    return jax.random.randint(key, (2,), 0, 2 * pad + 1)


def rotate(degrees: float) -> Augmentation:
    """Turned by an angle uniform in ±degrees about the centre: `affine(degrees)`.

    >>> import jax, jax.numpy as jnp, jaxnn
    >>> jaxnn.augment.rotate(30)(jax.random.key(0), jnp.ones((3, 3, 1), jnp.uint8))[1, 1].tolist()
    [1]
    """
    return affine(degrees)


def affine(degrees: float, shift: float = 0.0, scale: float = 0.0, shear: float = 0.0) -> Augmentation:
    """Turned, moved, scaled and sheared about the centre c; bilinear between pixels, 0 beyond the edges.

        y[p] = x[c + A^-1 (p - c - t)],    A = s [[cos u, -sin u], [sin u, cos u]] [[1, tan v], [0, 1]]

    p are (row, column); u uniform in ±degrees, t in ±shift pixels along each axis, s in 1 ± scale, v in ±shear degrees.
    Whole numbers are rounded to the nearest. Raises `InputError` for a number out of its range.

    >>> import jax, jax.numpy as jnp, jaxnn
    >>> x = jnp.full((5, 5, 1), 200, jnp.uint8)
    >>> y = jaxnn.augment.affine(20, shift=1, scale=0.1, shear=10)(jax.random.key(0), x)
    >>> y.dtype, y[2, 2, 0].item(), y[0, 0, 0].item() < 200
    (dtype('uint8'), 200, True)

    Source: Simard, Steinkraus, Platt 2003, "Best practices for convolutional neural networks".
    """
    for name, value in (("degrees", degrees), ("shift", shift), ("scale", scale), ("shear", shear)):
        check_number(name, value)

    def drawn(key: jax.Array) -> tuple[Any, Any]:
        turn, down, right, grow, lean = jax.random.uniform(key, (5,), minval=-1, maxval=1)
        u, v, s = turn * degrees * math.pi / 180, jnp.tan(lean * shear * math.pi / 180), 1 + grow * scale
        cos, sin = jnp.cos(u) / s, jnp.sin(u) / s
        return ((cos + v * sin, sin - v * cos), (-sin, cos)), (down * shift, right * shift)

    @moving(
        mask=lambda key, mask: labels.nearest(mask, *drawn(key)),
        boxes=lambda key, boxes, size: labels.warped(boxes, *drawn(key), size),
    )
    def moved(key: jax.Array, x: jax.Array) -> jax.Array:
        return warp(check_image(x), *drawn(key))

    return moved


def warp(x: jax.Array, back: Any, offset: Any) -> jax.Array:
    """`y[p] = x[c + back (p - c - offset)]`, bilinear, 0 beyond the edges; `back` a 2x2 matrix, p (row, column)."""
    return sampled(x, *labels.sources((x.shape[0], x.shape[1]), back, offset))


def sampled(x: jax.Array, row: jax.Array, column: jax.Array) -> jax.Array:
    """`y[p] = x[row[p], column[p]]` with rows and columns `f32[H, W]`, bilinear, 0 beyond the edges."""
    height, width, channels = x.shape
    row, column = jnp.clip(row, -1, height), jnp.clip(column, -1, width)
    top, left = jnp.floor(row), jnp.floor(column)
    # The four neighbours of each pixel lie side by side, so that one gather finds all of them.
    padded = jnp.pad(x, ((1, 2), (1, 2), (0, 0)))
    corners = [padded[:-1, :-1], padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:]]
    together = jnp.stack(corners, axis=2).reshape(-1, 4, channels)
    index = lax.optimization_barrier((top.astype(jnp.int32) + 1) * (width + 2) + left.astype(jnp.int32) + 1)
    found = together.at[index].get(mode="promise_in_bounds").astype(row.dtype)
    down, right = (row - top)[..., None], (column - left)[..., None]
    above = found[..., 0, :] + right * (found[..., 1, :] - found[..., 0, :])
    below = found[..., 2, :] + right * (found[..., 3, :] - found[..., 2, :])
    return like(above + down * (below - above), x)


def cutout(size: int) -> Augmentation:
    """0 in a square of `size` pixels whose middle is uniform over the image: at an edge a part of it is outside.

    Raises `InputError` unless 1 <= size <= H, W.

    >>> import jax, jax.numpy as jnp, jaxnn
    >>> jaxnn.augment.cutout(2)(jax.random.key(2), jnp.ones((4, 4, 1), int))[..., 0].tolist()
    [[1, 1, 1, 1], [1, 1, 1, 1], [0, 1, 1, 1], [0, 1, 1, 1]]

    Source: DeVries, Taylor 2017, arXiv:1708.04552.
    """
    check_number("size", size)
    size = int(size)

    def cut(key: jax.Array, x: jax.Array) -> jax.Array:
        most = min(check_image(x).shape[:2])
        check("size", size, f"at most {most}, the size of the image", size <= most)
        first = jax.random.randint(key, (2,), 0, jnp.array(x.shape[:2])) - size // 2
        return jnp.where(box(x.shape, first, (size, size)), 0, x).astype(x.dtype)

    return cut


def box(shape: tuple[int, ...], first: Any, size: Any) -> jax.Array:
    """bool[H, W, 1]: the pixels of a box that begins at `first`."""
    along = lambda axis: lax.iota(jnp.int32, shape[axis]) - first[axis]
    rows, columns = ((along(axis) >= 0) & (along(axis) < size[axis]) for axis in (0, 1))
    return (rows[:, None] & columns[None, :])[..., None]


def color_jitter(
    brightness: float, contrast: float = 0.0, saturation: float = 0.0, hue: float = 0.0, *, white: float | None = None
) -> Augmentation:
    """Other light and colours, one after the other and each clipped to black and white:

        brightness   f x
        contrast     m + f (x - m)    m the mean grey of the image
        saturation   g + f (x - g)    g the grey of the pixel (`jaxnn.image.to_gray`)
        hue          turned by h, a part of the whole circle of colours (`jaxnn.image.rgb_to_hsv`)

    each f uniform in 1 ± its amount, h in ± hue. `white`: the value that means it (if None: 255 for uint8, 1 for
    others). Images of one channel have neither saturation nor hue: raises `InputError` for these, and for amounts out
    of range.

    >>> import jax, jax.numpy as jnp, jaxnn
    >>> x = jnp.array([[[0.5, 0.25, 0.0]]])
    >>> y = jaxnn.augment.color_jitter(0.5)(jax.random.key(0), x)
    >>> y.shape, (y[0, 0, 0] / y[0, 0, 1]).item()
    ((1, 1, 3), 2.0)

    Source: Howard 2013, "Some improvements on deep convolutional neural network based image classification".
    """
    amounts = {"brightness": brightness, "contrast": contrast, "saturation": saturation, "hue": hue}
    for name, amount in amounts.items():
        check_number(name, amount)
    if white is not None:
        positive("white", white)

    def jittered(key: jax.Array, x: jax.Array) -> jax.Array:
        colored = check_image(x).shape[-1] == 3
        for name in ("saturation", "hue"):
            if not (colored or is_zero(amounts[name])):
                raise InputError(f"{name}={amounts[name]}: images of {x.shape[-1]} channels have none; give 0")
        full = arrays.white(x.dtype, white)
        floating = x.dtype if jnp.issubdtype(x.dtype, jnp.floating) else jnp.float32
        light, spread, color, turn = jax.random.uniform(key, (4,), floating, minval=-1, maxval=1)
        y = jnp.clip(x.astype(floating) / full, 0, 1)
        grey = lambda y: image.to_gray(y) if colored else y.mean(-1, keepdims=True)
        blend = lambda y, other, f: jnp.clip(other + f * (y - other), 0, 1)
        if not is_zero(brightness):
            y = jnp.clip((1 + light * brightness) * y, 0, 1)
        if not is_zero(contrast):
            y = blend(y, grey(y).mean(), 1 + spread * contrast)
        if not is_zero(saturation):
            y = blend(y, grey(y), 1 + color * saturation)
        if not is_zero(hue):
            h, s, v = jnp.moveaxis(image.rgb_to_hsv(y), -1, 0)
            y = image.hsv_to_rgb(jnp.stack([(h + turn * hue) % 1, s, v], axis=-1))
        return like(y * full, x)

    return jittered


def like(y: jax.Array, x: jax.Array) -> jax.Array:
    """y in the dtype of x: whole numbers rounded."""
    return (y if jnp.issubdtype(x.dtype, jnp.floating) else jnp.round(y)).astype(x.dtype)


def check_image(x: Any) -> Any:
    """x itself. Raises `InputError` unless an image [H, W, C]."""
    shape = getattr(x, "shape", None)
    if shape is None or len(shape) != 3:
        given = type(x).__name__ if shape is None else list(shape)
        raise InputError(f"x={given}: is no image [H, W, C]; only images are augmented so, leave it out")
    return x
