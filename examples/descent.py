"""Gradient descent against stochastic gradient descent: on a double well, and on logistic regression.

    python examples/descent.py pictures

Gradient descent stays in the shallow well that it begins in; single examples jump out of it (the lecture: SGD
fluctuates, but may jump to better minima).
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
from jaxnn.data import feeds
from jaxnn.engine import descent

SEEDS, STEPS, SHOWN = 200, 800, 10  # of the paths each tenth step is drawn
LINES: dict[str, Any] = {"GD": {"color": BLUE, "ls": "--"}, "SGD": {"color": VERMILION, "lw": 0.6}}
DRAWN = {"GD": 1, "SGD": 40}  # ends; those of GD are in one place
DOTS: dict[str, Any] = {
    "GD": {"color": BLUE, "ls": "", "marker": "o"},
    "SGD": {"color": VERMILION, "ls": "", "marker": "."},
}


def path(recipe: jaxnn.Recipe, start: Any, rows: jaxnn.Batch, batch_size: int, key: jax.Array) -> Any:
    """The parameters after each of the steps from `start` on: each leaf `[STEPS, ...]`."""

    def one_step(state: jaxnn.State, _: None) -> tuple[jaxnn.State, Any]:
        window = feeds.shuffled(rows, key, state.step, 1, batch_size)
        batch = feeds.take(rows, window.index[0], window.real[0])
        state = jaxnn.engine.step(recipe, state, batch, key)[0]
        return state, state.params

    return jax.lax.scan(one_step, descent.state_of(recipe, start), length=STEPS)[1]


def well(theta: Any) -> Any:
    """Two minima, the one at -1.03 deeper than that at 0.97."""
    return (theta**2 - 1) ** 2 + theta / 4


def double_well() -> dict[str, np.ndarray]:
    """theta f32[SEEDS, STEPS] of both: the mean over 20 examples is the well, and each of them pulls its own way."""
    pulls = jnp.linspace(-12.0, 12.0, 20)  # their mean is 0
    model = jaxnn.Model(lambda key, x: jnp.float32(0.9), lambda theta, x, key=None: jnp.broadcast_to(theta, x.shape))
    itself = lambda theta: theta
    loss = lambda theta, pull: well(theta) + theta * pull
    task = jaxnn.Task("well", 1, loss, itself, lambda theta, x, w: {}, lambda sums: {}, itself)
    recipe, rows = jaxnn.Recipe(model, task, optax.sgd(0.04)), jaxnn.Batch(pulls, pulls, jnp.ones(20))
    keys = jax.random.split(jax.random.key(0), SEEDS)
    run = lambda size: jax.jit(jax.vmap(lambda key: path(recipe, jnp.float32(0.9), rows, size, key)))(keys)
    return {"GD": np.asarray(run(20)), "SGD": np.asarray(run(1))}


def logistic_regression() -> tuple[dict[str, np.ndarray], Any]:
    """w f32[STEPS, 2] of both, and the loss of any w `[..., 2]`, on two classes of 100 points that overlap."""
    rng, y = np.random.default_rng(0), np.arange(200) % 2
    x = rng.normal(size=(200, 2)) + 1.5 * (y[:, None] - 0.5)
    rows = jax.device_put(jaxnn.Batch(x.astype(np.float32), y, np.ones(200, np.float32)))
    recipe = jaxnn.Recipe(jaxnn.linear(1), jaxnn.binary(), optax.sgd(0.3), freeze=("*/b",))
    start = {"dense_0": {"w": jnp.array([[-1.0, 2.0]]), "b": jnp.zeros(1)}}

    def run(batch_size: int) -> np.ndarray:
        steps = jax.jit(lambda key: path(recipe, start, rows, batch_size, key))(jax.random.key(0))
        return np.asarray(steps["dense_0"]["w"][:, 0])

    def loss(w: Any) -> np.ndarray:
        logits = np.asarray(w) @ x.T
        return np.mean(np.logaddexp(0, logits) - y * logits, axis=-1)

    return {"GD": run(200), "SGD": run(4)}, loss


def deviation(losses: Any) -> float:
    """How much the loss still moves in the second half of the steps: f[SEEDS, STEPS] -> the mean over the seeds."""
    return float(np.asarray(losses)[:, STEPS // 2 :].std(1).mean())


def data() -> dict[str, Any]:
    """Of GD and of SGD: where each seed ends, one path, the walk of logistic regression, deviations."""
    wells, (walks, loss) = double_well(), logistic_regression()
    least = min(loss(w).min() for w in walks.values())
    grid = np.stack(np.meshgrid(np.linspace(-1.5, 3, 25), np.linspace(-0.5, 3, 25)), -1)
    return {
        "end": {name: paths[:, -1] for name, paths in wells.items()},
        "path": {name: paths[0, ::SHOWN] for name, paths in wells.items()},
        "well_deviation": {name: deviation(well(paths)) for name, paths in wells.items()},
        "walk": {name: w[::SHOWN] for name, w in walks.items()},
        "above_least": {name: (loss(w) - least)[::SHOWN] for name, w in walks.items()},
        "walk_deviation": {name: deviation(loss(w)[None]) for name, w in walks.items()},
        "plane": loss(grid),
    }


def draw(data: dict[str, Any]) -> Figure:
    picture, (valley, walk, plane, curve) = drawing.figure(2, 2)
    steps = range(0, STEPS, SHOWN)

    theta = np.linspace(-1.7, 1.7, 150)
    valley.plot(theta, well(theta), color="black")
    for name, ends in data["end"].items():
        escaped = np.mean(ends < 0)
        print(f"double well, {SEEDS} seeds, {STEPS} steps: {name} escapes {escaped:.1%}")
        some = ends[: DRAWN[name]]
        valley.plot(some, well(some), label=f"{name}: {escaped:.0%} escape", **DOTS[name])
        walk.plot(steps, data["path"][name], **LINES[name])
    valley.set(xlabel="θ", ylabel="loss", title="where they end")
    valley.legend()
    walk.set(ylabel="θ", title="one path of each")

    across, up = np.linspace(-1.5, 3, 25), np.linspace(-0.5, 3, 25)
    plane.contour(across, up, data["plane"], 8, colors="0.8", linewidths=0.8)
    for name in ("SGD", "GD"):
        plane.plot(*data["walk"][name].T, label=name, **LINES[name])
        curve.plot(steps, data["above_least"][name], label=name, **LINES[name])
    plane.set(xlabel="w₁", ylabel="w₂", title="logistic regression")
    plane.legend()
    curve.set(xlabel="step", ylabel="loss − least loss", yscale="log", ylim=(1e-6, 1), title="its loss")
    curve.minorticks_off()

    for what, key in (("double well", "well_deviation"), ("logistic regression", "walk_deviation")):
        gd, sgd = (data[key][name] for name in ("GD", "SGD"))
        ratio = sgd / max(gd, 1e-12)
        print(f"{what}: deviation of the loss in the second half: GD {gd:.1e}, SGD {sgd:.1e}, ratio {ratio:.3g}")
    return picture


if __name__ == "__main__":
    drawing.run(data, draw, sys.argv)
