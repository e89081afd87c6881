"""Images as numbers: the lecture's grid, bytes, greys and colours."""

from __future__ import annotations

import colorsys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxnn import image
from jaxnn.errors import InputError

RNG = np.random.default_rng(0)
RGB = jnp.asarray(RNG.random((2, 6, 7, 3)), jnp.float32)
CORNERS = jnp.asarray(np.stack(np.meshgrid(*[[0.0, 0.5, 1.0]] * 3), -1).reshape(3, 9, 3), jnp.float32)
COLOUR_MODES = {"hsv": (image.rgb_to_hsv, image.hsv_to_rgb), "ycbcr": (image.rgb_to_ycbcr, image.ycbcr_to_rgb)}

# The one of the lecture, "Grayscale image representation", as its slide prints it.
ONE = """
0 0 0 0 0 0 0  0  0  0  0 0 0 0 0
0 0 0 0 0 0 0  0  0  0  0 0 0 0 0
0 0 0 0 0 0 0 .6 .8  0  0 0 0 0 0
0 0 0 0 0 0 0 .7  1  0  0 0 0 0 0
0 0 0 0 0 0 0 .7  1  0  0 0 0 0 0
0 0 0 0 0 0 0 .5  1 .4  0 0 0 0 0
0 0 0 0 0 0 0  0  1 .4  0 0 0 0 0
0 0 0 0 0 0 0  0  1 .4  0 0 0 0 0
0 0 0 0 0 0 0  0  1 .7  0 0 0 0 0
0 0 0 0 0 0 0  0  1  1  0 0 0 0 0
0 0 0 0 0 0 0  0 .9  1 .1 0 0 0 0
0 0 0 0 0 0 0  0 .3  1 .1 0 0 0 0
0 0 0 0 0 0 0  0  0  0  0 0 0 0 0
"""


def test_ascii_prints_the_grid_of_the_lecture():
    table = [line.split() for line in ONE.strip().splitlines()]
    x = np.array(table, np.float64)
    assert x.shape == (13, 15)
    for pixels in (x, x[..., None], x.astype(np.float32), jnp.asarray(x, jnp.float32), image.to_uint8(jnp.asarray(x))):
        lines = image.ascii(pixels).splitlines()
        assert [line.split() for line in lines] == table
        assert {len(line) for line in lines} == {15 * 3 - 1}
    assert image.ascii(np.array([[-0.0, 0.04, 0.96]])) == " 0  0  1"
    assert image.ascii(np.array([[114, 115]], np.uint8)) == ".4 .5"  # 0.447, 0.451


@pytest.mark.parametrize("x", [np.zeros(3), np.zeros((2, 2, 3)), [[1.1]], [[-0.1]], [[np.nan]]])
def test_ascii_refuses_what_is_not_one_grey_image(x):
    with pytest.raises(InputError, match="must be"):
        image.ascii(x)


def test_every_byte_survives_the_way_through_floats():
    every = jnp.arange(256, dtype=jnp.uint8).reshape(16, 16)
    floats = image.to_float(every)
    assert floats.dtype == jnp.float32
    np.testing.assert_allclose(floats, np.arange(256).reshape(16, 16) / 255, atol=1e-7)
    np.testing.assert_array_equal(image.to_uint8(floats), every)
    assert image.to_uint8(jnp.array([-0.2, 0.001, 0.002, 0.999, 1.2])).tolist() == [0, 0, 1, 255, 255]


@pytest.mark.parametrize("mode", COLOUR_MODES)
@pytest.mark.parametrize("x", [RGB, CORNERS], ids=["random", "corners"])
def test_colour_modes_round_trip(mode, x):
    there, back = COLOUR_MODES[mode]
    y = there(x)
    assert y.min() >= -1e-6 and y.max() <= 1 + 1e-6
    np.testing.assert_allclose(back(y), x, atol=1e-5)


def test_hsv_is_pythons():
    for x in (RGB, CORNERS):
        expected = [colorsys.rgb_to_hsv(*pixel) for pixel in np.asarray(x, np.float64).reshape(-1, 3)]
        np.testing.assert_allclose(image.rgb_to_hsv(x).reshape(-1, 3), expected, atol=1e-6)


def test_ycbcr_and_grey_are_pillows():
    pixels = RNG.integers(0, 256, (8, 9, 3), np.uint8)
    x = image.to_float(jnp.asarray(pixels))
    expected = np.asarray(Image.fromarray(pixels).convert("YCbCr"), np.float64)
    np.testing.assert_allclose(np.asarray(image.rgb_to_ycbcr(x)) * 255, expected, atol=1.2)  # Pillow rounds to bytes
    grey = np.asarray(Image.fromarray(pixels).convert("L"), np.float64)[..., None]
    np.testing.assert_allclose(np.asarray(image.to_gray(x)) * 255, grey, atol=0.6)


def test_a_grey_image_survives_being_made_rgb():
    grey = RGB[..., :1]
    rgb = image.to_rgb(grey)
    assert rgb.shape == RGB.shape
    np.testing.assert_allclose(image.to_gray(rgb), grey, atol=1e-6)
    hue, saturation, value = np.moveaxis(np.asarray(image.rgb_to_hsv(rgb)), -1, 0)
    assert (hue == 0).all() and (saturation == 0).all() and (value == grey[..., 0]).all()


FUNCTIONS = [image.to_gray, image.rgb_to_hsv, image.hsv_to_rgb, image.rgb_to_ycbcr, image.ycbcr_to_rgb]


@pytest.mark.parametrize("fn", [*FUNCTIONS, image.to_rgb, image.to_uint8], ids=lambda fn: fn.__name__)
def test_leading_axes_are_free_and_jit_changes_nothing(fn):
    x = RGB[..., :1] if fn is image.to_rgb else RGB
    whole = fn(x)
    np.testing.assert_allclose(whole, jax.vmap(fn)(x), atol=1e-6)
    np.testing.assert_allclose(whole, jax.jit(fn)(x), atol=1e-6)
    np.testing.assert_array_equal(fn(x[None])[0], whole)
    assert whole.dtype == (jnp.uint8 if fn is image.to_uint8 else jnp.float32)


@pytest.mark.parametrize("fn", FUNCTIONS, ids=lambda fn: fn.__name__)
def test_gradients_are_finite_at_greys_and_corners(fn):
    assert jnp.isfinite(jax.grad(lambda x: fn(x).sum())(CORNERS)).all()


@pytest.mark.parametrize("fn", FUNCTIONS, ids=lambda fn: fn.__name__)
def test_other_layouts_and_bytes_are_refused(fn):
    with pytest.raises(
        InputError, match=r"x=\(2, 3, 8, 8\): must be \[..., H, W, 3\], channels last; it seems channels-f"
    ):
        fn(jnp.zeros((2, 3, 8, 8)))
    for shape in ((8, 3), (8, 8, 4)):
        with pytest.raises(InputError, match="channels last$"):
            fn(jnp.zeros(shape))
    with pytest.raises(InputError, match="x=uint8: must be floats in"):
        fn(jnp.zeros((8, 8, 3), jnp.uint8))


def test_conversions_refuse_the_wrong_direction():
    with pytest.raises(InputError, match="x=float32: must be uint8"):
        image.to_float(jnp.zeros(3))
    with pytest.raises(InputError, match="x=uint8: must be floats"):
        image.to_uint8(jnp.zeros(3, jnp.uint8))
    with pytest.raises(InputError, match=r"must be \[..., H, W, 1\]"):
        image.to_rgb(RGB)
