"""What `load` returns: three splits of NumPy arrays and what is known of them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from jaxnn.tasks.labels import Label
from jaxnn.types import Batch


@dataclass(frozen=True, eq=False)
class Dataset:
    """Checked and split data. The arrays are as they were read: scaling and standardising belong to the model.

    A split is a `Batch` of NumPy arrays: `x` u8[n, H, W, C] (images) or f32[n, ...]; `y` i32[n] (classes) or f32[n, K];
    `weight` f32[n].
    """

    name: str
    task: str
    """binary, multiclass, multilabel or regression"""
    outputs: int
    """how many numbers a model must give"""
    train: Batch
    validation: Batch | None
    test: Batch | None
    classes: tuple[Label, ...] | None = None
    """the user's own labels: `classes[y]`; None for regression"""
    features: tuple[str, ...] | None = None
    """names of the columns of a table"""
    scale: float | None = None
    """the value of `x` that means 1.0 in an image: 255, or 16 for the bundled digits; None for a table"""
    mean: np.ndarray | None = None
    """f32, the shape of one example: over the training examples, in the units of `x`; with `std` if standardize"""
    std: np.ndarray | None = None
    center: float | list[float] = 0.0
    """a rough mean of amounts, by output"""
    notes: tuple[str, ...] = ()
    """what was left out or looks odd, for people: examples that were dropped, or that are in two splits"""

    @property
    def splits(self) -> tuple[Batch, Batch | None, Batch | None]:
        """train, validation, test"""
        return self.train, self.validation, self.test

    @property
    def parts(self) -> dict[str, Batch]:
        """The splits that are there, as a history calls them: train, val, test."""
        named = {"train": self.train, "val": self.validation, "test": self.test}
        return {name: split for name, split in named.items() if split is not None}

    @property
    def statistics(self) -> dict[str, np.ndarray]:
        """`mean` and `std` by the paths that they have in the state of a run that standardises its input."""
        moments = {"params/input_stats/mean": self.mean, "params/input_stats/std": self.std}
        return {path: values for path, values in moments.items() if values is not None}

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one example."""
        return self.train.x.shape[1:]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of `x` in each split that is there."""
        named = zip(("train", "validation", "test"), self.splits, strict=True)
        return {name: split.x.shape for name, split in named if split is not None}

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all arrays (bytes, dtype, shape), the classes and the features: one flipped byte changes it."""
        sha = hashlib.sha256(json.dumps([self.classes, self.features]).encode())
        for split in self.splits:
            for array in split or ():
                sha.update(f"{array.dtype.str} {array.shape}\n".encode())
                sha.update(np.ascontiguousarray(array).data)
            sha.update(b"end of split\n")
        return sha.hexdigest()

    def describe(self) -> dict[str, Any]:
        """What is known of the data, as JSON keeps it."""
        return {
            "name": self.name,
            "task": self.task,
            "classes": None if self.classes is None else list(self.classes),
            "features": None if self.features is None else list(self.features),
            "outputs": self.outputs,
            "examples": {name: shape[0] for name, shape in self.shapes.items()},
            "shape": list(self.shape),
            "dtype": str(self.train.x.dtype),
            "scale": self.scale,
            "center": self.center,
            "digest": self.digest,
        }
