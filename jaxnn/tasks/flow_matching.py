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
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxnn.config.task import TaskConfig
from jaxnn.errors import InputError, check, fraction
from jaxnn.tasks import noise
from jaxnn.tasks.base import as_they_are, means, weighed
from jaxnn.tasks.labels import class_numbers
from jaxnn.types import Batch, Task


def flow_matching(shape: Sequence[int], classes: int, *, scale: float, label_dropout: float = 0.1) -> Task:
    """Images `[B, H, W, C]` of `scale` for white, with class numbers y `i32[B]`; outputs `f32[B, H, W, C]`, a velocity.

    The model takes `{"x": x_t f32[B, H, W, C], "t": f32[B], "label": f32[B, classes + 1]}`, the label one-hot with its
    last entry for none, which it is in a part `label_dropout` of the rows. Each row draws its own noise, t and drop,
    without a key from its own bits: the loss of a validation is a function of its images. Raises `InputError` for a
    shape that is no image's, classes < 1, or a part outside [0, 1).

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

    def one(key: jax.Array, image: jax.Array, y: jax.Array) -> tuple[dict[str, jax.Array], jax.Array]:
        of_noise, of_time, of_drop = jax.random.split(key, 3)
        start, t = jax.random.normal(of_noise, shape, image.dtype), jax.random.uniform(of_time, (), image.dtype)
        velocity = image - start
        label = jnp.where(jax.random.bernoulli(of_drop, label_dropout), classes, y)
        x = {"x": start + t * velocity, "t": t, "label": jax.nn.one_hot(label, classes + 1, dtype=image.dtype)}
        return x, velocity

    def prepare(batch: Batch, key: jax.Array | None) -> Batch:
        images = 2 * noise.unit(batch.x, scale) - 1
        x, velocity = jax.vmap(one)(noise.row_keys(batch.x, key), images, batch.y)
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
    if not data["classes"] or data["task"] == "multilabel":
        rule = "learns images of classes, and the labels of these are none"
        raise InputError(f"--task.name=flow_matching: {rule}; give class labels, one class alone will do")
    scale = noise.scale_of("flow_matching", data)
    return flow_matching(data["shape"], len(data["classes"]), scale=scale, label_dropout=config.label_dropout)
