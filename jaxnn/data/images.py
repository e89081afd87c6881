"""What the numbers of an image mean: which value is 1.0, whatever dtype they came in."""

from __future__ import annotations

from typing import Any

import numpy as np

from jaxnn.errors import InputError

SMALL = 16  # the largest magnitude of images that were scaled already


def to_bytes(given: dict[str, Any], scale: float | None) -> tuple[dict[str, Any], float | None, tuple[str, ...]]:
    """Images `[n, H, W, C]` in which whole numbers up to 255 become bytes, the value that means 1.0, and a note.

    Images that are bytes already, or small fractions, and what is no image, stay as they are.
    """
    train = given["train"]
    if getattr(train, "ndim", 0) not in (3, 4):
        return given, scale, ()
    if train.dtype == np.uint8 and scale is not None:
        return given, scale, ()
    low, high = float(train.min()), float(train.max())
    if train.dtype == np.uint8:
        return (given, 1.0, ("images of 0 and 1: 1 is read as 1.0, not 255",)) if high == 1 else (given, 255.0, ())
    if 0 <= low and SMALL < high <= 255 and _whole(train):
        for part, x in given.items():
            if not (_whole(x) and 0 <= x.min() and x.max() <= 255):
                raise InputError(f"{part} x={x.dtype}: must be whole numbers of 0 to 255, as in training; convert it")
        note = f"images of whole numbers up to {high:g}: read as bytes, 255 as 1.0"
        return {part: x.astype(np.uint8) for part, x in given.items()}, 255.0, (note,)
    if (largest := max(-low, high)) <= SMALL:
        return given, None, ()
    scale = float(2 ** max(int(np.ceil(np.log2(largest + 1))), 8) - 1)
    return given, scale, (f"images of {low:g} to {high:g}: {scale:g} is read as 1.0",)


def _whole(x: np.ndarray) -> bool:
    return bool((x == np.round(x)).all())


def check_range(x: np.ndarray, known: list[float] | None) -> None:
    """Refuse images whose values lie elsewhere than those that the network was trained on, low and high: 0 to 1 instead
    of 0 to 255, or the other way round."""
    if known is None or not x.size:
        return
    trained, given = max(abs(known[0]), abs(known[1])), float(np.abs(x).max())
    if trained > SMALL and given == 1.0 or given > 4 * max(trained, 1.0):
        rule = f"the network was trained on images of {known[0]:g} to {known[1]:g}"
        raise InputError(f"x={x.min():g} to {x.max():g}: {rule}; multiply or divide them")
