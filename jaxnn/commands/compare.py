"""`jaxnn compare`: several runs beside each other."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from jaxnn.commands import environment, shown
from jaxnn.commands.words import parsed
from jaxnn.config import paths
from jaxnn.errors import InputError, printable

USAGE = """usage: jaxnn compare RUN RUN... [flags]

The last and the best metrics of several runs, the flags that differ, and mean ± standard deviation where runs differ in
their seed only: a table on a terminal, CSV of the runs in a pipe.

  RUN                      the folder of a run, or of a sweep for all of its runs

  --output FILE.html       a page with the table and the learning curves, too
  --force                  replace an output that is there
  --traceback              show where an error was raised
"""
FEW = 4  # settings that differ: so many have room beside the metrics


def compare(argv: list[str]) -> int:
    """`jaxnn compare`: the exit code."""
    if not {"-h", "--help"}.isdisjoint(argv):
        print(USAGE.strip())
        return 0
    words, given = parsed(argv, ("--output",), ("--force", "--traceback"))
    if not words:
        raise InputError("compare: needs RUN and RUN, two or more; see jaxnn compare --help")

    from jaxnn.store import durable, predictions

    text = given.get("--output")
    output = None if text is None else predictions.check_output(text, (".html",), force="--force" in given)
    folders = [folder.resolve() for word in words for folder in _folders(word)]
    if twice := next((folder for i, folder in enumerate(folders) if folder in folders[:i]), None):
        raise InputError(f"compare {twice}: is named twice; name each run once")
    if len(folders) < 2:
        raise InputError(f"compare {words[0]}: is one run; name another one, or the folder of a sweep")

    with environment.for_jax():
        from jaxnn.report.page import compare as compared

    runs = compared.read(folders)
    if output is not None:
        durable.replace(output, [compared.made(runs).text.encode()])
    _show(runs)
    if output is not None:
        print(f"note: curves are in {printable(str(output))}", file=sys.stderr)
    return 0


def _folders(word: str) -> list[Path]:
    """The folder of a run, or those of the runs of a sweep that have begun."""
    from jaxnn.store import sweeps

    path = paths.expand("run", word)
    if not sweeps.is_one(path):
        return [path]
    members = [path / each["folder"] for each in sweeps.read(path, "run")["members"]]
    return [member for member in members if (member / "config.json").is_file()]


def _show(runs: Any) -> None:
    """Tables on a terminal: the metrics, their means, what differs. Elsewhere a CSV, whose numbers have all digits."""
    from jaxnn.report.page import compare

    (names, rows), settings = compare.table(runs), compare.settings(runs)
    if not shown.on_terminal():
        whole = [[*row, *values] for row, *values in zip(rows, *settings.values(), strict=True)]
        shown.table([*names, *settings], whole)
        return
    few = len(settings) <= FEW
    whole = [dict(zip(names, row, strict=True)) for row in rows]
    told = [name for name in names if name not in ("epochs", "ended") or len({row[name] for row in whole}) > 1]
    _print([*told, *(settings if few else ())], [
        [*(row[name] for name in told), *values]
        for row, *values in zip(whole, *(settings.values() if few else ()), strict=True)
    ])  # fmt: skip
    names, means = compare.repeated(runs)
    if means:
        _print(names, means)
    if not few:
        _print(["", *(row["run"] for row in whole)], [[name, *values] for name, values in settings.items()])


def _print(names: list[str], rows: list[list[Any]]) -> None:
    """A table; names are cut into lines at slashes and dots, as a terminal of 80 columns has little room for them."""
    from rich import box
    from rich.table import Table

    from jaxnn.report.page.html import number
    from jaxnn.report.screen import Screen

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for k, name in enumerate(names):
        table.add_column(printable(name).replace("/", "/\n").replace(".", ".\n"), no_wrap=k == 0)
    for row in rows:
        table.add_row(*(printable(number(value)) for value in row))
    Screen().print(table)
