"""Where the examples come into a network: Input and its layer."""

from __future__ import annotations

from typing import Any

from jaxnn.errors import InputError, choices
from jaxnn.keras.base import Layer
from jaxnn.keras.tensors import Tensor


class InputLayer(Layer):
    """Where the examples come in: `shape` of one of them, without the batch.

    Raises `InputError` without a shape, and for an axis of None: jaxnn compiles a network for one shape.

    >>> InputLayer((28, 28, 1)).output.shape
    (None, 28, 28, 1)
    """

    def __init__(self, shape: Any = None, **kwargs: Any):
        if shape is not None:
            kwargs["input_shape"] = shape
        super().__init__(**kwargs)
        if self.input_shape_given is None:
            raise InputError("InputLayer shape=None: give the shape of one example, as in keras.Input(shape=(784,))")
        self.shapes: Any = {}
        self.params: Any = {}
        self.built: bool = True
        self.output: Tensor = Tensor(self.input_shape_given, self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.output = Tensor(self.input_shape_given, self)


def Input(
    shape: Any = None, batch_size: int | None = None, dtype: Any = None, name: str | None = None, **more: Any
) -> Tensor:
    """The tensor that examples of this shape come in as: `shape` of one of them, without the batch.

    Raises `InputError` without a shape, for an axis of None, and for a dtype other than float32, float64, int32, uint8.

    >>> Input(shape=(784,)).shape
    (None, 784)
    """
    if dtype is not None and str(dtype) not in ("float32", "uint8", "int32", "float64"):
        raise choices("Input dtype", dtype, ["float32", "uint8"])
    return InputLayer(shape, name=name, **more).output
