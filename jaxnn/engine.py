"""Training as one compiled scan: a chunk of steps between two host events never returns to the host.

    objective   the sums of a batch: loss, weight and metrics             (model + task)
    gradient    one batch -> mean gradient                                (jax.grad)
    train_step  (state, batch, key) -> (state, info)                      (optax)
    run_steps   n of them                                                 (lax.scan, jit)
    fit         a whole run, itself pure: usable under jit, vmap and grad

A run draws on its key for three things, none of which is carried: the initial weights, the order of the rows, and
the noise of step t. So `State` is all that a run is, and step t is the same however the run is cut.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from jaxnn import devices, optim
from jaxnn.data import order
from jaxnn.errors import InputError
from jaxnn.types import Batch, Metrics, Model, Params, State, Task


class Objective(NamedTuple):
    """What is minimised: `sums(params, batch, key)["loss"] / sums[...]["weight"] + penalty(params)`."""

    sums: Callable[[Params, Batch, jax.Array | None], Metrics]
    penalty: Callable[[Params], jax.Array] | None


def make_objective(model: Model, task: Task, *, alpha: float = 0.0) -> Objective:
    """The weighted mean loss of `task` on the outputs of `model`, plus `alpha / 2 * sum of W^2` (not biases).

    >>> import jax.numpy as jnp
    >>> import jaxnn
    >>> objective = jaxnn.make_objective(jaxnn.linear(1), jaxnn.regression(), alpha=0.5)
    >>> params = {"dense_0": {"w": jnp.full((1, 1), 2.0), "b": jnp.zeros(1)}}
    >>> batch = jaxnn.Batch(x=jnp.ones((3, 1)), y=jnp.ones((3, 1)), weight=jnp.ones(3))
    >>> float(objective.sums(params, batch, None)["loss"]), float(objective.penalty(params))
    (3.0, 1.0)
    """

    def sums(params: Params, batch: Batch, key: jax.Array | None) -> Metrics:
        return task.metrics(model.apply(params, batch.x, key=key), batch.y, batch.weight)

    return Objective(sums, functools.partial(optim.penalty, alpha=alpha) if alpha else None)


def make_gradient(objective: Objective, *, accumulate: int = 1) -> Callable[..., tuple[jax.Array, Params, Metrics]]:
    """`gradient(params, batch, key, total=None) -> (loss, grads, sums)` of the weighted mean over the batch.

    With `accumulate=k` the batch is cut into k parts whose gradients are added up, each divided by the weight of
    the whole batch (`total`, for who knows it already): the same step in 1/k of the memory.
    """

    def gradient(
        params: Params, batch: Batch, key: jax.Array | None, total: jax.Array | None = None
    ) -> tuple[jax.Array, Params, Metrics]:
        weight = batch.weight.sum() if total is None else total
        weight = jnp.where(weight > 0, weight, 1)

        def mean_loss(params: Params, part: Batch, key: jax.Array | None) -> tuple[jax.Array, Metrics]:
            sums = objective.sums(params, part, key)
            return sums["loss"] / weight, sums

        run = functools.partial(jax.value_and_grad(mean_loss, has_aux=True), params)
        if accumulate > 1:
            (loss, sums), grads = in_parts(run, accumulate, batch, key)
        else:
            (loss, sums), grads = by_the_cache(run, params, batch, key)
        if objective.penalty is not None:
            extra, pull = jax.value_and_grad(objective.penalty)(params)
            loss, grads = loss + extra, jax.tree.map(jnp.add, grads, pull)
        return loss, grads, sums

    return gradient


def by_the_cache(run: Callable[..., Any], params: Params, batch: Batch, key: jax.Array | None) -> Any:
    """`run(batch, key)`; for convolutions on a CPU, in parts of up to 16 images.

    The patches of so many images stay in its cache between the product that reads them and the one that follows:
    a step of 128 is 1.6 times as fast in parts of 16, and less so in parts of 8 or 64. The noise of dropout follows
    the parts: it is another one on other platforms.
    """
    parts = -(-len(batch.weight) // 16)
    if parts == 1 or not any(jnp.ndim(leaf) == 4 for leaf in jax.tree.leaves(params)):
        return run(batch, key)
    cached = lambda batch: in_parts(run, parts, batch, key)
    return lax.platform_dependent(batch, cpu=cached, default=lambda batch: run(batch, key))


def in_parts(run: Callable[..., Any], parts: int, batch: Batch, key: jax.Array | None) -> Any:
    """The sum of `run(part, key of the part)` over equal parts of the batch; padding weighs nothing."""
    if missing := -len(batch.weight) % parts:
        batch = jax.tree.map(lambda a: jnp.concatenate([a, jnp.broadcast_to(a[:1], (missing, *a.shape[1:]))]), batch)
        batch = batch._replace(weight=batch.weight.at[-missing:].set(0))
    # Row i goes to part i mod k: padding at the end, or a split over devices, moves no row to another part.
    cut = jax.tree.map(lambda a: a.reshape(-1, parts, *a.shape[1:]).swapaxes(0, 1), batch)
    one = lambda i, part: run(part, None if key is None else jax.random.fold_in(key, i))
    zero = zeros(jax.eval_shape(one, 0, jax.tree.map(lambda a: a[0], cut)))
    add = lambda total, part: (jax.tree.map(jnp.add, total, one(*part)), None)
    return lax.scan(add, zero, (lax.iota(jnp.int32, parts), cut))[0]


def make_train_step(
    objective: Objective, tx: optax.GradientTransformation, *, accumulate: int = 1, watch: bool = False
) -> Callable[..., tuple[State, Metrics]]:
    """One step of descent: `train_step(state, batch, key) -> (state, info)`.

    theta <- theta - rho grad, with the update rule of `tx`; step t draws its noise from `fold_in(key, t)`. `info` has
    the sums of the batch, measured before the update, `lr` (the rate that was applied) and `grad_norm`, which is a
    pass over all gradients (a quarter of the step of a small network): `run_steps` takes it at its last step only,
    unless `watch` asks for each (where `tx` would turn an infinite gradient into a finite step: clipping, signs).

    >>> import jax, jax.numpy as jnp, jaxnn, optax
    >>> model, tx = jaxnn.linear(1), optax.sgd(0.1)
    >>> batch = jaxnn.Batch(x=jnp.array([[1.0], [-1.0]]), y=jnp.array([1, 0]), weight=jnp.ones(2))
    >>> train_step = jaxnn.make_train_step(jaxnn.make_objective(model, jaxnn.binary()), tx)
    >>> state = jaxnn.make_init(model, tx)(jax.random.key(0), batch.x[0])
    >>> state, info = jax.jit(train_step)(state, batch, jax.random.key(1))
    >>> int(state.step), float(info["weight"])
    (1, 2.0)
    """
    tx = optax.with_extra_args_support(tx)
    gradient = make_gradient(objective, accumulate=accumulate)

    def train_step(
        state: State,
        batch: Batch,
        key: jax.Array,
        measure: bool | jax.Array = True,
        total: jax.Array | None = None,
    ) -> tuple[State, Metrics]:
        key = jax.random.fold_in(key, state.step)
        loss, grads, sums = gradient(state.params, batch, key, total)
        value_fn = lambda params: gradient(params, batch, key, total)[0]  # for line searches
        extra = {"value": loss, "grad": grads, "value_fn": value_fn}
        with optim.relaxed():
            updates, opt_state = tx.update(grads, state.opt_state, state.params, **extra)
            params = optax.apply_updates(state.params, updates)
        norm = lax.cond(jnp.logical_or(watch, measure), optax.tree.norm, lambda g: jnp.zeros_like(loss), grads)
        info = sums | {"lr": optim.learning_rate(opt_state), "grad_norm": norm}
        return State(state.step + 1, params, opt_state), info

    return train_step


def make_init(model: Model, tx: optax.GradientTransformation) -> Callable[[jax.Array, Any], State]:
    """`init(key, x) -> State` at step 0, compiled; `x` is one example or its `jax.ShapeDtypeStruct`.

    >>> import jax, jaxnn, optax
    >>> init = jaxnn.make_init(jaxnn.linear(10), optax.sgd(0.1))
    >>> state = init(jax.random.key(0), jax.ShapeDtypeStruct((784,), "float32"))
    >>> int(state.step), state.params["dense_0"]["w"].shape
    (0, (10, 784))
    """

    def init(key: jax.Array, x: Any) -> State:
        params = model.init(_key(key, "weights"), x)
        with optim.relaxed():
            return State(jnp.zeros((), jnp.int32), params, tx.init(params))

    # The example is closed over, so that a ShapeDtypeStruct serves as well as an array.
    return lambda key, x: jax.jit(functools.partial(init, x=x))(key)


def make_run_steps(
    train_step: Callable[..., tuple[State, Metrics]], batch_size: int
) -> Callable[..., tuple[State, Metrics]]:
    """`run_steps(state, data, n, key=key) -> (state, info)`: the next n steps as one compiled scan.

    `data` is a `Batch` of all rows, resident on the devices. `info` holds an
    array of n values for each of the step's sums and `lr`, the `grad_norm` of the last step, and `finite`: whether
    every loss, every gradient norm that was taken, and every parameter at the end is. (Where not, `find_fault` replays
    the chunk: a pure function needs no checks on the way.) Raises `InputError` if x, y and weight differ in length.

    Args:
      train_step: from `make_train_step`.
      batch_size: rows a step; the last step of an epoch has what is left, padded with weight 0.

    >>> import jax, jax.numpy as jnp, jaxnn, optax
    >>> model, tx, key = jaxnn.linear(1), optax.sgd(0.1), jax.random.key(0)
    >>> data = jaxnn.Batch(x=jnp.linspace(-1, 1, 10)[:, None], y=jnp.arange(10) // 5, weight=jnp.ones(10))
    >>> train_step = jaxnn.make_train_step(jaxnn.make_objective(model, jaxnn.binary()), tx)
    >>> run_steps = jaxnn.make_run_steps(train_step, batch_size=4)
    >>> state, info = run_steps(jaxnn.make_init(model, tx)(key, data.x[0]), data, 6, key=key)
    >>> int(state.step), info["weight"].tolist()  # two epochs: the last batch of each has what is left
    (6, [4.0, 4.0, 2.0, 4.0, 4.0, 2.0])
    """

    run_rows = make_run_rows(train_step)

    @functools.partial(jax.jit, static_argnums=2)
    def run_steps(
        state: State, data: Batch, n: int, *, key: jax.Array, order_key: jax.Array | None = None
    ) -> tuple[State, Metrics]:
        check_lengths(data)
        order_key = key if order_key is None else order_key
        steps = state.step + lax.iota(jnp.int32, n)
        index, real = jax.vmap(lambda t: batch_rows(order_key, t, data, batch_size))(steps)
        return run_rows(state, data, index, real, key)

    return run_steps


def make_run_rows(train_step: Callable[..., tuple[State, Metrics]]) -> Callable[..., tuple[State, Metrics]]:
    """`run_rows(state, data, index, real, key) -> (state, info)`: `run_steps` over rows that the caller chose.

    index `i32[n, B]` and real `bool[n, B]`: the rows of each of n steps, and which of them are no padding. To be
    called under `jit`. `info` is that of `run_steps`.
    """

    def run_rows(state: State, data: Batch, index: jax.Array, real: jax.Array, key: jax.Array) -> tuple[State, Metrics]:
        n, width = index.shape
        noise = _key(key, "noise")
        if n == 1:  # XLA unrolls a loop of one step, and rounds it differently then: a second one does nothing
            index, real = jnp.concatenate([index, index]), jnp.concatenate([real, real])
        slot = lax.iota(jnp.int32, len(index))
        # What is one number a row is gathered for all steps at once, the rest as it is needed. Each small operation
        # that is not in the loop also keeps the cores from falling asleep between its matrix products.
        weight = jnp.where(real, data.weight[index], 0)
        labels = data.y[index] if data.y.ndim == 1 else None

        def step(state: State, xs: tuple[jax.Array, Batch, jax.Array]) -> tuple[State, Metrics]:
            i, batch, total = xs

            def run(state: State) -> tuple[State, Metrics]:
                state, info = train_step(state, devices.shard(batch), noise, i == n - 1, total)
                del info["weight"]  # known already
                return state, info

            if n > 1:
                return run(state)
            shapes = jax.eval_shape(run, state)
            return lax.cond(i < 1, run, lambda state: (state, zeros(shapes[1])), state)

        def gathered(state: State, xs: Any) -> tuple[State, Metrics]:
            i, index, y, weight, total = xs
            index = lax.optimization_barrier(index)  # or it would be worked out again for every pixel
            batch = Batch(data.x[index], data.y[index] if y is None else y, weight)
            return (step if together == 1 else functools.partial(lax.scan, step))(state, (i, batch, total))

        together = gathered_together(len(slot), width, data.x)
        totals = sum_in_pairs(weight)
        xs = (slot, index, labels, weight, totals)
        if together > 1:
            xs = jax.tree.map(lambda a: a.reshape(-1, together, *a.shape[1:]), xs)
        state, info = lax.scan(gathered, state, xs)
        if together > 1:
            info = jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), info)
        info = jax.tree.map(lambda a: a[:n], info | {"weight": totals})
        leaves = (info["loss"], info["grad_norm"], *jax.tree.leaves(state.params))
        finite = [jnp.isfinite(leaf).all() for leaf in leaves]
        return state, info | {"grad_norm": info["grad_norm"][-1], "finite": jnp.stack(finite).all()}

    return run_rows


def gathered_together(n: int, batch_size: int, x: Any) -> int:
    """For how many of n steps the rows of x are gathered at a time.

    On a CPU batches of 64 or more are gathered each in its step (1.5x), smaller ones many together, but no more than
    8 MiB, which stay in its cache (1.2x). A loop in a loop needs equal parts: where n has no divisor that fits, all n
    are gathered together if that is no more than 128 MiB.
    """
    if batch_size >= 64:
        return 1
    size = max(batch_size * (x.size // len(x)) * x.dtype.itemsize, 1)
    default = n if n * size <= 2**27 else 1
    return max((k for k in range(8, min(n, 2**23 // size) + 1) if n % k == 0), default=default)


def sum_in_pairs(a: jax.Array) -> jax.Array:
    """The sum over the last axis in one fixed order, which that of `a.sum(-1)` is not: XLA's depends on the shape."""
    while a.shape[-1] > 1:
        half = -(-a.shape[-1] // 2)
        left, right = a[..., :half], a[..., half:]
        a = left.at[..., : right.shape[-1]].add(right)
    return a[..., 0]


def batch_rows(key: jax.Array, step: jax.Array, data: Batch, batch_size: int) -> tuple[jax.Array, jax.Array]:
    """The rows of a step and whether each is real, padded to a multiple of the devices."""
    width = -(-batch_size // devices.count()) * devices.count()
    return order.rows(_key(key, "order"), step, len(data.weight), batch_size, width)


def check_lengths(data: Batch) -> None:
    """Refuse rows that do not belong together: an index past the end of an array would be clamped in silence."""
    lengths = {name: jnp.shape(value)[:1] for name, value in data._asdict().items()}
    if len(set(lengths.values())) > 1 or not data.weight.shape[0]:
        given = ", ".join(f"{name}={value}" for name, value in lengths.items())
        raise InputError(f"data: {given}: x, y and weight must have the same number of rows, at least one")


def take(data: Batch, index: jax.Array, real: jax.Array) -> Batch:
    """Rows of the data; those that are not real weigh nothing."""
    return Batch(data.x[index], data.y[index], jnp.where(real, data.weight[index], 0))


def make_evaluate(objective: Objective, batch_size: int) -> Callable[[Params, Batch], Metrics]:
    """`evaluate(params, data) -> sums` over all rows, compiled.

    Padding weighs nothing, so it is exact for any batch size. Sums are float32: counts are exact up to 2^24 rows.
    Raises `InputError` if x, y and weight differ in length.

    >>> import jax, jax.numpy as jnp, jaxnn
    >>> model, task = jaxnn.linear(1), jaxnn.binary()
    >>> evaluate = jaxnn.make_evaluate(jaxnn.make_objective(model, task), batch_size=2)
    >>> params = {"dense_0": {"w": jnp.ones((1, 1)), "b": jnp.zeros(1)}}
    >>> sums = evaluate(params, jaxnn.Batch(jnp.array([[1.0], [2.0], [3.0]]), jnp.array([1, 1, 0]), jnp.ones(3)))
    >>> float(sums["weight"]), round(float(task.summary(sums)["accuracy"]), 4)
    (3.0, 0.6667)
    """

    @jax.jit
    def evaluate(params: Params, data: Batch) -> Metrics:
        check_lengths(data)
        n = len(data.weight)
        width = -(-min(batch_size, n) // devices.count()) * devices.count()

        def body(sums: Metrics, start: jax.Array) -> tuple[Metrics, None]:
            index = start + lax.iota(jnp.int32, width)
            batch = devices.shard(take(data, jnp.minimum(index, n - 1), index < n))
            run = lambda batch, key: objective.sums(params, batch, key)
            return jax.tree.map(jnp.add, sums, by_the_cache(run, params, batch, None)), None

        starts = jnp.arange(0, n, width, dtype=jnp.int32)
        shapes = jax.eval_shape(lambda: objective.sums(params, take(data, starts[:1], jnp.array([True])), None))
        return lax.scan(body, zeros(shapes), starts)[0]

    return evaluate


def find_fault(
    run_steps: Callable[..., Any],
    gradient: Callable[..., Any],
    state: State,
    data: Batch,
    n: int,
    batch_size: int,
    *,
    key: jax.Array,
) -> tuple[State, str]:
    """Replay a chunk that failed, step by step: the last good state, and which gradient of its step is not finite."""
    gradient = jax.jit(gradient)
    for _ in range(n):
        noise = jax.random.fold_in(_key(key, "noise"), state.step)
        loss, grads, _ = gradient(state.params, take(data, *batch_rows(key, state.step, data, batch_size)), noise)
        for path, leaf in [*jax.tree_util.tree_leaves_with_path(grads), ((), loss)]:
            if not bool(jnp.isfinite(leaf).all()):
                return state, jax.tree_util.keystr(path, simple=True, separator="/") or "loss"
        good = state
        state, info = run_steps(good, data, 1, key=key)
        if not bool(info["finite"]):
            return good, "the update"
    return state, "nothing on replay"


def fit(
    key: jax.Array,
    model: Model,
    task: Task,
    tx: optax.GradientTransformation,
    train: Batch,
    *,
    epochs: int,
    batch_size: int,
    validation: Batch | None = None,
    alpha: float = 0.0,
    accumulate: int = 1,
    order_key: jax.Array | None = None,
) -> tuple[State, dict[str, jax.Array]]:
    """A whole training run, as one pure function of (seed, data, settings).

    No printing, no files, no clock: usable under `jit`, `vmap` (over keys, learning rates, data) and `grad`.

    Args:
      key: the run's PRNG key.
      model, task, tx: the network, what its outputs mean, and the optimizer (optax, or `jaxnn.optimizer`).
      train: all training rows.
      epochs: passes over them.
      batch_size: rows a step.
      validation: rows that are evaluated after each epoch.
      alpha: L2 penalty.
      accumulate: parts into which a batch is cut to save memory.
      order_key: the key for the order of the rows, if not `key`: networks under `vmap` that differ in `key` and share
        this one share their batches, and are trained up to twice as fast as with batches of their own.

    Raises:
      InputError: arrays of different lengths, or a number of epochs, rows or parts that cannot be.

    Returns:
      `(state, history)`; the history has an array of `epochs` values for each of `train/loss`, `lr`, `val/loss`, ...

    >>> import jax, jax.numpy as jnp, jaxnn, optax
    >>> x = jnp.array([[0.0, 0], [0, 1], [1, 0], [1, 1]])
    >>> xor = jaxnn.Batch(x, jnp.array([0, 1, 1, 0]), jnp.ones(4))
    >>> model = jaxnn.mlp((8, 8), 1, activation="tanh")
    >>> state, history = fit(jax.random.key(0), model, jaxnn.binary(), optax.adam(0.05), xor, epochs=200, batch_size=4)
    >>> float(history["train/accuracy"][-1])
    1.0
    """
    check_lengths(train)
    n = len(train.weight)
    for name, value, most in (("epochs", epochs, None), ("batch_size", batch_size, n), ("accumulate", accumulate, n)):
        if not isinstance(value, int) or value < 1 or (most and value > most):
            raise InputError(f"{name}={value}: must be a whole number from 1" + (f" to {most} (the rows)" * bool(most)))
    objective = make_objective(model, task, alpha=alpha)
    run_steps = make_run_steps(make_train_step(objective, tx, accumulate=accumulate), batch_size)
    evaluate = make_evaluate(objective, batch_size)
    steps_per_epoch = -(-n // batch_size)

    def epoch(state: State, _: None) -> tuple[State, dict[str, jax.Array]]:
        state, info = run_steps(state, train, steps_per_epoch, key=key, order_key=order_key)
        row = summary(task, info)
        if validation is not None:
            sums = evaluate(optim.averaged(state.params, state.opt_state), validation)
            row |= prefixed("val", task.summary(sums))
        return state, row

    example = jax.ShapeDtypeStruct(train.x.shape[1:], train.x.dtype)
    return lax.scan(epoch, make_init(model, tx)(key, example), length=epochs)


def summary(task: Task, info: Metrics) -> dict[str, Any]:
    """A history row from the info of a chunk: the task's metrics over its examples, the last rate and gradient norm."""
    sums = {name: value.sum(0) for name, value in info.items() if name not in ("lr", "grad_norm", "finite")}
    last = {"lr": info["lr"][-1], "grad_norm": info["grad_norm"]}
    return prefixed("train", task.summary(sums)) | last


def prefixed(part: str, values: dict[str, Any]) -> dict[str, Any]:
    return {f"{part}/{name}": value for name, value in values.items()}


def zeros(shapes: Any) -> Any:
    return jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), shapes)


def _key(key: jax.Array, purpose: str) -> jax.Array:
    """The key of one purpose; two purposes never share one."""
    return jax.random.fold_in(key, ("weights", "order", "noise").index(purpose))
