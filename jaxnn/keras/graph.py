"""Layers that hand on to each other, as one of jaxnn's models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxnn import tree
from jaxnn.errors import InputError
from jaxnn.keras.base import Layer, walk
from jaxnn.keras.inputs import InputLayer
from jaxnn.keras.tensors import Tensor, one_or_all
from jaxnn.types import Model, Params


class Node(NamedTuple):
    """A call of a layer: of the outputs of these nodes (their places in the list) by this network."""

    layer: Layer
    inputs: tuple[int, ...]
    shape: Any  # of one output, without batch
    net: Model | None  # None: an input
    index: tuple[int | None, ...] = ()  # which output of each input node, if that has several


class Ends(NamedTuple):
    """What a network gives while it trains: the outputs, and for each example the penalties that its layers ask for."""

    outputs: Any
    penalty: jax.Array


def nodes_of(inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> tuple[list[Node], list[int], list[int]]:
    """The calls that lead from the inputs to the outputs, each after those that it needs; the places of both."""
    nodes: list[Node] = []
    places: dict[Any, int] = {}

    def place(tensor: Tensor) -> int:
        own = (id(tensor.layer), tuple(map(id, tensor.inputs)))
        if own in places:
            return places[own]
        if isinstance(tensor.layer, InputLayer) and not any(tensor.layer is each.layer for each in inputs):
            raise InputError(
                f"outputs: depend on the input {tensor.layer.name}, which is none of inputs=; add it there"
            )
        found = tuple(place(each) for each in tensor.inputs)
        shape = tensor.core if tensor.index is None else tensor.all
        nodes.append(Node(tensor.layer, found, shape, tensor.net, tuple(each.index for each in tensor.inputs)))
        places[own] = len(nodes) - 1
        return places[own]

    first = [place(each) for each in inputs]
    last = [place(each) for each in outputs]
    seen: dict[str, Layer] = {}
    for node in nodes:
        if seen.setdefault(node.layer.name, node.layer) is not node.layer:
            rule = f'The name "{node.layer.name}" is used 2 times in the model. All layer names should be unique.'
            raise InputError(rule)
    return nodes, first, last


def model_of(
    nodes: Sequence[Node],
    first: Sequence[int],
    last: Sequence[int],
    *,
    penalised: bool = False,
) -> Model:
    """The network of these calls, over `{layer: its parameters}`; one input or output is no tuple.

    With `penalised` it gives `Ends`.
    """
    penalties = _penalties(nodes) if penalised else []
    sizes = [node.net.micro_batch for node in nodes if node.net and node.net.micro_batch]
    observes = any(node.net and node.net.observe for node in nodes)

    def run(params: Params, x: Any, key: jax.Array | None, call: Callable[..., Any]) -> Any:
        given = x if len(first) > 1 else (x,)
        values: dict[int, Any] = {i: _floating(each) for i, each in zip(first, given, strict=True)}
        for i, node in enumerate(nodes):
            if node.net is None:
                continue
            found = tuple(
                values[j] if k is None else values[j][k] for j, k in zip(node.inputs, node.index, strict=True)
            )
            noise = None if key is None else jax.random.fold_in(key, i)
            values[i] = call(node, one_or_all(found), noise)
        outputs = one_or_all([values[i] for i in last])
        if not penalised:
            return outputs
        batch = values[first[0]].shape[: values[first[0]].ndim - len(nodes[first[0]].shape)]
        total = jnp.broadcast_to(sum((penalty(params) for penalty in penalties), jnp.zeros(())), batch)
        return Ends(outputs, total + _of_activities(nodes, values, batch))

    def init(key: jax.Array, x: Any) -> Params:
        calls = {node.layer.name: node for node in reversed(nodes) if node.net and node.layer.shapes}
        return {
            name: node.net.init(jax.random.fold_in(key, node.layer.number), _examples(nodes, node))
            for name, node in calls.items()
            if node.net
        }

    def apply(params: Params, x: Any, key: jax.Array | None = None) -> Any:
        call = lambda node, x, noise: node.net.apply(params.get(node.layer.name, {}), x, noise)
        return run(params, x, key, call)

    def observe(params: Params, x: Any, key: jax.Array | None, weight: jax.Array, frozen: Any) -> tuple[Any, Params]:
        new = dict(params)

        def call(node: Node, x: Any, noise: jax.Array | None) -> Any:
            name, net = node.layer.name, node.net
            assert net
            if not net.observe:
                return net.apply(new.get(name, {}), x, noise)
            y, new[name] = net.observe(new[name], x, noise, weight, frozen[name])
            return y

        return run(params, x, key, call), new

    return Model(init, apply, "model", observe if observes else None, min(sizes, default=None))


def shapes_of(nodes: Sequence[Node], node: Node) -> list[Any]:
    """The shapes that a call is given."""
    return [nodes[i].shape if k is None else nodes[i].shape[k] for i, k in zip(node.inputs, node.index, strict=True)]


def _examples(nodes: Sequence[Node], node: Node) -> Any:
    return one_or_all([jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes_of(nodes, node)])


def _floating(x: jax.Array) -> jax.Array:
    """Keras' layers take float32: bytes and counts become that."""
    return x if jnp.issubdtype(x.dtype, jnp.floating) else x.astype(jnp.float32)


def _penalties(nodes: Sequence[Node]) -> list[Callable[[Params], jax.Array]]:
    """What the weights of each layer that is trained cost, as functions of the parameters of the whole."""
    found: list[Callable[[Params], jax.Array]] = []

    def of(path: tuple[str, ...], layer: Layer) -> None:
        if not layer.trainable:
            return
        for inner in layer.layers or ():
            of((*path, inner.name), inner)
        for leaf, penalty in layer.regularizers.items():

            def cost(params: Params, layer: Any = layer, leaf: str = leaf, penalty: Any = penalty) -> jax.Array:
                for name in path:
                    params = params[name]
                return penalty(layer.oriented(leaf, tree.by_name(params)[leaf]))

            found.append(cost)

    for layer in {id(node.layer): node.layer for node in nodes}.values():
        of((layer.name,), layer)
    return found


def _of_activities(nodes: Sequence[Node], values: dict[int, Any], batch: tuple[int, ...]) -> jax.Array:
    """What the outputs of the layers cost, for each example."""
    total = jnp.zeros(batch)
    for i, node in enumerate(nodes):
        if cost := node.layer.activity_regularizer:
            total += jax.vmap(cost)(values[i].reshape(-1, *node.shape)).reshape(batch)
    return total


def is_penalised(nodes: Sequence[Node]) -> bool:
    """Whether a layer asks for a penalty."""
    layers = list(walk([node.layer for node in nodes]))
    return any(layer.regularizers or layer.activity_regularizer for layer in layers)
