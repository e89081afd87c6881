"""Masks in colours: the palette of their PNG files, and masks laid over their images."""

from __future__ import annotations

import numpy as np

from jaxnn.tasks.marks import IGNORE


def palette() -> np.ndarray:
    """The colours of classes 0 to 255, `u8[256, 3]`: those of Pascal VOC, 0 black, neighbours far apart.

    Bits 0, 3, 6 of the number of a class, in this order, are the highest bits of red, and so on for green and blue.

    >>> palette()[[0, 1, 2, 15]].tolist()
    [[0, 0, 0], [128, 0, 0], [0, 128, 0], [192, 128, 128]]
    """
    number = np.arange(256)
    colours = np.zeros((256, 3), np.uint8)
    for place in range(3):
        for channel in range(3):
            bit = (number >> (3 * place + channel)) & 1
            colours[:, channel] |= (bit << (7 - place)).astype(np.uint8)
    return colours


def overlay(images: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Each image with the colours of its classes, half and half: `u8[n, H, W, 3]`.

    images `u8[n, H, W, C]`, grey (C = 1) or with red, green and blue first; masks `u8[n, H, W]`. Class 0, the
    background, and 255, no class, show the image alone.

    >>> image, mask = np.full((1, 1, 3, 1), 100, np.uint8), np.array([[[0, 1, 255]]], np.uint8)
    >>> overlay(image, mask).tolist()
    [[[[100, 100, 100], [114, 50, 50], [100, 100, 100]]]]
    """
    rgb = images.repeat(3, -1) if images.shape[-1] == 1 else images[..., :3]
    mixed = ((rgb.astype(np.uint16) + palette()[masks]) // 2).astype(np.uint8)
    return np.where(((masks == 0) | (masks == IGNORE))[..., None], rgb, mixed)
