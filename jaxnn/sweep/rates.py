"""A learning rate for a config: each of a grid of rates trains the network for a while, as one pure function.

The range test of Smith raises the rate within one run: the loss at a rate has also what the rates before it did, and
diverges late. Here each rate begins at step 0. The short runs are those of `jaxnn.fit`, with the config's schedule over
their length; one program trains them all, one after the other on a CPU, together elsewhere (as a sweep).

Source: Smith 2017, "Cyclical learning rates for training neural networks", arXiv:1506.01186, and fastai's `lr_find`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxnn import recipe
from jaxnn.config.names import OPTIMIZERS
from jaxnn.config.own import Own
from jaxnn.config.settings import Config
from jaxnn.data.dataset import Dataset
from jaxnn.engine.fitting import fit
from jaxnn.errors import InputError, NumericsError
from jaxnn.training import plan
from jaxnn.types import Batch, Recipe

RATES, DECADES = 20, 5.0  # the grid: about the rate that the optimizer has by default
SHARE, STEPS = 0.1, 2000  # of the steps of the run, and no fewer than these, or than the run has
NEAR = 1 / 400  # of the fall of the loss: what a rate may be worse by and still be as good
SHIFTS = 2  # how often the grid is moved where the best rate is at its end


class Curve(NamedTuple):
    """The loss by learning rate, after so many steps each."""

    rates: np.ndarray  # f64[S], rising
    losses: np.ndarray  # f64[S], of validation, or of training where there is none; inf where a run diverged
    steps: int
    best: float


class Short(NamedTuple):
    """A run cut short: its settings, its plan and its rows."""

    config: Config
    plan: plan.Plan
    train: Batch
    validation: Batch | None


def find(config: Config, data: Dataset, own: Own) -> Curve:
    """The curve of a config, and the rate to take. Raises `InputError` where there is none to find, and `NumericsError`
    where the network diverges at all of them."""
    _check(config, own)
    short = shortened(config, data)
    known = data.describe()
    model, task, example = recipe.network(config, known, own, mean=data.mean, std=data.std)

    def build(rate: Any) -> Recipe:
        given = (short.config, known, model, task, example, short.plan, data.class_weight, own)
        return recipe.recipe(*given, traced={"lr": rate})

    build(1.0)  # what can be refused is refused before anything is compiled
    each = lax.map if jax.default_backend() == "cpu" else lambda run, rates: jax.vmap(run)(rates)
    key, rows = jax.random.key(config.seed), jax.device_put((short.train, short.validation))

    @jax.jit
    def program(rates: jax.Array, rows: Any) -> jax.Array:  # rows that it closes over would be constants in it
        given = short._replace(train=rows[0], validation=rows[1])
        return each(functools.partial(loss_at, build, given, key), rates)

    middle = config.optim.lr if own.optimizer else None
    found: dict[float, float] = {}
    tried = grid(config, middle)
    for _ in range(1 + SHIFTS):
        found |= dict(zip(tried.tolist(), np.asarray(program(jnp.asarray(tried, float), rows), float), strict=True))
        rates = np.array(sorted(found))
        values = np.array([found[rate] for rate in rates])
        best = choose(values)
        if 0 < best < len(rates) - 1:
            break
        width = 10 ** (DECADES * RATES / (RATES - 1))
        tried = rates[:RATES] / width if best == 0 else rates[-RATES:] * width
    if not np.isfinite(values[best]):
        raise NumericsError("loss=nan: at every learning rate; scale the data, or set --optim.clip_norm 1")
    if values[best] >= values[0] * (1 - NEAR):
        rule = f"no learning rate of {rates[0]:.1g} to {rates[-1]:.1g} lowers the loss, {values[0]:.4g}"
        raise InputError(f"lr: {rule}; look at the data (jaxnn data), or at a run (jaxnn diagnose)")
    return Curve(rates, np.where(np.isfinite(values), values, np.inf), short.plan.total, float(f"{rates[best]:.2g}"))


def grid(config: Config, middle: float | None = None) -> np.ndarray:
    """The rates that are tried first, f64[20]: 5 decades about the default of the optimizer, or about `middle`."""
    return (middle or OPTIMIZERS[config.optim.name]) * 10 ** np.linspace(-DECADES / 2, DECADES / 2, RATES)


def loss_at(build: Callable[[Any], Recipe], short: Short, key: jax.Array, rate: Any) -> Any:
    """The loss that a short run ends with at a learning rate: f32[], pure; nan or inf where it diverges."""
    made = build(rate)
    length = {"epochs": short.config.epochs, "batch_size": short.plan.batch_size}
    how = {name: getattr(made, name) for name in ("alpha", "accumulate", "freeze", "augment")}
    _, history = fit(key, made.model, made.task, made.tx, short.train, **length, validation=short.validation, **how)
    return history["train/loss" if short.validation is None else "val/loss"][-1]


def choose(losses: np.ndarray) -> int:
    """The number of the rate to take: the middle of those that are as good as the best one, to 1/400 of what the loss
    falls by.

    Of each the loss counts half, and those of its neighbours the other half: a rate beside those at which the network
    diverges is not taken, with another seed it may diverge too. A loss counts no more than that of the least rate,
    which is near that of the first step.

    >>> choose(np.array([2.0, 1.0, 0.4, 0.3, 0.29, np.inf])), choose(np.array([2.0, 1.0, 0.3, 0.3, 0.3, 0.3, 0.3]))
    (3, 4)
    """
    most = losses[0] if np.isfinite(losses[0]) else np.max(losses, initial=0.0, where=np.isfinite(losses))
    padded = np.pad(np.minimum(np.where(np.isfinite(losses), losses, np.inf), most), 1, mode="edge")
    smooth = (padded[:-2] + 2 * padded[1:-1] + padded[2:]) / 4
    least = int(np.argmin(smooth))
    good = smooth <= smooth[least] + NEAR * (smooth.max() - smooth[least])
    low = high = least
    while low and good[low - 1]:
        low -= 1
    while high + 1 < len(good) and good[high + 1]:
        high += 1
    return (low + high) // 2


def shortened(config: Config, data: Dataset) -> Short:
    """A tenth of the steps of a run, or 2,000 where that is more; of an epoch that is longer, some of the rows. Of rows
    on the disk, as many as 2,000 steps take are read."""
    whole = plan.plan(config, len(data.train.weight))
    steps = max(int(SHARE * whole.total), min(STEPS, whole.total))
    epochs = max(round(steps / whole.steps_per_epoch), 1)
    train = _some(data.train, min(steps, STEPS if data.is_streamed else steps) * whole.batch_size)
    config = replace(config, epochs=min(epochs, config.epochs), exact=None)
    validation = data.validation and _some(data.validation, STEPS * whole.batch_size)
    return Short(config, plan.plan(config, len(train.weight)), train, validation)


def _some(rows: Batch, most: int) -> Batch:
    """At most so many of the rows, evenly spaced, in memory."""
    n = len(rows.weight)
    index = slice(None) if n <= most else np.linspace(0, n - 1, most).round().astype(int)
    return jax.tree.map(lambda a: np.asarray(a[index]), rows)


def _check(config: Config, own: Own) -> None:
    if config.optim.name == "lbfgs" and not own.optimizer:
        raise InputError("--optim.name=lbfgs: finds its step by a line search, and has no learning rate to find")
    if config.init_from is not None:
        rule = "the runs by which a rate is found begin anew"
        raise InputError(f"--init_from={config.init_from}: {rule}; leave it out, and take a smaller rate than is found")
