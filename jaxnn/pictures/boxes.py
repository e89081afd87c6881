"""Boxes with their classes and scores, drawn on an image."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxnn.errors import InputError

SIDE = 384  # smaller pictures are enlarged by a whole number to about that, so that their names can be read


def drawn(image: Any, detections: Any, names: Sequence[object], *, least: float = 0.3) -> np.ndarray:
    """The picture, enlarged if it is tiny, with a box, the class and the score of each detection: u8[k H, k W, 3].

    Args:
      image: u8[H, W, 1 or 3].
      detections: f[N, 6], x1, y1, x2, y2 in its pixels, score (NaN: of a label, which has none), class (a place in
        `names`; -1 is padding).
      names: of the classes.
      least: detections of a lower score are not drawn.

    Raises `InputError` for what is no such image.

    >>> import numpy as np
    >>> found = np.array([[8, 8, 40, 40, 0.9, 1], [0, 0, 0, 0, 0, -1]])
    >>> drawn(np.zeros((64, 64, 1), np.uint8), found, ["cat", "dog"]).shape
    (384, 384, 3)
    """
    from PIL import Image, ImageDraw, ImageFont

    image, found = np.asarray(image), np.asarray(detections)
    if image.ndim != 3 or image.shape[-1] not in (1, 3) or image.dtype != np.uint8:
        raise InputError(f"image={image.dtype}{list(image.shape)}: must be u8[H, W, 1] or u8[H, W, 3]; convert it")
    k = max(1, round(SIDE / max(image.shape[:2])))
    large = np.broadcast_to(image.repeat(k, 0).repeat(k, 1), (k * image.shape[0], k * image.shape[1], 3))
    picture = Image.fromarray(np.ascontiguousarray(large))
    pen, side = ImageDraw.Draw(picture), max(picture.size)
    font, line = ImageFont.load_default(max(12, side // 32)), max(1, side // 200)
    chosen = found[(found[:, 5] >= 0) & ~(found[:, 4] < least)]
    for x1, y1, x2, y2, score, kind in chosen[np.argsort(chosen[:, 4], kind="stable")]:  # the best on top
        color = color_of(int(kind))
        edges = [k * x1, k * y1, max(k * x1, k * x2 - 1), max(k * y1, k * y2 - 1)]
        pen.rectangle(edges, outline=color, width=line)
        text = str(names[int(kind)]) + ("" if np.isnan(score) else f" {score:.2f}")
        _, _, width, height = (int(np.ceil(v)) for v in pen.textbbox((0, 0), text, font=font))
        x = max(0, min(edges[0], picture.width - width - 4))
        y = edges[1] - height - 4 if edges[1] >= height + 4 else min(edges[3], picture.height - height - 4)
        pen.rectangle([x, y, x + width + 3, y + height + 3], fill=color)
        pen.text((x + 2, y + 1), text, fill="black", font=font)
    return np.asarray(picture)


def color_of(number: int) -> tuple[int, int, int]:
    """A bright colour for each class, neighbours far apart on the circle of colours (by the golden ratio).

    >>> color_of(0), color_of(1)
    ((255, 89, 89), (89, 138, 255))
    """
    r, g, b = colorsys.hsv_to_rgb(number * 0.618034 % 1, 0.65, 1)
    return round(255 * r), round(255 * g), round(255 * b)
