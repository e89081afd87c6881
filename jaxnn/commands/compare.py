"""`jaxnn compare`: several runs beside each other."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Any

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
    folders = [folder for word in words for folder in _folders(word)]
    if len(folders) < 2:
        raise InputError(f"compare {words[0]}: is one run; name another one, or the folder of a sweep")

    from jaxnn.report.page import compare as compared

    runs = compared.read(folders)
    if output is not None:
        durable.replace(output, [compared.made(runs).text.encode()])
    _show(*compared.table(runs), compared.repeated(runs))
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


def _show(names: list[str], rows: list[list[Any]], means: list[list[str]]) -> None:
    """A table on a terminal; elsewhere CSV, in which numbers have all their digits."""
    if not sys.stdout.isatty():
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(names)
        writer.writerows([["" if value is None else value for value in row] for row in rows])
        return
    from rich.table import Table

    from jaxnn.report.page.html import number
    from jaxnn.report.screen import Screen

    table = Table(*map(printable, names))
    for row in [*rows, *means]:
        table.add_row(*(printable(number(value)) for value in row))
    Screen().print(table)
