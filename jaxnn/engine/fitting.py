"""A whole run as one pure function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import optax
from jax import lax

from jaxnn import fork, tree
from jaxnn.data import feeds
from jaxnn.devices import mesh
from jaxnn.engine.descent import init
from jaxnn.engine.evaluation import evaluate
from jaxnn.engine.scan import steps
from jaxnn.engine.tally import history_row
from jaxnn.errors import InputError
from jaxnn.optim import optimizer
from jaxnn.types import Batch, Metrics, Model, Params, Recipe, State, Task

MAX_STEPS = 2**31 - 1  # what `State.step` can count to


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
    alpha: float | jax.Array = 0.0,
    accumulate: int = 1,
    freeze: tuple[str, ...] = (),
    augment: Callable[[Batch, jax.Array], Batch] | None = None,
    order_key: jax.Array | None = None,
) -> tuple[State, dict[str, jax.Array]]:
    """A whole training run, as one pure function of (seed, data, settings).

    No printing, no files, no clock: usable under `jit`, `vmap` (over keys, learning rates, data) and `grad`. The state
    is, bit for bit, that of a run of `jaxnn train`, and so are the validation metrics; the sums behind the training
    metrics are float32 here and float64 there, so these agree to 6 digits.

    Args:
      key: the run's PRNG key.
      model, task, tx: the network, what its outputs mean, and the optimizer (optax, or `jaxnn.optimizer`).
      train: all training rows.
      epochs: passes over them.
      batch_size: rows a step.
      validation: rows that are evaluated after each epoch.
      alpha: L2 penalty.
      accumulate: parts into which a batch is cut to save memory.
      freeze: patterns of the paths of parameters that are not trained.
      augment: of the rows of each step, `(batch, key) -> batch` (`jaxnn.augment`).
      order_key: the key for the order of the rows, if not `key`: networks under `vmap` that differ in `key` and share
        this one share their batches, and are trained up to twice as fast as with batches of their own.

    Raises:
      InputError: no arrays, or of different lengths, or in half precision; a number of epochs, rows or parts that
        cannot be, or more steps than `State.step` can count.

    Returns:
      `(state, history)`; the history has `f32[epochs]` for each of `train/loss`, `lr`, `val/loss`, ...

    >>> import jax, jax.numpy as jnp, jaxnn, optax
    >>> x = jnp.array([[0.0, 0], [0, 1], [1, 0], [1, 1]])
    >>> xor = jaxnn.Batch(x, jnp.array([0, 1, 1, 0]), jnp.ones(4))
    >>> model = jaxnn.mlp((8, 8), 1, activation="tanh")
    >>> state, history = fit(jax.random.key(0), model, jaxnn.binary(), optax.adam(0.05), xor, epochs=200, batch_size=4)
    >>> float(history["train/accuracy"][-1])
    1.0
    """
    fork.refuse()
    for data in (train, validation):
        if data is not None:
            feeds.check_arrays(data)
            feeds.check_lengths(data)
    n = len(train.weight)
    for name, value, most in (("epochs", epochs, None), ("batch_size", batch_size, n), ("accumulate", accumulate, n)):
        if not isinstance(value, int) or value < 1 or (most and value > most):
            raise InputError(f"{name}={value}: must be a whole number from 1" + (f" to {most} (the rows)" * bool(most)))
    recipe = Recipe(model, task, tx, alpha, accumulate=accumulate, freeze=freeze, augment=augment)
    steps_per_epoch = -(-n // batch_size)
    check_total("epochs", epochs, steps_per_epoch)
    multiple, order_key = mesh.count(), key if order_key is None else order_key

    @jax.jit
    def one_epoch(state: State, data: Batch) -> tuple[State, dict[str, jax.Array]]:
        window = feeds.shuffled(data, order_key, state.step, steps_per_epoch, batch_size, multiple)
        return steps(recipe, state, window, key)

    @jax.jit
    def sums_of(params: Params, data: Batch) -> Metrics:
        return evaluate(recipe, params, data, multiple=multiple)

    def epoch(state: State, _: None) -> tuple[State, dict[str, Any]]:
        state, info = one_epoch(state, train)
        last = {"lr": info["lr"][-1]} if "lr" in info else {}
        alone = {name: value.sum(0) for name, value in info.items() if value.ndim and name != "lr"}
        row = history_row(task, alone | last | {"grad_norm": info["grad_norm"]})
        if validation is not None:
            sums = sums_of(optimizer.averaged(state.params, state.opt_state), validation)
            row |= history_row(task, sums, "val")
        return state, row

    start = jax.jit(lambda key: init(recipe, key, tree.example(train.x)))(key)
    return lax.scan(epoch, start, length=epochs)


def check_total(flag: str, epochs: int, steps_per_epoch: int) -> int:
    """The steps of a whole run, which `State.step` must be able to count."""
    total = epochs * steps_per_epoch
    if total > MAX_STEPS:
        cure = "train for fewer epochs, or on larger batches"
        raise InputError(f"{flag}={epochs}: {total:,} steps, at most {MAX_STEPS:,} can be counted; {cure}")
    return total
