"""Arrays on the host: numbers are refused rather than damaged, no NaN or infinity, nothing beyond float32."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from jaxnn.errors import InputError


def refuse_where(
    bad: np.ndarray, name: str, values: np.ndarray, rule: str, columns: tuple[str, ...] | None = None
) -> None:
    """Raise with the index and value of the first entry that is `bad`, if there is one."""
    if not bad.any():
        return
    index = tuple(int(i) for i in np.unravel_index(np.argmax(bad), bad.shape))
    column = f" (column {columns[index[1]]})" if columns and len(index) == 2 else ""
    where = f"[{','.join(map(str, index))}]" if index else ""
    raise InputError(f"{name}{where}={values[index]!s}{column}: {rule}")


def to_float32(values: np.ndarray, name: str, columns: tuple[str, ...] | None = None) -> np.ndarray:
    """The same numbers as f32: ordinary rounding of float64 is fine, everything else that would change is refused."""
    if values.dtype.kind not in "biuf":
        raise InputError(f"{name}={values.dtype}: must hold real numbers; convert it to float32 or uint8")
    for bad, rule in damaged(values):
        refuse_where(bad, name, values, rule, columns)
    return values.astype(np.float32, copy=False)


def damaged(values: np.ndarray) -> Iterator[tuple[np.ndarray, str]]:
    """Which entries float32 cannot stand for, and the rule that each breaks."""
    if values.dtype.kind == "f":
        limit = np.finfo(np.float32).max
        if values.size and -limit <= values.min() and values.max() <= limit:
            return  # two passes without a copy, as nearly all arrays need no more
        yield ~np.isfinite(values), "must be finite; repair it or leave the row out"
        if values.dtype.itemsize > 4:
            yield np.abs(values) > limit, f"does not fit float32 (at most {limit:.7g}); rescale it"
    elif values.dtype.itemsize > 2:
        changed = values.astype(np.float32).astype(np.float64) != values.astype(np.float64)
        # float64 rounds these too, so the comparison above misses them.
        changed |= (values > 2**53) | (values < -(2**53))
        yield changed, "float32 would change this whole number; write it with a decimal point, or leave it out"


def white(dtype: Any, scale: float | None = None) -> float:
    """The value of an image that means 1.0: `scale`, where the data say it, else 255 in bytes and 1 in other numbers.

    >>> white(np.uint8), white("float32"), white("uint8", 16.0)
    (255.0, 1.0, 16.0)
    """
    return scale or (255.0 if np.dtype(dtype) == np.uint8 else 1.0)
