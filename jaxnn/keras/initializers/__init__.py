"""How weights begin: functions of a shape as in Keras, whose last two axes are fan-in and fan-out times the kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxnn.errors import InputError
from jaxnn.keras import lookup
from jaxnn.keras.initializers.base import Constant as Constant
from jaxnn.keras.initializers.base import Identity as Identity
from jaxnn.keras.initializers.base import Initializer as Initializer
from jaxnn.keras.initializers.base import Ones as Ones
from jaxnn.keras.initializers.base import Orthogonal as Orthogonal
from jaxnn.keras.initializers.base import RandomNormal as RandomNormal
from jaxnn.keras.initializers.base import RandomUniform as RandomUniform
from jaxnn.keras.initializers.base import TruncatedNormal as TruncatedNormal
from jaxnn.keras.initializers.base import Zeros as Zeros
from jaxnn.keras.initializers.scaling import GlorotNormal as GlorotNormal
from jaxnn.keras.initializers.scaling import GlorotUniform as GlorotUniform
from jaxnn.keras.initializers.scaling import HeNormal as HeNormal
from jaxnn.keras.initializers.scaling import HeUniform as HeUniform
from jaxnn.keras.initializers.scaling import LecunNormal as LecunNormal
from jaxnn.keras.initializers.scaling import LecunUniform as LecunUniform
from jaxnn.keras.initializers.scaling import VarianceScaling as VarianceScaling
from jaxnn.nn.init import Initialiser

Draw = Callable[..., Any]  # an `Initializer`, or a function `(shape, dtype=None) -> weights`

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
    """The initializer of this config, or of a name.

    >>> deserialize({"class_name": "Constant", "config": {"value": 3.0}}).value
    3.0
    """
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
