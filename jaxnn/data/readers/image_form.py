"""Images of any size, channels and depth made alike: on a white ground, grey or RGB, and resized."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from jaxnn.config.data import DataConfig
from jaxnn.data.readers import geometry

# What is told of the images that something was done to; what is done to nearly all is not.
TOLD = {
    "turned": "turned upright, as their EXIF data say",
    "deep": "of 16 bits a channel, of which the upper 8 are taken",
    "frames": "of several frames, of which the first is taken",
    "clear": "with transparency, laid on white",
    "CMYK": "in CMYK, made RGB without their colour profile",
}


class Form(NamedTuple):
    """What images are made to be."""

    size: tuple[int, int] | None
    """height and width; None keeps them"""
    resize: str
    color: str | None
    """rgb, grey, or None: grey for a grey image and rgb for others"""


def of(config: DataConfig) -> Form | None:
    """The form that is asked for; None keeps images as they are stored.

    >>> of(DataConfig(image_size="48x64")), of(DataConfig())
    (Form(size=(48, 64), resize='fit', color=None), None)
    """
    if config.image_size is None and config.color is None:
        return None
    size = None
    if config.image_size is not None:
        height, _, width = config.image_size.partition("x")
        size = int(height), int(width or height)
    return Form(size, config.resize, config.color)


def formed(pixels: np.ndarray, form: Form) -> np.ndarray:
    """u8[H, W] grey or u8[H, W, 3] RGB, of an image with 1 to 4 channels.

    Transparent pixels are laid on white; grey is 0.299 R + 0.587 G + 0.114 B; resizing is Pillow's BILINEAR, which
    averages over all pixels that become one.

    >>> formed(np.full((2, 4), 9, np.uint8), Form((4, 4), "fit", None))
    array([[0, 0, 0, 0],
           [9, 9, 9, 9],
           [9, 9, 9, 9],
           [0, 0, 0, 0]], dtype=uint8)
    """
    from PIL import Image

    image = Image.fromarray(pixels)
    if image.mode in ("LA", "RGBA"):
        opaque = image.convert(image.mode[:-1])
        ground = Image.new(opaque.mode, image.size, "white")
        image = Image.composite(opaque, ground, image.getchannel("A"))
    if form.color == "grey":
        image = image.convert("L")
    if form.size is not None and (image.height, image.width) != form.size:
        g = geometry.of((image.height, image.width), form)
        inner = image.resize(g.inner[::-1], Image.Resampling.BILINEAR, box=g.crop)
        image = Image.new(image.mode, g.made[::-1])
        image.paste(inner, g.place[::-1])
    return np.asarray(image.convert("RGB") if form.color == "rgb" else image)
