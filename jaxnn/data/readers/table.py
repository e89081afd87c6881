"""CSV files: a header, a column to predict, numbers, and text that becomes one column for each category."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxnn.arrays import to_float32
from jaxnn.data.check import file_size, unpacked_size
from jaxnn.data.source import Source, Table
from jaxnn.errors import InputError, choices

MISSING = frozenset({"", "?", "NA", "N/A", "#N/A", "null", "NULL"})
MAX_CATEGORIES = 1000


class Grid(NamedTuple):
    """The cells of a file by column name, and the line that each row ends on."""

    path: Path
    lines: list[int]
    cells: dict[str, list[str]]
    dropped: int = 0

    @property
    def notes(self) -> tuple[str, ...]:
        n = len(self.lines) + self.dropped
        return (f"{self.path}: {self.dropped} of {n} rows left out, with a missing value",) if self.dropped else ()

    def at(self, name: str, row: int) -> str:
        """Where a cell is and what it holds: the head of a message."""
        return f"{self.path} line {self.lines[row]}, column {name}={self.cells[name][row]}"


def read(path: Path, target: str | None, weight: str | None, validation: Path | None, drop: bool = False) -> Source:
    """A table; the categories of a text column are those of `path`, sorted; `validation` must keep to them.

    With `drop`, rows with a missing value are left out.
    """
    grid = _grid(path, drop)
    names = list(grid.cells)
    target = names[-1] if target is None else target
    for flag, name in (("--data.target", target), ("--data.weight", weight)):
        if name is not None and name not in names:
            raise choices(flag, name, names)
    if weight == target:
        raise InputError(f"--data.weight={weight}: is the target column too; choose another")
    inputs = [name for name in names if name not in (target, weight)]
    if not inputs:
        raise InputError(f"{path}={', '.join(names)}: no column is left to learn from; add features")
    categories = {name: _categories(grid, name) for name in inputs}
    named = [[f"{name}={c}" for c in categories[name]] or [name] for name in inputs]
    features = tuple(feature for group in named for feature in group)
    if len(set(features)) < len(features):
        raise InputError(f"{path}: two columns become the same feature (name=category); rename one")

    unpacked_size(path, 4 * len(grid.lines) * len(features))  # one column may become a thousand features

    def table(grid: Grid) -> Table:
        x = np.concatenate([_features(grid, name, categories[name]) for name in inputs], axis=1)
        numbers = _numbers(grid.cells[target])
        y = np.array(grid.cells[target]) if numbers is None else numbers
        return Table(x, y, None if weight is None else _must_be_numbers(grid, weight))

    one_hot = np.concatenate(
        [np.full(len(group), bool(categories[name])) for name, group in zip(inputs, named, strict=True)]
    )
    source = Source(table(grid), features=features, categories=one_hot, notes=grid.notes)
    if validation is None:
        return source
    other = _grid(validation, drop)
    if different := set(other.cells) ^ set(names):
        raise InputError(f"{validation}={', '.join(sorted(different))}: must have the columns of {path}; rename them")
    return source._replace(validation=table(other), notes=grid.notes + other.notes)


def _grid(path: Path, drop: bool) -> Grid:
    """Read and check: a header of distinct names, rows of one length, no missing value (or, with `drop`, without)."""
    rows, lines = [], []
    file_size(path)
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        try:
            header = [name.strip() for name in next(reader, [])]
            _check_header(path, header)
            for row in reader:
                if row:  # not a blank line
                    rows.append([cell.strip() for cell in row])
                    lines.append(reader.line_num)
        except UnicodeDecodeError as error:
            raise InputError(f"{path} after line {reader.line_num}: must be UTF-8 text; save it as UTF-8") from error
        except csv.Error as error:
            raise InputError(f"{path} line {reader.line_num}: not CSV ({error}); repair it") from error
    if not rows:
        raise InputError(f"{path}=0 examples: must hold at least one row below the header; check the file")
    for line, row in zip(lines, rows, strict=True):
        if len(row) != len(header):
            raise InputError(f"{path} line {line}={len(row)} cells: the header has {len(header)}; repair it")
    n = len(rows)
    if drop:
        whole = [i for i, row in enumerate(rows) if MISSING.isdisjoint(row)]
        rows, lines = [rows[i] for i in whole], [lines[i] for i in whole]
        if not rows:
            raise InputError(f"{path}=0 examples: each of the {n} rows has a missing value; leave a column out")
    grid = Grid(path, lines, dict(zip(header, map(list, zip(*rows, strict=True)), strict=True)), n - len(rows))
    for name, cells in grid.cells.items():
        if not MISSING.isdisjoint(cells):
            row = next(i for i, cell in enumerate(cells) if cell in MISSING)
            raise InputError(f"{grid.at(name, row)}: missing value; fill it in or leave the row out")
    return grid


def _check_header(path: Path, header: list[str]) -> None:
    if not header:
        raise InputError(f"{path}=empty: the first line must name the columns; check the file")
    if len(header) == 1 and (";" in header[0] or "\t" in header[0]):
        raise InputError(f"{path} line 1={header[0]}: cells must be separated by commas; save it with commas")
    if _numbers(header) is not None:
        raise InputError(f"{path} line 1={','.join(header)[:80]}: must name the columns; add a header")
    if "" in header:
        raise InputError(f"{path} line 1=column {header.index('') + 1}: has no name; give it one")
    if len(set(header)) < len(header):
        double = next(name for name in header if header.count(name) > 1)
        raise InputError(f"{path} line 1={double}: two columns have this name; rename one")


def _numbers(cells: list[str]) -> np.ndarray | None:
    """i64[n] if all cells are whole, f64[n] if all are numbers, else None."""
    if any("_" in cell for cell in cells):
        return None  # int("1_000") is 1000 in Python, and text to all other programs
    try:
        return np.array([int(cell) for cell in cells], np.int64)
    except OverflowError as error:
        long = max(cells, key=len)
        raise InputError(f"{long}: a whole number of more than 64 bits; write it with a decimal point") from error
    except ValueError:
        pass
    try:
        return np.array([float(cell) for cell in cells])
    except ValueError:
        return None


def _must_be_numbers(grid: Grid, name: str) -> np.ndarray:
    numbers = _numbers(grid.cells[name])
    if numbers is None:
        odd = next(i for i, cell in enumerate(grid.cells[name]) if _numbers([cell]) is None)
        raise InputError(f"{grid.at(name, odd)}: must be a number; repair it")
    return numbers


def _categories(grid: Grid, name: str) -> tuple[str, ...]:
    """The sorted texts of a column, none for a column of numbers; a mixture is refused."""
    cells = grid.cells[name]
    if _numbers(cells) is not None:
        return ()
    number = [_numbers([cell]) is not None for cell in cells]
    if any(number):
        odd = number.index(2 * sum(number) <= len(number))  # the first cell of the rarer kind
        raise InputError(f"{grid.at(name, odd)}: numbers and text in one column; make all its cells one kind")
    categories = tuple(sorted(set(cells)))
    if len(categories) > MAX_CATEGORIES:
        raise InputError(
            f"{grid.path}, column {name}={len(categories)} different texts: at most {MAX_CATEGORIES} categories; "
            "leave the column out"
        )
    return categories


def _features(grid: Grid, name: str, categories: tuple[str, ...]) -> np.ndarray:
    """f[n, 1] for a column of numbers, one-hot f32[n, K] for K categories."""
    if not categories:
        numbers = _must_be_numbers(grid, name)
        # Whole numbers are checked here: beside a column of fractions they would become float64 and be rounded.
        whole = numbers.dtype.kind == "i"
        return (to_float32(numbers, f"{grid.path}, column {name} ") if whole else numbers)[:, None]
    index = {category: k for k, category in enumerate(categories)}
    for row, cell in enumerate(grid.cells[name]):
        if cell not in index:
            raise InputError(f"{grid.at(name, row)}: not one of the training file ({', '.join(categories[:10])})")
    return np.eye(len(categories), dtype=np.float32)[[index[cell] for cell in grid.cells[name]]]
