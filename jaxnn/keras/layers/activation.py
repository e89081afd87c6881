"""Activation functions as layers."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from jaxnn.errors import InputError, check, non_negative
from jaxnn.keras import activations, initializers, regularizers
from jaxnn.keras.layers import standard
from jaxnn.keras.layers.standard import Standard
from jaxnn.keras.tensors import Shape
from jaxnn.types import Model, Params


class Pointwise(Standard):
    """A layer that is one function, `activation`."""

    activation: activations.Activation

    def network(self, *shapes: Shape) -> Callable[..., Any]:
        return self.activation


class ReLU(Pointwise):
    """max(0, x), with a slope below the threshold and a ceiling, `activations.relu`: `f32[B, ...]` -> the same shape.

    >>> import numpy as np
    >>> ReLU(max_value=2.0)(np.array([[0.5, 3.0]])).tolist()
    [[0.5, 2.0]]
    """

    max_value: float | None
    negative_slope: float
    threshold: float

    def __init__(
        self, max_value: float | None = None, negative_slope: float = 0.0, threshold: float = 0.0, **kwargs: Any
    ):
        super().__init__(**kwargs)
        for name, value in (
            ("negative_slope", negative_slope),
            ("threshold", threshold),
            ("max_value", max_value or 0),
        ):
            non_negative(f"ReLU {name}", value)
        self.max_value, self.negative_slope, self.threshold = max_value, negative_slope, threshold
        more = {"negative_slope": negative_slope, "max_value": max_value, "threshold": threshold}
        self.activation: activations.Activation = functools.partial(activations.relu, **more)


class LeakyReLU(Pointwise):
    """x for x > 0, negative_slope x otherwise: `f32[B, ...]` -> the same shape.

    The slope was called `alpha` before Keras 3; that name gives a warning.

    >>> import numpy as np
    >>> LeakyReLU(0.5)(np.array([[-1.0, 2.0]])).tolist()
    [[-0.5, 2.0]]
    """

    def __init__(self, negative_slope: float = 0.3, **kwargs: Any):
        if "alpha" in kwargs:
            negative_slope = kwargs.pop("alpha")
            warnings.warn("Argument `alpha` is deprecated. Use `negative_slope` instead.", UserWarning, stacklevel=2)
        super().__init__(**kwargs)
        non_negative("LeakyReLU negative_slope", negative_slope)
        self.negative_slope: float = negative_slope
        self.activation: activations.Activation = functools.partial(
            activations.leaky_relu, negative_slope=negative_slope
        )


class ELU(Pointwise):
    """x for x > 0, alpha (e^x - 1) otherwise: `f32[B, ...]` -> the same shape.

    >>> import numpy as np
    >>> ELU()(np.array([[-1.0, 2.0]])).round(4).tolist()
    [[-0.632..., 2.0]]
    """

    def __init__(self, alpha: float = 1.0, **kwargs: Any):
        super().__init__(**kwargs)
        self.alpha: float = alpha
        self.activation: activations.Activation = functools.partial(activations.elu, alpha=alpha)


class Softmax(Pointwise):
    """e^x / sum e^x along an axis, counted as in Keras (the batch is 0): `f32[B, ..., K]` -> the same shape.

    >>> import numpy as np
    >>> Softmax()(np.array([[1.0, 1.0]])).tolist()
    [[0.5, 0.5]]
    """

    def __init__(self, axis: int = -1, **kwargs: Any):
        super().__init__(**kwargs)
        check("Softmax axis", axis, "one number", isinstance(axis, int))
        self.axis: int = axis
        along = activations.softmax if axis == -1 else functools.partial(activations.softmax, axis=axis)
        self.activation: activations.Activation = along

    def network(self, *shapes: Shape) -> Callable[..., Any]:
        if self.axis == -1:
            return self.activation
        axis = standard.core_axis(self, self.axis, shapes[0])
        return lambda x: activations.softmax(x, axis)


class PReLU(Standard):
    """x for x > 0, alpha x otherwise, alpha learned: `f32[B, ...]` -> the same shape.

    Each entry of an example has an alpha, or one is shared along each of `shared_axes`. Source: He et al. 2015.

    >>> import numpy as np
    >>> PReLU(alpha_initializer="ones")(np.array([[-1.0, 2.0]])).tolist()
    [[-1.0, 2.0]]
    """

    LEAVES: ClassVar[tuple[str, ...]] = ("alpha",)
    PENALTIES: ClassVar[dict[str, str]] = {"alpha": "alpha_regularizer"}

    def __init__(
        self, alpha_initializer: Any = "zeros", alpha_regularizer: Any = None, shared_axes: Any = None, **kwargs: Any
    ):
        super().__init__(**kwargs)
        self.alpha_initializer: initializers.Draw = initializers.get(alpha_initializer)
        self.alpha_regularizer: regularizers.Penalty | None = regularizers.get(alpha_regularizer)
        shared: list[int] | None = [shared_axes] if isinstance(shared_axes, int) else shared_axes and list(shared_axes)
        self.shared_axes: list[int] | None = shared

    def network(self, *shapes: Shape) -> Model:
        (shape,) = shapes
        if not shape:
            raise InputError("PReLU input (): must have at least one axis; add Flatten() before the layer")
        shared = {standard.core_axis(self, axis, shape) % len(shape) for axis in self.shared_axes or ()}
        own = tuple(1 if i in shared else size for i, size in enumerate(shape))

        def init(key: jax.Array, x: Any) -> Params:
            return {"alpha": initializers.drawn(self.alpha_initializer)(key, own, x.dtype)}

        def apply(params: Params, x: jax.Array, key: jax.Array | None = None) -> jax.Array:
            alpha = params["alpha"].reshape(*(1,) * (x.ndim - len(own)), *own)
            return jnp.where(x > 0, x, jnp.broadcast_to(alpha, x.shape) * x)

        return Model(init, apply, "prelu")
