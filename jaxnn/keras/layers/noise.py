"""Layers that add noise while training, and the identity otherwise: `f32[B, ...]` -> the same shape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from jaxnn.errors import InputError, fraction, non_negative
from jaxnn.keras.layers import standard
from jaxnn.keras.layers.core import seeded
from jaxnn.keras.layers.standard import Standard
from jaxnn.keras.tensors import Shape
from jaxnn.types import Model


class Noise(Standard):
    """`noisy(key, x)` while training. A `seed` is folded into the key of each step."""

    def __init__(self, seed: int | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.seed: int | None = seed

    def noise(self, noisy: Callable[[jax.Array, jax.Array], jax.Array]) -> Model:
        return seeded(standard.stateless(lambda x, key: x if key is None else noisy(key, x), "noise"), self.seed)


class GaussianNoise(Noise):
    """x + stddev n, n normal, while training: `f32[B, ...]` -> the same shape.

    >>> import numpy as np
    >>> GaussianNoise(0.1)(np.ones((1, 3))).tolist()  # not training
    [[1.0, 1.0, 1.0]]
    """

    def __init__(self, stddev: float, seed: int | None = None, **kwargs: Any):
        super().__init__(seed, **kwargs)
        non_negative("GaussianNoise stddev", stddev)
        self.stddev: float = stddev

    def network(self, *shapes: Shape) -> Model:
        return self.noise(lambda key, x: x + self.stddev * jax.random.normal(key, x.shape, x.dtype))


class GaussianDropout(Noise):
    """x (1 + sqrt(rate / (1 - rate)) n), n normal, while training: as noisy as `Dropout`.

    >>> import numpy as np
    >>> GaussianDropout(0.5)(np.ones((1, 3))).tolist()  # not training
    [[1.0, 1.0, 1.0]]
    """

    def __init__(self, rate: float, seed: int | None = None, **kwargs: Any):
        super().__init__(seed, **kwargs)
        fraction("GaussianDropout rate", rate)
        self.rate: float = rate

    def network(self, *shapes: Shape) -> Model:
        deviation = (self.rate / (1 - self.rate)) ** 0.5
        return self.noise(lambda key, x: x * (1 + deviation * jax.random.normal(key, x.shape, x.dtype)))


class SpatialDropout2D(Noise):
    """`Dropout` of whole channels of images `f32[B, H, W, C]`. Source: Tompson et al. 2014.

    >>> import numpy as np
    >>> channels = SpatialDropout2D(0.5)(np.ones((1, 4, 4, 64)), training=True)[0].sum((0, 1))
    >>> sorted(set(channels.tolist()))  # 16 pixels, each 0 or 1 / (1 - 0.5)
    [0.0, 32.0]
    """

    def __init__(self, rate: float, data_format: str | None = None, seed: int | None = None, **kwargs: Any):
        super().__init__(seed, **kwargs)
        fraction("SpatialDropout2D rate", rate)
        self.data_format: str = standard.channels_last("SpatialDropout2D", data_format)
        self.rate: float = rate

    def network(self, *shapes: Shape) -> Model:
        standard.image(self, shapes[0])

        def dropped(key: jax.Array, x: jax.Array) -> jax.Array:
            kept = jax.random.bernoulli(key, 1 - self.rate, (*x.shape[:-3], 1, 1, x.shape[-1]))
            return jnp.where(jnp.broadcast_to(kept, x.shape), x / (1 - self.rate), 0)

        return self.noise(dropped)


class AlphaDropout(Noise):
    """Entries at the lower limit of `selu` with probability `rate`, while training; mean 0 and variance 1 stay.

    Source: Klambauer et al. 2017.

    >>> import numpy as np
    >>> AlphaDropout(0.5)(np.ones((1, 3))).tolist()  # not training
    [[1.0, 1.0, 1.0]]
    """

    LIMIT: ClassVar[float] = -1.6732632423543772848170429916717 * 1.0507009873554804934193349852946

    def __init__(self, rate: float, noise_shape: Any = None, seed: int | None = None, **kwargs: Any):
        super().__init__(seed, **kwargs)
        fraction("AlphaDropout rate", rate)
        if noise_shape is not None:
            raise InputError(f"AlphaDropout noise_shape={noise_shape}: each entry is dropped by itself; leave it out")
        self.rate: float = rate
        self.noise_shape: None = None

    def network(self, *shapes: Shape) -> Model:
        a = ((1 - self.rate) * (1 + self.rate * self.LIMIT**2)) ** -0.5
        b = -a * self.LIMIT * self.rate

        def dropped(key: jax.Array, x: jax.Array) -> jax.Array:
            return a * jnp.where(jax.random.bernoulli(key, 1 - self.rate, x.shape), x, self.LIMIT) + b

        return self.noise(dropped)
