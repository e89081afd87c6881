"""What is checked of a file before it is read, and of features and weights after."""

from __future__ import annotations

import stat
from pathlib import Path

import numpy as np

from jaxnn.arrays import refuse_where, to_float32
from jaxnn.errors import InputError

MAX_BYTES = 2**32  # of a file once unpacked; checked before memory is asked for, since a header may promise any size
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


def features(x: np.ndarray, name: str, columns: tuple[str, ...] | None = None) -> np.ndarray:
    """Images stay u8[n, H, W, C]; rows of numbers [n, F] stay as they are, finite; everything else becomes f32[n,
    ...]."""
    if len(x) == 0:
        raise InputError(f"{name}=0 examples: must hold at least one; check the file")
    if x.ndim < 2 or 0 in x.shape:
        raise InputError(f"{name}={x.shape}: must be [n, features] or [n, H, W, C], none of them 0; reshape it")
    if x.ndim == 4 and x.shape[1] <= 4 < min(x.shape[2:]):
        raise InputError(f"{name}={x.shape}: channels must come last, [n, H, W, C]; use numpy.moveaxis(x, 1, -1)")
    if x.dtype == np.uint8 and x.ndim in (3, 4):
        return x if x.ndim == 4 else x[..., None]
    if x.ndim == 2 and x.dtype.kind in "iu":
        return x  # whole numbers that float32 would change are looked at later: an offset may be taken off them
    whole = to_float32(x, name, columns)
    return x if x.ndim == 2 and x.dtype.kind == "f" else whole


def weights(weight: np.ndarray | None, name: str, n: int) -> np.ndarray:
    """f32[n], finite and not negative; ones if there are none."""
    if weight is None:
        return np.ones(n, np.float32)
    if weight.shape != (n,):
        raise InputError(f"{name}={weight.shape}: must have the shape ({n},), one for each example")
    weight = to_float32(weight, name)
    refuse_where(weight < 0, name, weight, "must be >= 0; use 0 to leave an example out")
    return weight
