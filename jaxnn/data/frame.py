"""A table whose columns are typed, and not yet rows of features.

Which categories become features, and what is taken off a column that lies so far from 0 that float32 would lose its
differences, is learned from the training rows: so columns become rows of features once the rows are split.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from jaxnn.arrays import damaged
from jaxnn.data.cells import collect
from jaxnn.data.columns import Column
from jaxnn.data.grid import Grid
from jaxnn.errors import InputError

BLOCK = 4096  # rows


class Feature(NamedTuple):
    """One input of the network: a column of numbers, or one category of a column of texts."""

    column: int
    category: int | None = None


@dataclass
class Frame:
    """`values[j]` are the cells of `columns[j]`: numbers, f32[n], or i32[n] numbers of its categories.

    `rounded`: the columns in which float32 is not what the table says; `changed`: those of them that are whole numbers;
    `rows`: which rows of the grid these are, those with a missing value left out.
    """

    grid: Grid
    columns: tuple[Column, ...]
    values: list[np.ndarray]
    rounded: frozenset[str]
    changed: frozenset[str]
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.values[0])

    def features(self) -> list[Feature]:
        """All that the columns can become, one-hot where they are texts."""
        found = []
        for j, column in enumerate(self.columns):
            count = None if column.categories is None else len(column.categories)
            found += [Feature(j)] if count is None else [Feature(j, k) for k in range(count)]
        return found

    def seen(self, rows: np.ndarray) -> list[Feature]:
        """The features of which these rows have an example."""
        found = {
            j: set(np.unique(self.values[j][rows]).tolist())
            for j, column in enumerate(self.columns)
            if column.categories is not None
        }
        return [f for f in self.features() if f.category is None or f.category in found[f.column]]

    def name(self, feature: Feature) -> str:
        """The column, or column=category."""
        column = self.columns[feature.column]
        return (
            column.name if feature.category is None else f"{column.name}={(column.categories or ())[feature.category]}"
        )

    def exact(self, j: int) -> np.ndarray:
        """Column j as the table has it, f64[n] or i64[n]: read again, since `values` are rounded to float32."""
        name = self.columns[j].name
        if name not in self.rounded:
            return self.values[j]
        return collect(self.grid, [name], frozenset(), exact=[name])[name].values()[self.rows]

    def refuse_changed(self, j: int, offset: float = 0.0) -> None:
        """Refuse, with line and column, whole numbers that float32 would change, once the offset is taken off."""
        if self.columns[j].name not in self.changed:
            return
        values = self.exact(j)
        for bad, rule in damaged(values - values.dtype.type(offset) if offset else values):
            if bad.any():
                raise InputError(f"{self.grid.at(self.columns[j].name, int(self.rows[np.argmax(bad)]))}: {rule}")

    def fill_exact(self, j: int) -> None:
        """Let column j be as the table has it."""
        self.values[j] = self.exact(j).astype(np.float64)

    def matrix(self, features: Sequence[Feature], index: np.ndarray, dtype: type) -> np.ndarray:
        """`dtype[n, F]`: these features of the rows that `index` names."""
        x = np.empty((len(index), len(features)), dtype)
        for start in range(0, len(index), BLOCK):  # so that a block of x stays in the cache while columns go into it
            block, rows = x[start : start + BLOCK], index[start : start + BLOCK]
            for k, (column, category) in enumerate(features):
                cells = self.values[column][rows]
                block[:, k] = cells if category is None else cells == category
        return x
