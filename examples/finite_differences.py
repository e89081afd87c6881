"""How wrong finite differences are, by the size of their step: costly, and unstable.

    python examples/finite_differences.py pictures

A large step misses the curvature, a small one loses the digits that f(b + eps) and f(b) share.
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


def data() -> dict[str, Any]:
    """The relative error of forward differences for each eps, in float32, and the number of parameters."""
    model, eps = jaxnn.mlp((16, 16), 3, activation="tanh"), np.logspace(-8, -1, 22)
    x, y = jax.random.normal(jax.random.key(1), (64, 3)), jnp.arange(64) % 3
    params = model.init(jax.random.key(0), x[0])
    loss = lambda params: jaxnn.cross_entropy(model.apply(params, x), y).mean()
    errors = jaxnn.fd_curve(loss, params, eps.tolist())
    return {"parameters": jaxnn.parameter_count(params), "eps": eps, "error": errors}


def draw(data: dict[str, Any]) -> Figure:
    eps, errors, count = data["eps"], data["error"], data["parameters"]
    best, tiny = np.argmin(errors), np.argmin(abs(np.log(eps / 1e-6)))
    print(f"{count} parameters: {count + 1} evaluations; automatic differentiation takes 2 to 3")
    print(
        f"relative error in float32: {errors[best]:.1e} at eps = {eps[best]:.0e}, the best; {errors[tiny]:.2f} at 1e-06"
    )
    picture, (axis,) = drawing.figure(1, 1, width=6, height=4)
    axis.loglog(eps, errors, "o-", color=BLUE)
    axis.axhline(1, color=VERMILION, ls="--")
    axis.text(eps[-1], 1.2, "no digit is right", color=VERMILION, ha="right")
    axis.set(xlabel="eps", ylabel="relative error of (f(b + eps) − f(b)) / eps", title=f"{count} parameters, float32")
    return picture


if __name__ == "__main__":
    drawing.run(data, draw, sys.argv)
