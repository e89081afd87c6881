"""From what was read to numbers: checked examples, and what their labels become."""

from __future__ import annotations

from typing import Any

import numpy as np

from jaxnn.data import check, fitted, pictured
from jaxnn.data.frame import Frame
from jaxnn.data.source import Source
from jaxnn.errors import InputError
from jaxnn.tasks import targets
from jaxnn.types import Batch


def encode(source: Source, task: str, positive: str | None) -> tuple[dict[str, Batch], targets.Targets]:
    """Checked arrays, or frames, of each part that the source came in, and the numbers of their labels."""
    given = source.parts
    xs, prefix = {}, {part: "" if part == "train" else f"{part} " for part in given}
    for part, t in given.items():
        xs[part] = t.x
        if isinstance(t.x, Frame):
            continue
        if np.ndim(t.y) == 0 or np.ndim(t.x) == 0 or len(t.x) != len(t.y):
            raise InputError(f"{prefix[part]}x={t.x.shape}, y={t.y.shape}: must have the same length; check the file")
        xs[part] = check.features(t.x, f"{prefix[part]}x", source.features)
        if xs[part].shape[1:] != (train := xs["train"]).shape[1:] or _bytes(xs[part]) != _bytes(train):
            raise InputError(
                f"{part} x={xs[part].dtype}{xs[part].shape}: examples must be as the training examples, "
                f"{train.dtype}{train.shape}; convert them"
            )
    if lies_in := pictured.kind(source):
        found = pictured.encode(source, lies_in, task, positive)
        return _batches(source, xs, found), found
    labels = targets.alike({part: t.y for part, t in given.items()})
    task = source.task if task == "auto" else task
    names = source.targets if labels["train"].ndim == 2 else None
    found = targets.encode(labels, task, known=source.classes, positive=positive, names=names)
    if found.classes is None:
        fitted.refuse_lost_amounts(labels["train"], names)
    return _batches(source, xs, found), found


def _batches(source: Source, xs: dict[str, Any], found: targets.Targets) -> dict[str, Batch]:
    named = {part: "weight" if part == "train" else f"{part} weight" for part in xs}
    weights = {part: check.weights(t.weight, named[part], len(t.y)) for part, t in source.parts.items()}
    return {part: Batch(x, found.y[part], weights[part]) for part, x in xs.items()}


def _bytes(x: np.ndarray) -> bool:
    return x.dtype == np.uint8 and x.ndim == 4
