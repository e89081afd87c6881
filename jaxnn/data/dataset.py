"""What `load` returns: three splits of NumPy arrays and what is known of them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from jaxnn.config.names import MISSING
from jaxnn.data.columns import Column
from jaxnn.data.streams.rows import Rows, blocks
from jaxnn.tasks.labels import Label
from jaxnn.types import Batch

PARTS = ("train", "validation", "test")


@dataclass(frozen=True, eq=False)
class Dataset:
    """Checked and split data. The arrays are as they were read: scaling and standardising belong to the model.

    A split is a `Batch` of NumPy arrays: `x` u8[n, H, W, C] (images) or f32[n, ...]; `y` i32[n] (classes), f32[n, K],
    u8[n, H, W] (masks) or f32[n, M, 5] (boxes); `weight` f32[n].

    >>> import jaxnn
    >>> iris = jaxnn.data.load("iris")
    >>> iris.shapes, iris.classes
    ({'train': (108, 4), 'validation': (12, 4), 'test': (30, 4)}, ('setosa', 'versicolor', 'virginica'))
    """

    name: str
    task: str
    """binary, multiclass, multilabel, regression, segmentation or detection"""
    outputs: int
    """how many numbers a model must give, for each pixel or box if these are labelled"""
    train: Batch
    validation: Batch | None
    test: Batch | None
    classes: tuple[Label, ...] | None = None
    """the user's own labels: `classes[y]`; None for regression"""
    labels: tuple[Label, ...] | None = None
    """those of training, where `positive` made one class of all but one of them"""
    features: tuple[str, ...] | None = None
    """names of the columns of a table"""
    columns: tuple[Column, ...] | None = None
    """what the columns of a table are that are learned from"""
    targets: tuple[str, ...] | None = None
    """names of the columns of a table that are predicted"""
    fill: dict[str, float | str] | None = None
    """what stands for a missing cell of each column of a table, by `DataConfig.nan`; None where none may be missing"""
    absent: dict[str, int] | None = None
    """how many cells of each column of a table were missing, in all parts, where they were filled"""
    missing: tuple[str, ...] = MISSING
    """words that mean a missing value"""
    class_weight: np.ndarray | None = None
    """f32[K]: the factors of the classes that are in `train.weight`"""
    scale: float | None = None
    """the value of `x` that means 1.0 in an image: 255, or 16 for the bundled digits; None for a table"""
    offset: np.ndarray | None = None
    """f64[F]: what is taken off `x`, then f64[n, F], before it becomes float32; None where float32 loses nothing"""
    mean: np.ndarray | None = None
    """f32, the shape of one example: over the training examples, of `x - offset`; with `std` if standardize"""
    std: np.ndarray | None = None
    center: float | list[float] = 0.0
    """the mean of amounts over the training examples, by output"""
    spread: list[float] | None = None
    """their deviation, in which they are learned; None for classes, and where nothing is standardised"""
    settings: dict[str, Any] | None = None
    """what data that `jaxnn convert` made were converted with, by the names of `DataConfig`"""
    notes: tuple[str, ...] = ()
    """what was left out or looks odd, for people: examples that were dropped, or that are in two splits"""
    known_digest: str | None = None
    """`digest`, where it was worked out when the data were converted, or while they were read"""
    known_range: list[float] | None = None
    """the least and the greatest of the x of training images, likewise"""

    @property
    def splits(self) -> tuple[Batch, Batch | None, Batch | None]:
        """train, validation, test"""
        return self.train, self.validation, self.test

    @cached_property
    def parts(self) -> dict[str, Batch]:
        """The splits that are there, as a history calls them (train, val, test), their x as a network takes it."""
        named = {"train": self.train, "val": self.validation, "test": self.test}
        there = {name: split for name, split in named.items() if split is not None}
        return {name: split._replace(x=self.taken_off(split.x)) for name, split in there.items()}

    def taken_off(self, x: np.ndarray) -> np.ndarray:
        """`f32(x - offset)`, or x where there is no offset."""
        return x if self.offset is None else (x - self.offset).astype(np.float32)

    @property
    def is_streamed(self) -> bool:
        """Whether rows stay on the disk until they are needed."""
        return isinstance(self.train.x, Rows)

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

    @property
    def range(self) -> list[float]:
        """The least and the greatest x of the training examples."""
        return self.known_range or [float(self.train.x.min()), float(self.train.x.max())]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all arrays (bytes, dtype, shape), the classes and the features: one flipped byte changes it. That
        of a converted folder is the one that was found when it was written."""
        if self.known_digest is not None:
            return self.known_digest
        known = [self.classes, self.features] + ([] if self.offset is None else [self.offset.tolist()])
        sha = hashlib.sha256(json.dumps(known).encode())
        for split in self.splits:
            for array in split or ():
                sha.update(f"{array.dtype.str} {array.shape}\n".encode())
                for part in blocks(array) if isinstance(array, Rows) else [slice(None)]:
                    sha.update(np.ascontiguousarray(array[part]).data)
            sha.update(b"end of split\n")
        return sha.hexdigest()

    def describe(self) -> dict[str, Any]:
        """What is known of the data, as JSON keeps it."""
        return {
            "name": self.name,
            "task": self.task,
            "classes": None if self.classes is None else list(self.classes),
            "labels": None if self.labels is None else list(self.labels),
            "features": None if self.features is None else list(self.features),
            "columns": None
            if self.columns is None
            else [[c.name, c.categories and list(c.categories)] for c in self.columns],
            "targets": None if self.targets is None else list(self.targets),
            "missing": list(self.missing),
            "fill": self.fill,
            "outputs": self.outputs,
            "examples": {name: shape[0] for name, shape in self.shapes.items()},
            "shape": list(self.shape),
            "dtype": str(self.parts["train"].x.dtype),
            "y": {"shape": list(self.train.y.shape[1:]), "dtype": str(self.train.y.dtype)},
            "range": self.range if len(self.shape) == 3 else None,
            "scale": self.scale,
            "offset": None if self.offset is None else self.offset.tolist(),
            "standardized": self.mean is not None,
            "center": self.center,
            "spread": self.spread,
            "digest": self.digest,
        } | ({} if self.settings is None else {"settings": self.settings})
