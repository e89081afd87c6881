"""Several runs beside each other: their metrics, the settings that differ, and means where only the seed does."""

from __future__ import annotations

import functools
import json
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
        brought = saved["own_model"] or saved.get("own")
        settings["config file"] = str(saved.get("source_digest"))[:12] if brought else None  # functions of one's own
        settings["weights"] = json.dumps(saved.get("start"))  # that it began with
        try:
            ending = weights.read(folder).ending
        except InputError:
            ending = "not ended"
        name = curves.unlike(folder, [each.name for each in found])
        by = curves.judged_by(saved["config"], rows)
        found.append(Compared(name, settings, saved["data"]["digest"], rows, history.last(folder), by, ending))
    return found


def table(runs: Sequence[Compared]) -> tuple[list[str], list[list[Any]]]:
    """The names and the rows of a table: the run, how far it came, its last metrics, its best one, how it ended."""
    there = dict.fromkeys(name for run in runs for name in run.metrics if name.endswith(screen.SHOWN))
    shown = [name for name in there if name.startswith(("val/", "test/"))] or list(there)
    by = {run.by for run in runs if run.by}
    names = ["run", "epochs", *shown, f"best {by.pop()}" if len(by) == 1 else "best", "at epoch", "ended"]
    rows = []
    for run in runs:
        best = history.best(run.rows, run.by) or {}
        metrics = [run.metrics.get(name) for name in ("epoch", *shown)]
        rows.append([run.name, *metrics, best.get(run.by or ""), best.get("epoch"), run.ending])
    return names, rows


def settings(runs: Sequence[Compared]) -> dict[str, list[str]]:
    """The settings that differ between runs, by the names of their flags, each run's as text; and `data.digest`, which
    says whether the examples are the same."""
    names = [name for name in runs[0].settings if name not in PLACES]
    each = {name: [screen.value(run.settings[name]) for run in runs] for name in names}
    each["data.digest"] = [run.digest[:12] for run in runs]
    return {name: values for name, values in each.items() if len(set(values)) > 1}


def repeated(runs: Sequence[Compared]) -> tuple[list[str], list[list[str]]]:
    """The names and the rows of a table: mean ± standard deviation of the metrics of runs that differ in seed only."""
    names, rows = table(runs)
    at = [i for i, name in enumerate(names) if "/" in name]
    differ, groups = settings(runs), dict[str, list[int]]()
    for k, run in enumerate(runs):
        rest = {name: value for name, value in run.settings.items() if name not in (*PLACES, "seed")}
        rest |= {"epoch": run.metrics.get("epoch"), "ended": run.ending}
        groups.setdefault(f"{run.digest} {sorted(rest.items())}", []).append(k)
    found = []
    for group in groups.values():
        seeds = {runs[k].settings["seed"] for k in group}
        if len(seeds) < 2 or len(seeds) < len(group):  # one seed twice would count twice
            continue
        alike = [f"{name.rpartition('.')[2]}={values[group[0]]}" for name, values in differ.items() if name != "seed"]
        numbers = [screen.spread([rows[k][i] for k in group if rows[k][i] is not None]) for i in at]
        found.append([" ".join(alike) or "all", str(len(group)), *numbers])
    return ["mean ± std", "seeds", *(names[i] for i in at)], found


def made(runs: Sequence[Compared]) -> Page:
    """The page of some runs: the table, and their curves."""
    names, rows = table(runs)
    histories = {run.name: run.rows for run in runs if run.rows}
    panels = curves.compared(histories.values()) if histories else []
    pictures = []
    for panel in panels:
        draw = functools.partial(curves.curves, histories=histories, name=panel)
        pictures.append(Picture(panel.replace("/", "-"), f"{panel} by epoch, a line for each run", draw))
    values = {"names": names, "rows": rows, "means": repeated(runs), "settings": settings(runs)}
    return page("compare.html", pictures, title=f"{len(runs)} runs", curves=pictures, **values)
