"""Sequential and Model, and how they are saved, loaded and copied."""

from __future__ import annotations

from typing import Any

from jaxnn.keras.functional import Model as Model
from jaxnn.keras.saving import load_model as load_model
from jaxnn.keras.saving import save_model as save_model
from jaxnn.keras.sequential import Sequential as Sequential

Functional = Model


def clone_model(model: Any) -> Any:
    """The same layers with new weights."""
    return type(model).from_config(model.get_config())
