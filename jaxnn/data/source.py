"""What every reader returns: arrays as the file has them, not yet checked, encoded or split."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from jaxnn.tasks.labels import Label


class Table(NamedTuple):
    """Features, the user's own labels, and a weight for each example."""

    x: np.ndarray
    y: np.ndarray
    weight: np.ndarray | None = None


class Source(NamedTuple):
    """One data set; with `classes`, `y` holds indices into them, otherwise labels that are still to be encoded."""

    train: Table
    validation: Table | None = None
    test: Table | None = None
    classes: tuple[Label, ...] | None = None
    features: tuple[str, ...] | None = None
    scale: float | None = None
    task: str = "auto"
    categories: np.ndarray | None = None
    """bool[F]: which columns of `x` are a category of a text column"""
    notes: tuple[str, ...] = ()
    """what was left out, for people"""


def finite(source: Source) -> Source:
    """The source without the examples that hold a NaN or an infinity, and a note of how many they were."""
    for part in ("train", "validation", "test"):
        table: Table | None = getattr(source, part)
        arrays = {} if table is None else {k: array for k, array in table._asdict().items() if array is not None}
        if not arrays or len({np.shape(array)[:1] or 0 for array in arrays.values()}) > 1 or np.ndim(arrays["x"]) == 0:
            continue  # no such part, or arrays of different lengths, which `assemble` refuses
        good = np.ones(len(arrays["x"]), bool)
        for array in arrays.values():
            if array.dtype.kind == "f":
                good &= np.isfinite(array).reshape(len(array), -1).all(1)
        if not good.all():
            note = f"{part}: {np.sum(~good)} of {len(good)} examples left out, with a value that is not finite"
            kept = Table(**{k: array[good] for k, array in arrays.items()})
            source = source._replace(**{part: kept}, notes=(*source.notes, note))
    return source
