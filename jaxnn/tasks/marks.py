"""Labels that lie in an image, masks and boxes: what they must be. On the host, without jax."""

from __future__ import annotations

from typing import Any

import numpy as np

from jaxnn.errors import InputError

IGNORE = 255  # in a mask: a pixel of no class, which is neither learned nor measured
LEFT = 0.25  # of the area of a box that an image is cut or moved across: with less in the image it is no box any more


def check_masks(y: Any, size: tuple[int, int], classes: int, ignore: int = IGNORE, name: str = "y") -> None:
    """Raises `InputError`, with the pixel, unless masks `[n, H, W]` of that size have classes, or `ignore`, alone.

    >>> check_masks(np.array([[[0, 1, 255]]], np.uint8), (1, 3), classes=2)
    """
    y = np.asarray(y)
    if y.dtype.kind not in "iu" or y.ndim != 3 or y.shape[1:] != size:
        raise InputError(f"{name}={y.dtype}{list(y.shape)}: masks must be whole numbers [n, {size[0]}, {size[1]}]")
    bad = (y != ignore) & ((y < 0) | (y >= classes))
    if bad.any():
        i, row, column = (int(place) for place in np.argwhere(bad)[0])
        rule = f"must be in [0, {classes}), or {ignore} for a pixel of no class"
        raise InputError(f"{name}[{i}, {row}, {column}]={y[i, row, column]}: {rule}; repair the mask")


def check_boxes(y: Any, size: tuple[int, int], classes: int, name: str = "boxes") -> None:
    """Raises `InputError`, with the example and the box, unless `[n, M, 5]` are boxes in images of that size.

    >>> check_boxes(np.array([[[1, 0, 0, 4, 3], [-1, 0, 0, 0, 0]]]), (3, 4), classes=2)
    """
    y = np.asarray(y)
    if y.ndim != 3 or y.shape[-1] != 5 or y.dtype.kind not in "iuf":
        raise InputError(f"y={y.dtype}{list(y.shape)}: must be f32[n, M, 5], class, x1, y1, x2, y2; reshape it")
    kind, (x1, y1, x2, y2) = y[..., 0], np.moveaxis(y[..., 1:], -1, 0)
    there, (height, width) = kind != -1, size
    rules = [
        (np.isnan(kind) | there & ~np.isfinite(y).all(-1), "must be finite; repair it or leave the box out"),
        (there & (kind != np.round(kind)) | (kind < -1) | (kind >= classes),
         f"its class must be a whole number from 0 to {classes - 1}, or -1 for padding"),
        (there & ((x2 <= x1) | (y2 <= y1)), "must have x1 < x2 and y1 < y2; COCO's x, y, width, height become corners"),
        (there & ((x1 < 0) | (y1 < 0) | (x2 > width) | (y2 > height)),
         f"must lie in the image, {width} wide and {height} high; cut it off at the edge, or leave it out"),
    ]  # fmt: skip
    for bad, rule in rules:
        if bad.any():
            i, j = (int(k) for k in np.argwhere(bad)[0])
            raise InputError(f"{name}[{i}, {j}]={' '.join(f'{v:g}' for v in y[i, j])}: {rule}")
