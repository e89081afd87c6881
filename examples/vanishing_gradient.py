"""The vanishing gradient: how large the gradient of each of 20 layers is before the first step.

    python examples/vanishing_gradient.py pictures

The slope of a sigmoid is 1/4 at most, and each layer multiplies the gradient by it on its way back.
"""

from __future__ import annotations

import sys
from typing import Any

import drawing
import jax
from drawing import BLUE, GREEN, VERMILION
from matplotlib.figure import Figure

import jaxnn

LAYERS = 20
COLORS = {"sigmoid": VERMILION, "tanh": GREEN, "relu": BLUE}


def data() -> dict[str, Any]:
    """The norm of the gradient of each layer's weights, first to last, on 256 digits."""
    digits = jaxnn.data.load("digits").train
    x, y = digits.x[:256].reshape(256, -1) / 16.0, digits.y[:256]
    by_layer = {}
    for name in COLORS:
        model = jaxnn.mlp((50,) * (LAYERS - 1), 10, activation=name)  # relu begins with the weights of He et al.
        params = model.init(jax.random.key(0), x[0])
        loss = lambda params, model=model: jaxnn.cross_entropy(model.apply(params, x), y).mean()
        norms = jaxnn.gradient_norms(jax.grad(loss)(params))
        by_layer[name] = [float(norms[f"dense_{i}/w"]) for i in range(LAYERS)]
    return by_layer


def draw(data: dict[str, Any]) -> Figure:
    picture, (axis,) = drawing.figure(1, 1, width=6, height=4)
    for (name, color), dash in zip(COLORS.items(), ("-", "--", ":"), strict=True):
        norms = data[name]
        axis.semilogy(range(1, LAYERS + 1), norms, "o", ls=dash, color=color, label=name)
        print(f"{name}, {LAYERS} layers: gradient of the first / of the last = {norms[0] / norms[-1]:.1e}")
    axis.set(
        xticks=range(0, LAYERS + 1, 5),
        xlabel="layer",
        ylabel="norm of the gradient of its weights",
        title="before the first step, on digits",
    )
    axis.legend()
    return picture


if __name__ == "__main__":
    drawing.run(data, draw, sys.argv)
