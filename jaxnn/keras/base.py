"""Layers as Keras has them: objects that know their arguments, hold their weights, and can be called on tensors."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn import tree
from jaxnn.devices.cache import keeping
from jaxnn.errors import InputError, nearest
from jaxnn.keras.session import Session, next_noise, unique_name
from jaxnn.keras.tensors import Array, Shape, Tensor, as_array, core_shape, one_or_all
from jaxnn.nn.compose import stateless
from jaxnn.types import Model, Params

NOT_BUILT = (
    "This model has not yet been built. Build the model first by calling `build()` or by calling the model on a batch "
    "of data, or give its first layer input_shape="
)


class Layer:
    """A layer: called on a `Tensor` it gives a `Tensor`, called on an array `[B, ...]` it gives an array `f32[B, ...]`.

    Args of every layer: name, input_shape (or input_dim, batch_input_shape), trainable, dtype, activity_regularizer.

    Your own layer defines `network(*shapes)`: the layer as one of jaxnn's (`jaxnn.Model`, or a function of one array),
    for inputs of these shapes, each of one example. Keras' layers define `build` and `call` instead.

    Raises `InputError` for an argument that the layer does not have, and for a dtype other than float32.

    >>> import numpy as np
    >>> class Double(Layer):
    ...     def network(self, *shapes):
    ...         return lambda x: 2 * x
    >>> Double()(np.ones((1, 3))).tolist()
    [[2.0, 2.0, 2.0]]
    """

    LEAVES: ClassVar[tuple[str, ...]] = ()  # paths of its parameters, in the order of Keras' get_weights
    input_shape_given: Shape | None = None
    layers: Any = None  # of a model: its layers
    input: Any  # the tensors of its first call: one, or a list of them
    output: Any

    def __init__(self, **kwargs: Any):
        self.name: str = str(kwargs.pop("name", None) or unique_name(type(self).__name__))
        self.trainable: bool = bool(kwargs.pop("trainable", True))
        self.input_shape_given = self._shape_given(kwargs)
        dtype, regularizer = kwargs.pop("dtype", None), kwargs.pop("activity_regularizer", None)
        if dtype is not None and str(getattr(dtype, "name", dtype)) not in ("float32", "<class 'numpy.float32'>"):
            raise InputError(f"{type(self).__name__} dtype={dtype}: must be float32; leave it out")
        self.activity_regularizer: Callable[[jax.Array], jax.Array] | None = _regularizer(regularizer)
        for ignored in ("autocast", "batch_size"):
            kwargs.pop(ignored, None)
        for argument in kwargs:
            raise self.unknown(argument)
        self.params: Any = None  # arrays, or None: not built, or not drawn yet
        self.shapes: Any = None  # of the parameters; None: not built
        self.number: int = 0  # its place in the process, from which its first weights come
        self._net: Model | None = None
        self.built: bool = False

    def unknown(self, argument: str) -> InputError:
        """The error for an argument that the layer does not have."""
        kinds = [kind for kind in type(self).__mro__ if issubclass(kind, Layer) and "__init__" in vars(kind)]
        known = {name for kind in kinds for name in inspect.signature(kind.__init__).parameters}
        known = (known | {"name", "input_shape", "input_dim", "trainable", "activity_regularizer"}) - {"self", "kwargs"}
        near = nearest(argument, known)
        hint = f"did you mean {near}?" if near else f"it takes {', '.join(sorted(known))}"
        return InputError(f"{type(self).__name__} {argument}=: unknown argument; {hint}")

    def _shape_given(self, kwargs: dict[str, Any]) -> Shape | None:
        names = [name for name in ("input_shape", "input_dim", "batch_input_shape", "batch_shape") if name in kwargs]
        given = {name: kwargs.pop(name) for name in names}
        given = {name: shape for name, shape in given.items() if shape is not None}
        if len(given) > 1:
            raise InputError(f"{type(self).__name__} {' and '.join(given)}: give one of them")
        return next((core_shape(name, shape, name.startswith("batch")) for name, shape in given.items()), None)

    # ---- what a subclass gives ----

    def network(self, *shapes: Shape) -> Model | Callable[..., Any]:
        """The layer as one of jaxnn's, for inputs of these shapes."""
        raise InputError(
            f"{type(self).__name__}: has no network(*shapes); define it, see the docs of jaxnn.keras.Layer"
        )

    @property
    def regularizers(self) -> dict[str, Any]:
        """The penalties on its parameters, by leaf."""
        return {}

    def oriented(self, leaf: str, value: Any) -> Any:
        """A parameter as Keras has it: `[in, out]`."""
        return value

    def stored(self, leaf: str, value: Any) -> Any:
        """A parameter of Keras as jaxnn has it."""
        return value

    def without_activation(self) -> Layer | None:
        """The layer without the softmax or sigmoid that it ends with; None where it ends with neither."""
        return None

    def get_config(self) -> dict[str, Any]:
        """Its arguments, as JSON keeps them."""
        config: dict[str, Any] = {"name": self.name, "trainable": self.trainable}
        if self.input_shape_given is not None:
            config["input_shape"] = list(self.input_shape_given)
        if self.activity_regularizer is not None:
            from jaxnn.keras import regularizers

            config["activity_regularizer"] = regularizers.serialize(self.activity_regularizer)
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """The layer with these arguments."""
        return cls(**config)

    # ---- its network and its weights ----

    def connect(self, *shapes: Shape) -> tuple[Model, Any]:
        """Its network for inputs of these shapes, and the shapes that it gives; the first call builds its weights.

        Raises `InputError` where it cannot follow.
        """
        example = one_or_all([jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes])
        try:
            made = self.network(*shapes)
            net = made if isinstance(made, Model) else stateless(made, self.name)
            params = jax.eval_shape(net.init, jax.random.key(0), example)
            y = jax.eval_shape(net.apply, params, example)
        except InputError as error:
            raise InputError(f"{self.name}: {error}") from error
        if self.shapes is None:
            Session.layers += 1
            self.number, self.shapes, self._net, self._example = Session.layers, params, net, example
        elif tree.by_name(self.shapes).keys() != tree.by_name(params).keys() or any(
            a.shape != b.shape for a, b in zip(jax.tree.leaves(self.shapes), jax.tree.leaves(params), strict=True)
        ):
            was = [list(leaf.shape) for leaf in jax.tree.leaves(self.shapes)]
            raise InputError(f"{self.name}: was built for other inputs (weights {was}) than {shapes}; use a new layer")
        elif self._net is None:  # of a copy: its first weights may not be drawn yet
            self._net = net
        self.built = True
        return net, tuple(y.shape) if hasattr(y, "shape") else [tuple(each.shape) for each in y]

    def __call__(self, inputs: Any, training: bool | None = None, **more: Any) -> Any:
        given = list(inputs) if isinstance(inputs, list | tuple) else [inputs]
        if any(isinstance(each, Tensor) for each in given):
            for each in given:
                if not isinstance(each, Tensor):
                    raise InputError(f"{self.name}: takes tensors and a {type(each).__name__}; give keras.Input(...)")
            net, shape = self.connect(*(each.core for each in given))
            if all(isinstance(size, int) for size in shape):
                y: Any = Tensor(shape, self, tuple(given), net)
            else:
                y = [Tensor(shape, self, tuple(given), net, i) for i in range(len(shape))]
            if not hasattr(self, "output"):
                self.input, self.output = inputs, y
            return y
        arrays = tuple(jnp.asarray(each, jnp.float32) for each in given)
        net, _ = self.connect(*(array.shape[1:] for array in arrays))
        draw([self])
        key = next_noise() if training else None
        return as_array(jax.jit(net.apply)(self.params or {}, one_or_all(arrays), key))

    def leaves(self) -> list[tuple[Layer, str]]:
        """Its parameters in Keras' order: the layer that they belong to, and their paths there."""
        named = tree.by_name(self.shapes)
        return [
            (self, leaf)
            for leaf in (*self.LEAVES, *(leaf for leaf in named if leaf not in self.LEAVES))
            if leaf in named
        ]

    def get_weights(self) -> list[np.ndarray]:
        """All parameters, in Keras' order and form. Raises `InputError` where it has not been built."""
        found = self.owned()
        draw([layer for layer, _ in found])
        return [np.array(layer.oriented(leaf, tree.by_name(layer.params)[leaf])) for layer, leaf in found]

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Take these, as `get_weights` gives them. Raises `InputError` for others than those."""
        found, given = self.owned(), [np.asarray(each) for each in weights]
        if len(found) != len(given):
            cause = (
                f"You called `set_weights(weights)` on layer '{self.name}' with a weight list of length {len(given)}"
            )
            raise InputError(f"{cause}, but the layer was expecting {len(found)} weights.")
        draw([layer for layer, _ in found])
        new: dict[int, tuple[Layer, dict[str, Any]]] = {}
        for (layer, leaf), value in zip(found, given, strict=True):
            shape = tree.by_name(layer.shapes)[leaf]
            value = jnp.asarray(layer.stored(leaf, jnp.asarray(value, shape.dtype)))
            if value.shape != shape.shape:
                need = tuple(np.shape(layer.oriented(leaf, np.zeros(shape.shape))))
                got = tuple(np.shape(layer.oriented(leaf, np.asarray(value))))
                raise InputError(
                    f"Layer {layer.name} weight shape {need} is not compatible with provided weight shape {got}."
                )
            new.setdefault(id(layer), (layer, {}))[1][leaf] = value
        for layer, values in new.values():
            layer.params = jax.tree.map_with_path(lambda path, old, v=values: v.get(tree.name(path), old), layer.params)

    def owned(self) -> list[tuple[Layer, str]]:
        """`leaves`. Raises `InputError` where it has not been built."""
        if not self.built:
            raise InputError(f"{self.name}: has no weights yet; give it input_shape=, or call it on data first")
        return self.leaves()

    @property
    def weights(self) -> list[Array]:
        """All parameters, as `get_weights` gives them."""
        return [as_array(each) for each in self.get_weights()]

    @property
    def kernel(self) -> Array:
        """Its kernel, in Keras' form. Raises `AttributeError` where it has none."""
        return self._weight("w")

    @property
    def bias(self) -> Array:
        """Its bias. Raises `AttributeError` where it has none."""
        return self._weight("b")

    def _weight(self, leaf: str) -> Array:
        if (self, leaf) not in self.owned():
            raise AttributeError(f"{self.name} has no {leaf}")
        draw([self])
        return as_array(self.oriented(leaf, tree.by_name(self.params)[leaf]))

    def count_params(self) -> int:
        """How many numbers its parameters have."""
        return sum(int(np.prod(tree.by_name(layer.shapes)[leaf].shape)) for layer, leaf in self.owned())

    def __getstate__(self) -> dict[str, Any]:
        # Without the functions of its network, which the model that it is in makes again.
        state = {name: value for name, value in self.__dict__.items() if name not in ("input", "output")}
        return state | {"_net": None, "params": jax.tree.map(np.asarray, self.params)}


def _regularizer(given: Any) -> Any:
    if given is None:
        return None
    from jaxnn.keras import regularizers

    return regularizers.get(given)


def walk(layers: Sequence[Layer]) -> Iterator[Layer]:
    """These layers, and those of models among them."""
    for layer in layers:
        if layer.layers is None:
            yield layer
        else:
            yield from walk(layer.layers)


@keeping
def draw(layers: Sequence[Layer]) -> None:
    """Draw the first weights of those that have none yet, in one program."""
    waiting = {layer.number: layer for layer in walk(layers) if layer.params is None and layer.shapes is not None}
    if not waiting:
        return

    def first(seed: jax.Array) -> dict[int, Params]:
        keys = {number: jax.random.fold_in(seed, number) for number in waiting}
        return {n: layer._net.init(keys[n], layer._example) for n, layer in waiting.items()}  # type: ignore[union-attr]

    with_leaves = any(jax.tree.leaves(layer.shapes) for layer in waiting.values())
    seed = jax.random.key(Session.seed)
    made = jax.jit(first)(seed) if with_leaves else {number: {} for number in waiting}
    for number, layer in waiting.items():
        layer.params = made[number]
