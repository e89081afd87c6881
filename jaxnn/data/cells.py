"""The cells of one column as arrays of NumPy, collected from a grid a part of the rows at a time."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from jaxnn.data.grid import Grid
from jaxnn.errors import InputError
from jaxnn.tasks.targets import normal_form

WHOLE = re.compile(r"[+-]?[0-9]+")
LONG = "a whole number of more than 64 bits; write it with a decimal point"
LIMIT = float(np.finfo(np.float32).max)


def collect(
    grid: Grid, names: Sequence[str], as_text: frozenset[str], exact: Sequence[str] = (), key: str | None = None
) -> dict[str, Cells]:
    """All cells of these columns. Those of `exact` keep float64 and int64; the others become float32, whose half a
    table of five million rows needs. The column `key` may be one of dates, too."""
    import pyarrow as pa

    cells = {name: Cells(name, name in exact or name == key, name == key) for name in names}
    before = 0
    for part in grid.parts(as_text, names):
        for name, each in cells.items():
            each.add(part[name], grid, before)
        before += len(part)
    pa.default_memory_pool().release_unused()
    if not before:
        raise InputError(f"{grid.name}=0 examples: must hold at least one row; check it")
    return cells


@dataclass
class Cells:
    """The cells of one column: numbers, or numbers of `texts`; None stands for a part in which all are missing."""

    name: str
    exact: bool = False
    temporal: bool = False
    parts: list[np.ndarray | None] = field(default_factory=list)
    missing: list[np.ndarray | None] = field(default_factory=list)  # None: no cell of the part is
    lengths: list[int] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)  # by their normal form, as they were first written
    number: dict[str, int] = field(default_factory=dict)
    kinds: set[str] = field(default_factory=set)
    rounded: bool = False
    whole: bool = True
    infinite: bool = False

    def add(self, array: Any, grid: Grid, before: int) -> None:
        """The cells of one more part, whose first row is number `before`."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if pa.types.is_dictionary(array.type) and not _is_text(array.type):
            array = pc.cast(array, array.type.value_type)  # categories that are numbers
        kind, missing = array.type, array.is_null().to_numpy()
        if pa.types.is_null(kind):
            self.parts.append(None)
        elif _is_text(kind):
            self.kinds.add("text")
            self.parts.append(self._texts(array))
        elif pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
            self.kinds.add("number")
            values = array.to_numpy() if not missing.any() else pc.fill_null(array, pa.scalar(0, kind)).to_numpy()
            missing = missing | np.isnan(values) if values.dtype.kind == "f" else missing
            self.parts.append(self._numbers(values, grid, before))
        elif self.temporal and (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
            self.kinds.add("time")
            self.parts.append(pc.fill_null(array, pa.scalar(0, kind)).to_numpy())
        elif pa.types.is_decimal(kind):
            self.add(pc.cast(array, pa.float64()), grid, before)
            return
        else:
            raise InputError(f"{grid.name}, column {self.name}={kind}: must hold numbers or texts; convert the column")
        self.missing.append(missing if missing.any() else None)
        self.lengths.append(len(missing))

    def _numbers(self, values: np.ndarray, grid: Grid, before: int) -> np.ndarray:
        if values.dtype.kind == "b":
            if self.exact:  # labels stay as they are
                return values
            values = values.astype(np.int64)
        whole = values.dtype.kind in "iu"
        self.whole = self.whole and whole
        # fmin and fmax pass over NaN
        largest = float(max(np.fmax.reduce(values), -float(np.fmin.reduce(values)))) if len(values) else 0.0
        if largest >= 2**63 and not whole and not grid.has_types:
            row = before + int(np.argmax(np.abs(values) >= 2**63))
            if WHOLE.fullmatch(grid.cell(row, self.name)[1]):
                raise InputError(f"{grid.at(self.name, row)}: {LONG}")
        if largest > LIMIT:
            self.infinite = self.infinite or bool(np.isinf(values).any())
            beyond = np.isfinite(values) & (np.abs(values) > LIMIT)
            if beyond.any():
                where = grid.at(self.name, before + int(np.argmax(beyond)))
                raise InputError(f"{where}: does not fit float32 (at most {LIMIT:.7g}); rescale it")
        if self.exact:
            return values if whole else values.astype(np.float64, copy=False)
        narrow = values.astype(np.float32)
        if not self.rounded and not (whole and largest <= 2**24) and values.dtype.itemsize > 4:
            self.rounded = not np.array_equal(narrow.astype(np.float64), values, equal_nan=not whole)
        return narrow

    def _texts(self, array: Any) -> np.ndarray:
        import pyarrow as pa
        import pyarrow.compute as pc

        if not pa.types.is_dictionary(array.type):
            array = pc.cast(array, pa.large_string()).dictionary_encode()
        whole, numbers = array.combine_chunks(), []
        for text in map(str.strip, whole.dictionary.to_pylist()):
            form = normal_form(text)
            self.texts.setdefault(form, text)
            numbers.append(self.number.setdefault(form, len(self.number)))
        index = pc.fill_null(pc.cast(whole.indices, pa.int64()), -1).to_numpy(zero_copy_only=False)
        return np.array([*numbers, -1], np.int32)[index]

    def values(self) -> np.ndarray:
        """All parts in one array."""
        dtype = next((part.dtype for part in self.parts if part is not None), np.dtype(np.float32))
        filled = [
            np.zeros(n, dtype) if part is None else part for part, n in zip(self.parts, self.lengths, strict=True)
        ]
        return filled[0] if len(filled) == 1 else np.concatenate(filled)

    def gone(self, words: Sequence[str]) -> np.ndarray | None:
        """bool[n]: which cells are empty, or one of the words that mean missing; None if no cell is."""
        numbers = [self.number[word] for word in (*words, "") if word in self.number]
        if not numbers and all(part is None for part in self.missing):
            return None
        parts = zip(self.missing, self.lengths, strict=True)
        gone = np.concatenate([np.zeros(n, bool) if part is None else part for part, n in parts])
        return gone | np.isin(self.values(), numbers) if numbers else gone


def _is_text(kind: Any) -> bool:
    import pyarrow as pa

    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
