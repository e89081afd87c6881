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
import numpy as np
import optax
from jax import lax
from jax.flatten_util import ravel_pytree

from jaxnn import engine, tree
from jaxnn.config.optim import OptimConfig
from jaxnn.nn import models
from jaxnn.nn.activations import Activation
from jaxnn.numerics import relaxed
from jaxnn.optim.optimizer import update_rule
from jaxnn.tasks import scikit_learn
from jaxnn.tasks.metrics import weighted_sum
from jaxnn.types import Batch, Model, Params, Recipe, State, Window


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
    """The compiled functions of a `Spec`."""

    init: Callable[[Params, Settings], Any]  # -> the optimizer's state
    epoch: Callable[..., tuple[State, dict[str, jax.Array]]]  # state, window, settings, key -> (state, info)
    lbfgs: Callable[..., tuple[Params, Any, dict[str, jax.Array]]]  # params, opt_state, data, settings, spread
    raw: Callable[[Params, jax.Array], jax.Array]  # the outputs of the network
    outputs: Callable[[Params, jax.Array], jax.Array]  # probabilities or numbers
    log_outputs: Callable[[Params, jax.Array], jax.Array]  # logarithms of probabilities
    judge: Callable[..., tuple[jax.Array, jax.Array]]  # raw, y, weight -> (mean loss, probabilities or numbers)


def layer_names(spec: Spec) -> list[str]:
    """The entries of the parameters, in the order of the layers."""
    kinds = ["maxout" if name == "maxout" else "dense" for name in spec.activations] + ["dense"]
    return [f"{kind}_{kinds[:i].count(kind)}" for i, kind in enumerate(kinds)]


def layer_shapes(features: int, spec: Spec) -> list[tuple[tuple[int, int], Any]]:
    """The shape of each layer's weights, and the activation that follows it (the last one's is that before it)."""
    pieces = [spec.pieces if name == "maxout" else 1 for name in spec.activations] + [1]
    widths = (*spec.hidden, spec.outputs)
    shapes = [(a, b * k) for a, b, k in zip((features, *spec.hidden), widths, pieces, strict=True)]
    return list(zip(shapes, (*spec.activations, spec.activation[-1]), strict=True))


def network(spec: Spec) -> Model:
    rest: dict[str, Any] = {"pieces": spec.pieces, "dropout": spec.dropout}
    return models.mlp(spec.hidden, spec.outputs, activation=spec.activation, **rest)


def recipe(spec: Spec, settings: Settings) -> Recipe:
    """scikit-learn's penalty is a part of the sum of the losses, which is divided by the weight of the batch."""
    task = scikit_learn.build(spec.task, spec.outputs)
    return Recipe(network(spec), task, transformation(spec, settings), settings.alpha, penalise="sum")


def zeros(params: Params) -> Params:
    """Arrays of NumPy: no program is compiled for them."""
    return jax.tree.map(np.zeros_like, params)


def sgd(settings: Settings, nesterov: bool) -> optax.GradientTransformation:
    """v <- mu v - lr g; theta <- theta + v, or with Nesterov's momentum theta + mu v - lr g (with the new v).

    As in `optax.sgd`, but the velocity holds the learning rate, which matters where that changes. Source:
    scikit-learn; Sutskever et al. 2013.
    """
    ahead = lambda v, g: settings.momentum * v - settings.lr * g

    def update(updates: Params, state: Any, params: Params = None) -> tuple[Params, Params]:
        del params  # the update depends on the gradient alone
        velocity = jax.tree.map(ahead, state, updates)
        return (jax.tree.map(ahead, velocity, updates) if nesterov else velocity), velocity

    return optax.GradientTransformation(zeros, update)


class AdamState(NamedTuple):
    count: Any  # i32[]
    mean: Params
    square: Params


def adam(settings: Settings) -> optax.GradientTransformation:
    """theta <- theta - lr sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + epsilon): epsilon before the bias is corrected.

    Source: Kingma and Ba 2015, the variant at the end of section 2, which scikit-learn uses (and `optax.adam` not).
    """
    lr, b1, b2 = settings.lr, settings.beta_1, settings.beta_2

    def init(params: Params) -> AdamState:
        return AdamState(np.zeros((), np.int32), zeros(params), zeros(params))

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
    return update_rule(OptimConfig(name=spec.solver))(settings.lr)


def lbfgs_step(
    spec: Spec, params: Params, opt_state: Any, data: Batch, settings: Settings, spread: jax.Array
) -> tuple[Params, Any, dict[str, jax.Array]]:
    """One step of a search for theta / unit over loss / spread^2; `unit` is `spread` in the last layer, else 1.

    The last layer's weights grow with the spread of y, the gradient of the other layers with its square: without
    these units the steps that suit the other layers are too short for the last one by that square.
    """
    made, last, whole = recipe(spec, settings), layer_names(spec)[-1], spread**2
    fill = lambda path, a: jnp.full_like(a, spread if tree.name(path).startswith(last) else 1)
    # As one vector L-BFGS takes a tenth of the operations.
    unit, unravel = ravel_pytree(jax.tree.map_with_path(fill, params))
    flat = ravel_pytree(params)[0] / unit
    tx: Any = made.tx
    value_fn = lambda flat: engine.gradient(made, unravel(flat * unit), data, None)[0] / whole
    with relaxed():
        slope: Any
        value, slope = optax.value_and_grad_from_state(value_fn)(flat, state=opt_state)
        updates, opt_state = tx.update(slope, opt_state, flat, value=value, grad=slope, value_fn=value_fn)
        flat = (flat + updates) * unit
    search = opt_state[-1]
    info = {
        "loss": search.value * whole,
        "slope": jnp.max(jnp.abs(search.grad * (whole / unit))),
        "evaluations": search.info.num_linesearch_steps,
        "finite": jnp.isfinite(search.value) & jnp.isfinite(flat).all(),
        "before": value * whole,
        "slope_before": jnp.max(jnp.abs(slope * (whole / unit))),
        "first": opt_state[0].count == 1,  # of its history: a step of steepest descent
    }
    return unravel(flat), opt_state, info


@functools.lru_cache(maxsize=256)
def programs(spec: Spec) -> Programs:
    """The programs of a spec, made once; JAX compiles each for the shapes and dtypes that it meets."""
    model, task = network(spec), scikit_learn.build(spec.task, spec.outputs)

    own = spec.solver in ("sgd", "adam")  # they begin with arrays of NumPy

    def init(params: Params, settings: Settings) -> Any:
        begin = ravel_pytree(params)[0] if spec.solver == "lbfgs" else params
        with relaxed():
            state = transformation(spec, settings).init(begin)
        # optax begins with weakly typed numbers, which the first step makes strong: the second would be compiled anew.
        strong = lambda a: lax.convert_element_type(a, jnp.asarray(a).dtype)
        return state if own else jax.tree.map(strong, state)

    @jax.jit
    def epoch(state: State, window: Window, settings: Settings, key: jax.Array) -> tuple[State, dict[str, jax.Array]]:
        """The loss is summed over the rows: the sum of batch size x batch loss."""
        state, info = engine.steps(recipe(spec, settings), state, window, key)
        weight = jnp.where(info["weight"] > 0, info["weight"], 1)
        loss = jnp.sum(info["loss"] / weight * jnp.sum(window.real, axis=-1).astype(weight.dtype))
        return state, {"loss": loss, "finite": info["finite"]}

    @jax.jit
    def raw(params: Params, x: jax.Array) -> jax.Array:
        return model.apply(params, x)

    @jax.jit
    def outputs(params: Params, x: jax.Array) -> jax.Array:
        return task.link(model.apply(params, x))

    @jax.jit
    def log_outputs(params: Params, x: jax.Array) -> jax.Array:
        assert task.log_link
        return task.log_link(model.apply(params, x))

    @jax.jit
    def judge(raw: jax.Array, y: jax.Array, weight: jax.Array) -> tuple[jax.Array, jax.Array]:
        return weighted_sum(task.loss(raw, y), weight) / jnp.sum(weight), task.link(raw)

    begin, search = init if own else jax.jit(init), jax.jit(functools.partial(lbfgs_step, spec))
    return Programs(begin, epoch, search, raw, outputs, log_outputs, judge)
