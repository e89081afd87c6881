"""What Keras' layers share: arguments that are kept by name, and how a jaxnn layer is begun and ended."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn import tree
from jaxnn.errors import InputError, check, choices
from jaxnn.keras import activations, initializers, lookup, regularizers
from jaxnn.keras.base import Layer
from jaxnn.keras.tensors import Shape
from jaxnn.nn.layers import param_dtype
from jaxnn.types import Model, Params


class Standard(Layer):
    """A layer whose arguments are attributes of the same names."""

    PENALTIES: ClassVar[dict[str, str]] = {}  # leaf -> the argument that holds its regularizer

    def __init__(self, **kwargs: Any):
        for name in [name for name in kwargs if name.endswith("_constraint")]:
            if kwargs.pop(name) is not None:
                cure = "use a regularizer, or clipnorm of the optimizer"
                raise InputError(f"{type(self).__name__} {name}: jaxnn has no constraints; {cure}")
        super().__init__(**kwargs)

    def get_config(self) -> dict[str, Any]:
        """Its arguments, as JSON keeps them. Raises `InputError` for a function of one's own among them."""
        config = super().get_config()
        try:
            return {**config, **{name: _plain(name, getattr(self, name)) for name in self._arguments()}}
        except InputError as error:
            raise InputError(f"{self.name}: {error}") from error

    @classmethod
    def _arguments(cls) -> list[str]:
        """The arguments of its own and of what it is made from, down to this class."""
        kinds = [kind for kind in cls.__mro__ if issubclass(kind, Standard) and "__init__" in vars(kind)]
        given = [parameter for kind in kinds for parameter in inspect.signature(kind.__init__).parameters.values()]
        names = [each.name for each in given if each.kind is not each.VAR_KEYWORD and each.name != "self"]
        return list(dict.fromkeys(names))

    @property
    def regularizers(self) -> dict[str, Any]:
        """The penalties on its parameters, by leaf."""
        given = {leaf: getattr(self, argument) for leaf, argument in self.PENALTIES.items()}
        return {leaf: each for leaf, each in given.items() if each is not None}

    def without_activation(self) -> Any:
        """The layer without the softmax or sigmoid that it ends with; None where it ends with neither."""
        if getattr(self, "activation", None) not in (activations.softmax, activations.sigmoid):
            return None
        logits: Any = copy.copy(self)
        logits.activation = activations.linear
        return logits


def _plain(name: str, value: Any) -> Any:
    if value is None:
        return None
    if name == "activation":
        return activations.serialize(value)
    if name.endswith("_initializer"):
        return initializers.serialize(value)
    if name.endswith("_regularizer"):
        return regularizers.serialize(value)
    return lookup.plain(value)


def stateless(apply: Any, name: str) -> Model:
    """The layer without parameters that `apply(x, key)` is."""
    return Model(lambda key, x: {}, lambda params, x, key=None: apply(x, key), name)


def begun(model: Model, given: Mapping[str, Any]) -> Model:
    """The model whose parameters of these paths begin as these initializers have them."""

    def init(key: jax.Array, x: Any) -> Params:
        def first(path: Any, leaf: jax.Array) -> jax.Array:
            name = tree.name(path)
            if name not in given:
                return leaf
            number = list(given).index(name)
            return initializers.drawn(given[name])(jax.random.fold_in(key, number + 1), leaf.shape, leaf.dtype)

        return jax.tree.map_with_path(first, model.init(key, x))

    return model._replace(init=init)


def ended(model: Model, activation: Any) -> Model:
    """The model and, after it, an activation function."""
    if activation is activations.linear:
        return model

    def apply(params: Params, x: Any, key: jax.Array | None = None) -> Any:
        return activation(model.apply(params, x, key))

    return model._replace(apply=apply)


def held(model: Model, numbers: Mapping[str, float]) -> Model:
    """The model with each of these parameters `[F]` held at a number, and not among its parameters."""
    if not numbers:
        return model

    def full(params: Params, x: Any) -> Params:
        dtype = param_dtype(x)
        return {**params, **{name: jnp.full(x.shape[-1:], number, dtype) for name, number in numbers.items()}}

    def without(params: Params) -> Params:
        return {name: value for name, value in params.items() if name not in numbers}

    def apply(params: Params, x: jax.Array, key: jax.Array | None = None) -> jax.Array:
        return model.apply(full(params, x), x, key)

    def observe(
        params: Params, x: jax.Array, key: jax.Array | None, weight: jax.Array, frozen: Any
    ) -> tuple[jax.Array, Params]:
        assert model.observe
        y, params = model.observe(full(params, x), x, key, weight, {**frozen, **dict.fromkeys(numbers, False)})
        return y, without(params)

    init = lambda key, x: without(model.init(key, x))
    return model._replace(init=init, apply=apply, observe=observe if model.observe else None)


def whole(name: str, value: Any, least: int = 1) -> int:
    """A whole number. Raises `InputError` for any other."""
    check(name, value, f"a whole number >= {least}", isinstance(value, int | np.integer) and bool(value >= least))
    return int(value)


def pair(name: str, value: Any, least: int = 1) -> tuple[int, int]:
    """Height and width, of which a number is both."""
    both = (value, value) if isinstance(value, int | np.integer) else value
    if not isinstance(both, list | tuple) or len(both) != 2:
        raise InputError(f"{name}={value}: must be a number, or height and width")
    return whole(name, both[0], least), whole(name, both[1], least)


def padding(name: str, value: Any) -> str:
    """`valid` or `same`, in any case."""
    lower = str(value).lower()
    if lower not in ("valid", "same"):
        raise choices(f"{name} padding", value, ("valid", "same"))
    return lower


def channels_last(name: str, data_format: Any) -> str:
    """Images are [H, W, C]. Raises `InputError` for any other format."""
    if data_format not in (None, "channels_last"):
        cure = "move the channels with np.moveaxis(x, 1, -1) and leave it out"
        raise InputError(f"{name} data_format={data_format}: images must be channels_last, [H, W, C]; {cure}")
    return "channels_last"


def image(layer: Layer, shape: Shape) -> Shape:
    """The shape itself, [H, W, C]. Raises `InputError` for any other."""
    if len(shape) != 3:
        grey = f"; add Reshape(({shape[0]}, {shape[1]}, 1)) before the layer" if len(shape) == 2 else ""
        raise InputError(f"{type(layer).__name__} input {shape}: must be images (height, width, channels){grey}")
    return shape


def core_axis(layer: Layer, axis: int, shape: Shape) -> int:
    """An axis as Keras counts it, the batch being 0, from the last one of an example: -1, -2, ..."""
    rank = len(shape)
    if not isinstance(axis, int | np.integer) or not (-rank <= axis < 0 or 1 <= axis <= rank):
        rule = f"must be one of 1 to {rank}, or of -{rank} to -1, for inputs {shape}"
        raise InputError(f"{type(layer).__name__} axis={axis}: {rule}")
    return int(axis) if axis < 0 else int(axis) - 1 - rank
