"""Initializers whose variance follows from how many inputs and outputs a layer has (fan-in, fan-out)."""

from __future__ import annotations

import math
from typing import Any

import jax

from jaxnn.errors import check, choices
from jaxnn.keras.initializers.base import Initializer

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
    """Uniform of variance 2 / (fan_in + fan_out). Source: Glorot and Bengio 2010.

    >>> round(float(GlorotUniform(seed=0)((300, 200)).var() * 250), 1)
    1.0
    """

    def __init__(self, seed: int | None = None):
        super().__init__(1.0, "fan_avg", "uniform", seed)


class GlorotNormal(VarianceScaling):
    """Normal, cut at two deviations, of variance 2 / (fan_in + fan_out). Source: Glorot and Bengio 2010.

    >>> round(float(GlorotNormal(seed=0)((300, 200)).var() * 250), 1)
    1.0
    """

    def __init__(self, seed: int | None = None):
        super().__init__(1.0, "fan_avg", "truncated_normal", seed)


class HeUniform(VarianceScaling):
    """Uniform of variance 2 / fan_in. Source: He et al. 2015.

    >>> round(float(HeUniform(seed=0)((300, 200)).var() * 150), 1)
    1.0
    """

    def __init__(self, seed: int | None = None):
        super().__init__(2.0, "fan_in", "uniform", seed)


class HeNormal(VarianceScaling):
    """Normal, cut at two deviations, of variance 2 / fan_in. Source: He et al. 2015.

    >>> round(float(HeNormal(seed=0)((300, 200)).var() * 150), 1)
    1.0
    """

    def __init__(self, seed: int | None = None):
        super().__init__(2.0, "fan_in", "truncated_normal", seed)


class LecunUniform(VarianceScaling):
    """Uniform of variance 1 / fan_in. Source: LeCun et al. 1998.

    >>> round(float(LecunUniform(seed=0)((300, 200)).var() * 300), 1)
    1.0
    """

    def __init__(self, seed: int | None = None):
        super().__init__(1.0, "fan_in", "uniform", seed)


class LecunNormal(VarianceScaling):
    """Normal, cut at two deviations, of variance 1 / fan_in. Source: Klambauer et al. 2017.

    >>> round(float(LecunNormal(seed=0)((300, 200)).var() * 300), 1)
    1.0
    """

    def __init__(self, seed: int | None = None):
        super().__init__(1.0, "fan_in", "truncated_normal", seed)
