"""The learning rate as a function of the step: pure, and so safe inside `scan`, `vmap` and `grad`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxnn.config.durations import steps
from jaxnn.config.optim import OptimConfig
from jaxnn.errors import InputError
from jaxnn.numerics import relaxed


def decay_window(config: OptimConfig, *, steps_per_epoch: int, total_steps: int) -> int:
    """`config.decay_every` in steps. Raises `InputError` where that would be 0 and is needed."""
    every = steps("--optim.decay_every", config.decay_every, steps_per_epoch=steps_per_epoch, total=total_steps)
    if every < 1 and config.schedule in ("step", "plateau"):
        raise InputError(
            f"--optim.decay_every={config.decay_every}: is no step at all of {total_steps} steps; write 1epoch or more"
        )
    return max(every, 1)


def schedule(
    config: OptimConfig, *, steps_per_epoch: int, total_steps: int, lr: float | jax.Array
) -> Callable[[int | jax.Array], jax.Array]:
    r"""The learning rate at step t = 0, 1, ..., as `config` names it: `step -> float[]`.

    With a warm-up of W steps the rate is lr (t + 1) / W while t < W: the first step already moves, and step W - 1 has
    the full rate. Then, with s = t - W and S = total_steps - W (0 and total_steps without a warm-up):

        constant           lr
        inverse_scaling    lr / (s + 1)^power
        step               lr decay^floor(s / decay_every)
        cosine             lr (1 + cos(pi s / S)) / 2
        one_cycle          lr/25 up to lr over 30 % of S, down to lr/250,000, both as half cosines
        plateau            lr, which `optim.optimizer` scales down when the loss no longer falls

    `lr` may be traced. Raises `InputError` for a warm-up longer than the run and a decay every 0 steps.
    Sources: Loshchilov and Hutter 2017 (cosine), Smith and Topin 2018 (one-cycle).

    >>> from jaxnn.config import OptimConfig
    >>> from jaxnn.optim.schedules import schedule
    >>> config = OptimConfig(schedule="step", decay_every="2epochs", warmup="2")
    >>> rate = schedule(config, steps_per_epoch=1, total_steps=6, lr=0.1)
    >>> [round(float(rate(t)), 4) for t in range(6)]
    [0.05, 0.1, 0.1, 0.1, 0.01, 0.01]
    """
    warmup = steps("--optim.warmup", config.warmup, steps_per_epoch=steps_per_epoch, total=total_steps)
    if warmup > total_steps:
        raise InputError(
            f"--optim.warmup={config.warmup}: is longer than the run of {total_steps} steps; "
            "shorten it, or train for more epochs"
        )
    rest = max(total_steps - warmup, 1)
    every = decay_window(config, steps_per_epoch=steps_per_epoch, total_steps=total_steps)
    shapes: dict[str, Callable[[jax.Array], Any]] = {
        "constant": lambda s: 1.0,
        "inverse_scaling": lambda s: (s + 1.0) ** -config.power,
        "step": lambda s: config.decay ** (s // every),
        "cosine": lambda s: (1.0 + jnp.cos(jnp.pi * jnp.minimum(s / rest, 1.0))) / 2.0,
        "one_cycle": optax.cosine_onecycle_schedule(rest, 1.0),
        "plateau": lambda s: 1.0,
    }
    shape = shapes[config.schedule]

    def rate(step: int | jax.Array) -> jax.Array:
        with relaxed():
            s = jnp.asarray(step) - warmup  # integers: float32 counts to 2^24 only
            rising = (s + warmup + 1.0) / max(warmup, 1)
            return lr * jnp.where(s < 0, rising, shape(jnp.maximum(s, 0)))

    return rate
