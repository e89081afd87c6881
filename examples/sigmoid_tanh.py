"""The sigmoid beside tanh, which is the same curve stretched: tanh(x) = 2 sigmoid(2 x) - 1.

python examples/sigmoid_tanh.py pictures
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

STYLES: dict[str, dict[str, Any]] = {"sigmoid": {"color": BLUE}, "tanh": {"color": VERMILION, "ls": "--"}}


def data() -> dict[str, Any]:
    """The values and the slopes of both on [-6, 6]."""
    x = jnp.linspace(-6.0, 6.0, 121)
    sigmoid, tanh = jaxnn.sigmoid, jaxnn.tanh
    slope = lambda function: jax.vmap(jax.grad(function))(x)
    return {
        "x": x,
        "value": {"sigmoid": sigmoid(x), "tanh": tanh(x)},
        "slope": {"sigmoid": slope(sigmoid), "tanh": slope(tanh)},
    }


def draw(data: dict[str, Any]) -> Figure:
    picture, axes = drawing.figure(1, 2, width=8, height=2.8)
    for what, axis in zip(("value", "slope"), axes, strict=True):
        for name, style in STYLES.items():
            curve = data[what][name]
            axis.plot(data["x"], curve, label=name, **style)
            print(f"{name}: {what} from {curve.min():.3f} to {curve.max():.3f}")
        axis.set(title=what, xticks=(-6, -3, 0, 3, 6))
        axis.grid(color="0.9")
    axes[0].legend()
    return picture


if __name__ == "__main__":
    drawing.run(data, draw, sys.argv)
