"""The U-Net, for outputs that are as large as the image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax

from jaxnn.errors import InputError, check
from jaxnn.nn import activations, compose
from jaxnn.nn.activations import Activation
from jaxnn.nn.compose import Layer, chain, concat
from jaxnn.nn.convolution import check_axes
from jaxnn.nn.init import Initialiser, initialiser
from jaxnn.nn.layers import conv, max_pool, upsample
from jaxnn.nn.resampling import depth_to_space, space_to_depth
from jaxnn.types import Model, Params


def unet(
    outputs: int,
    *,
    channels: Sequence[int] = (16, 48, 96),
    activation: str | Activation = "relu",
    init: str | Initialiser = "auto",
    remat: bool = False,
) -> Model:
    """A network from pixels to pixels: images `f32[..., H, W, C]` -> `f32[..., H, W, outputs]`.

    Each level is a 3x3 convolution, the one below it at half the height and width, and, of both side by side, another
    convolution; the lowest is two. All of it at half the resolution of the image, four of whose pixels are one with
    four times the channels: a quarter of the time, and of each pixel as much is known.

    `channels` are those of the levels, from the top. `remat`: each level's convolutions are `jaxnn.remat`. Raises
    `InputError` unless 2 to the power of the number of levels divides H and W. Source: Ronneberger et al. 2015; Shi et
    al. 2016 (pixels as channels).

    >>> import jax, jax.numpy as jnp
    >>> import jaxnn
    >>> model = jaxnn.unet(11)
    >>> params = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((48, 48, 1)))
    >>> jaxnn.parameter_count(params), jax.eval_shape(model.apply, params, jnp.zeros((8, 48, 48, 1))).shape
    (204396, (8, 48, 48, 11))
    """
    check("unet channels", list(channels), "one number or more, >= 1", len(channels) > 0 and min(channels) >= 1)
    f = activations.activation(activation)

    def step(width: int) -> Layer:
        layer = chain(conv(width, padding="SAME", init=initialiser(init, activation)), f, name="block")
        return compose.remat(layer) if remat else layer

    def level(widths: Sequence[int]) -> list[Layer]:
        width, *below = widths
        inner = [concat(chain(max_pool(2), *level(below), upsample(2), name="below"))] if below else []
        return [step(width), *inner, step(width)]

    head = conv(4 * outputs, 1, init=initialiser(init))
    body = chain(space_to_depth(2), *level(channels), head, depth_to_space(2), name="unet")

    def init_(key: jax.Array, x: Any) -> Params:
        check_levels(x.shape, len(channels))
        return body.init(key, x)

    return body._replace(init=init_)


def check_levels(shape: Sequence[int], levels: int) -> None:
    """Refuse an example that is no image [H, W, C], or cannot be halved once for each level."""
    check_axes("unet", shape)
    height, width, _ = shape
    k = 2**levels
    if height % k or width % k:
        rule = f"height and width must be multiples of {k}, 2 to the power of its {levels} levels"
        cure = (
            f"use images of {-(-height // k) * k}x{-(-width // k) * k} (--data.image_size), or fewer --model.channels"
        )
        raise InputError(f"x={list(shape)}: {rule}; {cure}")
