"""Several runs beside each other: their metrics, the settings that differ, and means where only the seed does."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxnn.config.settings import Config
from jaxnn.config.values import from_dict, to_dict
from jaxnn.errors import InputError
from jaxnn.plot import curves
from jaxnn.report import screen
from jaxnn.report.page.html import Page, Picture, page
from jaxnn.store import history, identity, weights

PLACES = ("name", "workdir", "report")  # settings that make no other run
MEAN = "mean ± std"


class Compared(NamedTuple):
    """A run: what it is called, its settings, what its data are, the rows of its history with the final one, how it
    ended."""

    name: str
    settings: dict[str, Any]
    digest: str
    rows: list[dict[str, Any]]
    last: dict[str, Any]
    by: str | None
    ending: str

    @property
    def metrics(self) -> dict[str, Any]:
        """The last row of its history, with the test metrics."""
        return (self.rows[-1] if self.rows else {}) | self.last


def read(folders: Sequence[Path]) -> list[Compared]:
    """What the folders of some runs say. Raises `InputError` for one that is no run."""
    found: list[Compared] = []
    for folder in folders:
        identity.refuse_no_run(folder)
        saved = identity.read(folder / "config.json", "run")
        rows, settings = history.intervals(folder), identity.flat(to_dict(from_dict(saved["config"], Config)))
        try:
            ending = weights.read(folder).ending
        except InputError:
            ending = "not ended"
        name = curves.unlike(folder, [each.name for each in found])
        by = curves.judged_by(saved["config"], rows)
        found.append(Compared(name, settings, saved["data"]["digest"], rows, history.last(folder), by, ending))
    return found


def different(runs: Sequence[Compared]) -> list[str]:
    """The settings that differ between runs, by their flags' names; `data.digest` where the same settings met other data."""
    names = [name for name in runs[0].settings if name not in PLACES]
    found = [name for name in names if any(run.settings[name] != runs[0].settings[name] for run in runs)]
    return found + ["data.digest"] * (len({run.digest for run in runs}) > 1)


def table(runs: Sequence[Compared]) -> tuple[list[str], list[list[Any]]]:
    """The names and the rows of a table: the run, what differs, how far it came, its last metrics and its best one."""
    flags = different(runs)
    there = dict.fromkeys(name for run in runs for name in run.metrics if name.endswith(screen.SHOWN))
    shown = [name for name in there if name.startswith(("val/", "test/"))] or list(there)
    by = {run.by for run in runs if run.by}
    best = f"best {by.pop()}" if len(by) == 1 else "best"
    names = ["run", *flags, "epochs", *shown, best, "at epoch", "ended"]
    rows = []
    for run in runs:
        top = history.best(run.rows, run.by) or {}
        values = [run.digest[:12] if flag == "data.digest" else screen.value(run.settings[flag]) for flag in flags]
        metrics = [run.metrics.get(name) for name in shown]
        ends = [top.get(run.by or ""), top.get("epoch"), run.ending]
        rows.append([run.name, *values, run.metrics.get("epoch"), *metrics, *ends])
    return names, rows


def repeated(runs: Sequence[Compared]) -> list[list[str]]:
    """Mean ± standard deviation of the columns of `table`, of each group of runs that differ in their seed only."""
    (names, rows), flags = table(runs), different(runs)
    groups: dict[str, list[int]] = {}
    for k, run in enumerate(runs):
        rest = {name: value for name, value in run.settings.items() if name not in (*PLACES, "seed")}
        groups.setdefault(f"{run.digest} {sorted(rest.items())}", []).append(k)
    found = []
    for group in groups.values():
        if len(group) < 2:
            continue
        columns = [[rows[k][i] for k in group] for i in range(1, len(names) - 1)]
        values = [column[0] if name != "seed" else "" for name, column in zip(flags, columns, strict=False)]
        spread = [screen.spread([v for v in column if v is not None]) for column in columns[len(flags) :]]
        found.append([f"{MEAN} of {len(group)} seeds", *values, *spread, ""])
    return found


def made(runs: Sequence[Compared]) -> Page:
    """The page of some runs: the table, and their curves."""
    names, rows = table(runs)
    histories = {run.name: run.rows for run in runs if run.rows}
    panels = curves.compared(histories.values()) if histories else []
    pictures = []
    for panel in panels:
        draw = functools.partial(curves.curves, histories=histories, name=panel)
        pictures.append(Picture(panel.replace("/", "-"), f"{panel} by epoch, a line for each run", draw))
    values = {"title": f"{len(runs)} runs", "names": names, "rows": rows, "means": repeated(runs), "curves": pictures}
    return page("compare.html", pictures, **values)
