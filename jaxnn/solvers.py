"""What the scikit-learn estimators compile: one program for an epoch, one for a step of L-BFGS, one to predict.

Each is a pure function over the engine. What shapes a program is in its `Spec`; all other settings (learning rate,
alpha, momentum, ...) are numbers that it is given, so that every estimator of the same shape shares one program.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from jaxnn import engine, models, optim, tasks
from jaxnn.activations import Activation
from jaxnn.config import OptimConfig
from jaxnn.types import Batch, Model, Params, State, Task


class Spec(NamedTuple):
    """All that is compiled into the programs of an estimator."""

    hidden: tuple[int, ...]
    outputs: int
    task: str  # binary, multiclass, multilabel, squared_error or poisson
    solver: str | optax.GradientTransformation
    activation: tuple[str | Activation, ...] = ("relu",)
    pieces: int = 2
    dropout: float = 0.0
    nesterov: bool = False

    @property
    def activations(self) -> tuple[str | Activation, ...]:
        """One for each hidden layer."""
        return self.activation * len(self.hidden) if len(self.activation) == 1 else self.activation


class Settings(NamedTuple):
    """The numbers that the programs are given: `float[]` each."""

    lr: Any
    alpha: Any
    momentum: Any
    beta_1: Any
    beta_2: Any
    epsilon: Any


class Programs(NamedTuple):
    """The compiled functions of a `Spec`; `data` is a `Batch` of rows."""

    init: Callable[[Params, Settings], Any]  # -> the optimizer's state
    epoch: Callable[..., tuple[State, jax.Array, jax.Array]]  # state, data, index, settings, key -> (state, loss, ok)
    lbfgs: Callable[..., tuple[Params, Any, dict[str, jax.Array]]]  # params, opt_state, data, settings
    outputs: Callable[[Params, jax.Array], jax.Array]  # probabilities or numbers
    log_outputs: Callable[[Params, jax.Array], jax.Array]  # logarithms of probabilities
    validate: Callable[[Params, Batch], tuple[jax.Array, jax.Array]]  # -> (mean loss, outputs)


def layer_names(spec: Spec) -> list[str]:
    """The entries of the parameters, in the order of the layers."""
    kinds = ["maxout" if name == "maxout" else "dense" for name in spec.activations] + ["dense"]
    return [f"{kind}_{kinds[:i].count(kind)}" for i, kind in enumerate(kinds)]


def network(spec: Spec) -> Model:
    rest: dict[str, Any] = {"pieces": spec.pieces, "dropout": spec.dropout}
    return models.mlp(spec.hidden, spec.outputs, activation=spec.activation, **rest)


def task_of(spec: Spec) -> Task:
    """The task, with scikit-learn's losses: half the squared error, half the Poisson deviance, summed over outputs."""
    if spec.task == "binary":
        return tasks.binary()
    if spec.task == "multiclass":
        return tasks.multiclass(spec.outputs)
    if spec.task == "multilabel":
        return tasks.multilabel(spec.outputs)
    base = tasks.regression("poisson" if spec.task == "poisson" else "squared", outputs=spec.outputs)

    def loss(raw: jax.Array, y: jax.Array) -> jax.Array:
        mean = base.loss(raw, y)
        if spec.task == "squared_error":
            return mean * (spec.outputs / 2)
        return mean * spec.outputs + jnp.sum(jax.scipy.special.xlogy(y, y) - y, axis=-1)

    return base._replace(loss=loss)


def weighted(loss: jax.Array, weight: jax.Array) -> jax.Array:
    return jnp.sum(jnp.where(weight != 0, weight * loss, 0))


def objective(spec: Spec, alpha: jax.Array) -> engine.Objective:
    """The sums of a batch with scikit-learn's penalty, `alpha / 2 * sum of W^2`, in them: it is divided by the weight
    of the batch, as the losses are."""
    model, task = network(spec), task_of(spec)

    def sums(params: Params, batch: Batch, key: jax.Array | None) -> dict[str, jax.Array]:
        loss = weighted(task.loss(model.apply(params, batch.x, key=key), batch.y), batch.weight)
        return {"loss": loss + optim.penalty(params, alpha), "weight": jnp.sum(batch.weight)}

    return engine.Objective(sums, None)


def sgd(settings: Settings, nesterov: bool) -> optax.GradientTransformation:
    """v <- mu v - lr g; theta <- theta + v, or with Nesterov's momentum theta + mu v - lr g (with the new v).

    As in `optax.sgd`, but the velocity holds the learning rate, which matters where that changes. Source:
    scikit-learn; Sutskever et al. 2013.
    """
    ahead = lambda v, g: settings.momentum * v - settings.lr * g

    def update(updates: Params, state: Any, params: Params = None) -> tuple[Params, Params]:
        del params  # the gradient is all it needs
        velocity = jax.tree.map(ahead, state, updates)
        return (jax.tree.map(ahead, velocity, updates) if nesterov else velocity), velocity

    return optax.GradientTransformation(lambda params: jax.tree.map(jnp.zeros_like, params), update)


class AdamState(NamedTuple):
    count: jax.Array  # i32[]
    mean: Params
    square: Params


def adam(settings: Settings) -> optax.GradientTransformation:
    """theta <- theta - lr sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + epsilon): epsilon before the bias is corrected.

    Source: Kingma and Ba 2015, the variant at the end of section 2, which scikit-learn uses (and `optax.adam` not).
    """
    lr, b1, b2 = settings.lr, settings.beta_1, settings.beta_2

    def init(params: Params) -> AdamState:
        zeros = jax.tree.map(jnp.zeros_like, params)
        return AdamState(jnp.zeros((), jnp.int32), zeros, zeros)

    def update(updates: Params, state: Any, params: Params = None) -> tuple[Params, AdamState]:
        del params
        count = state.count + 1
        bias = lambda b: -jnp.expm1(count.astype(b.dtype) * jnp.log(b))  # 1 - b^t, exact for b near 1 too
        mean = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.mean, updates)
        square = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g**2, state.square, updates)
        rate = lr * jnp.sqrt(bias(b2)) / bias(b1)
        moved = jax.tree.map(lambda m, v: -rate * m / (jnp.sqrt(v) + settings.epsilon), mean, square)
        return moved, AdamState(count, mean, square)

    return optax.GradientTransformation(init, update)


def transformation(spec: Spec, settings: Settings) -> optax.GradientTransformation:
    """The solver: scikit-learn's own rules for `sgd` and `adam`, optax' for all other names, or an optax object."""
    if not isinstance(spec.solver, str):
        return spec.solver
    if spec.solver == "sgd":
        return sgd(settings, spec.nesterov)
    if spec.solver == "adam":
        return adam(settings)
    if spec.solver == "lbfgs":
        return optax.lbfgs()
    return optim.update_rule(OptimConfig(name=spec.solver))(settings.lr)


@functools.lru_cache(maxsize=256)
def programs(spec: Spec) -> Programs:
    """The programs of a spec, made once; JAX compiles each for the shapes and dtypes that it meets."""
    model, task = network(spec), task_of(spec)

    @jax.jit
    def init(params: Params, settings: Settings) -> Any:
        flat = ravel_pytree(params)[0] if spec.solver == "lbfgs" else params
        with optim.relaxed():
            return transformation(spec, settings).init(flat)

    @jax.jit
    def epoch(
        state: State, data: Batch, index: jax.Array, settings: Settings, key: jax.Array
    ) -> tuple[State, jax.Array, jax.Array]:
        """index `i32[n, B]`, -1 for padding. The loss is summed over the rows: sum of batch size x batch loss."""
        real = index >= 0
        step = engine.make_train_step(objective(spec, settings.alpha), transformation(spec, settings))
        state, info = engine.make_run_rows(step)(state, data, jnp.where(real, index, 0), real, key)
        weight = jnp.where(info["weight"] > 0, info["weight"], 1)
        loss = jnp.sum(info["loss"] / weight * jnp.sum(real, axis=-1).astype(weight.dtype))
        return state, loss, info["finite"]

    @jax.jit
    def lbfgs(
        params: Params, opt_state: Any, data: Batch, settings: Settings
    ) -> tuple[Params, Any, dict[str, jax.Array]]:
        gradient = engine.make_gradient(objective(spec, settings.alpha))
        flat, unravel = ravel_pytree(params)  # one vector: a tenth of the operations
        tx: Any = transformation(spec, settings)
        value_fn = lambda flat: gradient(unravel(flat), data, None)[0]
        with optim.relaxed():
            slope: Any
            value, slope = optax.value_and_grad_from_state(value_fn)(flat, state=opt_state)
            updates, opt_state = tx.update(slope, opt_state, flat, value=value, grad=slope, value_fn=value_fn)
            flat = flat + updates
        search = opt_state[-1]
        info = {
            "loss": search.value,
            "slope": jnp.max(jnp.abs(search.grad)),
            "evaluations": search.info.num_linesearch_steps,
            "finite": jnp.isfinite(search.value) & jnp.isfinite(flat).all(),
            "before": value,
            "slope_before": jnp.max(jnp.abs(slope)),
        }
        return unravel(flat), opt_state, info

    @jax.jit
    def outputs(params: Params, x: jax.Array) -> jax.Array:
        return task.link(model.apply(params, x))

    @jax.jit
    def log_outputs(params: Params, x: jax.Array) -> jax.Array:
        z = model.apply(params, x)
        if spec.task == "multiclass":
            return jax.nn.log_softmax(z)
        yes, no = jax.nn.log_sigmoid(z), jax.nn.log_sigmoid(-z)
        return jnp.concatenate([no, yes], -1) if spec.task == "binary" else yes

    @jax.jit
    def validate(params: Params, data: Batch) -> tuple[jax.Array, jax.Array]:
        z = model.apply(params, data.x)
        return weighted(task.loss(z, data.y), data.weight) / jnp.sum(data.weight), task.link(z)

    return Programs(init, epoch, lbfgs, outputs, log_outputs, validate)
