"""Keras' losses: strings, objects and functions, all as a `Loss`.

A final softmax or sigmoid with its cross-entropy is trained on logits (`Loss.final`, `Loss.on_logits`): the loss of a
confidently wrong network is then exact, where Keras clips probabilities to 1 - 1e-7 and the gradient vanishes.
"""

from __future__ import annotations

from typing import Any

from jaxnn.errors import InputError
from jaxnn.keras import lookup
from jaxnn.keras.lookup import serialize as serialize
from jaxnn.keras.losses.base import Loss as Loss
from jaxnn.keras.losses.base import LossFunctionWrapper as LossFunctionWrapper
from jaxnn.keras.losses.base import LossOf
from jaxnn.keras.losses.classes import BinaryCrossentropy as BinaryCrossentropy
from jaxnn.keras.losses.classes import BinaryFocalCrossentropy as BinaryFocalCrossentropy
from jaxnn.keras.losses.classes import CategoricalCrossentropy as CategoricalCrossentropy
from jaxnn.keras.losses.classes import CategoricalHinge as CategoricalHinge
from jaxnn.keras.losses.classes import CosineSimilarity as CosineSimilarity
from jaxnn.keras.losses.classes import Hinge as Hinge
from jaxnn.keras.losses.classes import Huber as Huber
from jaxnn.keras.losses.classes import KLDivergence as KLDivergence
from jaxnn.keras.losses.classes import LogCosh as LogCosh
from jaxnn.keras.losses.classes import MeanAbsoluteError as MeanAbsoluteError
from jaxnn.keras.losses.classes import MeanAbsolutePercentageError as MeanAbsolutePercentageError
from jaxnn.keras.losses.classes import MeanSquaredError as MeanSquaredError
from jaxnn.keras.losses.classes import MeanSquaredLogarithmicError as MeanSquaredLogarithmicError
from jaxnn.keras.losses.classes import Poisson as Poisson
from jaxnn.keras.losses.classes import SparseCategoricalCrossentropy as SparseCategoricalCrossentropy
from jaxnn.keras.losses.classes import SquaredHinge as SquaredHinge
from jaxnn.keras.losses.functions import binary_crossentropy as binary_crossentropy
from jaxnn.keras.losses.functions import binary_focal_crossentropy as binary_focal_crossentropy
from jaxnn.keras.losses.functions import categorical_crossentropy as categorical_crossentropy
from jaxnn.keras.losses.functions import categorical_hinge as categorical_hinge
from jaxnn.keras.losses.functions import cosine_similarity as cosine_similarity
from jaxnn.keras.losses.functions import hinge as hinge
from jaxnn.keras.losses.functions import huber as huber
from jaxnn.keras.losses.functions import kl_divergence as kl_divergence
from jaxnn.keras.losses.functions import log_cosh as log_cosh
from jaxnn.keras.losses.functions import mean_absolute_error as mean_absolute_error
from jaxnn.keras.losses.functions import mean_absolute_percentage_error as mean_absolute_percentage_error
from jaxnn.keras.losses.functions import mean_squared_error as mean_squared_error
from jaxnn.keras.losses.functions import mean_squared_logarithmic_error as mean_squared_logarithmic_error
from jaxnn.keras.losses.functions import poisson as poisson
from jaxnn.keras.losses.functions import sparse_categorical_crossentropy as sparse_categorical_crossentropy
from jaxnn.keras.losses.functions import squared_hinge as squared_hinge

CLASSES: dict[str, type[LossOf]] = {
    cls.__name__: cls
    for cls in (
        *(CategoricalCrossentropy, SparseCategoricalCrossentropy, BinaryCrossentropy, BinaryFocalCrossentropy),
        *(MeanSquaredError, MeanAbsoluteError, MeanAbsolutePercentageError, MeanSquaredLogarithmicError),
        *(CosineSimilarity, Huber, LogCosh, Poisson, KLDivergence, Hinge, SquaredHinge, CategoricalHinge),
    )
}
SHORT = {
    "mse": "MeanSquaredError",
    "mae": "MeanAbsoluteError",
    "mape": "MeanAbsolutePercentageError",
    "msle": "MeanSquaredLogarithmicError",
    "bce": "BinaryCrossentropy",
    "kld": "KLDivergence",
}
SHORT |= {name.upper(): cls for name, cls in SHORT.items()} | {"logcosh": "LogCosh", "huber_loss": "Huber"}
NAMES: dict[str, type[LossOf]] = (
    CLASSES
    | {lookup.named(cls.function): cls for cls in CLASSES.values()}
    | {name: CLASSES[cls] for name, cls in SHORT.items()}
)


def get(spec: Any, custom_objects: dict[str, Any] | None = None) -> Loss:
    """The loss that a string, a class, an object, a function `(y_true, y_pred) -> f32[B, ...]` or a saved dict names.

    Raises `InputError` for an unknown name, with the nearest, and for what is none of these.

    >>> get("mse").name, get(SparseCategoricalCrossentropy(from_logits=True)).final
    ('mse', None)
    """
    found = lookup.find("loss", spec, NAMES, custom_objects)
    if isinstance(found, Loss):
        if isinstance(spec, str):
            found.name = spec
        return found
    if callable(found):
        return next((cls() for cls in CLASSES.values() if cls.function is found), None) or LossFunctionWrapper(found)
    raise InputError(
        f"loss={spec}: a {type(spec).__name__} is no loss; give a name, a keras.losses object or a function"
    )


deserialize = get
