"""Windows of images `f32[B, H, W, C]`, and whole images, as one number for each channel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jaxnn.keras.layers import standard
from jaxnn.keras.layers.standard import Standard
from jaxnn.keras.tensors import Shape
from jaxnn.nn import layers, resampling
from jaxnn.types import Model


class Pooling(Standard):
    """The arguments of MaxPooling2D and AveragePooling2D; `strides` are `pool_size` by default."""

    def __init__(
        self,
        pool_size: Any = (2, 2),
        strides: Any = None,
        padding: str = "valid",
        data_format: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        kind = type(self).__name__
        self.pool_size: tuple[int, int] = standard.pair(f"{kind} pool_size", pool_size)
        given = pool_size if strides is None else strides
        self.strides: tuple[int, int] = standard.pair(f"{kind} strides", given)
        self.padding: str = standard.padding(kind, padding)
        self.data_format: str = standard.channels_last(kind, data_format)

    def pooled(self, shape: Shape, pool: Callable[..., Model]) -> Model:
        standard.image(self, shape)
        return pool(self.pool_size, self.strides, padding=self.padding.upper())


class MaxPooling2D(Pooling):
    """The largest entry of each window, `jaxnn.max_pool`: `f32[B, H, W, C]` -> `f32[B, H', W', C]`.

    >>> import numpy as np
    >>> image = np.arange(16.0).reshape(1, 4, 4, 1)
    >>> MaxPooling2D()(image)[0, :, :, 0].tolist()
    [[5.0, 7.0], [13.0, 15.0]]
    """

    def network(self, *shapes: Shape) -> Model:
        return self.pooled(shapes[0], layers.max_pool)


class AveragePooling2D(Pooling):
    """The mean of each window, `jaxnn.avg_pool`: `f32[B, H, W, C]` -> `f32[B, H', W', C]`.

    >>> import numpy as np
    >>> image = np.arange(16.0).reshape(1, 4, 4, 1)
    >>> AveragePooling2D()(image)[0, :, :, 0].tolist()
    [[2.5, 4.5], [10.5, 12.5]]
    """

    def network(self, *shapes: Shape) -> Model:
        return self.pooled(shapes[0], layers.avg_pool)


class GlobalPooling(Standard):
    """The arguments of GlobalAveragePooling2D and GlobalMaxPooling2D."""

    def __init__(self, data_format: str | None = None, keepdims: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self.data_format: str = standard.channels_last(type(self).__name__, data_format)
        self.keepdims: bool = bool(keepdims)

    def pooled(self, shape: Shape, pool: Model) -> Model | Callable[..., Any]:
        standard.image(self, shape)
        return (lambda x: pool.apply({}, x)[..., None, None, :]) if self.keepdims else pool


class GlobalAveragePooling2D(GlobalPooling):
    """The mean of each channel, `jaxnn.global_avg_pool`: `f32[B, H, W, C]` -> `f32[B, C]`, or `[B, 1, 1, C]`.

    Args: keepdims, for the second shape.

    >>> import numpy as np
    >>> GlobalAveragePooling2D()(np.arange(16.0).reshape(1, 4, 4, 1)).tolist()
    [[7.5]]
    """

    def network(self, *shapes: Shape) -> Any:
        return self.pooled(shapes[0], layers.global_avg_pool())


class GlobalMaxPooling2D(GlobalPooling):
    """The largest entry of each channel, `jaxnn.global_max_pool`: shapes as `GlobalAveragePooling2D`.

    >>> import numpy as np
    >>> GlobalMaxPooling2D()(np.arange(16.0).reshape(1, 4, 4, 1)).tolist()
    [[15.0]]
    """

    def network(self, *shapes: Shape) -> Any:
        return self.pooled(shapes[0], resampling.global_max_pool())


MaxPool2D = MaxPooling2D
AvgPool2D = AveragePooling2D
GlobalAvgPool2D = GlobalAveragePooling2D
GlobalMaxPool2D = GlobalMaxPooling2D
