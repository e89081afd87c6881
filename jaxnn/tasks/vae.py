"""The variational autoencoder: a few numbers z stand for an image, and z from a normal distribution makes new ones.

    -ELBO = E_q(z|x) [-log p(x|z)] + beta KL(q(z|x) || N(0, 1)),   log p(x) >= ELBO for beta = 1

The encoder gives the mean m and log-variance s of q, one draw z = m + exp(s / 2) e is decoded. All is summed over the
pixels and over z, and averaged over the images: a mean over the pixels would make beta the number of pixels.

Source: Kingma and Welling 2014, arXiv:1312.6114; Higgins et al. 2017 (beta).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxnn.config.task import TaskConfig
from jaxnn.errors import check, non_negative, positive
from jaxnn.tasks import noise
from jaxnn.tasks.base import as_they_are, means, outputs_of, weighed
from jaxnn.tasks.metrics import weighted_sum
from jaxnn.types import Batch, Metrics, Task


def vae(shape: Sequence[int], latent: int, *, scale: float, beta: float = 1.0, deviation: float | None = None) -> Task:
    """Images `[B, H, W, C]` of `scale` for white; y is not looked at.

        loss = -ELBO = -log p(x|z) + beta KL(q(z|x) || N(0, 1))

    The model takes `{"x": f32[B, H, W, C] of 0 to 1, "noise": f32[B, latent]}` and gives `f32[B, H W C + 2 latent]`:
    pixels, means and log-variances; of `{"z": f32[B, latent]}`, from which images are drawn, the pixels alone. Pixels
    are logits of a Bernoulli likelihood (for greys, the cross-entropy), or with a `deviation` the means of a normal
    one. Metrics: `reconstruction`, -log p(x|z), and `kl`, whose sum is the loss for beta = 1. Each row draws its own
    noise, without a key from its own bits. `link`: the image. Raises `InputError` for
    a shape that is no image's, and for numbers out of range. Source: Kingma and Welling 2014, arXiv:1312.6114.

    >>> import jax, jax.numpy as jnp, jaxnn
    >>> task = jaxnn.vae((8, 8, 1), 2, scale=1)
    >>> batch = task.prepare(jaxnn.Batch(jnp.ones((3, 8, 8, 1)), jnp.arange(3), jnp.ones(3)), jax.random.key(0))
    >>> sums = jaxnn.metrics.measure(task, jnp.zeros((3, task.outputs)), batch.y, batch.weight)
    >>> {name: round(float(value), 2) for name, value in task.summary(sums).items()}  # 64 log 2
    {'loss': 44.36, 'reconstruction': 44.36, 'kl': 0.0}
    """
    shape = noise.image_shape("vae", shape, scale)
    check("--task.latent", latent, ">= 1", latent >= 1)
    non_negative("--task.beta", beta)
    positive("--task.deviation", deviation)
    pixels = math.prod(shape)

    def parts(outputs: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        mean, log_variance = jnp.split(outputs_of(outputs, pixels + 2 * latent)[..., pixels:], 2, axis=-1)
        return outputs[..., :pixels], mean, log_variance

    def reconstruction(outputs: jax.Array, image: jax.Array) -> jax.Array:
        decoded, image = parts(outputs)[0], image.reshape(*image.shape[:-3], pixels)
        if deviation is None:
            return (jax.nn.softplus(decoded) - image * decoded).sum(-1)
        each = jnp.square((image - decoded) / deviation) / 2 + math.log(2 * math.pi) / 2
        return each.sum(-1) + pixels * jnp.log(deviation)

    def divergence(outputs: jax.Array) -> jax.Array:
        _, mean, log_variance = parts(outputs)
        return ((jnp.square(mean) + jnp.exp(log_variance) - log_variance - 1) / 2).sum(-1)

    def prepare(batch: Batch, key: jax.Array | None) -> Batch:
        images = noise.unit(batch.x, scale)
        return batch._replace(x={"x": images, "noise": noise.normal(batch.x, key, latent)}, y=images)

    def link(outputs: jax.Array) -> jax.Array:
        decoded = outputs[..., :pixels]
        images = jax.nn.sigmoid(decoded) if deviation is None else jnp.clip(decoded, 0, 1)
        return images.reshape(*outputs.shape[:-1], *shape)

    def metrics(outputs: jax.Array, image: jax.Array, weight: jax.Array) -> Metrics:
        measured = {"reconstruction": reconstruction(outputs, image), "kl": divergence(outputs)}
        return weighed(weight) | {name: weighted_sum(value, weight) for name, value in measured.items()}

    return Task(
        "vae",
        pixels + 2 * latent,
        lambda outputs, image: reconstruction(outputs, image) + beta * divergence(outputs),
        link,
        metrics,
        lambda sums: means(sums, loss="loss", reconstruction="reconstruction", kl="kl"),
        decide=as_they_are,
        prepare=prepare,
        minimized=frozenset(("loss", "reconstruction", "kl")),
    )


def of(config: TaskConfig, data: dict[str, Any]) -> Task:
    """The task of a config for data that are known (`Dataset.describe`). Raises `InputError`."""
    given = {"beta": config.beta, "deviation": config.deviation}
    return vae(data["shape"], config.latent, scale=noise.scale_of("vae", data), **given)
