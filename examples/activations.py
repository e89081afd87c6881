"""Activations and their derivatives.

python examples/activations.py pictures
"""

from __future__ import annotations

import sys
from typing import Any

import drawing
import jax
import jax.numpy as jnp
import numpy as np
from drawing import BLUE, VERMILION
from matplotlib.figure import Figure

import jaxnn

NAMES = ("sigmoid", "tanh", "relu", "leaky_relu", "elu", "selu", "gelu", "silu", "softplus")


def data() -> dict[str, Any]:
    """Of each activation the values and the slopes on [-4, 4]."""
    x = jnp.linspace(-4.0, 4.0, 81)
    curves: dict[str, Any] = {"x": x}
    for name in NAMES:
        function = jaxnn.activation(name)
        curves[name], curves[f"{name}_slope"] = function(x), jax.vmap(jax.grad(function))(x)
    return curves


def draw(data: dict[str, Any]) -> Figure:
    picture, axes = drawing.figure(3, 3, height=2.4)
    for name, axis in zip(NAMES, axes, strict=True):
        slope = data[f"{name}_slope"]
        axis.plot(data["x"], data[name], color=BLUE, label="f(x)")
        axis.plot(data["x"], slope, color=VERMILION, ls="--", label="f'(x)")
        axis.set(title=name, ylim=(-2, 3), xticks=(-4, 0, 4), yticks=(-2, 0, 1, 2))
        axis.axhline(0, color="0.8", lw=0.8, zorder=0)
        axis.axvline(0, color="0.8", lw=0.8, zorder=0)
        axis.label_outer()
        print(f"{name}: slope at most {slope.max():.4f}, below 0.01 on {np.mean(abs(slope) < 0.01):.0%} of [-4, 4]")
    axes[0].legend()
    return picture


if __name__ == "__main__":
    drawing.run(data, draw, sys.argv)
