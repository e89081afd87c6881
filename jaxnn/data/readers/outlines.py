"""Outlines as masks: polygons, and COCO's run lengths."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def polygon(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """bool[h, w]: the pixels whose centres lie in a polygon, `points f64[n, 2]` of x, y, by the even-odd rule.

    >>> polygon(np.array([[1.0, 0], [3, 0], [3, 2], [1, 2]]), (2, 4)).astype(int).tolist()
    [[0, 1, 1, 0], [0, 1, 1, 0]]
    """
    low, high = (np.clip(edge, 0, size[::-1]).astype(int) for edge in (points.min(0), np.ceil(points.max(0))))
    ends = np.roll(points, -1, 0)
    y = np.arange(low[1], high[1]) + 0.5
    edge, row = np.nonzero((points[:, 1:] <= y) != (ends[:, 1:] <= y))  # which edges cross the middle of which row
    a, b = points[edge].T, ends[edge].T
    x = a[0] + (y[row] - a[1]) * (b[0] - a[0]) / (b[1] - a[1])
    crossed = np.zeros((len(y), high[0] - low[0] + 1), np.uint8)
    np.add.at(crossed, (row, np.clip(np.ceil(x - 0.5).astype(int), low[0], high[0]) - low[0]), 1)
    inside = np.zeros(size, bool)
    inside[low[1] : high[1], low[0] : high[0]] = np.cumsum(crossed, 1, np.uint8)[:, :-1] % 2
    return inside


def run_lengths(counts: Sequence[int], size: tuple[int, int]) -> np.ndarray:
    """bool[h, w] of the lengths of runs outside and inside in turn, down the columns. Raises `ValueError` where they
    are not those of so many pixels.

    >>> run_lengths([1, 2, 3], (2, 3)).astype(int).tolist()
    [[0, 1, 0], [1, 0, 0]]
    """
    h, w = size
    if any(type(n) is not int or n < 0 for n in counts) or sum(counts) != h * w:
        raise ValueError(f"its counts must be >= 0 and add up to {h} x {w}")
    flat = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    return flat.reshape(w, h).T


def unpacked(text: str) -> list[int]:
    """The run lengths of a compressed string of COCO: groups of 5 bits, and from the fourth number on differences.

    Raises `ValueError` for a string that is none.

    >>> unpacked("024")
    [0, 2, 4]
    """
    counts: list[int] = []
    number = shift = 0
    for each in text:
        code = ord(each) - 48
        if not 0 <= code < 64:
            raise ValueError("its counts are no compressed run lengths")
        number |= (code & 31) << shift
        shift += 5
        if not code & 32:
            number -= (code & 16) << (shift - 4)  # the sign
            counts.append(number + (counts[-2] if len(counts) > 2 else 0))
            number = shift = 0
        elif shift > 60:
            raise ValueError("its counts are no compressed run lengths")
    if shift:
        raise ValueError("its counts end in the middle of a number")
    return counts
