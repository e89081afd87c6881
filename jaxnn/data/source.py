"""What every reader returns: arrays as the file has them, not yet checked, encoded or split."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from jaxnn.data.dataset import Label


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
