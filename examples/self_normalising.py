"""How large the signal is after each of 20 layers: SELU keeps mean 0 and variance 1, others lose the one or the other.

    python examples/self_normalising.py pictures

All layers have 200 units, weights by the initialiser that belongs to the activation, and inputs of mean 0, variance 1.
"""

from __future__ import annotations

import sys
from typing import Any

import drawing
import jax
from drawing import BLUE, GREEN, ORANGE, VERMILION
from matplotlib.figure import Figure

import jaxnn

LAYERS = 20
STYLES: dict[str, dict[str, Any]] = {
    "selu": {"color": BLUE, "ls": "-"},
    "relu": {"color": GREEN, "ls": ":"},
    "tanh": {"color": VERMILION, "ls": "--"},
    "sigmoid": {"color": ORANGE, "ls": "-."},
}


def data() -> dict[str, Any]:
    """Of each activation the mean and the variance over 1,000 examples and 200 units, after 0, 1, ..., 20 layers."""
    x = jax.random.normal(jax.random.key(0), (1000, 200))
    found: dict[str, Any] = {"mean": {}, "variance": {}}
    for name in STYLES:
        function, signals = jaxnn.activation(name), [x]
        params = jaxnn.mlp((200,) * LAYERS, 1, activation=name).init(jax.random.key(1), x[0])
        for i in range(LAYERS):
            signals.append(function(signals[-1] @ params[f"dense_{i}"]["w"].T))  # biases begin at 0
        found["mean"][name] = [float(signal.mean()) for signal in signals]
        found["variance"][name] = [float(signal.var()) for signal in signals]
    return found


def draw(data: dict[str, Any]) -> Figure:
    picture, axes = drawing.figure(1, 2, width=8)
    for what, axis in zip(("mean", "variance"), axes, strict=True):
        for name, style in STYLES.items():
            after = data[what][name]
            axis.plot(range(LAYERS + 1), after, label=name, **style)
            least, most = after.min(), after.max()
            print(f"{name}, {LAYERS} layers: {what} from {least:.3f} to {most:.3f}, in the end {after[-1]:.3f}")
        axis.set(xlabel="layer", title=what, xticks=range(0, LAYERS + 1, 5))
    axes[0].legend(loc="center", ncols=2)
    return picture


if __name__ == "__main__":
    drawing.run(data, draw, sys.argv)
