"""Masks in colours."""

from __future__ import annotations

import numpy as np
import pytest

from jaxnn.pictures import masks


def test_the_palette_is_that_of_pascal_voc_and_no_colour_stands_twice():
    by_hand = []
    for number in range(256):  # as the development kit of VOC writes it
        red = green = blue = 0
        rest = number
        for place in range(8):
            red |= (rest & 1) << (7 - place)
            green |= ((rest >> 1) & 1) << (7 - place)
            blue |= ((rest >> 2) & 1) << (7 - place)
            rest >>= 3
        by_hand.append([red, green, blue])
    np.testing.assert_array_equal(masks.palette(), by_hand)
    assert len(np.unique(masks.palette(), axis=0)) == 256


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_an_overlay_mixes_the_colours_of_classes_and_leaves_the_rest(channels):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, 5, 4, channels), np.uint8)
    chosen = rng.choice(np.array([0, 1, 7, 255], np.uint8), (2, 5, 4))
    found = masks.overlay(images, chosen)
    assert found.shape == (2, 5, 4, 3) and found.dtype == np.uint8
    for place in np.ndindex(2, 5, 4):
        pixel = images[place][:3] if channels > 1 else images[place].repeat(3)
        colour = masks.palette()[chosen[place]]
        expected = pixel if chosen[place] in (0, 255) else (pixel.astype(int) + colour) // 2
        np.testing.assert_array_equal(found[place], expected)
