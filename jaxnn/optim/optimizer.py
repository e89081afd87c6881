"""From the settings to one optax transformation: theta <- theta - rho grad, and what is put around it.

    clip_value -> clip_norm -> optimizer -> lr_scale -> plateau -> max_norm -> unfreeze -> average

The state is a dict with these names as keys (those in use), so the learning rate that was applied and the average of
the weights can be read off it. The penalty `alpha` is a part of the objective (`jaxnn.engine`), not of the optimizer.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import optax
from optax import contrib

from jaxnn import tree
from jaxnn.config.names import OPTIMIZERS
from jaxnn.config.optim import OptimConfig
from jaxnn.errors import InputError, check, fraction, non_negative, positive
from jaxnn.numerics import is_zero, relaxed
from jaxnn.optim.rules import average, clip_norm, limit_norm, scale_rates, unfreeze
from jaxnn.optim.schedules import decay_window, schedule
from jaxnn.types import Params

HYPERPARAMETERS = ("momentum", "nesterov", "b1", "b2", "eps")


def update_rule(config: OptimConfig, **traced: Any) -> Callable[..., optax.GradientTransformation]:
    """The optax optimizer `config` names, as a function of its learning rate alone: `learning_rate -> transformation`.

    Weight decay is decoupled and the same for all: w <- w - rho (step(g) + decay w), and biases are left alone.
    `traced` has values that stand for those of the config: momentum, b1, b2, eps, weight_decay.
    Raises `InputError` for a hyper-parameter the optimizer does not have.
    Source: Loshchilov and Hutter 2019.
    """
    alias = getattr(optax if hasattr(optax, config.name) else contrib, config.name)
    own = {name: p.default for name, p in inspect.signature(alias).parameters.items()}
    values = {name: getattr(config, name) for name in (*HYPERPARAMETERS, "weight_decay")} | traced
    decay = values.pop("weight_decay")
    # A value of 0.0 is given, too.
    given = {name: value for name, value in values.items() if value is not None and value is not False}
    for name, value in given.items():
        if name not in own:
            takes = ", ".join(f"--optim.{other}" for other in HYPERPARAMETERS if other in own) or "no such flag"
            raise InputError(f"--optim.{name}={value}: {config.name} has no {name}; leave it out (it takes {takes})")
    decay = decay if decay is not None else own.get("weight_decay") or 0.0
    if "weight_decay" in own:
        given["weight_decay"] = 0.0  # `build` adds the decay, in one form for all optimizers
    if own.get("eps_root") == 0.0:
        # Below float32's rounding of any step. For d(loss)/d(lr): where a gradient is exactly 0, the derivative of
        # the square root would be infinite.
        given["eps_root"] = 1e-30

    def build(learning_rate: jax.Array) -> optax.GradientTransformation:
        step = alias(learning_rate, **given)
        if is_zero(decay):
            return step
        return optax.chain(step, optax.add_decayed_weights(-learning_rate * decay, tree.is_weight))

    return build


def optimizer(
    config: OptimConfig,
    *,
    steps_per_epoch: int,
    total_steps: int,
    lr: float | jax.Array | None = None,
    momentum: float | jax.Array | None = None,
    b1: float | jax.Array | None = None,
    b2: float | jax.Array | None = None,
    eps: float | jax.Array | None = None,
    weight_decay: float | jax.Array | None = None,
    own: Callable[[Any], Any] | None = None,
    own_schedule: Callable[[Any, int], Any] | None = None,
) -> optax.GradientTransformationExtraArgs:
    """The whole optimizer as one optax transformation.

    One call serves every optimizer and schedule, in `jit`, `scan` and `vmap`, under any promotion setting:

        updates, state = tx.update(grads, state, params, value=loss, grad=grads, value_fn=loss_of_params)

    `lr`, `momentum`, `b1`, `b2`, `eps` and `weight_decay` stand for those of the config, `f32[]` each, and may be
    traced: `vmap` and `grad` over them work. (The derivative is nan for prodigy and dadapt_adamw where an entry of
    the gradient is exactly zero, and for lars, muon and novograd, which divide by the norm of a layer's gradient,
    where a whole layer is. That over b1 and b2 needs JAX's standard promotion, not the strict one.)

    `own(learning_rate)`, an optax transformation, and `own_schedule(learning_rate, total_steps)`, a function of the
    step that is finite and not negative, stand for those that the config names. Raises `InputError` for settings that
    do not fit the optimizer or the length of the run.

    >>> import jax.numpy as jnp
    >>> import jaxnn
    >>> tx = jaxnn.optimizer(jaxnn.OptimConfig(lr=0.5), steps_per_epoch=10, total_steps=100)
    >>> theta = jnp.array([1.0, 2.0])
    >>> updates, state = tx.update(2 * theta, tx.init(theta), theta)
    >>> updates, jaxnn.learning_rate(state)
    (Array([-1., -2.], dtype=float32), Array(0.5, dtype=float32))
    """
    if lr is None:
        lr = config.lr if config.lr is not None else OPTIMIZERS[config.name]
    elif config.name == "lbfgs":
        raise InputError(f"lr={lr}: lbfgs finds its step by a line search; leave it out")
    positive("lr", lr)
    given = _given(momentum=momentum, b1=b1, b2=b2, eps=eps, weight_decay=weight_decay)
    length = {"steps_per_epoch": steps_per_epoch, "total_steps": total_steps}
    step = update_rule(config, **given) if own is None else _own_rule(own)
    rate = schedule(config, **length, lr=lr) if own_schedule is None else _own_rate(own_schedule, lr, total_steps)
    if own_schedule is None and config.schedule in ("constant", "plateau") and config.warmup == "0":
        rate = lr  # a number: optax evaluates a schedule at every step, 10 % of a small network's step
    chain = optax.named_chain(*_links(config, optax.inject_hyperparams(step)(learning_rate=rate), **length))

    def init(params: Params) -> Any:
        with relaxed():
            return chain.init(params)

    def update(updates: Params, state: Any, params: Params = None, **extra: Any) -> tuple[Params, Any]:
        with relaxed():
            updates, new = chain.update(updates, state, params, **extra)
            # lax.scan needs a carry of one dtype: under x64 the learning rate would make float64 of the parameters.
            return optax.tree.cast_like((updates, new), (params, state))

    return optax.GradientTransformationExtraArgs(init, update)


def _given(**values: Any) -> dict[str, Any]:
    """Those that are given, each in its range."""
    given = {name: value for name, value in values.items() if value is not None}
    rules = {"eps": positive, "weight_decay": non_negative}
    for name, value in given.items():
        rules.get(name, fraction)(name, value)
    return given


def _own_rule(own: Callable[[Any], Any]) -> Callable[..., optax.GradientTransformation]:
    def build(learning_rate: jax.Array) -> optax.GradientTransformation:
        tx = own(learning_rate)
        if not isinstance(tx, optax.GradientTransformation):
            cure = "return optax.adam(learning_rate) or another"
            raise InputError(f"optimizer: gives a {type(tx).__name__}, must give an optax transformation; {cure}")
        return tx

    return build


def _own_rate(own: Callable[[Any, int], Any], lr: Any, total_steps: int) -> Callable[[jax.Array], jax.Array]:
    rate = own(lr, total_steps)
    if not callable(rate):
        cure = "return lambda step: learning_rate"
        raise InputError(f"schedule: gives a {type(rate).__name__}, must give a function of the step; {cure}")
    with relaxed():
        middle = total_steps // 2
        for step in (0, middle, total_steps - 1):  # a warm-up begins with 0, a decay may end there
            value: Any = rate(jnp.int32(step))
            check(f"schedule at step {step}", value, "one number", jnp.shape(value) == ())
            (positive if step == middle else non_negative)(f"schedule at step {step}", value)
        try:
            jax.eval_shape(rate, jax.ShapeDtypeStruct((), jnp.int32))
        except jax.errors.ConcretizationTypeError:
            rule = "the step is traced; use jnp.where instead of if"
            raise InputError(f"schedule: depends on the step as a Python number, and {rule}") from None
    return lambda step: jnp.asarray(rate(step), float)


def _links(
    config: OptimConfig, inner: optax.GradientTransformation, *, steps_per_epoch: int, total_steps: int
) -> list[tuple[str, optax.GradientTransformation]]:
    """What a gradient goes through, in this order, each by its name."""
    links: list[tuple[str, optax.GradientTransformation]] = []
    if config.clip_value is not None:
        links.append(("clip_value", optax.clip(config.clip_value)))
    if config.clip_norm is not None:
        links.append(("clip_norm", clip_norm(config.clip_norm)))
    links.append(("optimizer", inner))
    if config.lr_scale:
        links.append(("lr_scale", scale_rates(config.factors())))
    if config.schedule == "plateau":
        # The loss of one batch is too noisy to judge by: its mean over an epoch is compared, or over decay_every.
        window = decay_window(config, steps_per_epoch=steps_per_epoch, total_steps=total_steps)
        size = min(window, steps_per_epoch)
        reduce = contrib.reduce_on_plateau(config.decay, patience=round(window / size), accumulation_size=size)
        links.append(("plateau", reduce))
    if config.max_norm is not None:
        links.append(("max_norm", limit_norm(config.max_norm)))
    if config.unfreeze:  # after max_norm, which moves weights too
        starts = config.unfreeze_at(steps_per_epoch=steps_per_epoch, total_steps=total_steps)
        for pattern, start in starts.items():
            if start >= total_steps:
                rule = f"begins at step {start:,}, and the run has {total_steps:,}"
                raise InputError(f"--optim.unfreeze={pattern}: {rule}; name an earlier time, or --optim.freeze it")
        links.append(("unfreeze", unfreeze(starts)))
    if config.ema is not None:
        links.append(("average", average(config.ema)))
    return links


def learning_rate(opt_state: Any) -> jax.Array:
    """The rate that the last update was made with: schedule times plateau, or the step of the line search. `float[]`

    Before the first update, the rate that it is going to have. Of any optax optimizer whose state has one, such as
    `optax.inject_hyperparams(optax.adam)(learning_rate=...)` in a chain; of several the first; nan where there is none.

    >>> import jax.numpy as jnp
    >>> import jaxnn, optax
    >>> tx = jaxnn.optimizer(jaxnn.OptimConfig(lr=0.5, schedule="inverse_scaling"), steps_per_epoch=1, total_steps=9)
    >>> state = tx.init(jnp.ones(2))
    >>> for _ in range(4):
    ...     _, state = tx.update(jnp.ones(2), state, jnp.ones(2))
    >>> float(jaxnn.learning_rate(state))  # 0.5 / sqrt(4)
    0.25
    >>> mine = optax.chain(optax.clip(1.0), optax.inject_hyperparams(optax.adam)(learning_rate=0.25))
    >>> [float(jaxnn.learning_rate(tx.init(jnp.ones(2)))) for tx in (mine, optax.adam(0.25))]
    [0.25, nan]
    """
    rate = known_rate(opt_state)
    return jnp.array(jnp.nan, jnp.float32) if rate is None else rate


def known_rate(opt_state: Any) -> jax.Array | None:
    """`learning_rate`, or None where the state has none."""
    if not ours(opt_state):
        return next(_rates(opt_state), None)
    rate = next(_rates(opt_state["optimizer"].inner_state), None)  # of lbfgs, whose line search found it
    if rate is None:
        rate = opt_state["optimizer"].hyperparams["learning_rate"]
    return rate * opt_state["plateau"].scale if "plateau" in opt_state else rate


def _rates(state: Any) -> Iterator[jax.Array]:
    found = (value for _, value in optax.tree.get_all_with_path(state, "learning_rate"))
    return (value for value in found if hasattr(value, "dtype") and value.shape == ())  # no state of a schedule


def averaged(params: Params, opt_state: Any) -> Params:
    """The running average of the parameters where one is kept (`config.ema`), else `params`."""
    if not (ours(opt_state) and "average" in opt_state):
        return params
    return tree.merge(opt_state["average"].average, params)  # the average lacks the leaves that stay as they are


def averaging(opt_state: Any, statistics: Params) -> Any:
    """The state of an `optimizer` at step 0 whose running average, where one is kept, has these leaves too."""
    if not (ours(opt_state) and "average" in opt_state):
        return opt_state
    state, begun = opt_state["average"], jax.tree.map(jnp.copy, statistics)
    return opt_state | {"average": state._replace(average=tree.merge(state.average, begun))}


def bounded(config: OptimConfig) -> bool:
    """Whether an infinite gradient would become a finite step, so that nothing in the weights would tell."""
    return config.clip_value is not None or config.name in ("lion", "sign_sgd")


def ours(opt_state: Any) -> bool:
    """Whether it is the state of an `optimizer`: the dict of its links."""
    return isinstance(opt_state, dict) and "optimizer" in opt_state
