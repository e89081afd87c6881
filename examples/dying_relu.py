"""Dying ReLU: the share of the hidden units that no training example reaches any more, by the learning rate.

    python examples/dying_relu.py pictures

One step that is too large moves a unit to where it is negative for every example. Its gradient is 0 from then on.
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

STYLES: dict[str, dict[str, Any]] = {"relu": {"color": VERMILION}, "leaky_relu": {"color": BLUE, "ls": "--"}}
RATES = np.array([0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 1.5, 2.0, 2.2], np.float32)


def data() -> dict[str, Any]:
    """After 100 full-batch steps at each rate, of each activation: the share of 100 units that is dead, accuracy."""
    digits = jaxnn.data.load("digits").train
    x, y = jnp.asarray(digits.x[:500].reshape(500, -1)) / 16, jnp.asarray(digits.y[:500])
    rows, task = jaxnn.Batch(x, y, jnp.ones(500)), jaxnn.multiclass(10)
    found: dict[str, Any] = {"rate": RATES, "dead": {}, "accuracy": {}}
    for name in STYLES:
        model = jaxnn.mlp((100,), 10, activation=name)

        def run(rate: jax.Array, model: jaxnn.Model = model) -> tuple[jax.Array, jax.Array]:
            key = jax.random.key(0)
            state, history = jaxnn.fit(key, model, task, optax.sgd(rate), rows, epochs=100, batch_size=500)
            return jaxnn.dead_units(model, state.params, x)["dense_0/b"].mean(), history["train/accuracy"][-1]

        found["dead"][name], found["accuracy"][name] = jax.jit(jax.vmap(run))(RATES)
    return found


def draw(data: dict[str, Any]) -> Figure:
    picture, (dead, right) = drawing.figure(1, 2, width=8)
    for name, style in STYLES.items():
        share, accuracy = data["dead"][name], data["accuracy"][name]
        print(f"{name}: at most {share.max():.0%} of the units are dead, then the accuracy is {accuracy[-1]:.1%}")
        dead.semilogx(data["rate"], share, "o", label=name, **{"ls": "-", **style})
        right.semilogx(data["rate"], accuracy, "o", label=name, **{"ls": "-", **style})
    dead.set(xlabel="learning rate", title="share of dead units", ylim=(-0.05, 1.05))
    right.set(xlabel="learning rate", title="accuracy", ylim=(-0.05, 1.05))
    dead.legend()
    return picture


if __name__ == "__main__":
    drawing.run(data, draw, sys.argv)
