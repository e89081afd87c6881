"""Numbers are refused rather than damaged: no NaN, no infinity, nothing that float32 cannot hold."""

from __future__ import annotations

import stat
from pathlib import Path

import numpy as np

from jaxnn.errors import InputError

MAX_BYTES = 2**32  # of one file once unpacked: a header may promise anything, so it is asked before memory is
SMALL, MAX_RATIO = 2**26, 200  # what unpacks to more than SMALL bytes may not be so many times as large as its file


def file_size(path: Path) -> int:
    """Bytes of a regular file. A device, a pipe or a socket may keep its reader waiting, or never end: refused."""
    about = path.stat()
    if not stat.S_ISREG(about.st_mode):
        raise InputError(f"{path}: must be a regular file; copy what it gives into one")
    return about.st_size


def unpacked_size(path: object, size: int, packed: int | None = None) -> None:
    """Refuse a file that claims more than `MAX_BYTES`, or far more than its `packed` bytes could mean in earnest."""
    if size > MAX_BYTES:
        raise InputError(f"{path}={size} bytes: at most {MAX_BYTES} bytes unpacked; use fewer or smaller examples")
    if packed is not None and size > SMALL and size > MAX_RATIO * packed:
        raise InputError(
            f"{path}={size} bytes unpacked: at most {MAX_RATIO} times the {packed} bytes of the file; save it unpacked"
        )


def refuse_where(
    bad: np.ndarray, name: str, values: np.ndarray, rule: str, columns: tuple[str, ...] | None = None
) -> None:
    """Raise with the index and value of the first entry that is `bad`, if there is one."""
    if not bad.any():
        return
    index = tuple(int(i) for i in np.unravel_index(np.argmax(bad), bad.shape))
    column = f" (column {columns[index[1]]})" if columns and len(index) == 2 else ""
    raise InputError(f"{name}[{','.join(map(str, index))}]={values[index]}{column}: {rule}")


def to_float32(values: np.ndarray, name: str, columns: tuple[str, ...] | None = None) -> np.ndarray:
    """The same numbers as f32: ordinary rounding of float64 is fine, everything else that would change is refused."""
    if values.dtype.kind not in "biuf":
        raise InputError(f"{name}={values.dtype}: must hold real numbers; convert it to float32 or uint8")
    if values.dtype.kind == "f":
        refuse_where(~np.isfinite(values), name, values, "must be finite; repair it or leave the row out", columns)
        limit = np.finfo(np.float32).max
        if values.dtype.itemsize > 4:
            large = np.abs(values) > limit
            refuse_where(large, name, values, f"does not fit float32 (at most {limit:.7g}); rescale it", columns)
    elif values.dtype.itemsize > 2:
        changed = values.astype(np.float32).astype(np.float64) != values.astype(np.float64)
        changed |= (values > 2**53) | (values < -(2**53))  # beyond float64 too, so that the comparison says nothing
        rule = "float32 would change this whole number; write it with a decimal point, or leave it out"
        refuse_where(changed, name, values, rule, columns)
    return values.astype(np.float32, copy=False)


def features(x: np.ndarray, name: str, columns: tuple[str, ...] | None = None) -> np.ndarray:
    """Images stay u8[n, H, W, C]; everything else becomes f32[n, ...]."""
    if len(x) == 0:
        raise InputError(f"{name}=0 examples: must hold at least one; check the file")
    if x.ndim < 2 or 0 in x.shape:
        raise InputError(f"{name}={x.shape}: must be [n, features] or [n, H, W, C], none of them 0; reshape it")
    if x.ndim == 4 and x.shape[1] <= 4 < min(x.shape[2:]):
        raise InputError(f"{name}={x.shape}: channels must come last, [n, H, W, C]; use numpy.moveaxis(x, 1, -1)")
    if x.dtype == np.uint8 and x.ndim in (3, 4):
        return x if x.ndim == 4 else x[..., None]
    return to_float32(x, name, columns)


def weights(weight: np.ndarray | None, name: str, n: int) -> np.ndarray:
    """f32[n], finite and not negative; ones if there are none."""
    if weight is None:
        return np.ones(n, np.float32)
    if weight.shape != (n,):
        raise InputError(f"{name}={weight.shape}: must have the shape ({n},), one for each example")
    weight = to_float32(weight, name)
    refuse_where(weight < 0, name, weight, "must be >= 0; use 0 to leave an example out")
    return weight
