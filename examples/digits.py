"""Handwritten digits with their labels, as scikit-learn brings them.

python examples/digits.py pictures
"""

from __future__ import annotations

import sys
from typing import Any

import drawing
from matplotlib.figure import Figure

import jaxnn


def data() -> dict[str, Any]:
    """The first 20 test images u8[20, 8, 8], 0 to 16, and their labels i32[20]."""
    test = jaxnn.data.load("digits").test
    assert test
    return {"x": test.x[:20, :, :, 0], "y": test.y[:20]}


def draw(data: dict[str, Any]) -> Figure:
    picture, axes = drawing.figure(2, 10, height=1.1)
    for axis, image, label in zip(axes, data["x"], data["y"], strict=True):
        axis.imshow(image, cmap="gray_r", vmin=0, vmax=16, interpolation="none")
        axis.set_title(f"{label}", fontsize=10)
        axis.set_axis_off()
    return picture


if __name__ == "__main__":
    drawing.run(data, draw, sys.argv)
