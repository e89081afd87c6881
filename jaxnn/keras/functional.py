"""A model of tensors: layers that hand on to each other, with compile, fit, evaluate and predict."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax

from jaxnn import fork
from jaxnn.errors import InputError
from jaxnn.keras import summary as tables
from jaxnn.keras.base import NOT_BUILT, Layer, draw
from jaxnn.keras.graph import Node, model_of, nodes_of
from jaxnn.keras.inputs import InputLayer
from jaxnn.keras.saving import layer_of, load_weights, save_model, save_weights
from jaxnn.keras.session import next_noise, unique_name
from jaxnn.keras.tensors import Shape, Tensor, as_array, one_or_all
from jaxnn.keras.trainer import Trainer
from jaxnn.types import Model as Network
from jaxnn.types import Params


class Model(Trainer, Layer):
    """The network that leads from tensors to tensors (Keras' functional API): chains, branches, several inputs.

    Args:
      inputs, outputs: from `Input`, and what layers made of it; a tensor, or a list of them.

    `compile`, `fit`, `evaluate`, `predict`, `summary`, `save` and `get_weights` are Keras'; `to_recipe`, `state` and
    `as_run` lead to the rest of jaxnn. A model without inputs and outputs, as a class with `call`, is refused: define a
    `Layer` with `network` instead.

    Raises `InputError` for what is no tensor, and for outputs that depend on other inputs.

    >>> from jaxnn import keras
    >>> x = keras.Input(shape=(4,))
    >>> model = keras.Model(x, keras.layers.Dense(3, activation="softmax")(x))
    >>> model.predict([[1, 2, 3, 4], [4, 3, 2, 1]], verbose=0).shape
    (2, 3)
    """

    inputs: list[Tensor]
    outputs: list[Tensor]
    several: bool  # whether outputs are given as a list
    name: str
    trainable: bool
    activity_regularizer: None
    number: int
    built: bool

    def __init__(self, inputs: Any = None, outputs: Any = None, name: str | None = None, trainable: bool = True):
        if inputs is None or outputs is None:
            cure = "give inputs= and outputs= (keras.Input and what layers make of it); a model is no class with call()"
            raise InputError(f"{type(self).__name__} inputs=None: {cure}")
        self._begin(name, trainable)
        inputs = list(inputs.values()) if isinstance(inputs, dict) else inputs
        self._connect(inputs if isinstance(inputs, list | tuple) else [inputs], outputs)

    def _begin(self, name: str | None, trainable: bool) -> None:
        self.name, self.trainable = name or unique_name(type(self).__name__), trainable
        self.activity_regularizer, self.number, self._example, self.built = None, 0, None, False
        self.nodes: list[Node] = []
        self._first: list[int] = []
        self._last: list[int] = []
        self._apply: Callable[..., Any] | None = None
        self._begin_training()

    def _connect(self, inputs: Sequence[Tensor], outputs: Any) -> None:
        """Take these tensors for the ends of the network."""
        given = outputs if isinstance(outputs, list | tuple) else [outputs]
        for each in (*inputs, *given):
            if not isinstance(each, Tensor):
                raise InputError(
                    f"{self.name}: a {type(each).__name__} is no tensor; give keras.Input(...) or what layers give"
                )
        self.inputs, self.outputs, self.several = list(inputs), list(given), isinstance(outputs, list | tuple)
        self.nodes, self._first, self._last = nodes_of(self.inputs, self.outputs)
        self._apply, self.built = None, True
        self._forget()

    # ---- its layers ----

    @property
    def layers(self) -> list[Layer]:
        """Its layers, each once, in the order in which they are called."""
        return list({id(node.layer): node.layer for node in self.nodes}.values())

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer:
        """One of its layers. Raises `InputError` where there is none like that."""
        found = [layer for i, layer in enumerate(self.layers) if layer.name == name or i == index]
        if not found:
            names = ", ".join(layer.name for layer in self.layers)
            raise InputError(f"get_layer name={name} index={index}: no such layer; choose from {names}")
        return found[0]

    @property
    def input(self) -> Any:
        """Its input; of several a list."""
        self._need_built()
        return self.inputs[0] if len(self.inputs) == 1 else self.inputs

    @property
    def output(self) -> Any:
        """Its output; of several a list."""
        self._need_built()
        return self.outputs if self.several else self.outputs[0]

    @property
    def input_shape(self) -> Any:
        """The shape of its input, `(None, ...)`; of several a list."""
        return self.input.shape if isinstance(self.input, Tensor) else [each.shape for each in self.input]

    @property
    def output_shape(self) -> Any:
        """The shape of its output, `(None, ...)`; of several a list."""
        return self.output.shape if isinstance(self.output, Tensor) else [each.shape for each in self.output]

    def _need_built(self) -> None:
        if not self.built:
            raise InputError(f"{self.name}: {NOT_BUILT}(...)")

    def build(self, input_shape: Any = None) -> None:
        """A model of tensors is built as soon as it is there."""

    # ---- its weights: those of its layers ----

    @property
    def params(self) -> Params:
        """`{layer: its parameters}`, as jaxnn has them."""
        return {layer.name: layer.params for layer in self.layers if layer.shapes and not isinstance(layer, InputLayer)}

    @params.setter
    def params(self, params: Params) -> None:
        for layer in self.layers:
            if layer.name in params:
                layer.params = params[layer.name]

    @property
    def shapes(self) -> Params:
        """The shapes of `params`; None where it is not built."""
        if not self.built:
            return None
        return {layer.name: layer.shapes for layer in self.layers if layer.shapes and not isinstance(layer, InputLayer)}

    def leaves(self) -> list[tuple[Layer, str]]:
        return [leaf for layer in self.layers if layer.shapes for leaf in layer.leaves()]

    def owned(self) -> list[tuple[Layer, str]]:
        self._need_built()
        return self.leaves()

    def drawn(self) -> Params:
        """Its parameters; those that nothing has set yet are drawn."""
        fork.refuse()
        self._need_built()
        draw(self.layers)
        return self.params

    # ---- its network ----

    def connect(self, *shapes: Shape) -> tuple[Network, Any]:
        if not self.built:
            self.build((None, *shapes[0]))
        if shapes != tuple(each.core for each in self.inputs):
            need = ", ".join(str(each.shape) for each in self.inputs)
            raise InputError(f"{self.name}: takes {need}, and is given {', '.join(str((None, *s)) for s in shapes)}")
        return self.network(), [each.core for each in self.outputs] if self.several else self.outputs[0].core

    def network(self, *shapes: Shape) -> Network:
        """The model as one of jaxnn's, over `{layer: its parameters}`."""
        self._need_built()
        return model_of(self.nodes, self._first, self._last)

    def compiled_apply(self) -> Callable[..., Any]:
        """`network().apply`, compiled once for each shape."""
        if self._apply is None:
            self._apply = jax.jit(self.network().apply)
        return self._apply

    def __call__(self, inputs: Any, training: bool | None = None, **more: Any) -> Any:
        given = inputs if isinstance(inputs, list | tuple) else [inputs]
        if any(isinstance(each, Tensor) for each in given):
            return super().__call__(inputs)
        x = self._inputs(inputs)
        y = as_array(self.compiled_apply()(self.drawn(), x, next_noise() if training else None))
        return list(y) if self.several and isinstance(y, tuple) else y

    # ---- what is told and kept of it ----

    def summary(
        self, line_length: int | None = None, print_fn: Callable[[str], Any] | None = None, **more: Any
    ) -> None:
        """Print Keras' table of its layers. Raises `InputError` for a model that is not built."""
        self._need_built()
        tables.show(self, line_length, print_fn)

    def save(self, filepath: Any, overwrite: bool = True, **more: Any) -> None:
        """Write network, weights, and what it was compiled with and how far it was trained, for `load_model`."""
        save_model(self, filepath, overwrite=overwrite)

    def as_run(self, folder: Any) -> Any:
        """Write the folder of a run with this network: for `jaxnn predict`, `jaxnn evaluate` and `jaxnn.load_run`."""
        from jaxnn.keras.runs import save_run

        return save_run(self, folder)

    def save_weights(self, filepath: Any, overwrite: bool = True) -> None:
        """Write the weights alone."""
        save_weights(self, filepath, overwrite=overwrite)

    def load_weights(self, filepath: Any, **more: Any) -> None:
        """Take the weights that `save_weights` or `save` wrote. Raises `InputError` for those of another model."""
        load_weights(self, filepath)

    def structure(self) -> dict[str, Any]:
        """How its layers are connected, as JSON keeps it."""
        layers = self.layers
        calls = [
            {"layer": layers.index(node.layer), "inputs": list(node.inputs), "index": list(node.index)}
            for node in self.nodes
        ]
        ends = {"first": self._first, "last": self._last, "outputs": [each.index for each in self.outputs]}
        return {"name": self.name, "trainable": self.trainable, "calls": calls, **ends, "several": self.several}

    def _restore(self, layers: Sequence[Layer], structure: dict[str, Any]) -> None:
        """Connect these layers so."""
        self._begin(structure["name"], structure["trainable"])
        made: list[Any] = []
        for call in structure["calls"]:
            layer = layers[call["layer"]]
            given = _picked(made, call["inputs"], call["index"])
            made.append(layer.output if isinstance(layer, InputLayer) else layer(one_or_all(given)))
        last = _picked(made, structure["last"], structure["outputs"])
        self._connect([made[i] for i in structure["first"]], last if structure["several"] else last[0])

    def get_config(self) -> dict[str, Any]:
        layers = [{"class_name": type(layer).__name__, "config": layer.get_config()} for layer in self.layers]
        return self.structure() | {"layers": layers}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Any:
        model = cls.__new__(cls)
        model._restore([layer_of(each, custom_objects) for each in config["layers"]], config)
        return model

    def __getstate__(self) -> dict[str, Any]:
        return {"layers": self.layers, "structure": self.structure(), "training": self._training()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._restore(state["layers"], state["structure"])
        self._go_on(state["training"])


def _picked(made: Sequence[Any], places: Sequence[int], index: Sequence[int | None]) -> list[Tensor]:
    return [made[i] if k is None else made[i][k] for i, k in zip(places, index, strict=True)]
