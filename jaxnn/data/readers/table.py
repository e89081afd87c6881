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
from jaxnn.data.keys import Key
from jaxnn.data.readers import delimited
from jaxnn.data.source import Source, Table
from jaxnn.errors import InputError, choices

TEXT = (".csv", ".tab", ".tsv", ".txt")
SUFFIXES = (*TEXT, ".arrow", ".feather", ".parquet")


class Roles(NamedTuple):
    """Which columns are no features, and how all are read."""

    target: str | tuple[str, ...] | None
    weight: str | None
    delimiter: str | None
    rules: Rules
    drop: tuple[str, ...] = ()
    split_by: str | None = None
    time: str | None = None
    images: str | None = None


def is_text(source: Any) -> bool:
    """Whether a table is one of characters, which has a delimiter."""
    return not grids.is_frame(source) and Path(source).suffix.lower() in TEXT


def read(source: Any, roles: Roles, validation: Any = None) -> Source:
    """A table, from a path or a data frame; the columns and categories are those of `source`, and `validation` must
    keep to them."""
    weight, delimiter, rules, key = roles.weight, roles.delimiter, roles.rules, roles.split_by or roles.time
    if delimiter is not None and not is_text(source):
        raise InputError(f"--data.delimiter={delimiter}: is for text ({', '.join(TEXT)}); leave it out")
    grid = to_grid(source, roles)
    targets = targets_of(grid, roles)
    exact = [*targets, *filter(None, [weight])]
    names = [name for name in grid.names if name != key and name not in roles.drop]
    inputs = [name for name in names if name not in exact]
    if not inputs:
        raise InputError(f"{grid.name}={', '.join(grid.names)}: no column is left to learn from; add features")
    found = typed(grid, names, rules, {} if weight is None else {weight: Column(weight)}, exact, key)
    columns = found.columns
    refuse_row_as_header(grid, columns)

    def table(grid: Grid, found: Typed) -> Table:
        frame = _frame(grid, tuple(columns[name] for name in inputs), found, rules)
        y = found.values[targets[0]] if len(targets) == 1 else matrix(targets, found)
        by = None if key is None or found.key is None else Key(grid, key, found.rows, *found.key)
        return Table(frame, y, None if weight is None else found.values[weight], by)

    classes = columns[targets[0]].categories if len(targets) == 1 else None
    made = Source(table(grid, found), classes=classes, targets=targets, notes=found.notes)
    if validation is None:
        return made
    other = to_grid(validation, roles)
    if different := (set(other.names) ^ set(grid.names)) - set(roles.drop):
        listed = ", ".join(sorted(different))
        raise InputError(f"{other.name}={listed}: must have the columns of {grid.name}; rename them")
    again = typed(other, names, rules, columns, exact, key)
    return made._replace(validation=table(other, again), notes=found.notes + again.notes)


def targets_of(grid: Grid, roles: Roles) -> tuple[str, ...]:
    """The columns to predict. Raises `InputError` for a column that is not there, and for one with two roles."""
    chosen = roles.target
    if chosen is None:
        chosen = tuple(name for name in grid.names if name != roles.images)[-1:]
    targets = (chosen,) if isinstance(chosen, str) else chosen
    given = [*(("target", name) for name in targets), ("weight", roles.weight), ("split_by", roles.split_by)]
    given += [("split", roles.time), ("images", roles.images), *(("drop", name) for name in roles.drop)]
    roles_of: dict[str, str] = {}
    for flag, name in [*given, *(("text", name) for name in roles.rules.text)]:
        if name is not None and name not in grid.names:
            time = "time:" if flag == "split" else ""
            raise choices(f"--data.{flag}", time + name, [time + other for other in grid.names])
    for flag, name in given:
        if name is not None and roles_of.setdefault(name, flag) != flag:
            by_default = roles.target is None and name in targets
            cure = "say another with --data.target" if by_default and flag == "drop" else "choose another"
            value = f"time:{name}" if flag == "split" else name
            raise InputError(f"--data.{flag}={value}: is the {roles_of[name]} column too; {cure}")
    return targets


def matrix(targets: tuple[str, ...], found: Typed) -> np.ndarray:
    """[n, K]: numbers, or truth values as 0 and 1. Raises `InputError` for a column of other texts."""
    given = []
    for name in targets:
        values, texts = found.values[name], found.columns[name].categories
        if texts is not None:
            if not {text.lower() for text in texts} <= {"false", "true"}:
                rule = f"column {name} holds texts ({', '.join(texts[:3])}); several targets must be numbers"
                raise InputError(f"--data.target={' '.join(targets)}: {rule}, or 0 and 1 (true and false)")
            values = np.array([text.lower() == "true" for text in texts], np.int64)[values]
        given.append(values)
    return np.stack(given, axis=1)


def encode(source: Any, columns: tuple[Column, ...], roles: Roles) -> Frame:
    """New rows, read as the training table was: its columns by name, in its order; others are not looked at."""
    grid = to_grid(source, roles)
    names = there(grid, columns)
    found = typed(grid, names, roles.rules, {column.name: column for column in columns})
    return _frame(grid, columns, found, roles.rules)


def in_parts(source: Any, columns: tuple[Column, ...], roles: Roles) -> tuple[Iterator[Grid], tuple[str, ...]]:
    """What `encode` takes, in parts that fit in memory; and the columns that are no features, target or weight."""
    grid = to_grid(source, roles)
    names = there(grid, columns)
    texts = frozenset(column.name for column in columns if column.categories is not None)
    target = (roles.target,) if isinstance(roles.target, str) else roles.target or ()
    others = {*names, *target, *roles.drop, roles.weight, roles.split_by, roles.time}
    return grid.in_parts(texts, names), tuple(sorted({*grid.names} - others))


def labels(grid: Grid, targets: tuple[Column, ...], roles: Roles) -> tuple[np.ndarray, np.ndarray | None]:
    """The labels of new rows, [n] or [n, K], and their weights; texts are those of `targets` where they are known."""
    columns = targets if roles.weight is None else (*targets, Column(roles.weight))
    names, texts = there(grid, columns), roles.rules.text
    typed_here = {column.name for column in targets} if len(targets) > 1 else texts  # true and false are texts at first
    known = {column.name: column for column in columns if column.categories or column.name not in typed_here}
    found = typed(grid, names, roles.rules, known, exact=names)
    given = tuple(column.name for column in targets)
    y = _as_written(found, given[0]) if len(given) == 1 else matrix(given, found)
    return y, None if roles.weight is None else found.values[roles.weight]


def _as_written(found: Typed, name: str) -> np.ndarray:
    texts = found.columns[name].categories
    return found.values[name] if texts is None else np.array(texts)[found.values[name]]


def there(grid: Grid, columns: tuple[Column, ...]) -> list[str]:
    """The names of columns, all of which the grid must have."""
    names, given = [column.name for column in columns], set(grid.names)
    if missing := [name for name in names if name not in given]:
        cure = f"rename or add it (there are {', '.join(grid.names[:20])})"
        raise InputError(f"{grid.name}: has no column {', '.join(missing)}, which the network was trained on; {cure}")
    return names


def _frame(grid: Grid, columns: tuple[Column, ...], found: Typed, rules: Rules) -> Frame:
    values = [found.values[column.name] for column in columns]
    return Frame(grid, columns, values, found.rounded, found.changed, found.rows, rules.nan, rules.fill)


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


def refuse_row_as_header(grid: Grid, columns: dict[str, Column]) -> None:
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
