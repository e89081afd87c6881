"""n steps as one compiled scan over a `Window` of rows."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxnn import tree
from jaxnn.devices import mesh
from jaxnn.engine.descent import step
from jaxnn.numerics import key_for, sum_in_pairs
from jaxnn.types import Batch, Metrics, Params, Recipe, State, Window


def steps(recipe: Recipe, state: State, window: Window, key: jax.Array) -> tuple[State, Metrics]:
    """The n steps of a window: `(state, info)`. To be called under `jit`.

    `info` holds an array of n values for each of the step's sums and `lr`, the `grad_norm` of the last step, `still`
    (of the leaf that has moved least, the share of entries that are as they were n steps ago) and `finite`: whether
    every loss, every gradient norm that was taken, and every parameter at the end is. (Where not, a fault is found by
    replaying the steps: a pure function needs no checks on the way.)

    >>> import functools, jax, jax.numpy as jnp, jaxnn, optax
    >>> from jaxnn.data import feeds
    >>> recipe, key = jaxnn.Recipe(jaxnn.linear(1), jaxnn.binary(), optax.sgd(0.1)), jax.random.key(0)
    >>> data = jaxnn.Batch(x=jnp.linspace(-1, 1, 10)[:, None], y=jnp.arange(10) // 5, weight=jnp.ones(10))
    >>> window = feeds.shuffled(data, key, step=0, n=6, batch_size=4)
    >>> state = jaxnn.engine.init(recipe, key, data.x[0])
    >>> state, info = jax.jit(functools.partial(jaxnn.engine.steps, recipe))(state, window, key)
    >>> int(state.step), info["weight"].tolist()  # two epochs: the last batch of each has what is left
    (6, [4.0, 4.0, 2.0, 4.0, 4.0, 2.0])
    """
    n, width = window.real.shape
    weighed = "weight" if recipe.class_weight is None else "loss_weight"
    before, noise, streamed = state.params, key_for("noise", key), window.index is None
    if n == 1:
        window = _two_slots(window)
    (x, y, weight), index, real = window
    index, real = mesh.whole((index, real))
    # Labels and weights, one number a row, are gathered for all n steps before the loop, x inside it. Fewer small
    # operations in the loop also leave the CPU's threads less idle between matrix products.
    early = (x, y) if streamed else jax.tree.map(lambda a: a[index] if a.ndim == 1 else None, (x, y))
    weight = mesh.whole(jnp.where(real, weight if streamed else weight[index], 0))
    totals = sum_in_pairs(weight.astype(float))

    def one_step(state: State, xs: tuple[jax.Array, Any, jax.Array, jax.Array]) -> tuple[State, Metrics]:
        i, (x, y), weight, total = xs
        state, info = step(recipe, state, Batch(x, y, weight), noise, measured=i == n - 1, total=total)
        del info[weighed]  # `totals` has it for all steps
        return state, info

    def gathered(state: State, xs: tuple[jax.Array, Any, Any, jax.Array, jax.Array]) -> tuple[State, Metrics]:
        i, index, early, weight, total = xs
        if not streamed:  # else XLA fuses the permutation into the gather and computes it once per pixel, not per row
            index = lax.optimization_barrier(index)
        take = lambda early, a: rows_at(a, index) if early is None else early
        rows = jax.tree.map(take, early, (x, y), is_leaf=lambda leaf: leaf is None)
        if together == 1:
            return body(state, (i, rows, weight, total))
        return lax.scan(body, state, (i, rows, weight, total))

    body = one_step if n > 1 else _first_only(one_step)
    together = 1 if streamed else gathered_together(len(real), width, (x, y))
    xs = (lax.iota(jnp.int32, len(real)), index, early, weight, totals)
    if together > 1:
        xs = jax.tree.map(lambda a: a.reshape(-1, together, *a.shape[1:]), xs)
    state, info = lax.scan(gathered, state, xs)
    if together > 1:
        info = jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), info)
    info = jax.tree.map(lambda a: a[:n], info | {weighed: totals})
    return state, info | _verdict(recipe, before, state.params, info)


def _two_slots(window: Window) -> Window:
    """XLA inlines a one-step scan and rounds differently. So scan two slots and skip the second (`_first_only`): the
    bits are those of any longer chunk."""
    twice = lambda values: jax.tree.map(lambda a: jnp.concatenate([a, a]), values)
    streamed = window.index is None
    data = twice(window.data) if streamed else window.data
    return Window(data, None if streamed else twice(window.index), twice(window.real))


def _first_only(body: Callable[..., Any]) -> Callable[..., Any]:
    """`body` in slot 0, nothing in the next one."""

    def either(state: State, xs: Any) -> tuple[State, Metrics]:
        _, shapes = jax.eval_shape(body, state, xs)
        return lax.cond(xs[0] < 1, body, lambda state, xs: (state, tree.zeros(shapes)), state, xs)

    return either


def _verdict(recipe: Recipe, before: Params, after: Params, info: Metrics) -> Metrics:
    """What is known of all n steps at their end: `finite`, `still` and the last `grad_norm`."""
    finite = [jnp.isfinite(leaf).all() for leaf in (info["loss"], info["grad_norm"], *jax.tree.leaves(after))]
    leaves = (jax.tree.leaves(tree.split(params, recipe.freeze)[0]) for params in (before, after))
    still = [jnp.mean(a == b, dtype=jnp.float32) for a, b in zip(*leaves, strict=True)]
    return {
        "finite": jnp.stack(finite).all(),
        "still": jnp.stack([jnp.zeros((), jnp.float32), *still]).max(),
        "grad_norm": info["grad_norm"][-1],
    }


def rows_at(a: jax.Array, index: jax.Array) -> jax.Array:
    """`a[index]`. On a CPU XLA gathers rows of numbers four times as fast as images."""
    return a.reshape(len(a), -1)[index].reshape(*index.shape, *a.shape[1:])


def gathered_together(n: int, batch_size: int, rows: Any) -> int:
    """For how many of n steps the rows are gathered at a time.

    On a CPU batches of 64 or more are gathered each in its step (1.5x), smaller ones many together, but no more than
    8 MiB, which stay in its cache (1.2x). A loop in a loop needs equal parts: where n has no divisor that fits, all n
    are gathered together if that is no more than 128 MiB.
    """
    if batch_size >= 64:
        return 1
    late = [a for a in jax.tree.leaves(rows) if a.ndim > 1]
    size = max(batch_size * sum(math.prod(a.shape[1:]) * a.dtype.itemsize for a in late), 1)
    default = n if n * size <= 2**27 else 1
    return max((k for k in range(8, min(n, 2**23 // size) + 1) if n % k == 0), default=default)
