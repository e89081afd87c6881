"""Cross-entropy of a network that is confidently wrong: from its logits, and from probabilities that are cut at 1e-7.

    python examples/saturation.py pictures

Two classes; the wrong one leads by the gap. From the logits the loss is the gap and its slope nearly 1. The cut, which
keeps log(0) away, holds the loss at 16.118 = -log(1e-7) and the slope at 0: the network never learns.
"""

from __future__ import annotations

import sys
from typing import Any

import drawing
import jax
import jax.numpy as jnp
from drawing import BLUE, VERMILION
from matplotlib.figure import Figure

import jaxnn

STYLES: dict[str, dict[str, Any]] = {
    "logits": {"color": BLUE, "label": "of logits"},
    "probabilities": {"color": VERMILION, "ls": "--", "label": "of probabilities, cut at 1e-7"},
}


def from_logits(gap: jax.Array) -> jax.Array:
    return jaxnn.cross_entropy(jnp.stack([gap, jnp.zeros_like(gap)], axis=-1), jnp.ones(gap.shape, int))


def from_probabilities(gap: jax.Array) -> jax.Array:
    p = jaxnn.softmax(jnp.stack([gap, jnp.zeros_like(gap)], axis=-1))
    return -jnp.log(jnp.clip(p[..., 1], 1e-7, 1 - 1e-7))


def data() -> dict[str, Any]:
    """Both losses and their slopes for gaps from 0 to 30."""
    gap = jnp.linspace(0.0, 30.0, 121)
    losses = {"logits": from_logits, "probabilities": from_probabilities}
    slope = lambda loss: jax.vmap(jax.grad(loss))(gap)
    return {
        "gap": gap,
        "loss": {name: loss(gap) for name, loss in losses.items()},
        "slope": {name: slope(loss) for name, loss in losses.items()},
    }


def draw(data: dict[str, Any]) -> Figure:
    picture, axes = drawing.figure(1, 2, width=8)
    for what, axis in zip(("loss", "slope"), axes, strict=True):
        for name, style in STYLES.items():
            axis.plot(data["gap"], data[what][name], **style)
            print(f"{name}: {what} {data[what][name][-1]:.3f} at a gap of 30")
        axis.set(xlabel="lead of the wrong class, in logits", title=what)
    axes[0].legend()
    return picture


if __name__ == "__main__":
    drawing.run(data, draw, sys.argv)
