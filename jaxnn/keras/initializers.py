"""How weights begin: functions of a shape as in Keras, whose last two axes are fan-in and fan-out times the kernel."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.nn import initializers as draws

from jaxnn.errors import InputError, check, choices, non_negative
from jaxnn.keras import lookup
from jaxnn.keras.session import next_noise
from jaxnn.nn.init import Initialiser

Draw = Callable[..., Any]  # an `Initializer`, or a function `(shape, dtype=None) -> weights`


class Initializer(lookup.Configured):
    """How weights begin, `initializer(shape, dtype=None) -> f32[*shape]`. Your own defines `__call__`.

    With a `seed` the weights are the same at each call; without, those of a layer follow from the seed of the process
    (`keras.utils.set_random_seed`). A model with your own cannot be saved.

    >>> HeNormal(seed=0)((784, 50)).shape
    (784, 50)
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
    """Every weight is 0."""

    def __init__(self) -> None:
        super().__init__(0.0)


class Ones(Constant):
    """Every weight is 1."""

    def __init__(self) -> None:
        super().__init__(1.0)


class Identity(Initializer):
    """`gain` on the diagonal of a matrix, else 0. Raises `InputError` for other shapes."""

    def __init__(self, gain: float = 1.0):
        self.gain: float = gain

    def draw(self, key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
        if len(shape) != 2:
            raise InputError(f"Identity shape={list(shape)}: must be that of a matrix; use it with Dense")
        return self.gain * jnp.eye(*shape, dtype=dtype)


class RandomNormal(Initializer):
    """Normal, of this mean and standard deviation."""

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: int | None = None):
        non_negative(f"{type(self).__name__} stddev", stddev)
        self.mean: float = mean
        self.stddev: float = stddev
        self.seed: int | None = seed

    def draw(self, key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
        return self.mean + self.stddev * jax.random.normal(key, shape, dtype)


class TruncatedNormal(RandomNormal):
    """Normal, drawn anew beyond two deviations, which makes the standard deviation 0.88 times `stddev`."""

    def draw(self, key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
        return self.mean + self.stddev * jax.random.truncated_normal(key, -2, 2, shape, dtype)


class RandomUniform(Initializer):
    """Uniform from `minval` to `maxval`."""

    def __init__(self, minval: float = -0.05, maxval: float = 0.05, seed: int | None = None):
        check("RandomUniform minval", minval, f"at most maxval={maxval}", minval <= maxval)
        self.minval: float = minval
        self.maxval: float = maxval
        self.seed: int | None = seed

    def draw(self, key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, self.minval, self.maxval)


class Orthogonal(Initializer):
    """`gain` times orthonormal columns (or rows, if there are more columns than rows). Source: Saxe et al. 2013."""

    def __init__(self, gain: float = 1.0, seed: int | None = None):
        self.gain: float = gain
        self.seed: int | None = seed

    def draw(self, key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
        if len(shape) < 2:
            raise InputError(f"Orthogonal shape={list(shape)}: must have two axes or more; use it for kernels")
        return draws.orthogonal(self.gain)(key, shape, dtype)


MODES = ("fan_in", "fan_out", "fan_avg")
DISTRIBUTIONS = ("truncated_normal", "untruncated_normal", "uniform")


class VarianceScaling(Initializer):
    """Of variance scale / n, where n is the fan-in, the fan-out or their mean (`mode` fan_in, fan_out, fan_avg).

    `distribution`: truncated_normal, untruncated_normal or uniform. Raises `InputError` for others, and for scale <= 0.

    >>> bool(abs(VarianceScaling(2.0, seed=0)((300, 200)).var() - 2 / 300) < 1e-4)
    True
    """

    def __init__(
        self,
        scale: float = 1.0,
        mode: str = "fan_in",
        distribution: str = "truncated_normal",
        seed: int | None = None,
    ):
        check("VarianceScaling scale", scale, "> 0", scale > 0)
        distribution = "truncated_normal" if distribution == "normal" else distribution
        for name, value, allowed in (("mode", mode, MODES), ("distribution", distribution, DISTRIBUTIONS)):
            if value not in allowed:
                raise choices(f"VarianceScaling {name}", value, allowed)
        self.scale: float = scale
        self.mode: str = mode
        self.distribution: str = distribution
        self.seed: int | None = seed

    def draw(self, key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
        field = math.prod(shape[:-2])
        fan_in, fan_out = (field * shape[-2], field * shape[-1]) if len(shape) > 1 else (math.prod(shape),) * 2
        n = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[self.mode]
        std = math.sqrt(self.scale / max(n, 1))
        if self.distribution == "uniform":
            limit = math.sqrt(3) * std
            return jax.random.uniform(key, shape, dtype, -limit, limit)
        if self.distribution == "untruncated_normal":
            return std * jax.random.normal(key, shape, dtype)
        return std / 0.87962566103423978 * jax.random.truncated_normal(key, -2, 2, shape, dtype)


class GlorotUniform(VarianceScaling):
    """Uniform of variance 2 / (fan_in + fan_out). Source: Glorot and Bengio 2010."""

    def __init__(self, seed: int | None = None):
        super().__init__(1.0, "fan_avg", "uniform", seed)


class GlorotNormal(VarianceScaling):
    """Normal, cut, of variance 2 / (fan_in + fan_out). Source: Glorot and Bengio 2010."""

    def __init__(self, seed: int | None = None):
        super().__init__(1.0, "fan_avg", "truncated_normal", seed)


class HeUniform(VarianceScaling):
    """Uniform of variance 2 / fan_in. Source: He et al. 2015."""

    def __init__(self, seed: int | None = None):
        super().__init__(2.0, "fan_in", "uniform", seed)


class HeNormal(VarianceScaling):
    """Normal, cut, of variance 2 / fan_in. Source: He et al. 2015."""

    def __init__(self, seed: int | None = None):
        super().__init__(2.0, "fan_in", "truncated_normal", seed)


class LecunUniform(VarianceScaling):
    """Uniform of variance 1 / fan_in. Source: LeCun et al. 1998."""

    def __init__(self, seed: int | None = None):
        super().__init__(1.0, "fan_in", "uniform", seed)


class LecunNormal(VarianceScaling):
    """Normal, cut, of variance 1 / fan_in. Source: Klambauer et al. 2017."""

    def __init__(self, seed: int | None = None):
        super().__init__(1.0, "fan_in", "truncated_normal", seed)


constant = Constant
zeros = Zeros
zero = Zeros
ones = Ones
one = Ones
identity = Identity
orthogonal = Orthogonal
normal = RandomNormal
random_normal = RandomNormal
uniform = RandomUniform
random_uniform = RandomUniform
truncated_normal = TruncatedNormal
variance_scaling = VarianceScaling
glorot_uniform = GlorotUniform
glorot_normal = GlorotNormal
he_uniform = HeUniform
he_normal = HeNormal
lecun_uniform = LecunUniform
lecun_normal = LecunNormal
TABLE: dict[str, Any] = {
    name: kind
    for name, kind in list(globals().items())
    if isinstance(kind, type) and issubclass(kind, Initializer) and kind is not Initializer
}


def get(identifier: Any) -> Any:
    """The initializer of that name, config or class, or the function `(shape, dtype=None) -> weights` itself.

    Raises `InputError` with the list for an unknown name.

    >>> get("he_normal").scale, get("zeros").value, get({"class_name": "Constant", "config": {"value": 3.0}}).value
    (2.0, 0.0, 3.0)
    """
    if identifier is None:
        return Zeros()
    return lookup.find_function("initializer", TABLE, identifier)


def serialize(initializer: Any) -> dict[str, Any]:
    """Its config. Raises `InputError` for one of your own.

    >>> serialize(HeNormal(seed=1))
    {'class_name': 'HeNormal', 'config': {'seed': 1}}
    """
    return lookup.config_of("initializer", TABLE, initializer)


def deserialize(config: Any) -> Any:
    """The initializer of this config."""
    return get(config)


def drawn(initializer: Callable[..., Any]) -> Initialiser:
    """The initializer as one of jaxnn's, `(key, shape, dtype) -> weights`. Raises `InputError` for a wrong shape."""
    own = isinstance(initializer, Initializer) and type(initializer).draw is not Initializer.draw

    def weights(key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
        if own:
            return initializer.draw(key if initializer.seed is None else jax.random.key(initializer.seed), shape, dtype)
        made = jnp.asarray(initializer(shape, dtype=jnp.dtype(dtype).name), dtype)
        if made.shape != shape:
            name = getattr(initializer, "__name__", type(initializer).__name__)
            raise InputError(
                f"initializer={name}: gives {list(made.shape)}, must be {list(shape)}, the shape it is given"
            )
        return made

    return weights
