"""Images to look at: what a network makes of them, in the folder of its run; and those that it is trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxnn.augment import batches
from jaxnn.config.names import GENERATIVE, PICTURED
from jaxnn.config.own import Own
from jaxnn.config.settings import Config
from jaxnn.data.dataset import Dataset
from jaxnn.devices import hosts, mesh
from jaxnn.store import durable
from jaxnn.tasks import choose
from jaxnn.types import Batch, Params, Recipe

COUNT, SAMPLES = 16, 64  # examples of the test (or what is there in its place), and generated images
OF_A_CLASS, CLASSES = 8, 16  # training examples: so many of each of the first classes


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


def sheets(config: Config, own: Own, data: Dataset) -> dict[str, bytes]:
    """`images`: training examples as they are given to the network, a row a class, or with their masks or boxes; with
    `--data.augment`, `augmented`: what one step makes of them. PNG files.

    Raises `InputError` for an augmentation that does not fit the data.
    """
    index = _chosen(data)
    there = index[index >= 0]
    taken = Batch(data.train.x[there], data.train.y[there], np.ones(len(there), np.float32))
    found = {"images": taken}
    if config.data.augment:
        task = choose.choose(config.task, data.describe(), loss=own.loss, metrics=own.metrics, own=own.task)
        example = jax.ShapeDtypeStruct(data.shape, data.train.x.dtype)
        augment: Any = batches.build(config.data.augment, example, task, data.scale)
        found["augmented"] = jax.device_get(augment(taken, jax.random.key(config.seed)))
    return {name: _sheet(batch, index, data) for name, batch in found.items()}


def _chosen(data: Dataset) -> np.ndarray:
    """i64[rows, columns]: numbers of training examples, the first ones of each class in a row; -1 fills a row up."""
    if data.task in PICTURED or data.classes is None or data.train.y.ndim > 1:
        return np.arange(min(COUNT, len(data.train.weight)))[None]
    y = np.asarray(data.train.y)
    rows = [np.flatnonzero(y == k)[:OF_A_CLASS] for k in range(min(CLASSES, len(data.classes)))]
    return np.stack([np.pad(row, (0, OF_A_CLASS - len(row)), constant_values=-1) for row in rows])


def _sheet(batch: Batch, index: np.ndarray, data: Dataset) -> bytes:
    from jaxnn.pictures import boxes, grid, masks
    from jaxnn.pictures.shown import as_bytes

    images, labels = as_bytes(np.asarray(batch.x), data.scale), choose.LABELS.get(data.task)
    if labels == "masks":
        images = masks.overlay(images, np.asarray(batch.y, np.uint8))
    if labels == "boxes":
        kind, corners = batch.y[..., :1], batch.y[..., 1:]
        labelled = np.concatenate([corners, np.full_like(kind, np.nan), kind], -1)
        images = np.stack([boxes.drawn(*each, data.classes or ()) for each in zip(images, labelled, strict=True)])
    rows = np.full((index.size, *images.shape[1:]), grid.GREY, np.uint8)
    rows[index.ravel() >= 0] = images
    return grid.png(grid.grid(rows, index.shape[1] if len(index) > 1 else 4))
