"""Sequential and Model, and how they are saved, loaded and copied."""

from __future__ import annotations

from typing import Any

from jaxnn.keras.functional import Model as Model
from jaxnn.keras.saving import load_model as load_model
from jaxnn.keras.saving import save_model as save_model
from jaxnn.keras.sequential import Sequential as Sequential

Functional = Model


def clone_model(model: Any) -> Any:
    """The same layers with new weights, not compiled. Raises `InputError` for a layer that has no config (`Lambda`).

    >>> from jaxnn import keras
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    >>> clone_model(model).count_params()
    15
    """
    return type(model).from_config(model.get_config())
