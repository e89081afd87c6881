"""What a linear model cannot do: logistic regression and a network with two hidden layers on exclusive or.

    python examples/xor.py pictures

No straight line has (0, 1) and (1, 0) on one side, (0, 0) and (1, 1) on the other.
"""

from __future__ import annotations

import sys
from typing import Any

import drawing
import jax
import jax.numpy as jnp
import numpy as np
import optax
from drawing import BLUE, VERMILION
from matplotlib.figure import Figure

import jaxnn

CORNERS, LABELS = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], np.float32), np.array([0, 1, 1, 0])
MODELS = {"logistic regression": jaxnn.linear(1), "2 x 8 tanh": jaxnn.mlp((8, 8), 1, activation="tanh")}
SIDE = np.linspace(-0.5, 1.5, 25, dtype=np.float32)


def data() -> dict[str, Any]:
    """Of each model the accuracy on the four corners, and P(y = 1) on a grid around them."""
    corners, task = jaxnn.Batch(CORNERS, LABELS, np.ones(4, np.float32)), jaxnn.binary()
    grid = jnp.asarray(np.stack(np.meshgrid(SIDE, SIDE), -1))
    found: dict[str, Any] = {"accuracy": {}, "probability": {}}
    for name, model in MODELS.items():
        run = lambda key, model=model: jaxnn.fit(key, model, task, optax.adam(0.05), corners, epochs=300, batch_size=4)
        state, history = jax.jit(run)(jax.random.key(0))
        found["accuracy"][name] = history["train/accuracy"].max()
        found["probability"][name] = jax.nn.sigmoid(model.apply(state.params, grid)[..., 0])
    return found


def draw(data: dict[str, Any]) -> Figure:
    picture, axes = drawing.figure(1, 2, width=7, height=3.4)
    for name, axis in zip(MODELS, axes, strict=True):
        accuracy = data["accuracy"][name]
        print(f"{name}: accuracy on the four corners, at best {accuracy:.0%}")
        axis.contourf(SIDE, SIDE, data["probability"][name], np.linspace(0, 1, 11), cmap="Greys", alpha=0.6)
        for label, color, marker in ((0, BLUE, "o"), (1, VERMILION, "s")):
            axis.plot(*CORNERS[label == LABELS].T, marker, color=color, markersize=9, label=f"y = {label}")
        axis.set(title=f"{name}: {accuracy:.0%}", xlabel="x₁", xticks=(0, 1), yticks=(0, 1))
    axes[0].set(ylabel="x₂")
    axes[1].legend(loc="center")
    return picture


if __name__ == "__main__":
    drawing.run(data, draw, sys.argv)
