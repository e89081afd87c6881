"""What a gradient costs: by back-propagation about two more forward passes, by finite differences one a parameter.

    python examples/gradient_cost.py pictures

FLOPs are those of the matrix products, counted from the traced program.
"""

from __future__ import annotations

import sys
from typing import Any

import drawing
import jax
import numpy as np
from drawing import BLUE, VERMILION
from matplotlib.figure import Figure

import jaxnn
from jaxnn.report.flops import matrix_flops

NETWORKS = ((10,), (50, 50), (100,), (256,) * 4, (512,) * 3, (1024,) * 3)  # units of the hidden layers, on 784 pixels
ROWS = 32


def data() -> dict[str, Any]:
    """Of each network how many parameters it has, and what both gradients cost, in forward passes."""
    pixels, rows = (jax.ShapeDtypeStruct(shape, "float32") for shape in ((784,), (ROWS, 784)))
    found = []
    for hidden in NETWORKS:
        model = jaxnn.mlp(hidden, 10)
        params = jax.eval_shape(model.init, jax.random.key(0), pixels)
        forward = matrix_flops(model.apply, params, rows)
        both = matrix_flops(jax.grad(lambda params, x, f=model.apply: f(params, x).sum()), params, rows)
        found.append((jaxnn.parameter_count(params), both / forward))
    count, cost = map(np.array, zip(*sorted(found), strict=True))
    return {"parameters": count, "back-propagation": cost}


def draw(data: dict[str, Any]) -> Figure:
    picture, (axis,) = drawing.figure(1, 1, width=6, height=4)
    count = data["parameters"]
    axis.loglog(count, count + 1, "s--", color=VERMILION, label="finite differences: P + 1")
    axis.loglog(count, data["back-propagation"], "o-", color=BLUE, label="forward pass and back-propagation")
    axis.set(xlabel="parameters P", ylabel="cost of the gradient, in forward passes", ylim=(1, None))
    axis.legend()
    for p, back in zip(count, data["back-propagation"], strict=True):
        print(f"{p:,.0f} parameters: back-propagation {back:.2f}, finite differences {p + 1:,.0f} forward passes")
    return picture


if __name__ == "__main__":
    drawing.run(data, draw, sys.argv)
