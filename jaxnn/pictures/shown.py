"""Images of any numbers, as they are shown."""

from __future__ import annotations

import numpy as np

from jaxnn.arrays import white


def as_bytes(x: np.ndarray, scale: float | None) -> np.ndarray:
    """u8[n, H, W, 1 or 3], of images `[n, H, W, C]` in which `scale` means white (None: 255 in bytes, 1 in others).

    Of four channels or more the first three are shown, of two the first.

    >>> as_bytes(np.array([0, 8, 16], np.uint8).reshape(1, 1, 3, 1), 16.0).ravel().tolist()
    [0, 128, 255]
    """
    shown = x[..., : 3 if x.shape[-1] >= 3 else 1]
    return np.round(np.clip(shown / white(x.dtype, scale), 0, 1) * 255).astype(np.uint8)
