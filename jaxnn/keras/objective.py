"""What a compiled model is trained on, as a `jaxnn.Recipe`: its network, its loss and its metrics, its optimizer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxnn.errors import InputError
from jaxnn.keras import activations
from jaxnn.keras.base import Layer, walk
from jaxnn.keras.graph import Ends, Node, is_penalised, model_of, shapes_of
from jaxnn.keras.intake import Labels
from jaxnn.keras.losses import Loss
from jaxnn.keras.metrics import Metric
from jaxnn.nn.compose import stateless
from jaxnn.tasks.base import as_they_are
from jaxnn.types import Metrics, Model, Recipe, Task


def recipe_of(model: Any, loss: Loss, metrics: tuple[list[Metric], list[Metric]], tx: Any) -> Recipe:
    """How a model is trained.

    A softmax or sigmoid at its end whose cross-entropy is the loss is left out of the network that is trained, and the
    loss is that of the logits: in float32 `log(softmax(x))` has the slope 0 where softmax is 0.

    Raises `InputError` for a model of several outputs.
    """
    if len(model.outputs) != 1:
        rule = f"has {len(model.outputs)} outputs, and one loss"
        raise InputError(f"{model.name}: {rule}; train a model of one of them, keras.Model(inputs, outputs[0])")
    _check_layers(model.layers)
    nodes = _of_logits(model, loss)
    network = model_of(nodes, model._first, model._last, penalised=is_penalised(nodes))
    task = _task(loss, *metrics, model.outputs[0].core, on_logits=nodes != model.nodes)
    return Recipe(network, task, tx, freeze=frozen_of(model))


def _check_layers(layers: Sequence[Layer]) -> None:
    """Raise `InputError` for models within this one that cannot be trained as a part of it."""
    seen: set[int] = set()
    for layer in walk(layers):
        if id(layer) in seen:
            cure = "call all of them in one model"
            raise InputError(
                f"{layer.name}: is called by several models of this one, and has one set of weights; {cure}"
            )
        seen.add(id(layer))
        if layer.activity_regularizer and all(layer is not each for each in layers):
            rule = "is of a layer within a model of this one"
            raise InputError(f"{layer.name} activity_regularizer: {rule}; call the layers of that model one by one")


def frozen_of(model: Any) -> tuple[str, ...]:
    """The paths of what is not trained in a model."""
    layers = [layer for layer in model.layers if jax.tree.leaves(layer.shapes)]
    return tuple(frozen(layers) if model.trainable else (layer.name for layer in layers))


def frozen(layers: Sequence[Layer], path: tuple[str, ...] = ()) -> list[str]:
    """The paths of the layers that are not trained, but for those without parameters."""
    found = []
    for layer in layers:
        here = (*path, layer.name)
        if not layer.trainable and jax.tree.leaves(layer.shapes):
            found.append("/".join(here))
        elif layer.layers is not None:
            found += frozen(layer.layers, here)
    return found


def is_on_logits(model: Any) -> bool:
    """Whether a softmax or sigmoid at the end of a model is left out of the network that is trained."""
    return _of_logits(model, model.loss) != model.nodes


def network_of_logits(model: Any) -> Model:
    """The network that is trained, without penalties."""
    return model_of(_of_logits(model, model.loss), model._first, model._last)


def _of_logits(model: Any, loss: Loss) -> list[Node]:
    """The calls of a model, the last one without a softmax or sigmoid whose cross-entropy is the loss."""
    nodes, last = list(model.nodes), model._last[0]
    nodes[last] = _without_activation(nodes, last, loss) or nodes[last]
    return nodes


def _without_activation(nodes: Sequence[Node], last: int, loss: Loss) -> Node | None:
    """The last call without its softmax or sigmoid; None where that does not belong to the loss."""
    node = nodes[last]
    bare = node.layer.without_activation() if loss.final else None
    if bare is None or node.layer.activity_regularizer:  # which is of the probabilities
        return None
    ends = getattr(node.layer, "activation", None) or activations.get(type(node.layer).__name__.lower())
    if ends is not activations.get(loss.final):
        return None
    made = bare.network(*shapes_of(nodes, node))
    return node._replace(net=made if isinstance(made, Model) else stateless(made, bare.name))


def _task(
    loss: Loss, metrics: Sequence[Metric], weighted: Sequence[Metric], shape: tuple[int, ...], *, on_logits: bool
) -> Task:
    """The loss and the metrics of Keras as jaxnn's, over `Labels`; a weight there is of the loss and of `weighted`."""
    link = activations.get(loss.final) if on_logits else as_they_are
    each: Callable[..., jax.Array] = loss.on_logits if on_logits else loss.call

    def of_rows(values: jax.Array) -> jax.Array:
        values = jnp.asarray(values)
        if not values.ndim:
            raise InputError(f"loss={loss.name}: gives one number for all; it must give one for each example, [B]")
        return values.reshape(len(values), -1).mean(-1) if values.ndim > 1 else values

    def loss_of(ends: Any, y: Any) -> jax.Array:
        outputs, penalty = ends if isinstance(ends, Ends) else (ends, 0.0)
        if not isinstance(y, Labels):
            return of_rows(each(y, outputs)) + penalty
        return jnp.where(y.weight == 0, 0, of_rows(each(y.y, outputs)) * y.weight) + penalty

    def sums_of(ends: Any, y: Any, weight: jax.Array) -> Metrics:
        outputs = link(ends.outputs if isinstance(ends, Ends) else ends)
        found = {"weight": jnp.sum(jnp.asarray(weight, float))}
        y, both = (y.y, weight * y.weight) if isinstance(y, Labels) else (y, weight)
        for chosen, by in ((metrics, weight), (weighted, both)):
            for metric in chosen:
                sums = metric.sums(y, outputs, by)
                found |= {f"{metric.name}.{key}": jnp.asarray(value, float) for key, value in sums.items()}
        return found

    def summary(sums: Metrics) -> dict[str, Any]:
        found = {"loss": sums["loss"] / sums["weight"]}
        for metric in (*metrics, *weighted):
            own = {key: sums[f"{metric.name}.{key}"] for key in _keys(sums, metric.name)}
            found[metric.name] = metric.value(own)
        return found

    minimized = frozenset(("loss", *(metric.name for metric in (*metrics, *weighted) if metric.minimized)))
    return Task("keras", shape, loss_of, link, sums_of, summary, as_they_are, minimized=minimized)


def _keys(sums: Metrics, name: str) -> list[str]:
    return [key.removeprefix(f"{name}.") for key in sums if key.startswith(f"{name}.")]
