"""Random changes of images `f32[B, H, W, C]` while training, drawn for each image; the identity otherwise."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxnn.augment import images, labels
from jaxnn.errors import InputError, choices
from jaxnn.keras.layers import standard
from jaxnn.keras.layers.noise import Noise
from jaxnn.keras.tensors import Shape
from jaxnn.types import Model

FILLS = ("reflect", "constant", "nearest")


class RandomImage(Noise):
    """`each(key, image) -> image`, for every image of a batch."""

    def __init__(self, seed: int | None = None, data_format: str | None = None, **kwargs: Any):
        super().__init__(seed, **kwargs)
        self.data_format: str = standard.channels_last(type(self).__name__, data_format)

    def changed(self, shape: Shape, each: Callable[[jax.Array, jax.Array], jax.Array]) -> Model:
        standard.image(self, shape)

        def rows(key: jax.Array, x: jax.Array) -> jax.Array:
            batch = lax.optimization_barrier(x.reshape(-1, *shape))
            keys = jax.vmap(jax.random.fold_in, (None, 0))(key, lax.iota(jnp.uint32, len(batch)))
            return lax.optimization_barrier(jax.vmap(each)(keys, batch)).reshape(x.shape)

        return self.noise(rows)


class RandomFlip(RandomImage):
    """Mirrored in half of the cases: `horizontal`, `vertical`, or `horizontal_and_vertical`, each by itself.

    >>> import numpy as np
    >>> image = np.arange(4.0).reshape(1, 1, 4, 1)
    >>> RandomFlip("horizontal")(image)[0, 0, :, 0].tolist()  # not training
    [0.0, 1.0, 2.0, 3.0]
    """

    def __init__(self, mode: str = "horizontal_and_vertical", seed: int | None = None, **kwargs: Any):
        super().__init__(seed, **kwargs)
        if mode not in ("horizontal", "vertical", "horizontal_and_vertical"):
            raise choices("RandomFlip mode", mode, ("horizontal", "vertical", "horizontal_and_vertical"))
        self.mode: str = mode

    def network(self, *shapes: Shape) -> Model:
        def flipped(key: jax.Array, x: jax.Array) -> jax.Array:
            right, down = jax.random.bernoulli(key, 0.5, (2,))
            x = jnp.where(right, jnp.flip(x, 1), x) if "horizontal" in self.mode else x
            return jnp.where(down, jnp.flip(x, 0), x) if "vertical" in self.mode else x

        return self.changed(shapes[0], flipped)


class RandomWarp(RandomImage):
    """A map of places: `fill_mode` (`reflect`, `constant`, `nearest`) is for what lies beyond the edges.

    `interpolation` (`bilinear`, `nearest`) is for what lies between two pixels. `wrap` of Keras is not there.
    """

    fill_mode: str
    interpolation: str
    fill_value: float

    def __init__(
        self,
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        seed: int | None = None,
        fill_value: float = 0.0,
        data_format: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(seed, data_format, **kwargs)
        kind = type(self).__name__
        for name, value, allowed in (
            ("fill_mode", fill_mode, FILLS),
            ("interpolation", interpolation, ("bilinear", "nearest")),
        ):
            if value not in allowed:
                raise choices(f"{kind} {name}", value, allowed)
        self.fill_mode, self.interpolation, self.fill_value = fill_mode, interpolation, fill_value

    def warped(self, x: jax.Array, back: Any, offset: Any) -> jax.Array:
        """y[p] = x[c + back (p - c - offset)], c the middle."""
        places = labels.sources((x.shape[0], x.shape[1]), back, offset)
        if self.interpolation == "nearest":
            places = tuple(jnp.floor(place + 0.5) for place in places)
        if self.fill_mode == "constant":
            return images.sampled(x - self.fill_value, *places) + self.fill_value
        fold = _reflected if self.fill_mode == "reflect" else _nearest
        return images.sampled(x, *(fold(place, size) for place, size in zip(places, x.shape, strict=False)))


def _nearest(place: jax.Array, size: int) -> jax.Array:
    return jnp.clip(place, 0, size - 1)


def _reflected(place: jax.Array, size: int) -> jax.Array:
    """The image and its mirror image in turn, the pixel at the edge twice: d c b a | a b c d | d c b a."""
    along = (place + 0.5) % (2 * size)
    return _nearest(jnp.minimum(along, 2 * size - along) - 0.5, size)


class RandomRotation(RandomWarp):
    """Turned by an angle uniform in ±factor (or in a pair), in parts of a whole turn; positive: counterclockwise.

    >>> RandomRotation(0.1).factor
    (-0.1, 0.1)
    """

    def __init__(self, factor: Any, fill_mode: str = "reflect", interpolation: str = "bilinear", **kwargs: Any):
        super().__init__(fill_mode, interpolation, **kwargs)
        self.factor: tuple[float, float] = interval("RandomRotation factor", factor, -1.0, 1.0)

    def network(self, *shapes: Shape) -> Model:
        def turned(key: jax.Array, x: jax.Array) -> jax.Array:
            angle = 2 * math.pi * _uniform(key, self.factor)
            cos, sin = jnp.cos(angle), jnp.sin(angle)
            return self.warped(x, ((cos, sin), (-sin, cos)), (0.0, 0.0))

        return self.changed(shapes[0], turned)


class RandomTranslation(RandomWarp):
    """Moved down and right by parts of height and width, uniform in ±factor (or in a pair).

    >>> RandomTranslation(0.1, (0.0, 0.2)).width_factor
    (0.0, 0.2)
    """

    def __init__(
        self,
        height_factor: Any,
        width_factor: Any,
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        **kwargs: Any,
    ):
        super().__init__(fill_mode, interpolation, **kwargs)
        self.height_factor: tuple[float, float] = interval("RandomTranslation height_factor", height_factor, -1.0, 1.0)
        self.width_factor: tuple[float, float] = interval("RandomTranslation width_factor", width_factor, -1.0, 1.0)

    def network(self, *shapes: Shape) -> Model:
        def moved(key: jax.Array, x: jax.Array) -> jax.Array:
            one, two = jax.random.split(key)
            down, right = _uniform(one, self.height_factor), _uniform(two, self.width_factor)
            same = jnp.ones_like(down), jnp.zeros_like(down)
            return self.warped(x, (same, same[::-1]), (down * x.shape[0], right * x.shape[1]))

        return self.changed(shapes[0], moved)


class RandomZoom(RandomWarp):
    """Shown 1 + z times as far away, z uniform in ±factor (or in a pair): smaller for z > 0.

    Height and width by the same z where there is no `width_factor`.

    >>> RandomZoom(0.2).height_factor
    (-0.2, 0.2)
    """

    def __init__(
        self,
        height_factor: Any,
        width_factor: Any = None,
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        **kwargs: Any,
    ):
        super().__init__(fill_mode, interpolation, **kwargs)
        self.height_factor: tuple[float, float] = interval("RandomZoom height_factor", height_factor, -0.999, 1.0)
        width = width_factor and interval("RandomZoom width_factor", width_factor, -0.999, 1.0)
        self.width_factor: tuple[float, float] | None = width

    def network(self, *shapes: Shape) -> Model:
        def zoomed(key: jax.Array, x: jax.Array) -> jax.Array:
            one, two = jax.random.split(key)
            down = 1 + _uniform(one, self.height_factor)
            right = down if self.width_factor is None else 1 + _uniform(two, self.width_factor)
            return self.warped(x, ((down, jnp.zeros_like(down)), (jnp.zeros_like(down), right)), (0.0, 0.0))

        return self.changed(shapes[0], zoomed)


class RandomContrast(RandomImage):
    """m + f (x - m), m the mean of a channel, f uniform from 1 - lower to 1 + upper, cut to `value_range`.

    >>> RandomContrast(0.2).factor  # lower and upper
    (0.2, 0.2)
    """

    def __init__(self, factor: Any, value_range: Any = (0, 255), seed: int | None = None, **kwargs: Any):
        super().__init__(seed, **kwargs)
        self.factor: tuple[float, float] = interval("RandomContrast factor", factor, 0.0, 1.0, both=True)
        self.value_range: tuple[float, ...] = tuple(value_range)

    def network(self, *shapes: Shape) -> Model:
        def changed(key: jax.Array, x: jax.Array) -> jax.Array:
            lower, upper = self.factor
            mean = x.mean((0, 1), keepdims=True)
            return jnp.clip(mean + _uniform(key, (1 - lower, 1 + upper)) * (x - mean), *self.value_range)

        return self.changed(shapes[0], changed)


class RandomBrightness(RandomImage):
    """x + d, d uniform in ±factor (or in a pair) of the `value_range`, cut to that range.

    >>> RandomBrightness(0.2, value_range=(0, 1)).factor
    (-0.2, 0.2)
    """

    def __init__(self, factor: Any, value_range: Any = (0, 255), seed: int | None = None, **kwargs: Any):
        super().__init__(seed, **kwargs)
        self.factor: tuple[float, float] = interval("RandomBrightness factor", factor, -1.0, 1.0)
        self.value_range: tuple[float, ...] = tuple(value_range)

    def network(self, *shapes: Shape) -> Model:
        low, high = self.value_range
        light = lambda key, x: jnp.clip(x + (high - low) * _uniform(key, self.factor), low, high)
        return self.changed(shapes[0], light)


def interval(name: str, factor: Any, low: float, high: float, both: bool = False) -> tuple[float, float]:
    """The two ends that a factor stands for: ±factor, or with `both` the factor twice."""
    pair = factor if isinstance(factor, list | tuple) else (factor if both else -abs(factor), abs(factor))
    if len(pair) != 2 or not all(low <= end <= high for end in pair):
        raise InputError(f"{name}={factor}: must be a number in [{low:g}, {high:g}], or two")
    return (pair[0], pair[1]) if both else (min(pair), max(pair))


def _uniform(key: jax.Array, ends: tuple[float, float]) -> jax.Array:
    return jax.random.uniform(key, (), jnp.float32, *ends)
