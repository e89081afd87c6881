"""A network at given weights, layer by layer: what a step would do to each, and what each does with examples."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn import tree
from jaxnn.engine.descent import gradient, state_of, step
from jaxnn.report import signals
from jaxnn.report.diagnosis import random_gradient
from jaxnn.types import Batch, Params, Recipe

TOGETHER, BLOCKS = 128, 8  # rows of one pass, and how many passes are made to say that a unit is dead


class Layer(NamedTuple):
    """One layer: the parameters whose paths differ in their last part alone (`dense_0/w` and `dense_0/b`)."""

    parameters: int
    gradient: float  # the norm of the gradient of the loss
    pull: float  # that of the outputs, each weighted at random, by the weights alone: it is there where the loss is 0
    update: float | None  # |theta' - theta| / |theta| of one step at the full rate; None where theta is 0
    dead: float | None  # the share of the units that no example trains; None: no biases, by which they are told
    saturated: float | None  # the share of outputs near an end of tanh or sigmoid; None: no such activation


class Look(NamedTuple):
    """What is seen at given weights."""

    loss: float  # of the sample, as training has it but for its noise, without the penalty
    layers: dict[str, Layer]  # by path, in the order in which the network uses them
    signals: signals.Signals


def examiner(recipe: Recipe, rows: Batch) -> Callable[[Params], Look]:
    """`params -> Look`, of up to 1,024 of the rows, evenly spaced, the gradients of 128; compiled once."""
    prepare = recipe.task.prepare
    blocks = sample(rows)
    watch = signals.Watch(recipe.model)

    @jax.jit
    def of_step(params: Params, batch: Batch) -> Any:
        _, grads, sums, _ = gradient(recipe, params, batch, None)
        state, _ = step(recipe, state_of(recipe, params), batch, jax.random.key(0))
        change = jax.tree.map(jnp.subtract, state.params, params)
        loss = sums["loss"] / sums.get("loss_weight", sums["weight"])
        return loss, _squares(grads), _squares(change), watch(params, prepare(batch, None).x)

    @jax.jit
    def of_outputs(params: Params, batch: Batch) -> Any:
        grads = random_gradient(recipe.model, params, prepare(batch, None).x)
        biases = {name: g == 0 for name, g in tree.by_name(grads).items() if name.endswith(("b", "bias"))}
        return _squares(grads), biases

    def look(params: Params) -> Look:
        loss, steep, change, seen = jax.device_get(of_step(params, blocks[0]))
        pulls, dead = jax.device_get(of_outputs(params, blocks[0]))
        for block in blocks[1:]:
            flat = jax.device_get(of_outputs(params, block)[1])
            dead = {name: units & flat[name] for name, units in dead.items()}
        found = watch.read(seen)
        sizes = {name: np.asarray(leaf) for name, leaf in tree.by_name(params).items()}
        trained = [name for name in sizes if not tree.is_kept(name, recipe.freeze)]
        saturated = {layer_of(name): share for name, share in found.saturated.items()}

        def layer(path: str) -> Layer:
            names = [name for name in trained if layer_of(name) == path]
            norm = lambda squares: float(np.sqrt(sum(float(squares[name]) for name in names)))
            whole = np.sqrt(sum(float(np.sum(np.square(sizes[name], dtype=np.float64))) for name in names))
            units = np.concatenate([[], *(np.ravel(dead[name]) for name in names if name in dead)])
            return Layer(
                sum(sizes[name].size for name in names),
                norm(steep),
                float(np.sqrt(sum(float(pulls[name]) for name in names if name in found.inputs))),
                norm(change) / float(whole) if whole else None,
                float(np.mean(units)) if len(units) else None,
                saturated.get(path),
            )

        return Look(float(loss), {path: layer(path) for path in _in_order(trained, found)}, found)

    return look


def layer_of(leaf: str) -> str:
    """The path of the layer that a parameter is of."""
    return leaf.rpartition("/")[0] or leaf


def moved(before: Params, after: Params, freeze: tuple[str, ...] = ()) -> float:
    """|after - before| / |before| over all that is trained."""
    pair = [[np.ravel(np.asarray(leaf, np.float64)) for leaf in _trained(params, freeze)] for params in (before, after)]
    first, last = map(np.concatenate, pair)
    return float(np.linalg.norm(last - first) / max(np.linalg.norm(first), 1e-30))


def sample(rows: Batch) -> list[Batch]:
    """Blocks of rows, each evenly spaced over all of them; where rows are on the disk, these are read."""
    n = len(rows.weight)
    count = max(min(n // TOGETHER, BLOCKS), 1)
    index = np.unique(np.linspace(0, n - 1, min(n, count * TOGETHER)).round().astype(int))
    parts = [index[k::count] for k in range(count)]
    return [jax.tree.map(lambda a, part=part: np.asarray(a[part]), rows) for part in parts]


def _trained(params: Params, freeze: tuple[str, ...]) -> list[Any]:
    return [leaf for name, leaf in tree.by_name(params).items() if not tree.is_kept(name, freeze)]


def _squares(grads: Params) -> dict[str, jax.Array]:
    return {name: jnp.sum(jnp.square(g.astype(float))) for name, g in tree.by_name(grads).items()}


def _in_order(names: list[str], found: signals.Signals) -> list[str]:
    """The layers as the network uses them; those without a weight by their names, in which 10 comes after 9."""
    used = [layer_of(name) for name in found.inputs]
    counted = lambda path: [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path)]
    rank = lambda path: (used.index(path) if path in used else len(used), counted(path))
    return sorted({layer_of(name) for name in names}, key=rank)
