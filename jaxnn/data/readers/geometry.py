"""Where the pixels of an image go when it is made a `Form`: the same for boxes and masks, there and back.

Boxes are x1, y1, x2, y2 in pixels, pixel (row i, column j) being the square from (j, i) to (j + 1, i + 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jaxnn.tasks.marks import IGNORE

if TYPE_CHECKING:
    from jaxnn.data.readers.image_form import Form


class Geometry(NamedTuple):
    """The part `crop` of an image is resized to `inner`, and put at `place` on a ground of the size `made`.

    Sizes are height, width, and a place is top, left; or arrays of such, one row a box, for the boxes of many images.
    """

    size: Any
    """of the image"""
    made: Any
    crop: Any
    """x1, y1, x2, y2 in the image; fractions of pixels where its middle is cut out"""
    inner: Any
    place: Any


def of(size: tuple[int, int], form: Form | None = None) -> Geometry:
    """What `image_form.formed` does to an image of that height and width.

    >>> from jaxnn.data.readers.image_form import Form
    >>> of((10, 20), Form((8, 8), "fit", None))
    Geometry(size=(10, 20), made=(8, 8), crop=(0, 0, 20, 10), inner=(4, 8), place=(2, 0))
    >>> of((10, 20), Form((8, 8), "fill", None)).crop
    (5.0, 0.0, 15.0, 10.0)
    """
    h, w = size
    whole = (0, 0, w, h)
    if form is None or form.size is None or form.size == (h, w):
        return Geometry((h, w), (h, w), whole, (h, w), (0, 0))
    height, width = form.size
    if form.resize == "stretch":
        return Geometry((h, w), form.size, whole, form.size, (0, 0))
    if form.resize == "fill":
        ratio = width / height
        kept_w, kept_h = (ratio * h, h) if w / h >= ratio else (w, w / ratio)
        left, top = (w - kept_w) * 0.5, (h - kept_h) * 0.5
        crop = (left, top, min(left + kept_w, w), min(top + kept_h, h))
        return Geometry((h, w), form.size, crop, form.size, (0, 0))
    scale = min(height / h, width / w)
    inner = max(1, round(scale * h)), max(1, round(scale * w))
    return Geometry((h, w), form.size, whole, inner, ((height - inner[0]) // 2, (width - inner[1]) // 2))


def taken(geometries: Sequence[Geometry], index: np.ndarray) -> Geometry:
    """The geometries of the images `index i64[m]`, as arrays of m rows."""
    return Geometry(*(np.array(field, np.float64)[index] for field in zip(*geometries, strict=True)))


def boxes(g: Geometry, given: np.ndarray) -> np.ndarray:
    """f64[m, 4] of an image, in the pixels of what it is made to be, cut where the picture is.

    >>> from jaxnn.data.readers.image_form import Form
    >>> boxes(of((10, 20), Form((8, 8), "fit", None)), np.array([[5.0, 0, 10, 10]])).tolist()
    [[2.0, 2.0, 4.0, 6.0]]
    """
    low, scale, place, inner = _affine(g)
    moved = (given.reshape(-1, 2, 2) - low) * scale + place
    return np.clip(moved, place, place + inner).reshape(-1, 4)


def boxes_back(g: Geometry, made: np.ndarray) -> np.ndarray:
    """f64[m, 4] in the pixels of the image, of boxes in those of what it was made to be; cut at its edges."""
    low, scale, place, _ = _affine(g)
    size = np.asarray(g.size, np.float64)[..., None, ::-1]
    moved = (np.asarray(made, np.float64).reshape(-1, 2, 2) - place) / scale + low
    return np.clip(moved, 0, size).reshape(-1, 4)


def mask(g: Geometry, given: np.ndarray) -> np.ndarray:
    """u8[H, W]: each pixel has the class of the nearest one; where there is no picture, `IGNORE`."""
    x1, y1, x2, y2 = g.crop
    rows, columns = _nearest(y1, y2, g.inner[0], g.size[0]), _nearest(x1, x2, g.inner[1], g.size[1])
    top, left = g.place
    made = np.full(g.made, IGNORE, np.uint8)
    made[top : top + g.inner[0], left : left + g.inner[1]] = given[rows[:, None], columns]
    return made


def mask_back(g: Geometry, made: np.ndarray) -> np.ndarray:
    """u8[h, w] in the pixels of the image: the nearest of `made u8[H, W]`; what was cut away is `IGNORE`."""
    x1, y1, x2, y2 = g.crop
    rows, seen_rows = _where(y1, y2, g.inner[0], g.size[0])
    columns, seen_columns = _where(x1, x2, g.inner[1], g.size[1])
    found = made[rows[:, None] + g.place[0], columns + g.place[1]].astype(np.uint8)
    return np.where(seen_rows[:, None] & seen_columns, found, np.uint8(IGNORE))


def _affine(g: Geometry) -> tuple[np.ndarray, ...]:
    """x, y of the crop's corner, of its scale, of its place and of its size there, with an axis for both corners."""
    crop, inner, place = (np.asarray(field, np.float64) for field in (g.crop, g.inner, g.place))
    scale = inner[..., ::-1] / (crop[..., 2:] - crop[..., :2])
    return tuple(each[..., None, :] for each in (crop[..., :2], scale, place[..., ::-1], inner[..., ::-1]))


def _nearest(low: float, high: float, n: int, size: int) -> np.ndarray:
    """i64[n]: the pixel in which the centre of each of n equal parts of [low, high] lies."""
    found = np.floor(low + (np.arange(n) + 0.5) * ((high - low) / n)).astype(np.int64)
    return np.minimum(found, size - 1)


def _where(low: float, high: float, n: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """i64[size]: in which of n equal parts of [low, high] the centre of each pixel lies; and whether in any."""
    found = np.floor((np.arange(size) + 0.5 - low) * (n / (high - low))).astype(np.int64)
    return np.clip(found, 0, n - 1), (found >= 0) & (found < n)
