"""Images `f32[B, H, W, C]` padded, cut and enlarged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from jaxnn.errors import InputError, choices
from jaxnn.keras.layers import standard
from jaxnn.keras.layers.standard import Standard
from jaxnn.keras.tensors import Shape
from jaxnn.nn import convolution

Sides = tuple[tuple[int, int], tuple[int, int]]  # (top, bottom), (left, right)


class ZeroPadding2D(Standard):
    """Zeros around an image: `f32[B, H, W, C]` -> `f32[B, H + top + bottom, W + left + right, C]`.

    `padding` is a number, (height, width), or ((top, bottom), (left, right)).

    >>> import numpy as np
    >>> ZeroPadding2D((1, 2))(np.ones((1, 4, 4, 3))).shape
    (1, 6, 8, 3)
    """

    def __init__(self, padding: Any = (1, 1), data_format: str | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.padding: Sides = sides("ZeroPadding2D padding", padding)
        self.data_format: str = standard.channels_last("ZeroPadding2D", data_format)

    def network(self, *shapes: Shape) -> Callable[..., Any]:
        standard.image(self, shapes[0])
        return lambda x: jnp.pad(x, [(0, 0)] * (x.ndim - 3) + [*self.padding, (0, 0)])


class Cropping2D(Standard):
    """An image without its edges: `f32[B, H, W, C]` -> `f32[B, H - top - bottom, W - left - right, C]`.

    `cropping` as the padding of `ZeroPadding2D`. Raises `InputError` where nothing would be left.

    >>> import numpy as np
    >>> Cropping2D(((1, 0), (2, 1)))(np.ones((1, 4, 4, 3))).shape
    (1, 3, 1, 3)
    """

    def __init__(self, cropping: Any = ((0, 0), (0, 0)), data_format: str | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.cropping: Sides = sides("Cropping2D cropping", cropping)
        self.data_format: str = standard.channels_last("Cropping2D", data_format)

    def network(self, *shapes: Shape) -> Callable[..., Any]:
        height, width, _ = standard.image(self, shapes[0])
        (top, bottom), (left, right) = self.cropping
        if top + bottom >= height or left + right >= width:
            raise InputError(f"Cropping2D cropping={self.cropping}: must leave something of inputs {shapes[0]}")
        return lambda x: x[..., top : height - bottom, left : width - right, :]


def sides(name: str, value: Any) -> Sides:
    """((top, bottom), (left, right)), of which a number, or a pair, are the short forms."""
    both = (value, value) if isinstance(value, int) else value
    if not isinstance(both, list | tuple) or len(both) != 2:
        raise InputError(f"{name}={value}: must be a number, (height, width) or ((top, bottom), (left, right))")
    return standard.pair(name, both[0], 0), standard.pair(name, both[1], 0)


class UpSampling2D(Standard):
    """An image `size` times as high and wide, `jaxnn.upsample`: `f32[B, H, W, C]` -> `f32[B, h H, w W, C]`.

    `interpolation`: `nearest` or `bilinear`; others raise `InputError`.

    >>> import numpy as np
    >>> UpSampling2D(2)(np.array([[[[1.0], [2.0]]]]))[0, :, :, 0].tolist()
    [[1.0, 1.0, 2.0, 2.0], [1.0, 1.0, 2.0, 2.0]]
    """

    def __init__(
        self, size: Any = (2, 2), data_format: str | None = None, interpolation: str = "nearest", **kwargs: Any
    ):
        super().__init__(**kwargs)
        self.size: tuple[int, int] = standard.pair("UpSampling2D size", size)
        self.data_format: str = standard.channels_last("UpSampling2D", data_format)
        self.interpolation: str = interpolation.lower()
        if self.interpolation not in ("nearest", "bilinear"):
            raise choices("UpSampling2D interpolation", interpolation, ("nearest", "bilinear"))

    def network(self, *shapes: Shape) -> Callable[..., Any]:
        standard.image(self, shapes[0])
        return lambda x: convolution.upsample(x, self.size, self.interpolation)
