"""Where a chunk of steps failed: replayed, to name the step, the leaf and the rows."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxnn import tree
from jaxnn.data import feeds
from jaxnn.devices import hosts
from jaxnn.engine import exact
from jaxnn.engine.descent import augmented, gradient
from jaxnn.errors import NumericsError
from jaxnn.numerics import key_for
from jaxnn.optim.optimizer import averaged
from jaxnn.training.loop import NotFinite, Session
from jaxnn.training.programs import run_steps
from jaxnn.training.streamed import Feed
from jaxnn.types import Batch, Params, Recipe, State


class Fault(NamedTuple):
    """Where a chunk of steps failed."""

    state: State  # the last good one: the step after it failed
    leaf: str  # the first gradient of that step, by path, that is not finite; or the loss, or the update
    rows: list[int]  # of the data: those that alone give such a gradient, or else the whole batch


def find_fault(recipe: Recipe, batch_size: int, state: State, data: Batch | Feed, n: int, *, key: jax.Array) -> Fault:
    """Replay the n steps from `state` that failed, one by one, up to the fault."""
    multiple = exact.multiple(recipe)
    one_step = jax.jit(functools.partial(run_steps, recipe, batch_size, multiple), static_argnums=2)

    @jax.jit
    def rows_of(data: Batch, step: jax.Array) -> tuple[jax.Array, jax.Array]:
        window = feeds.shuffled(data, key, step, 1, batch_size, multiple)
        return window.index[0], window.real[0]

    @jax.jit
    def augment(batch: Batch, noise: jax.Array) -> Batch:  # the batch whole: alone, a row would be row 0 of it
        run = functools.partial(augmented, recipe)
        return exact.joined(exact.each_part(run, recipe.exact, batch, noise)) if recipe.exact else run(batch, noise)

    def taken(step: jax.Array) -> tuple[Any, Batch, Any, Any]:
        """What one step takes as data, its batch, and which rows those are."""
        if isinstance(data, Feed):
            window, (index, real) = data.read(int(step), 1), data.order(int(step), 1)
            return window, jax.tree.map(lambda a: a[0], window.data), index[0], real[0]
        index, real = rows_of(data, step)
        return data, feeds.take(data, index, real), index, real

    @jax.jit
    def finite(params: Params, batch: Batch, noise: jax.Array) -> Any:
        loss, grads, *_ = gradient(recipe._replace(augment=None, exact=0), params, batch, noise)
        return jax.tree.map(lambda a: jnp.isfinite(a).all(), (loss, grads))

    @jax.jit
    def fails_alone(params: Params, batch: Batch, noise: jax.Array) -> jax.Array:
        one = lambda row: finite(params, jax.tree.map(lambda a: a[None], row), noise)
        return ~jnp.stack(jax.tree.leaves(lax.map(one, batch))).all(0)

    for _ in range(n):
        noise = jax.random.fold_in(key_for("noise", key), state.step)
        given, batch, index, real = taken(state.step)
        batch, rows = augment(batch, noise), index[real]
        loss, grads = finite(state.params, batch, noise)
        bad = [path for path, good in tree.by_name(grads).items() if not good] or ([] if loss else ["loss"])
        if bad:
            alone = index[np.asarray(fails_alone(state.params, batch, noise)) & real]
            return Fault(state, bad[0], (alone if len(alone) else rows).tolist())
        good = state
        state, info = one_step(good, given, 1, key=key)
        if not bool(info["finite"]):
            return Fault(good, "the update", rows.tolist())
    return Fault(state, "nothing on replay", [])


def explain(session: Session, failed: NotFinite) -> tuple[Params, NumericsError]:
    """The last good parameters, and what to tell of the step after them."""
    rows = session.feed if isinstance(session.feed, Feed) else session.splits["train"]
    size = session.plan.batch_size
    fault = find_fault(session.recipe, size, failed.before, rows, failed.n, key=session.key)
    step = int(fault.state.step)
    rate = failed.info["lr"][min(step - int(failed.before.step), failed.n - 1)]
    listed = ", ".join(map(str, fault.rows[:10])) + ", ..." * (len(fault.rows) > 10)
    cause = f"step={step}: {fault.leaf} is not finite at lr={rate:g}, training rows {listed}"
    error = NumericsError(f"{cause}; lower --optim.lr or set --optim.clip_norm")
    return hosts.gathered(averaged(fault.state.params, fault.state.opt_state)), error
