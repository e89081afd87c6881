"""Flow matching: a network learns the velocity that carries noise to images along straight lines.

    x_t = (1 - t) e + t x        e ~ N(0, 1) for each pixel, t ~ U[0, 1), the image x in [-1, 1]
    loss = mean over the pixels of (v(x_t, t, label) - (x - e))^2

The best v is the mean velocity of all lines through x_t; followed from noise at t = 0 to t = 1 it gives images of the
same distribution (`jaxnn.sample`). In a part of the examples the label is dropped, so that one network knows the
velocity with and without: guidance goes beyond the one, away from the other.

Source: Lipman et al. 2022, arXiv:2210.02747; Ho and Salimans 2022, arXiv:2207.12598 (guidance).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.special import ndtr

from jaxnn.config.task import TaskConfig
from jaxnn.errors import check, fraction
from jaxnn.tasks import noise
from jaxnn.tasks.base import as_they_are, means, weighed
from jaxnn.tasks.labels import class_numbers
from jaxnn.types import Batch, Task


def flow_matching(shape: Sequence[int], classes: int, *, scale: float, label_dropout: float = 0.1) -> Task:
    """Images `[B, H, W, C]` of `scale` for white, with class numbers y `i32[B]`; outputs `f32[B, H, W, C]`, a velocity.

        loss = mean over the pixels of (v(x_t, t, label) - (x - e))^2,   x_t = (1 - t) e + t x,   e ~ N(0, 1)

    The model takes `{"x": x_t f32[B, H, W, C], "t": f32[B], "label": f32[B, classes + 1]}`, the label one-hot with its
    last entry for none, which it is in a part `label_dropout` of the rows. Each row draws its own noise, t and drop,
    without a key from its own bits: the loss of a validation is a function of its images. Raises `InputError` for a
    shape that is no image's, classes < 1, or a part outside [0, 1). Source: Lipman et al. 2022, arXiv:2210.02747.

    >>> import jax, jax.numpy as jnp, jaxnn
    >>> task = jaxnn.flow_matching((8, 8, 1), 10, scale=16)
    >>> batch = jaxnn.Batch(jnp.full((2, 8, 8, 1), 16, jnp.uint8), jnp.array([3, 4]), jnp.ones(2))
    >>> x, velocity, _ = task.prepare(batch, jax.random.key(0))
    >>> end = x["x"] + (1 - x["t"])[:, None, None, None] * velocity  # along the line to t = 1: the image
    >>> x["label"].shape, bool(jnp.allclose(end, 1))
    ((2, 11), True)
    """
    shape = noise.image_shape("flow_matching", shape, scale)
    check("classes", classes, ">= 1", classes >= 1)
    fraction("--task.label_dropout", label_dropout)

    def prepare(batch: Batch, key: jax.Array | None) -> Batch:
        images = 2 * noise.unit(batch.x, scale) - 1
        drawn = noise.normal(batch.x, key, 2 + math.prod(shape))  # in one draw, each of which takes a second to compile
        t, u = ndtr(drawn[:, 0]), ndtr(drawn[:, 1])  # uniform
        start = drawn[:, 2:].reshape(images.shape)
        velocity = images - start
        label = jax.nn.one_hot(jnp.where(u < label_dropout, classes, batch.y), classes + 1, dtype=images.dtype)
        x = {"x": start + t[:, None, None, None] * velocity, "t": t, "label": label}
        return batch._replace(x=x, y=velocity)

    def loss(outputs: jax.Array, velocity: jax.Array) -> jax.Array:
        return jnp.square(outputs - velocity).mean((-3, -2, -1))

    return Task(
        "flow_matching",
        shape,
        loss,
        link=as_they_are,
        metrics=lambda outputs, y, weight: weighed(weight),
        summary=lambda sums: means(sums, loss="loss"),
        decide=as_they_are,
        check=functools.partial(class_numbers, classes=classes, name="labels"),
        prepare=prepare,
    )


def of(config: TaskConfig, data: dict[str, Any]) -> Task:
    """The task of a config for data that are known (`Dataset.describe`). Raises `InputError`."""
    scale = noise.scale_of("flow_matching", data)
    return flow_matching(data["shape"], len(data["classes"]), scale=scale, label_dropout=config.label_dropout)
