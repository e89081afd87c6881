"""One step of descent: theta <- theta - rho grad, over what is trained; what is kept stays."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax

from jaxnn import tree
from jaxnn.augment import mixing
from jaxnn.devices import mesh
from jaxnn.engine import exact, parts
from jaxnn.errors import InputError
from jaxnn.numerics import is_zero, key_for, refuse_half, relaxed, sum_in_pairs
from jaxnn.optim import optimizer
from jaxnn.tasks.metrics import base_sums
from jaxnn.types import Batch, Metrics, Mixed, Params, Recipe, State

PREPARE = 2**32 - 1  # folded into the key of a step for `Task.prepare`; layers fold in their small numbers
AUGMENT = 2**32 - 2  # for `Recipe.augment`


def init(recipe: Recipe, key: jax.Array, example: Any) -> State:
    """The state at step 0; `example` is one example or its `jax.ShapeDtypeStruct`.

    Raises `InputError` for a pattern of `recipe.freeze` that names no parameter, or if none is left to train.

    >>> import jax, jaxnn, optax
    >>> recipe = jaxnn.Recipe(jaxnn.linear(10), jaxnn.multiclass(10), optax.sgd(0.1))
    >>> state = jaxnn.engine.init(recipe, jax.random.key(0), jax.ShapeDtypeStruct((784,), "float32"))
    >>> int(state.step), state.params["dense_0"]["w"].shape
    (0, (10, 784))
    """
    params = recipe.model.init(key_for("weights", key), example)
    tree.check_freeze("freeze", recipe.freeze, params)
    return state_of(recipe, params)


def state_of(recipe: Recipe, params: Params) -> State:
    """The state at step 0 with these parameters."""
    trained, _ = tree.split(params, recipe.freeze)
    with relaxed():
        opt_state = recipe.tx.init(trained)
    if recipe.model.observe:  # an average of weights goes with that of the statistics that they had
        opt_state = optimizer.averaging(opt_state, tree.split(params)[1])
    return State(jnp.zeros((), jnp.int32), params, opt_state)


def penalty(params: Params, alpha: Any) -> jax.Array:
    """alpha/2 |W|^2, the sum over all weights and no biases: `float[]`, to be added to the loss.

    >>> import jax.numpy as jnp
    >>> float(penalty({"w": jnp.full((2, 3), 2.0), "b": jnp.ones(3)}, alpha=0.5))
    6.0
    """
    with relaxed():
        squares = jax.tree.map(lambda w, yes: jnp.sum(jnp.square(w)) if yes else 0.0, params, tree.is_weight(params))
        return jnp.asarray(alpha / 2.0 * jax.tree.reduce(jnp.add, squares, 0.0))


def _pulled(recipe: Recipe, grads: Params, trained: Params) -> Params:
    """grads + alpha W, as `_objective` has it; XLA fuses it with the update that reads it."""
    if recipe.penalise == "sum" or is_zero(recipe.alpha):
        return grads
    with relaxed():
        pull = lambda g, w, yes: g + (recipe.alpha * w).astype(g.dtype) if yes else g
        return jax.tree.map(pull, grads, trained, tree.is_weight(trained))


def gradient(
    recipe: Recipe, params: Params, batch: Batch, key: jax.Array | None, total: jax.Array | None = None
) -> tuple[jax.Array, Params, Metrics, Params]:
    """`(loss f32[], gradient, sums, kept)` of the weighted mean over the batch; the gradient of what is kept is None.

    With `recipe.accumulate=k` the batch is cut into k parts whose gradients are added up, each divided by the weight of
    the whole batch: the same step in 1/k of the memory. `total`: that weight, if the caller has summed it already.
    `kept` are the parameters that are not trained, renewed by a model that observes its batch. Raises `InputError` for
    parameters or examples in half precision, and for `accumulate` with such a model.

    With `recipe.exact=V` it is the sum of those of V parts, in their order; a model that observes its batch has the
    statistics of each part, and keeps their mean.

    >>> import jax.numpy as jnp, jaxnn, optax
    >>> recipe = jaxnn.Recipe(jaxnn.linear(1), jaxnn.regression(), optax.sgd(0.1), alpha=0.5)
    >>> params = {"dense_0": {"w": jnp.full((1, 1), 2.0), "b": jnp.zeros(1)}}
    >>> batch = jaxnn.Batch(x=jnp.ones((3, 1)), y=jnp.ones((3, 1)), weight=jnp.ones(3))
    >>> loss, grads, sums, _ = jaxnn.engine.gradient(recipe, params, batch, None)
    >>> float(loss), float(grads["dense_0"]["w"][0, 0]), float(sums["loss"])  # 1 + 0.5/2 2^2, 2 + 0.5 2, 3 x 1
    (2.0, 3.0, 3.0)
    """
    trained, _ = tree.split(params, recipe.freeze)
    loss, grads, sums, kept = _of_losses(recipe, params, batch, key, total)
    return _objective(recipe, loss, trained), _pulled(recipe, grads, trained), sums, kept


def _objective(recipe: Recipe, loss: jax.Array, trained: Params) -> jax.Array:
    """The mean loss and the penalty, unless the losses have it already."""
    if recipe.penalise == "sum" or is_zero(recipe.alpha):
        return loss
    return loss + penalty(trained, recipe.alpha)


def _of_losses(
    recipe: Recipe, params: Params, batch: Batch, key: jax.Array | None, total: jax.Array | None
) -> tuple[jax.Array, Params, Metrics, Params]:
    """`gradient`, but of the losses alone."""
    model = recipe.model
    refuse_half("params", params)
    refuse_half("x", batch.x)
    if recipe.accumulate > 1 and model.observe:
        cure = "train on smaller batches"
        raise InputError(f"accumulate={recipe.accumulate}: batch statistics are those of a whole batch; {cure}")
    trained, kept = tree.split(params, recipe.freeze)
    if not recipe.exact:
        (loss, (sums, renewed)), grads = _of_rows(recipe, trained, kept, total, batch, key)
    else:
        batch = parts.padded(batch, recipe.exact)
        weight = mesh.whole(batch.weight.astype(float))
        total = sum_in_pairs(weight) if total is None else total
        rows = jnp.maximum((weight > 0).sum(), 1)

        def of_part(part: Batch, key: jax.Array | None) -> Any:
            (loss, (sums, renewed)), grads = _of_rows(recipe, trained, kept, total, part, key)
            if renewed is None:
                return loss, sums, grads, None
            share = (part.weight > 0).sum() / rows
            return loss, sums, grads, jax.tree.map(lambda a, b: (b - a) * share.astype(b.dtype), kept, renewed)

        loss, sums, grads, change = exact.added(of_part, recipe.exact, batch, key)
        renewed = None if change is None else jax.tree.map(jnp.add, kept, change)
    return loss, grads, sums, kept if renewed is None else renewed


def _of_rows(
    recipe: Recipe, trained: Params, kept: Params, total: jax.Array | None, batch: Batch, key: jax.Array | None
) -> Any:
    """`((loss, (sums, kept)), gradient)` of these rows, which may be a part of those that weigh `total`."""
    model, task = recipe.model, recipe.task
    batch = augmented(recipe, batch, key)
    batch = task.prepare(batch, None if key is None else jax.random.fold_in(key, PREPARE))
    weight = batch.weight.sum() if total is None else total
    weight = jnp.where(weight > 0, weight, 1).astype(float)

    def mean_loss(trained: Params, part: Batch, key: jax.Array | None) -> tuple[jax.Array, tuple[Metrics, Params]]:
        params, renewed = tree.merge(trained, kept), None
        if model.observe:
            outputs, params = model.observe(params, part.x, key, part.weight, tree.is_frozen(params, recipe.freeze))
            renewed = tree.split(params, recipe.freeze)[1]
        else:
            outputs = model.apply(params, part.x, key=key)
        losses = [base_sums(task.loss(outputs, side.y), side.weight) for side in mixing.sides(part)]
        sums, part = jax.tree.map(lambda *each: sum(each[1:], each[0]), *losses), mixing.leading(part)
        if recipe.class_weight is None:
            sums |= task.metrics(outputs, part.y, part.weight)
        else:  # the weight of the loss is another than that of the metrics
            factor = jnp.asarray(recipe.class_weight)[part.y]
            counted = jnp.where(part.weight > 0, part.weight / factor, 0)
            sums |= {"loss_weight": sums["weight"]} | task.metrics(outputs, part.y, counted)
        if recipe.penalise == "sum":
            sums["loss"] += penalty(trained, recipe.alpha)
        return sums["loss"] / weight, (sums, renewed)

    run: Any = functools.partial(jax.value_and_grad(mean_loss, has_aux=True), trained)
    if recipe.accumulate > 1:
        return parts.in_parts(run, recipe.accumulate, batch, key)
    if model.micro_batch and not model.observe:  # statistics are those of the whole batch, on every platform
        return parts.for_the_cache(run, model, batch, key)
    return run(batch, key)


def augmented(recipe: Recipe, batch: Batch, key: jax.Array | None) -> Batch:
    """The rows that a step with this key trains on. Raises `InputError` where labels were mixed that cannot be."""
    if recipe.augment is None or key is None:
        return batch
    batch = recipe.augment(batch, jax.random.fold_in(key, AUGMENT))
    if isinstance(batch.y, Mixed):
        mixing.check("augment", recipe.task)
    return batch


def step(
    recipe: Recipe,
    state: State,
    batch: Batch,
    key: jax.Array,
    *,
    measured: bool | jax.Array = True,
    total: jax.Array | None = None,
) -> tuple[State, Metrics]:
    """One step: `(state, info)`; step t draws its noise from `fold_in(key, t)`.

    `info` has the sums of the batch, measured before the update, `lr` (the rate that was applied, where the state of
    the optimizer has it: `jaxnn.learning_rate`) and `grad_norm`, `f32[]` each. That is a pass over all gradients, a
    quarter of the step of a small network: it is taken if `measured` or `recipe.watch`, and 0 otherwise.

    >>> import jax, jax.numpy as jnp, jaxnn, optax
    >>> recipe = jaxnn.Recipe(jaxnn.linear(1), jaxnn.binary(), optax.sgd(0.1))
    >>> batch = jaxnn.Batch(x=jnp.array([[1.0], [-1.0]]), y=jnp.array([1, 0]), weight=jnp.ones(2))
    >>> state = jaxnn.engine.init(recipe, jax.random.key(0), batch.x[0])
    >>> state, info = jaxnn.engine.step(recipe, state, batch, jax.random.key(1))
    >>> int(state.step), float(info["weight"])
    (1, 2.0)
    """
    key, batch = jax.random.fold_in(key, state.step), mesh.shard(batch)
    loss, apart, sums, kept = _of_losses(recipe, state.params, batch, key, total)
    trained, _ = tree.split(state.params, recipe.freeze)
    # The losses' gradient is an array already; the sum with alpha W would become one for this condition alone.
    norm_of = lambda grads, trained: _norm(_pulled(recipe, grads, trained))
    none = lambda *_: jnp.zeros((), loss.dtype)
    norm = lax.cond(jnp.logical_or(recipe.watch, measured), norm_of, none, apart, trained)
    apart = lax.platform_dependent(norm, apart, cpu=_waits, default=lambda _, grads: grads)
    loss, grads = _objective(recipe, loss, trained), _pulled(recipe, apart, trained)
    # Of the trained parameters, for a line search.
    value_fn = lambda trained: gradient(recipe, tree.merge(trained, kept), batch, key, total)[0]
    given = {"value": loss, "grad": grads, "value_fn": value_fn} | ({"kept": kept} if recipe.model.observe else {})
    with relaxed():
        tx = optax.with_extra_args_support(recipe.tx)
        updates, opt_state = tx.update(grads, state.opt_state, trained, **given)
        trained = optax.apply_updates(trained, updates)
    rate = optimizer.known_rate(opt_state)
    told = {"grad_norm": norm} if rate is None else {"lr": rate, "grad_norm": norm}
    state = State(state.step + 1, tree.merge(trained, kept), opt_state)
    return state, sums | told


def _norm(grads: Params) -> jax.Array:
    with relaxed():
        return optax.tree.norm(grads).astype(float)


def _waits(norm: jax.Array, grads: Params) -> Params:
    """The gradient as it is, no norm being below 0; but what is made of it comes after the norm.

    The weights are updated in place only where all that reads them, the other gradients and the norm, comes before.
    Otherwise XLA copies them at every step, 2 % of that of a small network. (It drops `lax.optimization_barrier`
    before it looks for copies.)
    """
    return jax.tree.map(lambda g: jnp.where(norm < 0, jnp.zeros_like(g), g), grads)
