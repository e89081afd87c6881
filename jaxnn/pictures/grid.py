"""A contact sheet: many small pictures as one."""

from __future__ import annotations

import io

import numpy as np

from jaxnn.errors import InputError, check

MARGIN = 2  # pixels of grey between two pictures and around all
GREY = 128
LEAST = 64  # pixels: smaller pictures are shown several times as large


def grid(images: np.ndarray, columns: int) -> np.ndarray:
    """Pictures `u8[n, H, W, C]` in rows of so many, with a margin: `u8[H', W', C]`.

    Pictures that are lower than 64 pixels are shown in a whole number of times their size. Raises `InputError` for
    anything but pictures of bytes, at least one, or columns < 1.

    >>> import numpy as np
    >>> grid(np.zeros((5, 32, 48, 3), np.uint8), columns=3).shape
    (134, 296, 3)
    """
    check("columns", columns, ">= 1", columns >= 1)
    if images.ndim != 4 or images.dtype != np.uint8 or not len(images):
        raise InputError(f"images={images.dtype}{list(images.shape)}: must be u8[n, H, W, C] with n >= 1")
    times = -(-LEAST // images.shape[1])
    images = images.repeat(times, 1).repeat(times, 2)
    n, height, width, channels = images.shape
    columns = min(columns, n)
    framed = np.full((-(-n // columns) * columns, height + MARGIN, width + MARGIN, channels), GREY, np.uint8)
    framed[:n, MARGIN:, MARGIN:] = images
    rows = framed.reshape(-1, columns, *framed.shape[1:]).swapaxes(1, 2)
    sheet = rows.reshape(rows.shape[0] * rows.shape[1], -1, channels)
    return np.pad(sheet, ((0, MARGIN), (0, MARGIN), (0, 0)), constant_values=GREY)


def png(picture: np.ndarray) -> bytes:
    """The file of a picture `u8[H, W, C]` of three channels or four; of any others the first, as grey."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(picture if picture.shape[-1] in (3, 4) else picture[..., 0]).save(file, "PNG")
    return file.getvalue()
