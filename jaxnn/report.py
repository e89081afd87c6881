"""What a run shows while it goes: a bar on a terminal, a line a row elsewhere, a small table at the end."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Console
from rich.table import Table

from jaxnn.errors import printable

Show = Callable[[dict[str, Any]], None]


class Screen(Console):
    """A console that shows text as it is, and whose reader may leave: the run goes on without it."""

    def __init__(self, **options: Any):
        super().__init__(highlight=False, markup=False, emoji=False, **options)

    def print(self, *objects: Any, **options: Any) -> None:
        super().print(*(printable(o) if isinstance(o, str) else o for o in objects), **options)

    def on_broken_pipe(self) -> None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextlib.contextmanager
def progress(console: Console, total: int) -> Iterator[Show]:
    """Yields `show(row)`: a row of the history, to be called as each is made.

    Args:
      console: where to print.
      total: steps of the whole run.
    """
    if not console.is_terminal:
        yield lambda row: console.print(line(row), soft_wrap=True)
        return
    import rich.progress  # a pipe has no use for it

    columns = (
        rich.progress.TextColumn("epoch {task.fields[epoch]:g}"),
        rich.progress.BarColumn(),
        rich.progress.TextColumn("{task.fields[text]}"),
        rich.progress.TimeRemainingColumn(),
    )
    with rich.progress.Progress(*columns, console=console) as bar:
        task = bar.add_task("train", total=total, epoch=0, text="")
        yield lambda row: bar.update(task, completed=row["step"], epoch=row["epoch"], text=line(row, short=True))


def line(row: dict[str, Any], *, short: bool = False) -> str:
    """One row in one line: position, then losses and the first metric, then the rate and the speed."""
    names = [n for n in row if n.endswith(("/loss", "/accuracy", "/r2"))]
    parts = [f"{name} {row[name]:.4f}" for name in names]
    if "examples_per_s" in row:
        parts.append(f"{row['examples_per_s']:,.0f} examples/s")
    if short:
        return "  ".join(parts)
    return f"epoch {row['epoch']:<6g} step {row['step']:<8} " + "  ".join(parts)


def table(console: Console, row: dict[str, Any], title: str) -> None:
    """The last row: a line for each metric, a column for each part of the data."""
    parts = [part for part in ("train", "val", "test") if any(name.startswith(f"{part}/") for name in row)]
    metrics = list(dict.fromkeys(name.partition("/")[2] for name in row if "/" in name))
    result = Table("", *parts, title=printable(title), title_justify="left")
    for metric in metrics:
        values = (row.get(f"{part}/{metric}") for part in parts)
        result.add_row(
            metric,
            *("" if value is None else f"{value:.4f}" if abs(value) < 1e6 else f"{value:.4g}" for value in values),
        )
    console.print(result)


def spent(console: Console, seconds: dict[str, float], examples: int) -> None:
    """Where the time went, and how fast the steps were."""
    total = sum(seconds.values())
    shares = ", ".join(f"{part} {value / total:.0%}" for part, value in seconds.items())
    rate = f"; {examples / seconds['steps']:,.0f} examples/s" if examples else ""
    console.print(shares + rate, soft_wrap=True)


def peak(console: Console, reached: float, most: float) -> None:
    """The FLOP/s of the steps' matrix products, beside those that the machine can do."""
    share = f"{reached / most:.0%} of the {most / 1e9:,.0f} that it reaches on large ones"
    console.print(f"matrix products: {reached / 1e9:,.0f} GFLOP/s on this machine, {share}", soft_wrap=True)
