"""Boxes drawn on an image: their places, what is left out, and pictures large enough to read."""

import numpy as np
import pytest

from jaxnn.errors import InputError
from jaxnn.pictures.boxes import color_of, drawn

FOUND = np.array([[8, 16, 40, 48, 0.9, 1], [2, 2, 9, 9, 0.1, 0], [0, 0, 0, 0, 0, -1]], np.float32)


def test_a_box_is_drawn_where_it_is_in_the_colour_of_its_class():
    image = np.full((64, 64, 1), 50, np.uint8)
    picture = drawn(image, FOUND, ["cat", "dog"])
    assert picture.shape == (384, 384, 3) and picture.dtype == np.uint8
    rows, columns = np.nonzero((picture == color_of(1)).all(-1))
    below = rows >= 6 * 16  # the name is above
    assert (rows[below].min(), rows.max()) == (6 * 16, 6 * 48 - 1)
    assert (columns[below].min(), columns[below].max()) == (6 * 8, 6 * 40 - 1)
    assert rows.min() < 6 * 16 and not (picture == color_of(0)).all(-1).any()  # below 0.3
    inside = picture[6 * 16 + 4 : 6 * 48 - 4, 6 * 8 + 4 : 6 * 40 - 4]
    assert (inside == 50).all() and (image == 50).all()
    assert (drawn(image, FOUND, ["cat", "dog"], least=0) == color_of(0)).all(-1).any()


def test_names_stay_in_the_picture_and_large_pictures_their_size():
    corners = np.array([[0, 0, 30, 30, 0.9, 0], [610, 450, 640, 480, 0.8, 0], [0, 0, 640, 480, 0.7, 0]])
    picture = drawn(np.zeros((480, 640, 3), np.uint8), corners, ["a rather long name"])
    assert picture.shape == (480, 640, 3)
    assert (picture[-1] == color_of(0)).all() and (picture[:, -1] == color_of(0)).all()


def test_what_is_no_image_is_refused():
    with pytest.raises(InputError, match=r"image=float32\[4, 4, 1\]: must be u8"):
        drawn(np.zeros((4, 4, 1), np.float32), FOUND, ["cat", "dog"])
