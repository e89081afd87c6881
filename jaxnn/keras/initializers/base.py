"""What all initializers share, and those that do not look at the sizes of a layer."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.nn import initializers as draws

from jaxnn.errors import InputError, check, non_negative
from jaxnn.keras import lookup
from jaxnn.keras.session import next_noise


class Initializer(lookup.Configured):
    """How weights begin, `initializer(shape, dtype=None) -> f32[*shape]`. Your own defines `__call__`.

    With a `seed` the weights are the same at each call; without, those of a layer follow from the seed of the process
    (`keras.utils.set_random_seed`). A model with your own cannot be saved.

    >>> class Ramp(Initializer):
    ...     def __call__(self, shape, dtype=None):
    ...         return jnp.linspace(-1, 1, shape[0])
    >>> Ramp()((3,)).tolist()
    [-1.0, 0.0, 1.0]
    """

    seed: int | None = None

    def draw(self, key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
        """Weights `[*shape]` from this key."""
        raise InputError(f"{type(self).__name__}: draws no weights; define __call__(shape, dtype=None)")

    def __call__(self, shape: Any, dtype: Any = None) -> jax.Array:
        """Weights `[*shape]`, float32 by default."""
        key = next_noise() if self.seed is None else jax.random.key(self.seed)
        return self.draw(key, tuple(shape), jnp.dtype(dtype or "float32"))


class Constant(Initializer):
    """Every weight is `value`.

    >>> Constant(0.5)((2,)).tolist()
    [0.5, 0.5]
    """

    def __init__(self, value: float = 0.0):
        self.value: float = value

    def draw(self, key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
        return jnp.broadcast_to(jnp.asarray(self.value, dtype), shape)


class Zeros(Constant):
    """Every weight is 0.

    >>> Zeros()((2,)).tolist()
    [0.0, 0.0]
    """

    def __init__(self) -> None:
        super().__init__(0.0)


class Ones(Constant):
    """Every weight is 1.

    >>> Ones()((2,)).tolist()
    [1.0, 1.0]
    """

    def __init__(self) -> None:
        super().__init__(1.0)


class Identity(Initializer):
    """`gain` on the diagonal of a matrix, else 0. Raises `InputError` for other shapes.

    >>> Identity(2.0)((2, 2)).tolist()
    [[2.0, 0.0], [0.0, 2.0]]
    """

    def __init__(self, gain: float = 1.0):
        self.gain: float = gain

    def draw(self, key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
        if len(shape) != 2:
            raise InputError(f"Identity shape={list(shape)}: must be that of a matrix; use it with Dense")
        return self.gain * jnp.eye(*shape, dtype=dtype)


class RandomNormal(Initializer):
    """Normal, of this mean and standard deviation.

    >>> round(float(RandomNormal(stddev=0.5, seed=0)((300, 200)).std()), 1)
    0.5
    """

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: int | None = None):
        non_negative(f"{type(self).__name__} stddev", stddev)
        self.mean: float = mean
        self.stddev: float = stddev
        self.seed: int | None = seed

    def draw(self, key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
        return self.mean + self.stddev * jax.random.normal(key, shape, dtype)


class TruncatedNormal(RandomNormal):
    """Normal, drawn anew beyond two deviations, which makes the standard deviation 0.88 times `stddev`.

    >>> float(abs(TruncatedNormal(stddev=0.5, seed=0)((300, 200))).max()) <= 1
    True
    """

    def draw(self, key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
        return self.mean + self.stddev * jax.random.truncated_normal(key, -2, 2, shape, dtype)


class RandomUniform(Initializer):
    """Uniform from `minval` to `maxval`.

    >>> float(abs(RandomUniform(-0.5, 0.5, seed=0)((300, 200))).max()) <= 0.5
    True
    """

    def __init__(self, minval: float = -0.05, maxval: float = 0.05, seed: int | None = None):
        check("RandomUniform minval", minval, f"at most maxval={maxval}", minval <= maxval)
        self.minval: float = minval
        self.maxval: float = maxval
        self.seed: int | None = seed

    def draw(self, key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, self.minval, self.maxval)


class Orthogonal(Initializer):
    """`gain` times orthonormal columns (or rows, if there are more columns than rows). Source: Saxe et al. 2013.

    >>> w = Orthogonal(seed=0)((4, 3))
    >>> bool(abs(w.T @ w - jnp.eye(3)).max() < 1e-5)
    True
    """

    def __init__(self, gain: float = 1.0, seed: int | None = None):
        self.gain: float = gain
        self.seed: int | None = seed

    def draw(self, key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
        if len(shape) < 2:
            raise InputError(f"Orthogonal shape={list(shape)}: must have two axes or more; use it for kernels")
        return draws.orthogonal(self.gain)(key, shape, dtype)
