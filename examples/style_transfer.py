"""The style of one photo for the content of another: the picture is what is trained.

    python examples/style_transfer.py pictures

Both photos come with scikit-learn (china.jpg and flower.jpg, CC BY 2.0).
"""

from __future__ import annotations

import sys
from typing import Any

import drawing
import jax
import numpy as np
from drawing import BLUE
from matplotlib.figure import Figure
from PIL import Image
from sklearn.datasets import load_sample_image

import jaxnn

SIZE, STEPS = (72, 48), 100  # width and height


def photo(name: str) -> np.ndarray:
    """u8[48, 72, 3]"""
    return np.asarray(Image.fromarray(load_sample_image(name)).resize(SIZE))


def data() -> dict[str, Any]:
    """The picture u8[48, 72, 3], and the loss after each tenth step."""
    content, style, losses = photo("china.jpg"), photo("flower.jpg"), []
    show = lambda step, found: losses.append((step, found["loss"]))
    picture = jaxnn.style_transfer(content, style, jax.random.key(0), steps=STEPS, show=show)
    step, loss = zip(*losses, strict=True)
    return {"picture": np.round(255 * picture).astype(np.uint8), "step": step, "loss": loss}


def draw(data: dict[str, Any]) -> Figure:
    picture, axes = drawing.figure(1, 4, height=1.8)
    images = {"content": photo("china.jpg"), "style": photo("flower.jpg"), "picture": data["picture"]}
    for (name, image), axis in zip(images.items(), axes, strict=False):
        axis.imshow(image, interpolation="none")
        axis.set_title(name)
        axis.set_axis_off()
    axes[3].semilogy(data["step"], data["loss"], "o-", color=BLUE, markersize=3)
    axes[3].set(xlabel="step", title="loss")
    print(f"{STEPS} steps: loss {data['loss'][0]:.3g} to {data['loss'][-1]:.3g}")
    return picture


if __name__ == "__main__":
    drawing.run(data, draw, sys.argv)
