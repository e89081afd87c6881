"""Results of a command on standard output: a table on a terminal; CSV, or JSON, in a pipe or a file."""

from __future__ import annotations

import contextlib
import csv
import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from jaxnn.errors import printable

ROWS = 100  # of predictions that a terminal is shown
WIDTH = 10  # of a column at least: a terminal is shown as many columns as it has room for


def on_terminal() -> bool:
    return sys.stdout is not None and sys.stdout.isatty()


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Rows of cells: in a pipe as CSV."""
    if not on_terminal():
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerows([columns, *rows])
        return
    from rich import box
    from rich.console import Console  # not `report.screen`, which imports jax
    from rich.table import Table

    console = Console(highlight=False, markup=False, emoji=False)
    room = max(1, console.width // WIDTH)
    cells = [list(row[:room]) for row in rows]
    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for k, name in enumerate(columns[:room]):
        numbers = all(isinstance(row[k], int | float | None) for row in cells)
        drawn.add_column(printable(name), justify="right" if numbers else "left")
    for row in cells:
        drawn.add_row(*map(cell, row))
    console.print(drawn)
    if len(columns) > room:
        print(f"note: {len(columns) - room} of {len(columns)} columns have no room here", file=sys.stderr)


def values(found: dict[str, Any], show: Callable[[dict[str, Any]], None]) -> None:
    """What is known by name: `show(found)` on a terminal, JSON in a pipe, where a NaN is null."""
    show(found) if on_terminal() else print(json.dumps(known(found), indent=2, allow_nan=False))


def known(value: Any) -> Any:
    """What JSON can hold: null for numbers that are not finite.

    >>> known({"auc": float("nan"), "loss": [0.5]})
    {'auc': None, 'loss': [0.5]}
    """
    if isinstance(value, dict):
        return {name: known(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [known(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def cell(value: Any) -> str:
    """A value as a table shows it: numbers with four digits, texts without what moves a cursor.

    >>> cell(0.123456), cell(3), cell(None), cell(2e9), cell("a")
    ('0.1235', '3', '', '2e+09', 'a')
    """
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e6 else f"{value:.4g}"
    return printable(str(value).lower() if isinstance(value, bool) else str(value))


@contextlib.contextmanager
def predictions() -> Iterator[Callable[[dict[str, Any]], None]]:
    """Yields `write(columns)`, as `store.predictions.writing` does: a terminal is shown the first rows, in the end."""
    first: list[list[Any]] = []
    names: list[str] = []
    count = 0

    def write(columns: dict[str, Any]) -> None:
        nonlocal count
        names[:] = columns
        some = [array[: ROWS - len(first)].tolist() for array in columns.values()]
        first.extend(map(list, zip(*some, strict=True)))
        count += len(next(iter(columns.values())))

    yield write
    table(names, first)
    if count > len(first):
        print(f"note: {count - len(first):,} more rows; --output FILE.csv has all {count:,}", file=sys.stderr)
