"""What every reader returns: arrays as the file has them, not yet checked, encoded or split."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxnn.arrays import refuse_where
from jaxnn.data.frame import Frame
from jaxnn.data.keys import Key
from jaxnn.tasks.labels import Label


class Table(NamedTuple):
    """Features, the user's own labels, and a weight for each example."""

    x: Any  # an array, or a Frame
    y: np.ndarray
    weight: np.ndarray | None = None
    key: Key | None = None
    """the column that a split goes by"""


class Source(NamedTuple):
    """One data set; with `classes`, `y` holds indices into them, otherwise labels that are still to be encoded."""

    train: Table
    validation: Table | None = None
    test: Table | None = None
    classes: tuple[Label, ...] | None = None
    features: tuple[str, ...] | None = None
    targets: tuple[str, ...] | None = None
    """names of the columns that are predicted"""
    scale: float | None = None
    task: str = "auto"
    by_folder: bool = False
    """the labels are names of folders, which may be any word"""
    notes: tuple[str, ...] = ()
    """what was left out, for people"""

    @property
    def parts(self) -> dict[str, Table]:
        """The parts that are there: train, validation, test."""
        named = {"train": self.train, "validation": self.validation, "test": self.test}
        return {part: table for part, table in named.items() if table is not None}


def missing_texts(values: np.ndarray, missing: Sequence[str]) -> np.ndarray:
    """bool like `values`, an array of texts: which are empty, or a word for what is missing."""
    return np.isin(np.strings.strip(values), ["", *missing])


def finite(source: Source, missing: Sequence[str]) -> Source:
    """The source without the examples that hold a NaN, an infinity or a word for what is missing, and a note of how
    many they were."""
    for part, table in source.parts.items():
        if isinstance(table.x, Frame) or table.key is not None:  # whose rows were chosen as it was read
            continue
        arrays = {name: array for name, array in table._asdict().items() if array is not None}
        if len({np.shape(array)[:1] or 0 for array in arrays.values()}) > 1 or np.ndim(table.x) == 0:
            continue  # arrays of different lengths, which `assemble` refuses
        good = np.ones(len(arrays["x"]), bool)
        for array in arrays.values():
            if array.dtype.kind == "f":
                good &= np.isfinite(array).reshape(len(array), -1).all(1)
            elif array.dtype.kind == "U" and not source.by_folder:
                good &= ~missing_texts(array, missing).reshape(len(array), -1).any(1)
        if not good.all():
            what = "with a missing value" if arrays["y"].dtype.kind == "U" else "with a value that is not finite"
            note = f"{part}: {np.sum(~good)} of {len(good)} examples left out, {what}"
            kept = Table(**{k: array[good] for k, array in arrays.items()})
            source = source._replace(**{part: kept}, notes=(*source.notes, note))
    return source


def refuse_missing(source: Source, missing: Sequence[str]) -> None:
    """Refuse texts among the labels of arrays that say that there is none: "nan" is what NumPy makes of a NaN."""
    for part, table in source.parts.items():
        if isinstance(table.x, Frame) or source.by_folder or table.y.dtype.kind != "U":
            continue
        gone = missing_texts(table.y, missing)
        rule = "missing value; fill it in, leave the row out, or add --data.nan drop (--data.missing has the words)"
        refuse_where(gone, "labels" if part == "train" else f"{part} labels", table.y, rule)
