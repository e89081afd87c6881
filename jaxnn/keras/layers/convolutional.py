"""Convolutions of images `f32[B, H, W, C]`."""

from __future__ import annotations

from typing import Any, ClassVar

import jax

from jaxnn.errors import InputError
from jaxnn.keras import initializers, regularizers
from jaxnn.keras.layers import standard
from jaxnn.keras.layers.core import Affine
from jaxnn.keras.tensors import Shape
from jaxnn.nn import compose, layers, resampling
from jaxnn.types import Model


class Convolution(Affine):
    """The arguments of all convolutions."""

    def __init__(
        self,
        kernel_size: Any,
        strides: Any = (1, 1),
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Any = (1, 1),
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        kind = type(self).__name__
        self.kernel_size: tuple[int, int] = standard.pair(f"{kind} kernel_size", kernel_size)
        self.strides: tuple[int, int] = standard.pair(f"{kind} strides", strides)
        self.padding: str = standard.padding(kind, padding)
        self.data_format: str = standard.channels_last(kind, data_format)
        self.dilation_rate: tuple[int, int] = standard.pair(f"{kind} dilation_rate", dilation_rate)
        if len(set(self.dilation_rate)) > 1:
            raise InputError(f"{kind} dilation_rate={dilation_rate}: must be one number for height and width")
        if max(self.dilation_rate) > 1 and max(self.strides) > 1:
            raise InputError(f"{kind} strides={strides} and dilation_rate={dilation_rate}: one of them must be 1")

    def convolved(self, channels: int, init: Any, bias: bool, groups: int = 1) -> Model:
        """`jaxnn.conv` of these arguments."""
        return layers.conv(
            channels, self.kernel_size, stride=self.strides, padding=self.padding.upper(),
            dilation=self.dilation_rate[0], groups=groups, init=init, bias=bias,
        )  # fmt: skip


class Conv2D(Convolution):
    """A convolution, `jaxnn.conv`: x `f32[B, H, W, C]` -> `f32[B, H', W', filters]`.

    Kernel `f32[kh, kw, C / groups, filters]`. With padding `valid` H' = (H - kh) / stride + 1, rounded down; with
    `same` H' = H / stride, rounded up. Raises `InputError` for groups that do not divide the channels, for
    `channels_first`, and for a dilation of height and width apart.

    >>> import numpy as np
    >>> Conv2D(32, 3, activation="relu")(np.zeros((8, 28, 28, 1))).shape
    (8, 26, 26, 32)
    """

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = (1, 1),
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Any = (1, 1),
        groups: int = 1,
        activation: Any = None,
        kernel_initializer: Any = "glorot_uniform",
        kernel_regularizer: Any = None,
        **kwargs: Any,
    ):
        super().__init__(kernel_size, strides, padding, data_format, dilation_rate, activation=activation, **kwargs)
        self.kernel_initializer: initializers.Draw = initializers.get(kernel_initializer)
        self.kernel_regularizer: regularizers.Penalty | None = regularizers.get(kernel_regularizer)
        self.filters: int = standard.whole("Conv2D filters", filters)
        self.groups: int = standard.whole("Conv2D groups", groups)
        if self.filters % self.groups:
            raise InputError(f"Conv2D groups={groups}: must divide filters={filters}")

    def network(self, *shapes: Shape) -> Model:
        channels = standard.image(self, shapes[0])[-1]
        if channels % self.groups:
            raise InputError(f"Conv2D groups={self.groups}: must divide the {channels} channels of inputs {shapes[0]}")
        init = initializers.drawn(self.kernel_initializer)
        return self.ended(self.convolved(self.filters, init, self.use_bias, self.groups))


class Depthwise(Convolution):
    """The part of a depthwise convolution: each channel with `depth_multiplier` kernels of its own."""

    DEPTHWISE: ClassVar[str] = "w"  # the path of its kernel

    def __init__(
        self,
        kernel_size: Any,
        strides: Any = (1, 1),
        padding: str = "valid",
        depth_multiplier: int = 1,
        data_format: str | None = None,
        dilation_rate: Any = (1, 1),
        activation: Any = None,
        use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform",
        depthwise_regularizer: Any = None,
        **kwargs: Any,
    ):
        more = {"activation": activation, "use_bias": use_bias, **kwargs}
        super().__init__(kernel_size, strides, padding, data_format, dilation_rate, **more)
        self.depth_multiplier: int = standard.whole(f"{type(self).__name__} depth_multiplier", depth_multiplier)
        self.depthwise_initializer: initializers.Draw = initializers.get(depthwise_initializer)
        self.depthwise_regularizer: regularizers.Penalty | None = regularizers.get(depthwise_regularizer)

    def depthwise(self, shape: Shape, bias: bool) -> Model:
        channels, each = standard.image(self, shape)[-1], self.depth_multiplier
        drawn = initializers.drawn(self.depthwise_initializer)

        def init(key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
            return drawn(key, (*self.kernel_size, channels, each), dtype).reshape(shape)

        return self.convolved(channels * each, init, bias, groups=channels)

    def oriented(self, leaf: str, value: Any) -> Any:
        if leaf != self.DEPTHWISE:
            return value
        return value.reshape(*self.kernel_size, -1, self.depth_multiplier)

    def stored(self, leaf: str, value: Any) -> Any:
        return value.reshape(*self.kernel_size, 1, -1) if leaf == self.DEPTHWISE else value


class DepthwiseConv2D(Depthwise):
    """A convolution of each channel by itself: x `f32[B, H, W, C]` -> `f32[B, H', W', C depth_multiplier]`.

    Kernel `f32[kh, kw, C, depth_multiplier]`. Raises `InputError` as `Conv2D`.

    >>> import numpy as np
    >>> DepthwiseConv2D(3, padding="same")(np.zeros((8, 14, 14, 16))).shape
    (8, 14, 14, 16)
    """

    PENALTIES: ClassVar[dict[str, str]] = {"w": "depthwise_regularizer", "b": "bias_regularizer"}

    def network(self, *shapes: Shape) -> Model:
        return self.ended(self.depthwise(shapes[0], self.use_bias))


class SeparableConv2D(Depthwise):
    """A depthwise convolution, then a 1 x 1 convolution: x `f32[B, H, W, C]` -> `f32[B, H', W', filters]`.

    Kernels `f32[kh, kw, C, depth_multiplier]` and `f32[1, 1, C depth_multiplier, filters]`. Source: Chollet 2017.

    >>> import numpy as np
    >>> SeparableConv2D(32, 3)(np.zeros((8, 14, 14, 16))).shape
    (8, 12, 12, 32)
    """

    LEAVES: ClassVar[tuple[str, ...]] = ("conv_0/w", "conv_1/w", "conv_1/b")
    DEPTHWISE: ClassVar[str] = "conv_0/w"
    PENALTIES: ClassVar[dict[str, str]] = {
        "conv_0/w": "depthwise_regularizer",
        "conv_1/w": "pointwise_regularizer",
        "conv_1/b": "bias_regularizer",
    }

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = (1, 1),
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Any = (1, 1),
        depth_multiplier: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform",
        pointwise_initializer: Any = "glorot_uniform",
        pointwise_regularizer: Any = None,
        **kwargs: Any,
    ):
        super().__init__(
            kernel_size, strides, padding, depth_multiplier, data_format, dilation_rate, activation, use_bias,
            depthwise_initializer, **kwargs,
        )  # fmt: skip
        self.filters: int = standard.whole("SeparableConv2D filters", filters)
        self.pointwise_initializer: initializers.Draw = initializers.get(pointwise_initializer)
        self.pointwise_regularizer: regularizers.Penalty | None = regularizers.get(pointwise_regularizer)

    def network(self, *shapes: Shape) -> Model:
        init = initializers.drawn(self.pointwise_initializer)
        pointwise = layers.conv(self.filters, 1, init=init, bias=self.use_bias)
        return self.ended(compose.chain(self.depthwise(shapes[0], False), pointwise))


class Conv2DTranspose(Convolution):
    """A transposed convolution, `jaxnn.conv_transpose`: x `f32[B, H, W, C]` -> `f32[B, H', W', filters]`.

    Kernel `f32[kh, kw, filters, C]`. With padding `same` H' = H stride. Raises `InputError` for strides above the
    kernel size, and for `output_padding` and `dilation_rate` of Keras.

    >>> import numpy as np
    >>> Conv2DTranspose(8, 2, strides=2)(np.zeros((8, 7, 7, 16))).shape
    (8, 14, 14, 8)
    """

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = (1, 1),
        padding: str = "valid",
        output_padding: Any = None,
        data_format: str | None = None,
        dilation_rate: Any = (1, 1),
        activation: Any = None,
        kernel_initializer: Any = "glorot_uniform",
        kernel_regularizer: Any = None,
        **kwargs: Any,
    ):
        super().__init__(kernel_size, strides, padding, data_format, dilation_rate, activation=activation, **kwargs)
        self.kernel_initializer: initializers.Draw = initializers.get(kernel_initializer)
        self.kernel_regularizer: regularizers.Penalty | None = regularizers.get(kernel_regularizer)
        self.filters: int = standard.whole("Conv2DTranspose filters", filters)
        self.output_padding: None = None
        if output_padding is not None or max(self.dilation_rate) > 1:
            name = "output_padding" if output_padding is not None else "dilation_rate"
            raise InputError(f"Conv2DTranspose {name}: is not there; leave it out")

    def network(self, *shapes: Shape) -> Model:
        standard.image(self, shapes[0])
        drawn = initializers.drawn(self.kernel_initializer)

        def init(key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
            kh, kw, channels, filters = shape
            return drawn(key, (kh, kw, filters, channels), dtype).swapaxes(-1, -2)

        return self.ended(
            resampling.conv_transpose(
                self.filters, self.kernel_size, self.strides,
                padding=self.padding.upper(), init=init, bias=self.use_bias,
            )
        )  # fmt: skip

    def oriented(self, leaf: str, value: Any) -> Any:
        return value.swapaxes(-1, -2) if leaf == "w" else value

    stored = oriented


Convolution2D = Conv2D
Convolution2DTranspose = Conv2DTranspose
SeparableConvolution2D = SeparableConv2D
DepthwiseConvolution2D = DepthwiseConv2D
