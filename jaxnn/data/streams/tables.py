"""A table that is never in memory whole: what its columns are is found in a first pass, rows are made in a second."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxnn.config import paths
from jaxnn.config.data import DataConfig
from jaxnn.config.names import IMPUTED
from jaxnn.data import fitted
from jaxnn.data import grid as grids
from jaxnn.data.cells import Cells
from jaxnn.data.columns import Column, Rules, typed, typed_texts
from jaxnn.data.frame import Frame
from jaxnn.data.grid import Grid
from jaxnn.data.keys import Key
from jaxnn.data.readers import delimited, table
from jaxnn.data.source import Source, Table
from jaxnn.data.streams.prepared import stand_in
from jaxnn.data.streams.sources import Made, of_source
from jaxnn.errors import InputError

PART = 2**24  # bytes of the cells of one part


class Scanned(NamedTuple):
    """What a first pass finds: the columns, which rows are whole, and what to tell."""

    columns: dict[str, Column]
    whole: np.ndarray  # bool[n]
    notes: tuple[str, ...]


def made(path: Path, config: DataConfig, task: str) -> Made:
    """What a CSV, Parquet or Feather file becomes.

    Every category of the table becomes a feature, whether a training example has it or not. Raises `InputError` where
    a missing value would be filled, which is learned from all training rows at once, and for a column that float32
    would lose.
    """
    if config.nan in IMPUTED:
        rule = "fills by what all training rows have; use --data.nan drop, or fill the table before"
        raise InputError(f"--data.nan={config.nan}: {rule}")
    rules, by = Rules(config.text, config.missing, config.nan), (config.split_by, config.time_column)
    roles = table.Roles(config.target, config.weight, config.delimiter, rules, config.drop, *by)
    grid = _grid(path, roles)
    targets = table.targets_of(grid, roles)
    inputs = [name for name in grid.names if name not in (*targets, config.weight, *by, *config.drop)]
    if not inputs:
        raise InputError(f"{grid.name}={', '.join(grid.names)}: no column is left to learn from; add features")
    known = {} if config.weight is None else {config.weight: Column(config.weight)}
    read = [_read(grid, inputs, targets, roles, known)]
    found = read[0].columns
    table.refuse_row_as_header(grid, found)
    if config.validation is not None:
        other = _grid(paths.expand("--data.validation", config.validation), roles)
        table.there(other, tuple(Column(name) for name in found))
        read.append(_read(other, inputs, targets, roles, found))
    columns = tuple(found[name] for name in inputs)
    names = _features(grid, columns)
    parts = [Table(stand_in((len(each.y), len(names)), np.float32), *each[:3]) for each in read]
    classes = found[targets[0]].categories if len(targets) == 1 else None
    notes = tuple(note for each in read for note in each.notes)
    source = Source(parts[0], *parts[1:], classes=classes, targets=targets, notes=notes)
    about = {"features": names, "columns": [[c.name, c.categories and list(c.categories)] for c in columns]}
    kept = [(each.grid, each.keep) for each in read]
    return of_source(source, config, task, functools.partial(_blocks, kept, columns, roles), **about)


class Read(NamedTuple):
    """All of a table but its features: labels, weights and the column that it is split by, of the rows to `keep`."""

    y: np.ndarray
    weight: np.ndarray | None
    key: Key | None
    grid: Grid
    keep: np.ndarray  # bool, of all rows of the table
    columns: dict[str, Column]
    notes: tuple[str, ...]


def _read(
    grid: Grid, inputs: Sequence[str], targets: tuple[str, ...], roles: table.Roles, known: dict[str, Column]
) -> Read:
    """The first pass over a table; its columns are as `known`, where they are."""
    key, exact = roles.split_by or roles.time, [*targets, *filter(None, [roles.weight])]
    found = typed(grid, exact, roles.rules, {name: known[name] for name in exact if name in known}, exact, key)
    scanned = scan(grid, inputs, roles.rules, known)
    keep = np.zeros(len(scanned.whole), bool)
    keep[found.rows] = scanned.whole[found.rows]
    chosen = keep[found.rows]
    y = found.values[targets[0]] if len(targets) == 1 else table.matrix(targets, found)
    weight = None if roles.weight is None else found.values[roles.weight][chosen]
    by = None
    if key is not None and found.key is not None:
        by = Key(grid, key, found.rows[chosen], found.key[0][chosen], found.key[1])
    return Read(y[chosen], weight, by, grid, keep, scanned.columns | found.columns, (*found.notes, *scanned.notes))


def _features(grid: Grid, columns: tuple[Column, ...]) -> tuple[str, ...]:
    none = [np.zeros(0, np.int32 if column.categories else np.float32) for column in columns]
    frame = Frame(grid, columns, none, frozenset(), frozenset(), np.zeros(0, np.int64))
    names = tuple(frame.name(feature) for feature in frame.features())
    if len(set(names)) < len(names):
        raise InputError(f"{grid.name}: two columns become the same feature (name=category); rename one")
    return names


def _grid(path: Path, roles: table.Roles) -> Grid:
    if path.suffix.lower() in table.TEXT:
        return delimited.read(path, roles.delimiter, roles.rules.missing)
    if roles.delimiter is not None:
        raise InputError(f"--data.delimiter={roles.delimiter}: is for text ({', '.join(table.TEXT)}); leave it out")
    width = 8 * len(grids.from_file(path, 1).names)
    return grids.from_file(path, max(PART // width, 1024))


def _blocks(
    kept: Sequence[tuple[Grid, np.ndarray]], columns: tuple[Column, ...], roles: table.Roles, first: int
) -> Iterator[np.ndarray]:
    """f32[k, F]: the features of the kept rows, from one on."""
    names = [column.name for column in columns]
    texts = frozenset(column.name for column in columns if column.categories is not None)
    for grid, keep in kept:
        before = 0
        for part in grid.in_parts(texts, names):
            rows = keep[before : before + len(next(part.parts(texts, names)))]
            before += len(rows)
            if (count := int(rows.sum())) <= first:
                first -= count
                continue
            frame = table.encode(part, columns, roles)
            for j in range(len(columns)):
                frame.refuse_changed(j)
            chosen = np.flatnonzero(rows[frame.rows])
            yield frame.matrix(frame.features(), chosen[first:], np.float32)
            first = 0


def scan(grid: Grid, names: Sequence[str], rules: Rules, known: dict[str, Column]) -> Scanned:
    """What the columns are, or whether they are as `known`, by the rules of `jaxnn.data.columns`; no cell is kept."""
    texts = {name for name in names if (known[name].categories is not None if name in known else name in rules.text)}
    while True:
        found = {name: _Seen(Cells(name)) for name in names}
        whole: list[np.ndarray] = []
        before = 0
        for part in grid.parts(frozenset(texts), names):
            good = np.ones(len(part), bool)
            for name, seen in found.items():
                good &= seen.add(part[name], grid, before, rules)
            whole.append(good)
            before += len(part)
        clash = {name for name, seen in found.items() if len(seen.cells.kinds) > 1}
        if not clash:
            break
        texts |= clash
    if not before:
        raise InputError(f"{grid.name}=0 examples: must hold at least one row; check it")
    columns, notes = {}, ()
    for name, seen in found.items():
        columns[name], told = seen.column(grid, rules, known.get(name), before)
        notes += told
    keep = np.concatenate(whole)
    if not keep.any():
        raise InputError(f"{grid.name}=0 examples: each of the {before} rows has a missing value; leave a column out")
    lost = int((~keep).sum())
    told = (f"{grid.name}: {lost} of {before} rows left out, with a missing value",) if lost else ()
    return Scanned(columns, keep, (*told, *notes))


class _Seen:
    """What is kept of the cells of one column as they go by: where each text is first, and the spread of numbers."""

    def __init__(self, cells: Cells):
        self.cells, self.first = cells, dict[int, int]()
        self.low, self.high, self.count, self.mean, self.squares = np.inf, -np.inf, 0, 0.0, 0.0

    def add(self, array: Any, grid: Grid, before: int, rules: Rules) -> np.ndarray:
        """bool[k]: which cells are there, and finite. Raises `InputError` for others, unless they are to be dropped."""
        cells = self.cells
        cells.add(array, grid, before)
        values, missing = cells.parts.pop(), cells.missing.pop()
        n = cells.lengths.pop()
        gone = np.zeros(n, bool) if missing is None else missing
        if values is None:
            values = np.zeros(n, np.float32)
        words = [cells.number[word] for word in (*rules.missing, "") if word in cells.number]
        gone = gone | np.isin(values, words) if words else gone
        infinite = np.isinf(values) if values.dtype.kind == "f" else np.zeros(n, bool)
        if rules.nan != "drop" and (bad := gone | infinite).any():
            rule = "missing value; fill it in" if gone.any() else "must be finite; repair it"
            bad = gone if gone.any() else bad
            where = grid.at(cells.name, before + int(np.argmax(bad)))
            raise InputError(f"{where}: {rule}, leave the row out, or add --data.nan drop")
        good = ~(gone | infinite)
        if cells.texts:
            codes, places = np.unique(np.where(good, values, -1), return_index=True)
            for code, place in zip(codes.tolist(), places.tolist(), strict=True):
                if code >= 0:
                    self.first.setdefault(code, before + place)
        elif good.any():
            self._spread(values[good].astype(np.float64))
        return good

    def _spread(self, values: np.ndarray) -> None:
        """Chan, Golub and LeVeque 1983: mean and squares of two parts together."""
        n, mean = len(values), float(values.mean())
        shift, total = mean - self.mean, self.count + len(values)
        self.squares += float(np.square(values - mean).sum()) + shift**2 * self.count * n / total
        self.mean += shift * n / total
        self.count, self.low, self.high = total, min(self.low, values.min()), max(self.high, values.max())

    def column(self, grid: Grid, rules: Rules, known: Column | None, n: int) -> tuple[Column, tuple[str, ...]]:
        """The column, and what to tell of it."""
        name = self.cells.name
        if self.cells.texts:
            codes, rows = np.array(list(self.first), np.int32), np.array(list(self.first.values()))
            return typed_texts(grid, self.cells, codes, rows, rules, known, n)
        if known is not None and known.categories is not None:
            raise InputError(f"{grid.at(name, 0)}: a number, in the training table a text; convert the column")
        if self.cells.rounded and self.count:
            deviation = (self.squares / self.count) ** 0.5
            if fitted.is_lost(self.low, self.high, deviation):
                rule = f"{name}={self.mean:.12g} ± {deviation:.3g}: float32 would lose its differences"
                raise InputError(f"{rule}; subtract a constant from it before it is converted")
        return Column(name), ()
