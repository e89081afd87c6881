"""A network draws handwritten digits, of the class that is asked for; trained in half a minute.

python examples/generation.py pictures
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import drawing
import jax
import numpy as np
from matplotlib.figure import Figure

import jaxnn

TRAIN = "train digits_flow --epochs 150 --optim.ema 0.99 --eval_every 50epochs --report off --workdir"


def data() -> dict[str, Any]:
    """Two images of each class u8[20, 8, 8], 0 to 16, and the validation loss after 50, 100 and 150 epochs."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "jaxnn", *TRAIN.split(), f"{folder}/run"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        run, history = jaxnn.load_run(f"{folder}/run"), Path(folder, "run", "history.jsonl").read_text()
    losses = [row["val/loss"] for row in map(json.loads, history.splitlines()) if "val/loss" in row]
    images = [jaxnn.sample(run, jax.random.key(0), 2, label=label)[..., 0] for label in range(10)]
    return {"x": np.stack(images, 1).reshape(20, 8, 8), "loss": losses}


def draw(data: dict[str, Any]) -> Figure:
    picture, axes = drawing.figure(2, 10, height=1.1)
    for i, (axis, image) in enumerate(zip(axes, data["x"], strict=True)):
        axis.imshow(image, cmap="gray_r", vmin=0, vmax=16, interpolation="none")
        axis.set_title(f"{i % 10}", fontsize=10)
        axis.set_axis_off()
    print(f"validation loss {data['loss'][0]:.3f} to {data['loss'][-1]:.3f}")
    return picture


if __name__ == "__main__":
    drawing.run(data, draw, sys.argv)
