"""Tables: a column to predict, numbers, and texts that become one column for each category."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any, NamedTuple

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
    grid = _grid(source, roles)
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

    made = Source(table(grid, found), classes=columns[target].categories, notes=found.notes)
    if validation is None:
        return made
    other = _grid(validation, roles)
    if different := set(other.names) ^ set(names):
        listed = ", ".join(sorted(different))
        raise InputError(f"{other.name}={listed}: must have the columns of {grid.name}; rename them")
    again = typed(other, names, rules, columns, exact)
    return made._replace(validation=table(other, again), notes=found.notes + again.notes)


def encode(source: Any, columns: tuple[Column, ...], roles: Roles) -> Frame:
    """New rows, read as the training table was: its columns by name, in its order; others are not looked at."""
    grid = _grid(source, roles)
    names = [column.name for column in columns]
    for name in names:
        if name not in grid.names:
            cure = f"rename or add it (there are {', '.join(grid.names[:20])})"
            raise InputError(f"{grid.name}: has no column {name}, which the network was trained on; {cure}")
    found = typed(grid, names, roles.rules, {column.name: column for column in columns})
    return _frame(grid, columns, found)


def _frame(grid: Grid, columns: tuple[Column, ...], found: Typed) -> Frame:
    values = [found.values[column.name] for column in columns]
    return Frame(grid, columns, values, found.rounded, found.changed, found.rows)


def _grid(source: Any, roles: Roles) -> Grid:
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
