"""What is learned from the training examples before the network is: no other example has a part in it."""

from __future__ import annotations

from typing import Any

import numpy as np

from jaxnn.data.source import Source
from jaxnn.errors import InputError
from jaxnn.tasks.targets import Targets
from jaxnn.types import Batch


def moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of each feature over the examples, f32, in the units of `x`; a deviation of 0 becomes 1."""
    mean = x.mean(0, dtype=np.float64)
    blocks = range(0, len(x), 4096)  # the float64 copy is of 4,096 examples, not of all
    variance = sum(np.square(x[i : i + 4096] - mean).sum(0) for i in blocks) / len(x)
    std = np.sqrt(variance).astype(np.float32)
    return mean.astype(np.float32), np.where(std < np.finfo(np.float32).tiny, np.float32(1), std)


def class_weights(given: Any, found: Targets, y: np.ndarray) -> np.ndarray:
    """f32[K]: the given ones, or n / (K count) so that every class weighs the same in all."""
    if found.classes is None or not found.numbered:
        raise InputError(f"--data.class_weight={given}: {found.task} has no classes; leave it out")
    k = len(found.classes)
    if given == "balanced":
        return (len(y) / (k * np.maximum(np.bincount(y, minlength=k), 1))).astype(np.float32)
    weights = np.array(given, np.float32)
    if weights.shape != (k,) or not weights[np.unique(y)].any():
        raise InputError(f"--data.class_weight={given}: must be {k} numbers, one a class, not all 0")
    return weights


def categories(parts: dict[str, Batch], source: Source) -> tuple[dict[str, Batch], Any, tuple[str, ...]]:
    """The encoder is fitted on the training examples: a category that none of them has gets no column."""
    if source.categories is None or source.features is None:
        return parts, source.features, ()
    known = ~source.categories | parts["train"].x.any(0)
    if known.all():
        return parts, source.features, ()
    unseen = [name for name, there in zip(source.features, known, strict=True) if not there]
    note = f"{', '.join(unseen[:10])}{', ...' * (len(unseen) > 10)}: in no training example; read as no category"
    parts = {part: split._replace(x=split.x[:, known]) for part, split in parts.items()}
    return parts, tuple(name for name, there in zip(source.features, known, strict=True) if there), (note,)
