"""Layers of several inputs; each has a function too: `add([x, y])` is `Add()([x, y])`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.errors import InputError
from jaxnn.keras.layers import standard
from jaxnn.keras.layers.standard import Standard
from jaxnn.keras.tensors import Shape
from jaxnn.types import Model


class Merge(Standard):
    """Several inputs as one."""

    def joined(self, shapes: Sequence[Shape], join: Callable[[Sequence[jax.Array]], jax.Array]) -> Model:
        if len(shapes) < 2:
            raise InputError(f"{type(self).__name__} input {shapes[0]}: must be called on a list of two or more")
        return standard.stateless(lambda xs, key: join(xs), "merge")

    def elementwise(self, shapes: Sequence[Shape], join: Callable[..., jax.Array]) -> Model:
        """Axes of 1 are repeated."""
        try:
            shape = np.broadcast_shapes(*shapes)
            ranks = {len(each) for each in shapes}
        except ValueError:
            shape, ranks = (), {0, 1}
        if len(ranks) > 1:
            rule = "must have one shape, but for axes of 1; end the branches with layers as wide"
            raise InputError(f"{type(self).__name__} inputs {', '.join(map(str, shapes))}: {rule}")

        def whole(xs: Sequence[jax.Array]) -> jax.Array:
            lead = xs[0].shape[: xs[0].ndim - len(shape)]
            return join([jnp.broadcast_to(x, (*lead, *shape)) for x in xs])

        return self.joined(shapes, whole)


class Add(Merge):
    """x + y + ...: several `f32[B, ...]` -> `f32[B, ...]`; axes of 1 are repeated.

    Raises `InputError` for other shapes, as the layers below.

    >>> import numpy as np
    >>> Add()([np.array([[1.0, 2.0]]), np.array([[3.0, 5.0]])]).tolist()
    [[4.0, 7.0]]
    """

    def network(self, *shapes: Shape) -> Model:
        return self.elementwise(shapes, lambda xs: functools.reduce(jnp.add, xs))


class Subtract(Merge):
    """x - y: two `f32[B, ...]` -> `f32[B, ...]`.

    >>> import numpy as np
    >>> Subtract()([np.array([[1.0, 2.0]]), np.array([[3.0, 5.0]])]).tolist()
    [[-2.0, -3.0]]
    """

    def network(self, *shapes: Shape) -> Model:
        if len(shapes) != 2:
            raise InputError(f"Subtract inputs {', '.join(map(str, shapes))}: must be two")
        return self.elementwise(shapes, lambda xs: xs[0] - xs[1])


class Multiply(Merge):
    """x y ..., entry by entry: several `f32[B, ...]` -> `f32[B, ...]`.

    >>> import numpy as np
    >>> Multiply()([np.array([[1.0, 2.0]]), np.array([[3.0, 5.0]])]).tolist()
    [[3.0, 10.0]]
    """

    def network(self, *shapes: Shape) -> Model:
        return self.elementwise(shapes, lambda xs: functools.reduce(jnp.multiply, xs))


class Average(Merge):
    """The mean of the inputs, entry by entry: several `f32[B, ...]` -> `f32[B, ...]`.

    >>> import numpy as np
    >>> Average()([np.array([[1.0, 2.0]]), np.array([[3.0, 5.0]])]).tolist()
    [[2.0, 3.5]]
    """

    def network(self, *shapes: Shape) -> Model:
        return self.elementwise(shapes, lambda xs: functools.reduce(jnp.add, xs) / len(xs))


class Maximum(Merge):
    """The largest of the inputs, entry by entry: several `f32[B, ...]` -> `f32[B, ...]`.

    >>> import numpy as np
    >>> Maximum()([np.array([[1.0, 2.0]]), np.array([[3.0, 5.0]])]).tolist()
    [[3.0, 5.0]]
    """

    def network(self, *shapes: Shape) -> Model:
        return self.elementwise(shapes, lambda xs: functools.reduce(jnp.maximum, xs))


class Minimum(Merge):
    """The least of the inputs, entry by entry: several `f32[B, ...]` -> `f32[B, ...]`.

    >>> import numpy as np
    >>> Minimum()([np.array([[1.0, 2.0]]), np.array([[3.0, 5.0]])]).tolist()
    [[1.0, 2.0]]
    """

    def network(self, *shapes: Shape) -> Model:
        return self.elementwise(shapes, lambda xs: functools.reduce(jnp.minimum, xs))


class Concatenate(Merge):
    """The inputs side by side along an axis, counted as in Keras (the batch is 0).

    Raises `InputError` for inputs that differ in another axis.

    >>> import numpy as np
    >>> Concatenate()([np.array([[1.0, 2.0]]), np.array([[3.0]])]).tolist()
    [[1.0, 2.0, 3.0]]
    """

    def __init__(self, axis: int = -1, **kwargs: Any):
        super().__init__(**kwargs)
        self.axis: int = axis

    def network(self, *shapes: Shape) -> Model:
        axis = standard.core_axis(self, self.axis, shapes[0])
        others = {(*shape[: len(shape) + axis], *shape[len(shape) + axis + 1 :]) for shape in shapes}
        if len(others) > 1 or len({len(shape) for shape in shapes}) > 1:
            rule = f"must be alike in all axes but axis={self.axis}; give the branches the same strides and padding"
            raise InputError(f"Concatenate inputs {', '.join(map(str, shapes))}: {rule}")
        return self.joined(shapes, lambda xs: jnp.concatenate(list(xs), axis))


def add(inputs: Sequence[Any], **kwargs: Any) -> Any:
    """`Add()(inputs)`.

    >>> add([np.array([[1.0, 2.0]]), np.array([[3.0, 5.0]])]).tolist()
    [[4.0, 7.0]]
    """
    return Add(**kwargs)(inputs)


def subtract(inputs: Sequence[Any], **kwargs: Any) -> Any:
    """`Subtract()(inputs)`.

    >>> subtract([np.array([[1.0, 2.0]]), np.array([[3.0, 5.0]])]).tolist()
    [[-2.0, -3.0]]
    """
    return Subtract(**kwargs)(inputs)


def multiply(inputs: Sequence[Any], **kwargs: Any) -> Any:
    """`Multiply()(inputs)`.

    >>> multiply([np.array([[1.0, 2.0]]), np.array([[3.0, 5.0]])]).tolist()
    [[3.0, 10.0]]
    """
    return Multiply(**kwargs)(inputs)


def average(inputs: Sequence[Any], **kwargs: Any) -> Any:
    """`Average()(inputs)`.

    >>> average([np.array([[1.0, 2.0]]), np.array([[3.0, 5.0]])]).tolist()
    [[2.0, 3.5]]
    """
    return Average(**kwargs)(inputs)


def maximum(inputs: Sequence[Any], **kwargs: Any) -> Any:
    """`Maximum()(inputs)`.

    >>> maximum([np.array([[1.0, 2.0]]), np.array([[3.0, 5.0]])]).tolist()
    [[3.0, 5.0]]
    """
    return Maximum(**kwargs)(inputs)


def minimum(inputs: Sequence[Any], **kwargs: Any) -> Any:
    """`Minimum()(inputs)`.

    >>> minimum([np.array([[1.0, 2.0]]), np.array([[3.0, 5.0]])]).tolist()
    [[1.0, 2.0]]
    """
    return Minimum(**kwargs)(inputs)


def concatenate(inputs: Sequence[Any], axis: int = -1, **kwargs: Any) -> Any:
    """`Concatenate(axis)(inputs)`.

    >>> concatenate([np.array([[1.0, 2.0]]), np.array([[3.0]])]).tolist()
    [[1.0, 2.0, 3.0]]
    """
    return Concatenate(axis, **kwargs)(inputs)
