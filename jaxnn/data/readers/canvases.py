"""Canvases with handwritten digits, made from the bundled ones: images whose pixels have classes, or whose digits have
boxes. Digits of the test canvases are in no training canvas."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from jaxnn.data.readers import bundled
from jaxnn.data.split import stratified

INK = 0.4  # a pixel with more of it belongs to the digit
TRIES = 20  # places that are looked at for a digit, before it is left out


class Canvases(NamedTuple):
    """`x u8[n, S, S, 1]`, `masks u8[n, S, S]` (0, or 1 + the digit), `boxes f32[n, M, 5]` (class, x1, y1, x2, y2; class
    -1 where there is none)."""

    x: np.ndarray
    masks: np.ndarray
    boxes: np.ndarray


def digit_masks(*, noise: float = 0.1, train: int = 6000, test: int = 1000, seed: int = 0) -> dict[str, np.ndarray]:
    """48x48 canvases with 1 to 4 digits of 16 to 24 pixels, and the class of each pixel: background, 0, ..., 9.

    noise: deviation of what is added to each pixel, of 1 for white. The arrays are those of a .npz: `x_train`
    `u8[n, 48, 48, 1]`, `y_train u8[n, 48, 48]`, `x_test`, `y_test` and `classes`.

    >>> digit_masks(train=2, test=1)["y_train"].shape
    (2, 48, 48)
    """
    parts = _parts({"train": train, "test": test}, seed, size=48, most=4, smallest=16, largest=24, noise=noise)
    arrays = {f"{name}_{part}": a for part, c in parts.items() for name, a in (("x", c.x), ("y", c.masks))}
    return arrays | {"classes": np.array(["background", *map(str, range(10))])}


def digit_boxes(*, noise: float = 0.1, train: int = 6000, test: int = 1000, seed: int = 0) -> dict[str, np.ndarray]:
    """64x64 canvases with 1 to 6 digits of 12 to 26 pixels, and the boxes around their ink.

    The squares of two digits share no more than a tenth of the smaller one. The arrays are those of a .npz: `x_train
    u8[n, 64, 64, 1]`, `y_train f32[n, 6, 5]`, and so on.

    >>> digit_boxes(train=2, test=1)["y_train"].shape
    (2, 6, 5)
    """
    parts = _parts({"train": train, "test": test}, seed, size=64, most=6, smallest=12, largest=26, noise=noise)
    arrays = {f"{name}_{part}": a for part, c in parts.items() for name, a in (("x", c.x), ("y", c.boxes))}
    return arrays | {"classes": np.array(list(map(str, range(10))))}


def _parts(counts: dict[str, int], seed: int, **how: Any) -> dict[str, Canvases]:
    digits = bundled.digits()
    rng = np.random.default_rng(seed)
    rows = dict(zip(counts, stratified(np.random.default_rng(0), digits.y.astype(np.int32), 0.2), strict=True))
    ink = digits.x[..., 0].astype(np.float32) / bundled.DIGITS_SCALE
    return {part: canvases(rng, ink[rows[part]], digits.y[rows[part]], n, **how) for part, n in counts.items()}


def canvases(
    rng: np.random.Generator, digits: np.ndarray, labels: np.ndarray, n: int, *, size: int, most: int, smallest: int,
    largest: int, noise: float,
) -> Canvases:  # fmt: skip
    """n canvases of 1 to `most` digits `f32[d, 8, 8]`, bilinear at a size of `smallest` to `largest` pixels each."""
    drawn, masks = np.zeros((n, size, size), np.float32), np.zeros((n, size, size), np.uint8)
    boxes = np.full((n, most, 5), [-1, 0, 0, 0, 0], np.float32)
    squares, wanted = np.zeros((n, 0, 3), int), rng.integers(1, most + 1, n)
    for slot in range(most):
        which, sides = rng.integers(len(digits), size=n), rng.integers(smallest, largest + 1, n)
        corners = rng.integers(0, size - sides + 1, (2, TRIES, n))
        free = _is_free(corners, sides, squares)
        first, there = free.argmax(0), free.any(0) & (slot < wanted)
        top, left = corners[:, first, np.arange(n)]
        sides = np.where(there, sides, 0)
        squares = np.concatenate([squares, np.stack([top, left, sides], -1)[:, None]], 1)
        for side in range(smallest, largest + 1):
            (c,) = np.nonzero(sides == side)
            patch = _resized(digits[which[c]], side)
            at = (
                c[:, None, None],
                top[c, None, None] + np.arange(side)[:, None],
                left[c, None, None] + np.arange(side),
            )
            over = patch > drawn[at]
            masks[at] = np.where(over & (patch > INK), labels[which[c], None, None] + 1, masks[at])
            drawn[at] = np.maximum(drawn[at], patch)
            boxes[c, slot] = _boxes(patch > INK, labels[which[c]], top[c], left[c])
    order = np.argsort(boxes[..., 0] < 0, axis=1, kind="stable")  # what is there comes first
    x = np.clip(drawn + rng.normal(0, noise, drawn.shape), 0, 1)
    return Canvases(
        np.round(255 * x).astype(np.uint8)[..., None], masks, np.take_along_axis(boxes, order[..., None], 1)
    )


def _is_free(corners: np.ndarray, sides: np.ndarray, squares: np.ndarray) -> Any:
    """bool[TRIES, n]: where a square shares no more than a tenth of the smaller one with any that is there."""
    shared = np.ones((*corners.shape[1:], squares.shape[1]))
    for axis in (0, 1):
        start, end = squares[..., axis], squares[..., axis] + squares[..., 2]
        low = np.maximum(corners[axis][..., None], start)
        shared *= np.clip(np.minimum(corners[axis][..., None] + sides[:, None], end) - low, 0, None)
    return np.all(shared <= 0.1 * np.minimum(sides[:, None], squares[..., 2]) ** 2, axis=-1)


def _resized(digits: np.ndarray, side: int) -> np.ndarray:
    """Bilinear, as with pixels whose middles are half a pixel from the edge: f32[n, 8, 8] -> f32[n, side, side]."""
    place = np.clip((np.arange(side) + 0.5) * 8 / side - 0.5, 0, 7)
    along = np.maximum(1 - np.abs(place[:, None] - np.arange(8)), 0).astype(np.float32)
    return np.einsum("ij,njk,lk->nil", along, digits, along, optimize=True)


def _boxes(ink: Any, labels: np.ndarray, top: np.ndarray, left: np.ndarray) -> np.ndarray:
    """f32[n, 5]: the class of each digit and the smallest box around its ink, which every digit has."""
    rows, columns, side = ink.any(2), ink.any(1), ink.shape[1]
    y1, x1 = rows.argmax(1), columns.argmax(1)
    y2, x2 = side - rows[:, ::-1].argmax(1), side - columns[:, ::-1].argmax(1)
    return np.stack([labels, left + x1, top + y1, left + x2, top + y2], -1).astype(np.float32)
