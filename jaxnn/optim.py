"""From the settings to one optax transformation: theta <- theta - rho grad, and what is put around it.

    clip_value -> clip_norm -> optimizer -> plateau -> max_norm -> average

The state is a dict with these names as keys (those in use), so the learning rate that was applied and the average of
the weights can be read off it. The penalty `alpha` is not here: it is part of the objective, see `penalty`.
"""

from __future__ import annotations

import contextlib
import inspect
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.core import Tracer
from optax import contrib

from jaxnn.config import OPTIMIZERS, OptimConfig, positive
from jaxnn.errors import InputError
from jaxnn.schedules import decay_window, schedule
from jaxnn.types import Params

HYPERPARAMETERS = ("momentum", "nesterov", "b1", "b2", "eps")


@contextlib.contextmanager
def relaxed() -> Iterator[None]:
    """Inside optax integers meet floats and scalars meet arrays, on purpose."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def is_weight(params: Params) -> Any:
    """Which leaves are weights: two axes or more, and not called `b` or `bias`. A pytree of bool like `params`.

    >>> import jax.numpy as jnp
    >>> from jaxnn import optim
    >>> optim.is_weight({"dense_0": {"w": jnp.ones((3, 2)), "b": jnp.ones(2)}})
    {'dense_0': {'b': False, 'w': True}}
    """

    def weight(path: tuple[Any, ...], leaf: Any) -> bool:
        return jnp.ndim(leaf) >= 2 and jax.tree_util.keystr(path[-1:], simple=True) not in ("b", "bias")

    return jax.tree.map_with_path(weight, params)


def penalty(params: Params, alpha: float | jax.Array) -> jax.Array:
    """alpha/2 |W|^2, the sum over all weights and no biases: `float[]`, to be added to the loss.

    >>> import jax.numpy as jnp
    >>> from jaxnn import optim
    >>> float(optim.penalty({"w": jnp.full((2, 3), 2.0), "b": jnp.ones(3)}, alpha=0.5))
    6.0
    """
    with relaxed():
        squares = jax.tree.map(lambda w, yes: jnp.sum(jnp.square(w)) if yes else 0.0, params, is_weight(params))
        return jnp.asarray(alpha / 2.0 * jax.tree.reduce(jnp.add, squares, 0.0))


def update_rule(config: OptimConfig) -> Callable[..., optax.GradientTransformation]:
    """The optax optimizer `config` names, as a function of its learning rate alone: `learning_rate -> transformation`.

    Weight decay is decoupled and the same for all: w <- w - rho (step(g) + decay w), and biases are left alone.
    Raises `InputError` for a hyper-parameter the optimizer does not have.
    Source: Loshchilov and Hutter 2019.
    """
    alias = getattr(optax if hasattr(optax, config.name) else contrib, config.name)
    own = {name: p.default for name, p in inspect.signature(alias).parameters.items()}
    values = {name: getattr(config, name) for name in HYPERPARAMETERS}
    given = {name: value for name, value in values.items() if value is not None and value is not False}  # 0.0 is given
    for name, value in given.items():
        if name not in own:
            takes = ", ".join(f"--optim.{other}" for other in HYPERPARAMETERS if other in own) or "no such flag"
            raise InputError(f"--optim.{name}={value}: {config.name} has no {name}; leave it out (it takes {takes})")
    decay = config.weight_decay if config.weight_decay is not None else own.get("weight_decay") or 0.0
    if "weight_decay" in own:
        given["weight_decay"] = 0.0  # added below instead, for all alike
    if own.get("eps_root") == 0.0:
        # too small to change a step, but under grad over lr a dead unit would meet the derivative of sqrt at 0
        given["eps_root"] = 1e-30

    def build(learning_rate: jax.Array) -> optax.GradientTransformation:
        step = alias(learning_rate, **given)
        return optax.chain(step, optax.add_decayed_weights(-learning_rate * decay, is_weight)) if decay else step

    return build


def clip_norm(max_norm: float) -> optax.GradientTransformation:
    """A gradient whose norm over all leaves is larger is scaled back to `max_norm`.

    As optax's, but for its corners: a gradient of zero has a derivative (under `grad` over the learning rate), and one
    leaf of NaN stays one leaf. Source: Pascanu et al. 2013.
    """

    def update(updates: Params, params: Params = None) -> Params:
        del params
        square = optax.tree.norm(updates, squared=True)
        outside = square > max_norm**2
        norm = jnp.sqrt(jnp.where(outside, square, 1.0))
        return jax.tree.map(lambda g: jnp.where(outside, g / norm * max_norm, g), updates)

    return optax.stateless(update)


def limit_norm(max_norm: float) -> optax.GradientTransformation:
    """After the update, each unit's incoming weights are scaled back to a norm of at most `max_norm`.

    A unit is a row of a dense layer's `w[j]`, and otherwise an entry of the last axis: `w[:, :, :, j]` of a
    convolution, `kernel[:, j]` of Flax. One that is inside gets its update untouched. Source: Srebro and Shraibman
    2005; Srivastava et al. 2014.
    """

    def project(path: tuple[Any, ...], update: jax.Array, param: jax.Array, yes: bool) -> jax.Array:
        if not yes:
            return update
        moved = param + update
        rows = moved.ndim == 2 and jax.tree_util.keystr(path[-1:], simple=True) == "w"
        incoming = (1,) if rows else tuple(range(moved.ndim - 1))
        square = jnp.sum(jnp.square(moved), axis=incoming, keepdims=True)
        outside = square > max_norm**2
        scale = max_norm * jax.lax.rsqrt(jnp.where(outside, square, 1.0))  # never 1/0, not even in a derivative
        return jnp.where(outside, moved * scale - param, update)

    return optax.stateless(lambda updates, params: jax.tree.map_with_path(project, updates, params, is_weight(params)))


class AverageState(NamedTuple):
    count: jax.Array  # i32[]
    average: Params


def average(decay: float) -> optax.GradientTransformation:
    """Follows the exponential moving average of the parameters after each update; the updates pass unchanged.

    The average after t steps is sum_i decay^(t-i) theta_i / sum_i decay^(t-i) over i = 1..t: it has weight 1 in all,
    starts at theta_1 and owes nothing to the initial parameters (those are what it holds before the first step).
    Kept up as a <- a + (theta - a) (1 - decay) / (1 - decay^t). Source: Polyak and Juditsky 1992; Kingma and Ba 2015.
    """

    def init(params: Params) -> AverageState:
        return AverageState(jnp.zeros((), jnp.int32), jax.tree.map(jnp.copy, params))  # a copy, to be donated beside it

    def update(updates: Params, state: Any, params: Params = None) -> tuple[Params, AverageState]:
        count = state.count + 1
        share = (1.0 - decay) / -jnp.expm1(count * math.log(decay))
        moved = optax.apply_updates(params, updates)
        mean = jax.tree.map(lambda a, p: (a + share * (p - a)).astype(a.dtype), state.average, moved)
        return updates, AverageState(count, mean)

    return optax.GradientTransformation(init, update)


def optimizer(
    config: OptimConfig, *, steps_per_epoch: int, total_steps: int, lr: float | jax.Array | None = None
) -> optax.GradientTransformationExtraArgs:
    """The whole optimizer as one optax transformation.

    One call serves every optimizer and schedule, in `jit`, `scan` and `vmap`, under any promotion setting:

        updates, state = tx.update(grads, state, params, value=loss, grad=grads, value_fn=loss_of_params)

    `lr` stands for `config.lr`, and may be traced: `vmap` and `grad` over learning rates work. (The derivative is nan
    for prodigy and dadapt_adamw where an entry of the gradient is exactly zero, and for lars, muon and novograd, which
    divide by the norm of a layer's gradient, where a whole layer is.)

    Raises `InputError` for settings that do not fit the optimizer or the length of the run.

    >>> import jax.numpy as jnp
    >>> from jaxnn import optim
    >>> from jaxnn.config import OptimConfig
    >>> tx = optim.optimizer(OptimConfig(lr=0.5), steps_per_epoch=10, total_steps=100)
    >>> theta = jnp.array([1.0, 2.0])
    >>> updates, state = tx.update(2 * theta, tx.init(theta), theta)
    >>> updates, optim.learning_rate(state)
    (Array([-1., -2.], dtype=float32), Array(0.5, dtype=float32))
    """
    if lr is None:
        lr = config.lr if config.lr is not None else OPTIMIZERS[config.name]
    elif config.name == "lbfgs":
        raise InputError(f"lr={lr}: lbfgs finds its step by a line search; leave it out")
    elif not isinstance(lr, Tracer):
        positive("lr", float(lr))
    length = {"steps_per_epoch": steps_per_epoch, "total_steps": total_steps}
    step = update_rule(config)
    rate = schedule(config, **length, lr=lr)
    if config.schedule in ("constant", "plateau") and config.warmup == "0":
        rate = lr  # a number is carried as it is; a function is evaluated at each step (a tenth of a small network's)
    links: list[tuple[str, optax.GradientTransformation]] = []
    if config.clip_value is not None:
        links.append(("clip_value", optax.clip(config.clip_value)))
    if config.clip_norm is not None:
        links.append(("clip_norm", clip_norm(config.clip_norm)))
    links.append(("optimizer", optax.inject_hyperparams(step)(learning_rate=rate)))
    if config.schedule == "plateau":
        # the loss of one batch is too noisy to judge by: compare its mean over an epoch, or less if asked to
        window = decay_window(config, **length)
        size = min(window, steps_per_epoch)
        reduce = contrib.reduce_on_plateau(config.decay, patience=round(window / size), accumulation_size=size)
        links.append(("plateau", reduce))
    if config.max_norm is not None:
        links.append(("max_norm", limit_norm(config.max_norm)))
    if config.ema is not None:
        links.append(("average", average(config.ema)))
    chain = optax.named_chain(*links)

    def init(params: Params) -> Any:
        with relaxed():
            return chain.init(params)

    def update(updates: Params, state: Any, params: Params = None, **extra: Any) -> tuple[Params, Any]:
        with relaxed():
            updates, new = chain.update(updates, state, params, **extra)
            # a float64 learning rate leaves float32 parameters and moments what they were, as a scan needs them
            return optax.tree.cast_like((updates, new), (params, state))

    return optax.GradientTransformationExtraArgs(init, update)


def learning_rate(opt_state: Any) -> jax.Array:
    """The rate that the last update was made with: schedule times plateau, or the step of the line search. `float[]`

    Before the first update, the rate that it is going to have. An optax optimizer of one's own, not made by
    `optimizer`, keeps its rate to itself: nan.

    >>> import jax.numpy as jnp
    >>> import jaxnn
    >>> tx = jaxnn.optimizer(jaxnn.OptimConfig(lr=0.5, schedule="inverse_scaling"), steps_per_epoch=1, total_steps=9)
    >>> state = tx.init(jnp.ones(2))
    >>> for _ in range(4):
    ...     _, state = tx.update(jnp.ones(2), state, jnp.ones(2))
    >>> float(jaxnn.learning_rate(state))  # 0.5 / sqrt(4)
    0.25
    """
    if not ours(opt_state):
        return jnp.array(jnp.nan, jnp.float32)
    rate = optax.tree.get(opt_state["optimizer"].inner_state, "learning_rate")  # lbfgs: found by its line search
    if rate is None:
        rate = opt_state["optimizer"].hyperparams["learning_rate"]
    return rate * opt_state["plateau"].scale if "plateau" in opt_state else rate


def averaged(params: Params, opt_state: Any) -> Params:
    """The running average of the parameters where one is kept (`config.ema`), else `params`."""
    return opt_state["average"].average if ours(opt_state) and "average" in opt_state else params


def bounded(config: OptimConfig) -> bool:
    """Whether an infinite gradient would become a finite step, so that nothing in the weights would tell."""
    return config.clip_value is not None or config.name in ("lion", "sign_sgd")


def ours(opt_state: Any) -> bool:
    """Whether it is the state of an `optimizer`: the dict of its links."""
    return isinstance(opt_state, dict) and "optimizer" in opt_state
