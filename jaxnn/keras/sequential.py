"""Layers in a row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jaxnn.errors import InputError
from jaxnn.keras.base import Layer
from jaxnn.keras.functional import Model
from jaxnn.keras.inputs import Input, InputLayer
from jaxnn.keras.tensors import Tensor, core_shape


class Sequential(Model):
    """Layers in a row: `f32[B, ...]` -> `f32[B, ...]`.

    Args:
      layers: in their order; `Input(shape=...)` first, or a first layer with input_shape=. Without either the shape is
        that of the data that it is first called on.

    Methods as `Model`. Raises `InputError` for a layer that cannot follow.

    >>> from jaxnn.keras import Sequential
    >>> from jaxnn.keras.layers import Dense
    >>> model = Sequential()
    >>> model.add(Dense(50, activation="relu", input_dim=784))
    >>> model.add(Dense(10, activation="softmax"))
    >>> model.count_params()
    39760
    """

    def __init__(self, layers: Sequence[Any] | None = None, name: str | None = None, trainable: bool = True):
        self._begin(name, trainable)
        self._row: list[Layer] = []
        self._input: Tensor | None = None
        self.inputs: list[Tensor] = []
        self.outputs: list[Tensor] = []
        self.several: bool = False
        for layer in layers or ():
            self.add(layer)

    @property
    def layers(self) -> list[Layer]:
        return list(self._row)

    def add(self, layer: Any) -> None:
        """Put a layer at the end. Raises `InputError` where it cannot follow."""
        if isinstance(layer, Tensor) and isinstance(layer.layer, InputLayer):
            layer = layer.layer
        if not isinstance(layer, Layer):
            cure = "a plain function is layers.Lambda(function)" if callable(layer) else "see jaxnn.keras.layers"
            raise InputError(f"{self.name}.add: a {type(layer).__name__} is no layer; {cure}")
        if isinstance(layer, InputLayer):
            if self._row or self._input:
                raise InputError(f"{self.name}.add: the input comes first, and there is a layer; give it once")
            self._input = layer.output
            return
        if any(layer.name == each.name for each in self._row):
            rule = f"a layer called {layer.name} is there already"
            raise InputError(f"{self.name}.add: {rule}; all layer names should be unique, give name=")
        shape = layer.input_shape_given
        if shape is not None and self._row:
            shape = None  # Keras takes it of the first layer alone
        elif shape is not None and self._input is not None and shape != self._input.core:
            raise InputError(
                f"{self.name}.add: input_shape={shape}, and the input is {self._input.core}; give one of them"
            )
        if shape is not None and self._input is None:
            self._input = Input(shape)
        if not self._row and self._input is None and isinstance(layer, Model) and layer.built:
            self._input = Input(layer.inputs[0].core)
        self._row.append(layer)
        try:
            self._rebuild()
        except Exception:
            self._row.pop()
            raise

    def pop(self) -> Layer:
        """Take off the last layer."""
        if not self._row:
            raise InputError(f"{self.name}.pop: there is no layer in it; add one")
        layer = self._row.pop()
        self._rebuild()
        return layer

    def _rebuild(self) -> None:
        self.built = False
        self._forget()
        if self._input is None or not self._row:
            return
        y = self.outputs[0] if self.outputs and len(self._row) > 1 and self.outputs[0].layer is self._row[-2] else None
        for layer in self._row if y is None else self._row[-1:]:
            y = layer(self._input if y is None else y)
        self._connect([self._input], y)

    def build(self, input_shape: Any = None) -> None:
        """Make the weights for examples of this shape, `(None, ...)`."""
        if self._input is None:
            if input_shape is None:
                raise InputError(f"{self.name}.build: input_shape=None; give it, as in build((None, 784))")
            self._input = Input(core_shape("input_shape", input_shape, batch=True))
            self._rebuild()

    def structure(self) -> dict[str, Any]:
        shape = None if self._input is None else list(self._input.core)
        return {"name": self.name, "trainable": self.trainable, "shape": shape}

    def _restore(self, layers: Sequence[Layer], structure: dict[str, Any]) -> None:
        self.__init__(name=structure["name"], trainable=structure["trainable"])
        if structure["shape"] is not None:
            self._input = Input(tuple(structure["shape"]))
        for layer in layers:
            self.add(layer)
