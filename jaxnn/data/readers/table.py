"""Tables: a column to predict, numbers, and texts that become one column for each category."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxnn.config import paths
from jaxnn.data import grid as grids
from jaxnn.data.columns import Column, Rules, Typed, typed
from jaxnn.data.frame import Frame
from jaxnn.data.grid import Grid
from jaxnn.data.readers import delimited
from jaxnn.data.source import Source, Table
from jaxnn.errors import InputError, choices

TEXT = (".csv", ".tab", ".tsv", ".txt")
SUFFIXES = (*TEXT, ".arrow", ".feather", ".parquet")


class Roles(NamedTuple):
    """Which columns are no features, and how all are read."""

    target: str | None
    weight: str | None
    delimiter: str | None
    rules: Rules


def is_text(source: Any) -> bool:
    """Whether a table is one of characters, which has a delimiter."""
    return not grids.is_frame(source) and Path(source).suffix.lower() in TEXT


def read(source: Any, roles: Roles, validation: Any = None) -> Source:
    """A table, from a path or a data frame; the columns and categories are those of `source`, and `validation` must
    keep to them."""
    target, weight, delimiter, rules = roles
    if delimiter is not None and not is_text(source):
        raise InputError(f"--data.delimiter={delimiter}: is for text ({', '.join(TEXT)}); leave it out")
    grid = to_grid(source, roles)
    names = list(grid.names)
    target = names[-1] if target is None else target
    given = (("target", target), ("weight", weight), *(("text", name) for name in rules.text))
    for flag, name in given:
        if name is not None and name not in names:
            raise choices(f"--data.{flag}", name, names)
    if weight == target:
        raise InputError(f"--data.weight={weight}: is the target column too; choose another")
    inputs = [name for name in names if name not in (target, weight)]
    if not inputs:
        raise InputError(f"{grid.name}={', '.join(names)}: no column is left to learn from; add features")
    exact = [target, *filter(None, [weight])]
    found = typed(grid, names, rules, {} if weight is None else {weight: Column(weight)}, exact)
    columns = found.columns
    _refuse_row_as_header(grid, columns)

    def table(grid: Grid, found: Typed) -> Table:
        frame = _frame(grid, tuple(columns[name] for name in inputs), found)
        return Table(frame, found.values[target], None if weight is None else found.values[weight])

    made = Source(table(grid, found), classes=columns[target].categories, target=target, notes=found.notes)
    if validation is None:
        return made
    other = to_grid(validation, roles)
    if different := set(other.names) ^ set(names):
        listed = ", ".join(sorted(different))
        raise InputError(f"{other.name}={listed}: must have the columns of {grid.name}; rename them")
    again = typed(other, names, rules, columns, exact)
    return made._replace(validation=table(other, again), notes=found.notes + again.notes)


def encode(source: Any, columns: tuple[Column, ...], roles: Roles) -> Frame:
    """New rows, read as the training table was: its columns by name, in its order; others are not looked at."""
    grid = to_grid(source, roles)
    names = _there(grid, columns)
    found = typed(grid, names, roles.rules, {column.name: column for column in columns})
    return _frame(grid, columns, found)


def in_parts(source: Any, columns: tuple[Column, ...], roles: Roles) -> tuple[Iterator[Grid], tuple[str, ...]]:
    """What `encode` takes, in parts that fit in memory; and the columns that are no features, target or weight."""
    grid = to_grid(source, roles)
    names = _there(grid, columns)
    texts = frozenset(column.name for column in columns if column.categories is not None)
    return grid.in_parts(texts, names), tuple(sorted({*grid.names} - {*names, roles.target, roles.weight}))


def labels(grid: Grid, targets: tuple[Column, ...], roles: Roles) -> tuple[np.ndarray, np.ndarray | None]:
    """The labels of new rows, [n] or [n, K], and their weights; texts are those of `targets` where they are known."""
    columns = targets if roles.weight is None else (*targets, Column(roles.weight))
    names, texts = _there(grid, columns), roles.rules.text
    known = {column.name: column for column in columns if column.categories is not None or column.name not in texts}
    found = typed(grid, names, roles.rules, known, exact=names)
    y = [_as_written(found, column.name) for column in targets]
    return y[0] if len(y) == 1 else np.stack(y, 1), None if roles.weight is None else found.values[roles.weight]


def _as_written(found: Typed, name: str) -> np.ndarray:
    texts = found.columns[name].categories
    return found.values[name] if texts is None else np.array(texts)[found.values[name]]


def _there(grid: Grid, columns: tuple[Column, ...]) -> list[str]:
    """The names of columns, all of which the grid must have."""
    names = [column.name for column in columns]
    if missing := [name for name in names if name not in grid.names]:
        cure = f"rename or add it (there are {', '.join(grid.names[:20])})"
        raise InputError(f"{grid.name}: has no column {', '.join(missing)}, which the network was trained on; {cure}")
    return names


def _frame(grid: Grid, columns: tuple[Column, ...], found: Typed) -> Frame:
    values = [found.values[column.name] for column in columns]
    return Frame(grid, columns, values, found.rounded, found.changed, found.rows)


def to_grid(source: Any, roles: Roles) -> Grid:
    """The cells of a path or a data frame."""
    if isinstance(source, Grid):
        return source
    if grids.is_frame(source):
        return grids.from_frame(source)
    path = paths.expand("source", source)
    if path.suffix.lower() not in TEXT:
        return grids.from_file(path)
    return delimited.read(path, roles.delimiter, roles.rules.missing)


def _refuse_row_as_header(grid: Grid, columns: dict[str, Column]) -> None:
    """A first line that is typed as the rows below it is one of them: the file has no header."""
    if grid.has_types:
        return
    numbers = [name for name, column in columns.items() if column.categories is None]
    own = [name in column.categories for name, column in columns.items() if column.categories is not None]
    if not all(name.isdecimal() for name in numbers):
        return
    rising = all(int(a) < int(b) for a, b in itertools.pairwise(numbers))  # 0,1,2,species and years are names
    if not rising or (any(own) if numbers else all(own)):
        listed = ",".join(columns)[:80]
        raise InputError(f"{grid.name} line 1={listed}: is a row of data like those below it; add a header")
