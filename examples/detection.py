"""Detection in its smallest form: one handwritten digit on each canvas of 28x28 pixels; trained in half a minute.

python examples/detection.py pictures
"""

from __future__ import annotations

import sys
from typing import Any

import drawing
import jax
import numpy as np
from drawing import BLUE, VERMILION
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

import jaxnn
from jaxnn.data.readers import canvases

SIZE, EPOCHS, BATCH = 28, 5, 32


def on_canvases(digits: jaxnn.Batch, n: int) -> jaxnn.Batch:
    """n canvases f32[n, 28, 28, 1] of 0 to 1, with boxes f32[n, 1, 5]: class, x1, y1, x2, y2."""
    ink, rng = digits.x[..., 0] / np.float32(16), np.random.default_rng(len(digits.y))
    found = canvases.canvases(rng, ink, digits.y, n, size=SIZE, most=1, smallest=12, largest=24, noise=0.1)
    return jaxnn.Batch(found.x / np.float32(255), found.boxes, np.ones(n, np.float32))


def data() -> dict[str, Any]:
    """The first 10 test canvases, their boxes and the best detection of each: class, x1, y1, x2, y2, in whole pixels.
    And of all 400 canvases the mean IoU of the best detection with the box, and how many have the right class."""
    digits = jaxnn.data.load("digits")
    assert digits.test
    train, test = on_canvases(digits.train, 2000), on_canvases(digits.test, 400)
    model, task = jaxnn.detector(10, channels=(16, 32)), jaxnn.detection(10, size=(SIZE, SIZE))
    steps = -(-2000 // BATCH)
    optim = jaxnn.OptimConfig(name="adam", lr=3e-3, schedule="one_cycle")
    tx = jaxnn.optimizer(optim, steps_per_epoch=steps, total_steps=EPOCHS * steps)
    state, _ = jaxnn.fit(jax.random.key(0), model, task, tx, jax.device_put(train), epochs=EPOCHS, batch_size=BATCH)
    best = np.asarray(task.decide(task.link(jax.jit(model.apply)(state.params, test.x))))[:, 0]
    overlap = np.asarray(jaxnn.iou(best[:, :4], test.y[:, 0, 1:]))
    right = np.mean(best[:, 5] == test.y[:, 0, 0])
    found = np.concatenate([best[:10, 5:], best[:10, :4]], 1).round().astype(int)
    shown = {"x": np.round(255 * test.x[:10, ..., 0]).astype(np.uint8), "boxes": test.y[:10, 0].astype(int)}
    return shown | {"found": found, "iou": float(overlap.mean()), "right": float(right)}


def draw(data: dict[str, Any]) -> Figure:
    picture, axes = drawing.figure(2, 5, height=1.9)
    for axis, image, box, found in zip(axes, data["x"], data["boxes"], data["found"], strict=True):
        axis.imshow(image, cmap="gray", vmin=0, vmax=255, extent=(0, SIZE, SIZE, 0), interpolation="none")
        for (x1, y1, x2, y2), color, dash in ((box[1:], BLUE, "-"), (found[1:], VERMILION, "--")):
            axis.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, ec=color, ls=dash, lw=2))
        axis.set_title(f"{box[0]}, found {found[0]}", fontsize=10)
        axis.set_axis_off()
    print(f"400 test canvases: mean IoU {data['iou']:.2f}, class right {data['right']:.0%}")
    return picture


if __name__ == "__main__":
    drawing.run(data, draw, sys.argv)
