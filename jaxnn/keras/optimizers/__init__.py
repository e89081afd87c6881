"""Keras' optimizers, with Keras' arguments and defaults, as optax transformations.

SGD, momentum, Nesterov, RMSprop, Adagrad, Adadelta, amsgrad and Lion are Keras' rules. Adam, AdamW and Adamax differ
from them in the place of epsilon; Nadam has no schedule of beta_1.
"""

from __future__ import annotations

from typing import Any

import optax

from jaxnn.errors import InputError, choices
from jaxnn.keras import lookup
from jaxnn.keras.lookup import serialize as serialize
from jaxnn.keras.optimizers import schedules as schedules
from jaxnn.keras.optimizers.base import Optimizer as Optimizer
from jaxnn.keras.optimizers.base import Own
from jaxnn.keras.optimizers.gradient import SGD as SGD
from jaxnn.keras.optimizers.gradient import Adadelta as Adadelta
from jaxnn.keras.optimizers.gradient import Adagrad as Adagrad
from jaxnn.keras.optimizers.gradient import RMSprop as RMSprop
from jaxnn.keras.optimizers.moments import Adam as Adam
from jaxnn.keras.optimizers.moments import Adamax as Adamax
from jaxnn.keras.optimizers.moments import AdamW as AdamW
from jaxnn.keras.optimizers.moments import Lion as Lion
from jaxnn.keras.optimizers.moments import Nadam as Nadam

CLASSES = (SGD, RMSprop, Adagrad, Adadelta, Adam, AdamW, Adamax, Nadam, Lion)
NAMES = {cls.__name__: cls for cls in CLASSES}
LOWER = {cls.__name__.lower(): cls for cls in CLASSES}


def get(spec: Any, custom_objects: dict[str, Any] | None = None) -> Optimizer:
    """The optimizer that a string, a class, an object, an optax transformation or a saved dict names.

    Raises `InputError` for an unknown name, with the nearest.

    >>> get("adam").learning_rate, get("SGD").learning_rate
    (0.001, 0.01)
    """
    if isinstance(spec, str):
        if spec.lower() not in LOWER:
            raise choices("optimizer", spec, LOWER)
        return LOWER[spec.lower()]()
    if isinstance(spec, optax.GradientTransformation):
        return Own(spec)
    found = lookup.find("optimizer", spec, NAMES, custom_objects)
    if not isinstance(found, Optimizer):
        cure = "give a name, an object of keras.optimizers or an optax transformation"
        raise InputError(f"optimizer={spec}: a {type(spec).__name__} is no optimizer; {cure}")
    return found


deserialize = get
