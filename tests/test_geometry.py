"""Where pixels go when images are made one size: boxes and masks go with them, and come back."""

from __future__ import annotations

import numpy as np
import pytest

from jaxnn.data.readers import geometry
from jaxnn.data.readers.image_form import Form, formed

RNG = np.random.default_rng(0)
SIZES = [((40, 60), (16, 16)), ((60, 40), (20, 50)), ((16, 16), (16, 16)), ((30, 31), (64, 48))]
CASES = [(size, made, resize) for resize in ("fit", "fill", "stretch") for size, made in SIZES]


@pytest.mark.parametrize(("size", "made", "resize"), CASES)
def test_a_box_goes_where_the_pixels_of_its_rectangle_go(size, made, resize):
    """A white rectangle on black: its light is found in the box, in place and in amount."""
    g = geometry.of(size, Form(made, resize, None))
    for _ in range(20):
        x1, x2 = np.sort(RNG.choice(size[1] + 1, 2, replace=False))
        y1, y2 = np.sort(RNG.choice(size[0] + 1, 2, replace=False))
        image = np.zeros(size, np.uint8)
        image[y1:y2, x1:x2] = 255
        light = formed(image, Form(made, resize, None)) / 255
        box = geometry.boxes(g, np.array([[x1, y1, x2, y2]], float))[0]
        if (box[2:] - box[:2]).min() < 2:
            continue
        ys, xs = np.nonzero(light > 0.5)
        found = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
        np.testing.assert_allclose(found, box, atol=1.0)
        area = np.prod(box[2:] - box[:2])
        np.testing.assert_allclose(light.sum(), area, atol=2 * (box[2:] - box[:2]).sum() * 0.5)


def test_boxes_of_whole_pixels_are_exact_where_the_scale_is():
    image = np.zeros((40, 60, 3), np.uint8)
    image[8:24, 12:36] = 255
    small = formed(image, Form((10, 15), "stretch", None))
    box = geometry.boxes(geometry.of((40, 60), Form((10, 15), "stretch", None)), np.array([[12.0, 8, 36, 24]]))[0]
    assert box.tolist() == [3, 2, 9, 6]
    inside = np.zeros((10, 15), bool)
    inside[2:6, 3:9] = True
    assert ((small > 127).all(2) == inside).all()


@pytest.mark.parametrize(("size", "made", "resize"), CASES)
def test_there_and_back_is_the_box_but_for_what_was_cut(size, made, resize):
    g = geometry.of(size, Form(made, resize, None))
    x1, y1, x2, y2 = g.crop
    given = RNG.uniform([x1, y1, x1, y1], [x2, y2, x2, y2], (50, 4))
    np.testing.assert_allclose(geometry.boxes_back(g, geometry.boxes(g, given)), given, atol=1e-9)


def test_geometries_of_many_images_are_those_of_each():
    forms = [geometry.of((int(h), int(w)), Form((16, 24), "fill", None)) for h, w in RNG.integers(5, 50, (7, 2))]
    index = RNG.integers(0, 7, 40)
    given = RNG.uniform(0, 50, (40, 4))
    together = geometry.boxes(geometry.taken(forms, index), given)
    alone = np.concatenate([geometry.boxes(forms[i], given[[k]]) for k, i in enumerate(index)])
    np.testing.assert_array_equal(together, alone)


@pytest.mark.parametrize(("size", "made", "resize"), CASES)
def test_a_mask_goes_where_the_pixels_go_and_keeps_its_classes(size, made, resize):
    """A mask of large blocks: away from their edges it is the image of the same blocks, resized."""
    blocks = np.kron(RNG.integers(0, 2, (3, 3)), np.ones((20, 21), int))[: size[0], : size[1]].astype(np.uint8)
    form = Form(made, resize, None)
    mask = geometry.mask(geometry.of(size, form), blocks)
    light = formed(blocks * 200 + 50, form)
    assert mask.shape == made and set(np.unique(mask)) <= {0, 1, 255}
    assert (light[mask == 255] == 0).all()
    sure = (light == 50) | (light == 250)
    assert sure.mean() > 0.1
    np.testing.assert_array_equal(mask[sure], (light[sure] == 250).astype(np.uint8))


@pytest.mark.parametrize(("size", "made", "resize"), CASES)
def test_a_mask_comes_back_in_the_size_of_its_file(size, made, resize):
    mask = np.kron(RNG.integers(0, 5, (2, 2)), np.ones((size[0] // 2 + 1, size[1] // 2 + 1), int))
    mask = mask[: size[0], : size[1]].astype(np.uint8)
    g = geometry.of(size, Form(made, resize, None))
    back = geometry.mask_back(g, geometry.mask(g, mask))
    assert back.shape == size
    cut = back == 255
    x1, y1, x2, y2 = g.crop
    assert cut.sum() == size[0] * size[1] - (round(y2 - y1) * round(x2 - x1)) or resize == "fill"
    assert (back == mask)[~cut].mean() > 0.85


def test_what_fill_cuts_away_comes_back_as_ignored():
    g = geometry.of((10, 20), Form((5, 5), "fill", None))
    back = geometry.mask_back(g, np.ones((5, 5), np.uint8))
    assert (back[:, 5:15] == 1).all() and (back[:, :5] == 255).all() and (back[:, 15:] == 255).all()
