"""What scripts ask of Keras' backend: `from jaxnn.keras import backend as K`."""

from __future__ import annotations

from typing import Any

import numpy as np

from jaxnn.errors import InputError, check
from jaxnn.keras.session import clear_session as clear_session


def backend() -> str:
    """What computes.

    >>> backend()
    'jax'
    """
    return "jax"


def epsilon() -> float:
    """The small number that keeps quotients and logarithms finite.

    >>> epsilon()
    1e-07
    """
    return 1e-7


def floatx() -> str:
    """The type of all parameters and results.

    >>> floatx()
    'float32'
    """
    return "float32"


def image_data_format() -> str:
    """Images are `[n, H, W, C]`.

    >>> image_data_format()
    'channels_last'
    """
    return "channels_last"


def set_floatx(value: str) -> None:
    """Takes float32. Raises `InputError` for another type.

    >>> set_floatx("float32")
    """
    check("set_floatx", value, "float32, in which everything is computed here", value == "float32")


def set_image_data_format(data_format: str) -> None:
    """Takes channels_last. Raises `InputError` for another form.

    >>> set_image_data_format("channels_last")
    """
    check("set_image_data_format", data_format, "channels_last; move the axis", data_format == "channels_last")


def get_value(x: Any) -> Any:
    """The number or array.

    >>> get_value(0.1)
    0.1
    """
    return x if isinstance(x, float | int) else np.asarray(x)


def set_value(x: Any, value: Any) -> None:
    """Set a learning rate, `model.optimizer.learning_rate`. Raises `InputError` for anything else.

    >>> from jaxnn.keras import optimizers
    >>> optimizer = optimizers.SGD(0.1)
    >>> set_value(optimizer.learning_rate, 0.01)
    >>> optimizer.learning_rate
    0.01
    """
    if not hasattr(x, "assign"):
        raise InputError(f"K.set_value x={type(x).__name__}: must be a learning rate; for weights use set_weights")
    x.assign(float(value))
