"""Inputs brought to the scale and size of a network: Rescaling, Normalization and Resizing."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.errors import InputError, choices
from jaxnn.keras.layers import standard
from jaxnn.keras.layers.standard import Standard
from jaxnn.keras.tensors import Shape
from jaxnn.types import Model, Params


class Rescaling(Standard):
    """y = scale x + offset, numbers or one for each channel: `f32[B, ...]` -> the same shape.

    >>> import numpy as np
    >>> Rescaling(1 / 255)(np.array([[0.0, 255.0]])).tolist()
    [[0.0, 1.0]]
    """

    def __init__(self, scale: Any, offset: Any = 0.0, **kwargs: Any):
        super().__init__(**kwargs)
        self.scale: Any = scale
        self.offset: Any = offset

    def network(self, *shapes: Shape) -> Callable[..., Any]:
        scale, offset = (np.asarray(value, np.float32) for value in (self.scale, self.offset))
        for name, value in (("scale", scale), ("offset", offset)):
            if value.shape and np.broadcast_shapes(value.shape, shapes[0][-value.ndim :]) != shapes[0][-value.ndim :]:
                raise InputError(
                    f"Rescaling {name} of shape {value.shape}: must fit the last axes of inputs {shapes[0]}"
                )
        if not scale.shape and not offset.shape:
            return lambda x: x * float(self.scale) + float(self.offset)
        return lambda x: x * jnp.broadcast_to(scale, x.shape) + jnp.broadcast_to(offset, x.shape)


class Normalization(Standard):
    """y = (x - mean) / sqrt(variance), with the moments of data (`adapt`), or given ones: `f32[B, ...]`.

    Moments of data are kept with the weights, and not trained. `axis`: what has moments of its own, -1 for each
    feature, None for one mean of all numbers. `invert`: y = mean + x sqrt(variance).

    >>> import numpy as np
    >>> layer = Normalization()
    >>> layer.adapt(np.array([[0.0, 10.0], [2.0, 30.0]]))
    >>> layer(np.array([[2.0, 10.0]])).tolist()
    [[1.0, -1.0]]
    """

    LEAVES: ClassVar[tuple[str, ...]] = ("input_stats/mean", "input_stats/variance")

    def __init__(self, axis: Any = -1, mean: Any = None, variance: Any = None, invert: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        if (mean is None) != (variance is None):
            missing = "variance" if variance is None else "mean"
            raise InputError(
                f"Normalization {missing}=None: give both mean and variance, or neither and adapt the layer"
            )
        if np.shape(mean) != np.shape(variance):
            shapes = f"of shapes {np.shape(mean)}, {np.shape(variance)}"
            raise InputError(f"Normalization mean and variance {shapes}: must be alike")
        self.axis: int | list[int] | None = list(axis) if isinstance(axis, list | tuple) else axis
        self.mean: Any = mean
        self.variance: Any = variance
        self.invert: bool = bool(invert)
        self.adapted: tuple[np.ndarray, np.ndarray] | None = None

    def adapt(self, data: Any) -> None:
        """Take the moments of these examples `[n, ...]`, or of an iterable of batches of them."""
        if self.mean is not None:
            raise InputError("Normalization adapt: mean and variance were given; leave them out to adapt the layer")
        rows = np.asarray(data if hasattr(data, "shape") or hasattr(data, "__array__") else _together(data), np.float64)
        if not rows.size:
            raise InputError("Normalization adapt: there are no examples; give an array [n, ...]")
        kept = {axis % rows.ndim for axis in self._kept(rows.shape[1:])}
        axes = tuple(axis for axis in range(rows.ndim) if axis not in kept)
        self.adapted = rows.mean(axes), rows.var(axes)
        if not np.isfinite(self.adapted).all():
            raise InputError("Normalization adapt: the examples have nan or inf; replace them first")
        if self.built:
            self.set_weights(self.adapted)

    def _kept(self, shape: Shape) -> list[int]:
        """The axes that have moments of their own, from the last one: -1, -2, ..."""
        axes = [] if self.axis is None else self.axis if isinstance(self.axis, list) else [self.axis]
        return sorted(standard.core_axis(self, axis, shape) for axis in axes)

    def network(self, *shapes: Shape) -> Model:
        (shape,) = shapes
        kept = self._kept(shape)
        own = tuple(shape[axis] for axis in kept)
        spread = tuple(size if axis - len(shape) in kept else 1 for axis, size in enumerate(shape))
        given = None if self.mean is None else self._fitted(own)

        def init(key: jax.Array, x: Any) -> Params:
            mean, variance = self.adapted or (np.zeros(own), np.ones(own))
            if np.shape(mean) != own:
                raise InputError(f"Normalization: was adapted to moments {np.shape(mean)}, inputs {shape} have {own}")
            moments = {"mean": mean, "variance": variance}
            return {"input_stats": {name: jnp.asarray(value, jnp.float32) for name, value in moments.items()}}

        def apply(params: Params, x: jax.Array, key: jax.Array | None = None) -> jax.Array:
            stats = given or params["input_stats"]
            full = lambda value: jnp.broadcast_to(value.reshape((1,) * (x.ndim - len(spread)) + spread), x.shape)
            mean, std = full(stats["mean"]), full(jnp.maximum(jnp.sqrt(stats["variance"]), 1e-7))
            return mean + x * std if self.invert else (x - mean) / std

        return Model(init if given is None else lambda key, x: {}, apply, "normalization")

    def _fitted(self, own: Shape) -> dict[str, jax.Array]:
        """The moments that were given, in the shape of the axes that have their own."""
        if len(np.shape(self.mean)) > len(own) or (
            np.shape(self.mean) and math.prod(np.shape(self.mean)) > math.prod(own)
        ):
            raise InputError(
                f"Normalization mean of shape {np.shape(self.mean)}: must fit {own}, the axes axis={self.axis}"
            )
        moments = {"mean": self.mean, "variance": self.variance}
        return {name: jnp.broadcast_to(jnp.asarray(value, jnp.float32), own) for name, value in moments.items()}


def _together(batches: Any) -> np.ndarray:
    """All rows of an iterable of batches, the x of (x, y) pairs."""
    return np.concatenate([np.asarray(batch[0] if isinstance(batch, tuple) else batch) for batch in batches])


class Resizing(Standard):
    """An image in another size, `bilinear` or `nearest`: `f32[B, H, W, C]` -> `f32[B, height, width, C]`.

    An image that is made smaller is not smoothed, as in Keras. `crop_to_aspect_ratio` raises `InputError`.

    >>> import numpy as np
    >>> Resizing(2, 2, "nearest")(np.arange(16.0).reshape(1, 4, 4, 1)).shape
    (1, 2, 2, 1)
    """

    def __init__(
        self,
        height: int,
        width: int,
        interpolation: str = "bilinear",
        crop_to_aspect_ratio: bool = False,
        data_format: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if crop_to_aspect_ratio:
            raise InputError("Resizing crop_to_aspect_ratio: is not there; crop with Cropping2D before the layer")
        self.height: int = standard.whole("Resizing height", height)
        self.width: int = standard.whole("Resizing width", width)
        self.interpolation: str = interpolation.lower()
        self.crop_to_aspect_ratio: bool = False
        if self.interpolation not in ("bilinear", "nearest"):
            raise choices("Resizing interpolation", interpolation, ("bilinear", "nearest"))
        self.data_format: str = standard.channels_last("Resizing", data_format)

    def network(self, *shapes: Shape) -> Callable[..., Any]:
        standard.image(self, shapes[0])
        size = self.height, self.width

        def resized(x: jax.Array) -> jax.Array:
            shape = (*x.shape[:-3], *size, x.shape[-1])
            return jax.image.resize(x, shape, self.interpolation, antialias=False)

        return resized
