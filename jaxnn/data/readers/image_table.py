"""A table with a column of paths: the images there are learned from, other columns are labels and weights."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from jaxnn.config import paths
from jaxnn.data.columns import Column, typed
from jaxnn.data.grid import Grid, is_frame
from jaxnn.data.keys import Key
from jaxnn.data.readers import decoding, table
from jaxnn.data.readers.image_form import Form
from jaxnn.data.source import Source, Table
from jaxnn.errors import InputError, choices


def read(
    source: Any,
    dir: str | None,
    roles: table.Roles,
    form: Form | None,
    validation: Any,
    bad_records: int,
    *,
    keep: bool,
) -> Source:
    """The images that a table names, and its labels; columns without a role are not looked at."""
    grid = table.to_grid(source, roles)
    targets = table.targets_of(grid, roles)
    if not targets:
        raise InputError(f"{grid.name}={roles.images}: has no column with labels; add one")
    exact, key = [*targets, *filter(None, [roles.weight])], roles.split_by or roles.time
    known = {} if roles.weight is None else {roles.weight: Column(roles.weight)}
    notes, bad, counts = [], [], Counter[str]()

    def part(source: Any, grid: Grid, known: dict[str, Column]) -> tuple[Table, dict[str, Column]]:
        found = typed(grid, exact, roles.rules, known, exact, key)
        rows, names, lost = files(source, grid, dir, roles)
        both = np.intersect1d(rows, found.rows)  # each leaves rows out in which something is missing
        names = [names[i] for i in np.searchsorted(rows, both)]
        left = bad_records - len(bad)
        images, told = decoding.read(grid.name, names, form, bad_records=left, keep=keep)
        notes.extend((*found.notes, *lost, *told))
        bad.extend(names[i] for i in sorted({*range(len(names))} - {*images.kept}))
        counts.update(images.told)
        if not images.kept:
            raise InputError(f"{grid.name}=0 images: all of them are damaged; replace them")
        chosen = np.searchsorted(found.rows, both[images.kept])
        y = found.values[targets[0]] if len(targets) == 1 else table.matrix(targets, found)
        weight = None if roles.weight is None else found.values[roles.weight][chosen]
        by = None
        if key is not None and found.key is not None:
            by = Key(grid, key, found.rows[chosen], found.key[0][chosen], found.key[1])
        return Table(images.x, y[chosen], weight, by), found.columns

    train, columns = part(source, grid, known)
    other = None if validation is None else part(validation, table.to_grid(validation, roles), columns)[0]
    notes += [*decoding.damaged(grid.name, bad), *decoding.told(grid.name, counts)]
    classes = columns[targets[0]].categories if len(targets) == 1 else None
    return Source(train, other, classes=classes, targets=targets, scale=255.0, notes=tuple(dict.fromkeys(notes)))


def files(
    source: Any, grid: Grid, dir: str | None, roles: table.Roles
) -> tuple[np.ndarray, list[Path], tuple[str, ...]]:
    """The rows that name an image, the images, from the folder of the table or `dir`, and what to tell of the others.
    Raises `InputError`, with the line, for a file that is not there."""
    column = roles.images or ""
    is_new = roles.rules.unknown is not None  # rows for a trained network
    if is_new:
        table.there(grid, (Column(column),))
    elif column not in grid.names:
        raise choices("--data.images", column, grid.names)
    found = typed(grid, [], roles.rules, {}, key=column)
    values, texts = found.key or (found.rows, ())
    if not texts:
        raise InputError(f"{grid.at(column, int(found.rows[0]))}: must be the path of an image; choose another column")
    folder = Path() if is_frame(source) else Path(source).parent
    if dir is not None:
        folder = paths.expand("--data.dir", dir)
    names = [folder / texts[k] for k in values]
    for row, path in zip(found.rows.tolist(), names, strict=True):
        if not os.path.isfile(path):  # pathlib raises an error for a name that no path can have
            cure = ", or say the folder with --data.dir" if dir is None and not is_new else ""
            raise InputError(f"{grid.at(column, row)}: no such file in {folder.absolute()}; mend the path{cure}")
    return found.rows, names, tuple(f"{note} (column {column})" for note in found.notes)
