"""What a layer is called on: symbolic tensors, and arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jaxnn.errors import InputError
from jaxnn.types import Model

Shape = tuple[int, ...]  # of one example: no batch axis


class Array(np.ndarray):
    """What a layer or a model gives when it is called on an array: a NumPy array, with `numpy()`."""

    def numpy(self) -> np.ndarray:
        """The array as one of NumPy."""
        return np.asarray(self)


def as_array(y: Any) -> Any:
    """Arrays of JAX as arrays of NumPy that have `numpy()`; in lists, tuples and dicts too."""
    return jax.tree.map(lambda a: np.asarray(a).view(Array), y)


def eager(y: Any) -> Any:
    """`as_array`, but for what is being traced, within a loss or a layer of one's own."""
    try:
        return as_array(y)
    except jax.errors.TracerArrayConversionError:
        return y


def one_or_all(values: Sequence[Any]) -> Any:
    """The one of a sequence of one, else all of them as a tuple: what a network takes and gives."""
    return values[0] if len(values) == 1 else tuple(values)


class Tensor:
    """What a layer is going to give, known by its shape alone; `layers.Add()([x, y])` and `x + y` are the same.

    Args:
      shape: of one example.
      layer, inputs, net: where it comes from: the layer, what that was called on, and its network for these shapes.
      index: which of the layer's outputs it is.
    """

    def __init__(
        self,
        shape: Any,
        layer: Any,
        inputs: tuple[Tensor, ...] = (),
        net: Model | None = None,
        index: int | None = None,
    ):
        self.all: Any = shape
        self.core: Shape = tuple(shape if index is None else shape[index])
        self.layer: Any = layer
        self.inputs: tuple[Tensor, ...] = inputs
        self.net: Model | None = net
        self.index: int | None = index

    @property
    def shape(self) -> tuple[int | None, ...]:
        """Its shape; None is the batch."""
        return (None, *self.core)

    @property
    def name(self) -> str:
        """The name of the layer that gives it."""
        return self.layer.name

    def __repr__(self) -> str:
        return f"<KerasTensor shape={self.shape}, dtype=float32, sparse=False, name={self.name}>"

    def _with(self, other: Any, kind: str) -> Any:
        from jaxnn.keras import layers

        return getattr(layers, kind)()([self, other])

    def __add__(self, other: Any) -> Any:
        return self._with(other, "Add")

    def __sub__(self, other: Any) -> Any:
        return self._with(other, "Subtract")

    def __mul__(self, other: Any) -> Any:
        return self._with(other, "Multiply")


def core_shape(name: str, shape: Any, batch: bool = False) -> Shape:
    """A shape that a user gave, of one example; with `batch` its first axis is that of the batch."""
    given = (shape,) if isinstance(shape, int | np.integer) else tuple(shape)
    sizes = given[1:] if batch else given
    if not all(isinstance(size, int | np.integer) and size >= 1 for size in sizes):
        raise InputError(f"{name}={shape}: each axis must be a number >= 1; jaxnn compiles a network for one shape")
    return tuple(map(int, sizes))
