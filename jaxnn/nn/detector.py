"""A small network for detection: from images to a grid of a quarter of their height and width."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax

from jaxnn.config.model import two_channels
from jaxnn.errors import InputError, check
from jaxnn.nn import activations, compose
from jaxnn.nn.activations import Activation
from jaxnn.nn.convolution import check_axes
from jaxnn.nn.init import Initialiser, initialiser
from jaxnn.nn.layers import conv
from jaxnn.types import Model, Params

STRIDE = 4
RARE = -4.0  # the first logit of all classes: few cells have the centre of an object (Lin et al. 2017)
DILATIONS = (1, 2, 1)  # of the convolutions of the grid: each cell sees 39 x 39 pixels


def detector(
    classes: int,
    *,
    channels: Sequence[int] = (32, 64),
    activation: str | Activation = "relu",
    init: str | Initialiser = "auto",
    remat: bool = False,
) -> Model:
    """Images `f32[..., H, W, C]` -> `f32[..., H / 4, W / 4, classes + 4]`, the outputs of `jaxnn.detection`.

    Two 3x3 convolutions of stride 2 with so many channels, three 3x3 convolutions on their grid, the middle one with
    dilation 2, so that a cell sees 39 x 39 pixels, and a 1x1 convolution. The logits of the classes begin at -4.
    `remat`: each of the five is `jaxnn.remat`. Raises `InputError` for other than two channels, and images whose height
    and width 4 does not divide.

    >>> import jax, jax.numpy as jnp
    >>> import jaxnn
    >>> model = jaxnn.detector(10)
    >>> params = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((64, 64, 1)))
    >>> jaxnn.parameter_count(params), jax.eval_shape(model.apply, params, jnp.zeros((2, 64, 64, 1))).shape
    (130510, (2, 16, 16, 14))
    """
    check("detector classes", classes, ">= 1", classes >= 1)
    two_channels("detector channels", channels)
    f, weights = activations.activation(activation), initialiser(init, activation)
    settings = {"padding": "SAME", "init": weights}
    stem = [conv(c, stride=2, **settings) for c in channels]
    trunk = [conv(channels[-1], dilation=d, **settings) for d in DILATIONS]
    hidden = [layer for one in (*stem, *trunk) for layer in (compose.remat(one) if remat else one, f)]
    head = conv(classes + 4, 1, init=initialiser(init), bias_init=(RARE,) * classes + (0.0,) * 4)
    body = compose.chain(*hidden, head, name="detector")

    def init_(key: jax.Array, x: Any) -> Params:
        check_size(x.shape)
        return body.init(key, x)

    return body._replace(init=init_)


def check_size(shape: Sequence[int]) -> None:
    """Refuse an example that is no image [H, W, C], or whose height or width the stride does not divide."""
    check_axes("detector", shape)
    height, width, _ = shape
    if height % STRIDE or width % STRIDE:
        rule = f"height and width must be multiples of {STRIDE}, the stride of the detector"
        near = "x".join(str(STRIDE * max(1, round(side / STRIDE))) for side in (height, width))
        raise InputError(f"x={list(shape)}: {rule}; make the images {near}, with --data.image_size")
