"""Dense, and the layers that change shapes or are one function."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from jaxnn.errors import InputError, check
from jaxnn.keras import activations, initializers, regularizers
from jaxnn.keras.layers import standard
from jaxnn.keras.layers.standard import Standard
from jaxnn.keras.tensors import Shape
from jaxnn.nn import layers
from jaxnn.types import Model


class Affine(Standard):
    """The bias and the activation of Dense and of the convolutions."""

    LEAVES: ClassVar[tuple[str, ...]] = ("w", "b")
    PENALTIES: ClassVar[dict[str, str]] = {"w": "kernel_regularizer", "b": "bias_regularizer"}

    def __init__(
        self,
        activation: Any = None,
        use_bias: bool = True,
        bias_initializer: Any = "zeros",
        bias_regularizer: Any = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.activation: activations.Activation = activations.get(activation)
        self.use_bias: bool = bool(use_bias)
        self.bias_initializer: initializers.Draw = initializers.get(bias_initializer)
        self.bias_regularizer: regularizers.Penalty | None = regularizers.get(bias_regularizer)

    def ended(self, model: Model) -> Model:
        """The model with the first bias and the activation of the layer."""
        zeros = isinstance(self.bias_initializer, initializers.Zeros)
        begun = model if zeros or not self.use_bias else standard.begun(model, {self.LEAVES[-1]: self.bias_initializer})
        return standard.ended(begun, self.activation)


class Dense(Affine):
    """y = activation(x W + b), `jaxnn.dense`: x `f32[B, ..., F]` -> `f32[B, ..., units]`.

    Kernel W `f32[F, units]` and bias b `f32[units]`, as `get_weights` gives them. Raises `InputError` for inputs of
    other features than those of its first call.

    >>> import numpy as np
    >>> Dense(2, activation="relu", kernel_initializer="ones")(np.array([[1.0, 2.0]])).tolist()
    [[3.0, 3.0]]
    """

    def __init__(
        self,
        units: int,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        **kwargs: Any,
    ):
        super().__init__(activation, use_bias, bias_initializer, **kwargs)
        self.units: int = standard.whole("Dense units", units)
        self.kernel_initializer: initializers.Draw = initializers.get(kernel_initializer)
        self.kernel_regularizer: regularizers.Penalty | None = regularizers.get(kernel_regularizer)

    def network(self, *shapes: Shape) -> Model:
        init = initializers.drawn(self.kernel_initializer)
        return self.ended(layers.dense(self.units, init=init, bias=self.use_bias))

    def oriented(self, leaf: str, value: Any) -> Any:
        return value.T if leaf == "w" else value

    stored = oriented


class Activation(Standard):
    """An activation function, by its name or itself: `f32[B, ...]` -> the same shape.

    >>> import numpy as np
    >>> Activation("relu")(np.array([[-1.0, 2.0]])).tolist()
    [[0.0, 2.0]]
    """

    def __init__(self, activation: Any, **kwargs: Any):
        super().__init__(**kwargs)
        self.activation: activations.Activation = activations.get(activation)

    def network(self, *shapes: Shape) -> Callable[..., Any]:
        return self.activation


class Flatten(Standard):
    """All axes of an example as one: `f32[B, ...]` -> `f32[B, F]`.

    >>> import numpy as np
    >>> Flatten()(np.zeros((8, 28, 28, 1))).shape
    (8, 784)
    """

    def __init__(self, data_format: str | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.data_format: str = standard.channels_last("Flatten", data_format)

    def network(self, *shapes: Shape) -> Any:
        axes = len(shapes[0])
        return layers.flatten(axes) if axes else lambda x: x[..., None]


class Dropout(Standard):
    """While training x / (1 - rate) with probability 1 - rate, else 0, `jaxnn.dropout`: `f32[B, ...]` -> the same.

    A `seed` is folded into the key of each step. Raises `InputError` for a rate outside [0, 1) and for `noise_shape`.

    >>> import numpy as np
    >>> Dropout(0.5)(np.ones((1, 3))).tolist()  # not training
    [[1.0, 1.0, 1.0]]
    >>> sorted(set(Dropout(0.5)(np.ones((1, 100)), training=True)[0].tolist()))
    [0.0, 2.0]
    """

    def __init__(self, rate: float, noise_shape: Any = None, seed: int | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        if noise_shape is not None:
            cure = "leave it out, or use SpatialDropout2D for whole channels"
            raise InputError(f"Dropout noise_shape={noise_shape}: each entry is dropped by itself; {cure}")
        layers.dropout(rate)  # refuses a wrong rate
        self.rate: float = rate
        self.noise_shape: None = None
        self.seed: int | None = seed

    def network(self, *shapes: Shape) -> Model:
        return seeded(layers.dropout(self.rate), self.seed)


def seeded(model: Model, seed: int | None) -> Model:
    """The model whose noise follows from this seed too."""
    if seed is None:
        return model

    def apply(params: Any, x: Any, key: jax.Array | None = None) -> Any:
        return model.apply(params, x, None if key is None else jax.random.fold_in(key, seed))

    return model._replace(apply=apply)


class Reshape(Standard):
    """An example in another shape: `f32[B, ...]` -> `f32[B, *target_shape]`; one axis may be -1.

    Raises `InputError` where the sizes differ.

    >>> import numpy as np
    >>> Reshape((28, 28, -1))(np.zeros((8, 784))).shape
    (8, 28, 28, 1)
    """

    def __init__(self, target_shape: Any, **kwargs: Any):
        super().__init__(**kwargs)
        shape = (target_shape,) if isinstance(target_shape, int) else tuple(target_shape)
        self.target_shape: tuple[int, ...] = shape
        if self.target_shape.count(-1) > 1:
            raise InputError(f"Reshape target_shape={self.target_shape}: must have at most one axis of -1")

    def network(self, *shapes: Shape) -> Callable[..., Any]:
        (shape,), target = shapes, self.target_shape
        size, known = math.prod(shape), math.prod(n for n in target if n != -1)
        if (size % known if -1 in target and known else size != known) or not known:
            raise InputError(f"Reshape target_shape={target}: {known} numbers, must hold the {size} of inputs {shape}")
        target = tuple(size // known if n == -1 else n for n in target)
        return lambda x: x.reshape(*x.shape[: x.ndim - len(shape)], *target)


class Permute(Standard):
    """The axes of an example in another order, counted from 1.

    >>> import numpy as np
    >>> Permute((3, 1, 2))(np.zeros((8, 28, 20, 1))).shape
    (8, 1, 28, 20)
    """

    def __init__(self, dims: Any, **kwargs: Any):
        super().__init__(**kwargs)
        self.dims: tuple[int, ...] = tuple(dims)
        check("Permute dims", self.dims, "each axis once, from 1", sorted(self.dims) == [*range(1, len(self.dims) + 1)])

    def network(self, *shapes: Shape) -> Callable[..., Any]:
        (shape,) = shapes
        if len(shape) != len(self.dims):
            raise InputError(f"Permute dims={self.dims}: must name the {len(shape)} axes of inputs {shape}")

        def permuted(x: jax.Array) -> jax.Array:
            lead = x.ndim - len(shape)
            return x.transpose(*range(lead), *(lead + dim - 1 for dim in self.dims))

        return permuted


class RepeatVector(Standard):
    """An example n times: `f32[B, F]` -> `f32[B, n, F]`.

    >>> import numpy as np
    >>> RepeatVector(2)(np.array([[1.0, 2.0]])).tolist()
    [[[1.0, 2.0], [1.0, 2.0]]]
    """

    def __init__(self, n: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.n: int = standard.whole("RepeatVector n", n)

    def network(self, *shapes: Shape) -> Callable[..., Any]:
        if len(shapes[0]) != 1:
            raise InputError(f"RepeatVector inputs {shapes[0]}: must have one axis; add Flatten() before the layer")
        return lambda x: jnp.broadcast_to(x[..., None, :], (*x.shape[:-1], self.n, x.shape[-1]))


class Identity(Standard):
    """x itself.

    >>> import numpy as np
    >>> Identity()(np.array([[1.0, 2.0]])).tolist()
    [[1.0, 2.0]]
    """

    def network(self, *shapes: Shape) -> Callable[..., Any]:
        return activations.linear


class ActivityRegularization(Identity):
    """x itself, and l1 sum |x| + l2 sum x^2 of each example added to its loss.

    >>> ActivityRegularization(l1=0.01).l1
    0.01
    """

    l1: float
    l2: float

    def __init__(self, l1: float = 0.0, l2: float = 0.0, **kwargs: Any):
        super().__init__(activity_regularizer=regularizers.L1L2(l1, l2), **kwargs)
        self.l1, self.l2 = l1, l2

    def get_config(self) -> dict[str, Any]:
        return {name: value for name, value in super().get_config().items() if name != "activity_regularizer"}


class Lambda(Standard):
    """A function of a batch, in `jax.numpy`: `f32[B, ...]` -> `f32[B, ...]`. A model with one cannot be saved.

    Raises `InputError` for an output without one row for each example, and for `mask`.

    >>> import numpy as np
    >>> Lambda(lambda x: x / 255)(np.array([[0.0, 255.0]])).tolist()
    [[0.0, 1.0]]
    """

    def __init__(self, function: Any, output_shape: Any = None, mask: Any = None, arguments: Any = None, **kwargs: Any):
        super().__init__(**kwargs)
        if mask is not None:
            raise InputError("Lambda mask: jaxnn has no masks; leave it out")
        self.function: Callable[..., Any] = function
        self.output_shape_given: Any = output_shape
        self.arguments: dict[str, Any] = dict(arguments or {})

    def network(self, *shapes: Shape) -> Callable[..., Any]:
        def batched(x: Any) -> Any:
            first = jax.tree.leaves(x)[0]
            lead = first.shape[: first.ndim - len(shapes[0])]
            rows = jax.tree.map(lambda a: a.reshape(-1, *a.shape[len(lead) :]), x)
            given = list(rows) if isinstance(rows, tuple) else rows
            y = jax.tree.map(jnp.asarray, self.function(given, **self.arguments))
            for each in jax.tree.leaves(y):
                if each.shape[:1] != (math.prod(lead),):
                    rule = f"must give one row for each example, as its input {list(first.shape)} has"
                    raise InputError(f"Lambda output {list(each.shape)}: {rule}")
            return jax.tree.map(lambda a: a.reshape(*lead, *a.shape[1:]), y)

        return batched

    def get_config(self) -> dict[str, Any]:
        raise InputError(f"{self.name}: a Lambda holds a function, which cannot be saved; use a layer of your own")
