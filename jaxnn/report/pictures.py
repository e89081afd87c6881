"""What a network makes of images, to look at: pictures/*.png in the folder of its run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxnn.config.names import GENERATIVE
from jaxnn.config.settings import Config
from jaxnn.devices import hosts, mesh
from jaxnn.store import durable
from jaxnn.types import Batch, Params, Recipe

COUNT, SAMPLES = 16, 64  # examples of the test (or what is there in its place), and generated images


def save(
    folder: Path, config: Config, known: dict[str, Any], recipe: Recipe, params: Params, parts: dict[str, Batch]
) -> None:
    """A picture of a finished run whose answers lie in images, or are images; of others none.

    Args:
      folder: the run's.
      config, known: its settings, and what is known of its data (`Dataset.describe`).
      recipe, params: what has been trained, and the weights that it ended with.
      parts: the splits, as a history calls them.

    Raises `StorageError` where it cannot be written.
    """
    marked, generated = recipe.task.labels != "whole", config.task.name in GENERATIVE
    if not (marked or generated) or not hosts.leads():
        return
    with mesh.use(1):  # of several processes, the first one does this alone
        _save(folder, config, known, recipe, jax.device_get(params), parts, marked=marked)


def _save(
    folder: Path,
    config: Config,
    known: dict[str, Any],
    recipe: Recipe,
    params: Params,
    parts: dict[str, Batch],
    *,
    marked: bool,
) -> None:
    from jaxnn.pictures import grid
    from jaxnn.pictures.shown import as_bytes
    from jaxnn.predict import run_of

    run = run_of(config, known, recipe.model, recipe.task, params)
    if marked:
        name = next(part for part in ("test", "val", "train") if part in parts)
        images, columns = _marked(run, parts[name].x[:COUNT]), 4
    else:
        from jaxnn.generation import sample

        label = known["classes"][0] if config.task.label_dropout == 0 else None
        images = as_bytes(sample(run, jax.random.key(0), SAMPLES, label=label), known["scale"])
        name, columns = "samples", 8
    path = folder / "pictures" / f"{name}.png"
    try:
        path.parent.mkdir(exist_ok=True)
    except OSError as reason:
        raise durable.unwritable(path, reason) from None
    durable.replace(path, [grid.png(grid.grid(images, columns))])


def _marked(run: Any, x: np.ndarray) -> np.ndarray:
    """u8[n, H, W, 3]: images with the masks or boxes that are found."""
    from jaxnn.pictures import boxes, masks
    from jaxnn.pictures.shown import as_bytes

    answers, images = run.predict(x), as_bytes(x, run.data["scale"])
    if run.task.labels == "mask":
        return masks.overlay(images, answers)
    each = zip(images, answers, strict=True)
    return np.stack([boxes.drawn(image, found, run.data["classes"]) for image, found in each])
