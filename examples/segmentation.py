"""Segmentation in its smallest form: squares and discs in noise, a class for each pixel; trained in some seconds.

python examples/segmentation.py pictures
"""

from __future__ import annotations

import sys
from typing import Any

import drawing
import jax
import numpy as np
from drawing import BLUE, VERMILION
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

import jaxnn

CLASSES, SIZE, EPOCHS, BATCH = ("ground", "square", "disc"), 32, 6, 16


def shapes(seed: int, n: int) -> jaxnn.Batch:
    """n images f32[n, 32, 32, 1] with a square, a lighter disc or both in noise, and the class of each pixel."""
    rng, place = np.random.default_rng(seed), np.arange(SIZE) + 0.5
    masks = np.zeros((n, SIZE, SIZE), np.uint8)
    for mask in masks:
        for kind in rng.permutation([1, 2])[: rng.integers(1, 3)]:
            side = rng.integers(9, 16)
            down, right = np.abs(place - rng.integers(0, SIZE + 1 - side, (2, 1)) - side / 2) / (side / 2)
            far = np.maximum(down[:, None], right) if kind == 1 else np.hypot(down[:, None], right)
            mask[far < 1] = kind
    x = np.array([0.3, 0.55, 0.8])[masks] + rng.normal(0, 0.12, masks.shape)
    return jaxnn.Batch(x.clip(0, 1).astype(np.float32)[..., None], masks, np.ones(n, np.float32))


def data() -> dict[str, Any]:
    """The first 5 test images, their masks and those that are found; and of all 200 the mean of the classes' IoU."""
    train, test = jax.device_put((shapes(0, 1000), shapes(1, 200)))
    model, task = jaxnn.unet(len(CLASSES), channels=(16, 32)), jaxnn.segmentation(CLASSES, size=(SIZE, SIZE))
    steps = -(-1000 // BATCH)
    optim = jaxnn.OptimConfig(name="adam", lr=5e-3, schedule="one_cycle")
    tx = jaxnn.optimizer(optim, steps_per_epoch=steps, total_steps=EPOCHS * steps)
    state, _ = jaxnn.fit(jax.random.key(0), model, task, tx, train, epochs=EPOCHS, batch_size=BATCH)
    outputs = jax.jit(model.apply)(state.params, test.x)
    found = task.summary(jaxnn.metrics.measure(task, outputs, test.y, test.weight))
    answers = np.asarray(task.decide(task.link(outputs)))
    images = np.round(255 * np.asarray(test.x[:5, ..., 0])).astype(np.uint8)
    return {"x": images, "masks": np.asarray(test.y[:5]), "found": answers[:5], "miou": float(found["miou"])}


def draw(data: dict[str, Any]) -> Figure:
    picture, axes = drawing.figure(3, 5, height=1.8)
    colors = ListedColormap(["0.9", BLUE, VERMILION])
    for i, axis in enumerate(axes):
        row, column = divmod(i, 5)
        if row == 0:
            axis.imshow(data["x"][column], cmap="gray", vmin=0, vmax=255, interpolation="none")
        else:
            axis.imshow(data[("masks", "found")[row - 1]][column], cmap=colors, vmin=0, vmax=2, interpolation="none")
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
        if column == 0:
            axis.set_ylabel(("image", "label", "found")[row])
    print(f"200 test images: mIoU {data['miou']:.3f}")
    return picture


if __name__ == "__main__":
    drawing.run(data, draw, sys.argv)
