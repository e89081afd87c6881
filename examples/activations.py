"""Activations and their derivatives.

python examples/activations.py pictures
"""

from __future__ import annotations

import sys
from pathlib import Path

import drawing
import jax
import jax.numpy as jnp
import numpy as np
from drawing import BLUE, VERMILION

import jaxnn

NAMES = ("sigmoid", "tanh", "relu", "leaky_relu", "elu", "selu", "gelu", "silu", "softplus")


def draw(folder: Path) -> None:
    x = jnp.linspace(-4.0, 4.0, 801)
    picture, axes = drawing.figure(3, 3, height=2.4)
    for name, axis in zip(NAMES, axes, strict=True):
        function = jaxnn.activation(name)
        y, slope = map(np.asarray, (function(x), jax.vmap(jax.grad(function))(x)))
        axis.plot(x, y, color=BLUE, label="f(x)")
        axis.plot(x, slope, color=VERMILION, ls="--", label="f'(x)")
        axis.set(title=name, ylim=(-2, 3))
        axis.grid(color="0.9")
        print(f"{name}: slope at most {slope.max():.4f}, below 0.01 on {np.mean(np.abs(slope) < 0.01):.0%} of [-4, 4]")
    axes[0].legend()
    drawing.save(picture, folder, "activations")


if __name__ == "__main__":
    drawing.run(draw, sys.argv)
