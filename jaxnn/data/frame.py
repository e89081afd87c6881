"""A table whose columns are typed, and not yet rows of features.

Which categories become features, and what is taken off a column that lies so far from 0 that float32 would lose its
differences, is learned from the training rows: so columns become rows of features once the rows are split.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from jaxnn.arrays import damaged
from jaxnn.config.names import IMPUTED
from jaxnn.data.cells import collect
from jaxnn.data.columns import HOLE, Column
from jaxnn.data.grid import Grid
from jaxnn.errors import InputError

BLOCK = 4096  # rows


class Feature(NamedTuple):
    """One input of the network: a column of numbers, or one category of a column of texts; whether a cell of either is
    missing is a category too."""

    column: int
    category: int | None = None


@dataclass
class Frame:
    """`values[j]` are the cells of `columns[j]`: numbers, f32[n], or i32[n] numbers of its categories. Missing ones are
    NaN and `HOLE`: `matrix` fills them.

    `rounded`: the columns in which float32 is not what the table says; `changed`: those of them that are whole numbers;
    `rows`: which rows of the grid these are, those that were left out for a missing value gone; `nan`: what becomes of
    missing values; `fill`: what stands for them, a number or a category for each column ("": none of its categories).
    """

    grid: Grid
    columns: tuple[Column, ...]
    values: list[np.ndarray]
    rounded: frozenset[str]
    changed: frozenset[str]
    rows: np.ndarray
    nan: str = "refuse"
    fill: dict[str, float | str] | None = None

    def __len__(self) -> int:
        return len(self.values[0])

    def features(self) -> list[Feature]:
        """All that the columns can become, one-hot where they are texts."""
        found = []
        for j, column in enumerate(self.columns):
            count = None if column.categories is None else len(column.categories)
            found += [Feature(j)] if count is None else [Feature(j, k) for k in range(count)]
            found += [Feature(j, HOLE)] * (self.nan == "category")
        return found

    def missing(self, j: int, rows: Any = slice(None)) -> np.ndarray:
        """bool[n]: which cells of column j are missing, of these rows."""
        cells = self.values[j][rows]
        return np.isnan(cells) if self.columns[j].categories is None else cells == HOLE

    def present(self, j: int, rows: np.ndarray) -> np.ndarray:
        """The cells of column j in these rows, missing ones left out. Raises `InputError` where none is left."""
        cells = self.values[j][rows]
        if self.nan not in IMPUTED:
            return cells
        cells = cells[~self.missing(j, rows)]
        if not len(cells):
            name = self.columns[j].name
            where = f"{self.grid.name}, column {name}=missing in each of the {len(rows)} training examples"
            raise InputError(f"{where}: nothing to fill it with; add --data.drop {name}")
        return cells

    def seen(self, rows: np.ndarray) -> list[Feature]:
        """The features of which these rows have an example."""
        found = {
            j: set(np.unique(self.values[j][rows]).tolist())
            for j, column in enumerate(self.columns)
            if column.categories is not None
        }
        if self.nan == "category":
            found |= {j: {HOLE} for j in range(len(self.columns)) if j not in found and self.missing(j, rows).any()}
        return [f for f in self.features() if f.category is None or f.category in found.get(f.column, ())]

    def name(self, feature: Feature) -> str:
        """The column, or column=category; of what is missing, column= alone, which no cell can be."""
        column, category = self.columns[feature.column], feature.category
        if category is None:
            return column.name
        return f"{column.name}={'' if category == HOLE else (column.categories or ())[category]}"

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
        there = ~self.missing(j)
        values, rows = self.exact(j)[there], self.rows[there]
        for bad, rule in damaged(values - values.dtype.type(offset) if offset else values):
            if bad.any():
                raise InputError(f"{self.grid.at(self.columns[j].name, int(rows[np.argmax(bad)]))}: {rule}")

    def fill_exact(self, j: int) -> None:
        """Let column j be as the table has it."""
        self.values[j] = np.where(self.missing(j), np.nan, self.exact(j).astype(np.float64))

    def matrix(self, features: Sequence[Feature], index: np.ndarray, dtype: type) -> np.ndarray:
        """`dtype[n, F]`: these features of the rows that `index` names."""
        x, fill = np.empty((len(index), len(features)), dtype), [self._fill(column) for column in self.columns]
        for start in range(0, len(index), BLOCK):  # so that a block of x stays in the cache while columns go into it
            block, rows = x[start : start + BLOCK], index[start : start + BLOCK]
            for k, (column, category) in enumerate(features):
                if category == HOLE:
                    block[:, k] = self.missing(column, rows)
                    continue
                cells = self.values[column][rows]
                if (stand := fill[column]) is not None:
                    cells = np.where(self.missing(column, rows), stand, cells)
                block[:, k] = cells if category is None else cells == category
        return x

    def _fill(self, column: Column) -> float | None:
        """What stands for a missing cell in `values`."""
        stand = None if self.fill is None else self.fill[column.name]
        if isinstance(stand, str):
            return (column.categories or ()).index(stand) if stand else -1
        return stand
