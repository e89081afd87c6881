"""The page of a sweep: its metric over what was swept, and a row for each of its runs."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from jaxnn.config.sweep import REPEATED
from jaxnn.plot import curves
from jaxnn.report import screen
from jaxnn.report.page.html import Page, Picture, number, page
from jaxnn.store import history, sweeps

LINES = 28  # learning curves in a panel: so many lines differ
RUNS = 500  # in the table


def made(folder: Path) -> Page:
    """The page of the sweep in a folder, by what its sweep.json and the histories of its runs say.

    Raises `InputError` for a folder that is no sweep.
    """
    saved = sweeps.read(folder, "run")
    members, by = saved["members"], str(saved.get("metric") or "val/loss")
    pictures = [*_swept(members, by), *_learning(folder, members, by)]
    ended = sum("row" in each and bool(each["row"]) for each in members)
    best = next((each for each in members if each["folder"] == saved.get("best")), None)
    tiles = [("runs", number(len(members)), "" if ended == len(members) else f"{ended} of them have results")]
    if best is not None:
        tiles.append((f"best {by}", number(best.get("row", {}).get(by)), best["folder"]))
    return page(
        "sweep.html",
        pictures,
        title=folder.absolute().name,
        lead=[f"{name} in {_some(members, name)}" for name in _fields(members)],
        notes=[] if "metric" in saved else ["The sweep has not come to its end: run the same command again."],
        tiles=tiles,
        curves=pictures,
        names=["run", *_fields(members), *_metrics(members), ""],
        rows=[_row(each, members) for each in members[:RUNS]],
        best=saved.get("best"),
        hidden=max(len(members) - RUNS, 0),
    )


def _fields(members: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for each in members for name in each["values"]))


def _metrics(members: list[dict[str, Any]]) -> list[str]:
    names = dict.fromkeys(name for each in members for name in each.get("row", {}))
    return [name for name in names if name.startswith(("val/", "test/")) and name.count("/") == 1][:6]


def _row(each: dict[str, Any], members: list[dict[str, Any]]) -> list[Any]:
    values = [screen.value(each["values"].get(name, "")) for name in _fields(members)]
    row = each.get("row", {})
    return [each["folder"], *values, *(row.get(name) for name in _metrics(members)), each.get("ending", "not begun")]


def _some(members: list[dict[str, Any]], name: str) -> str:
    """The values of a field, those in the middle left out where they are many."""
    values = list(dict.fromkeys(screen.value(each["values"].get(name)) for each in members))
    return ", ".join(values if len(values) < 6 else [*values[:2], "...", values[-1]])


def _swept(members: list[dict[str, Any]], by: str) -> list[Picture]:
    """The metric over the first field with several numbers, else with several words; a line for what else differs."""
    fields = [name for name in _fields(members) if name not in REPEATED]
    different = {name: {screen.value(each["values"].get(name)) for each in members} for name in fields}
    several = [name for name in fields if len(different[name]) > 1]
    numbers = [n for n in several if all(_is_number(each["values"].get(n)) for each in members)]
    if not several:
        return []
    field = (numbers or several)[0]
    series: dict[str, list[tuple[Any, float]]] = {}
    for each in members:
        value, metric = each["values"].get(field), each.get("row", {}).get(by)
        rest = [f"{n.rpartition('.')[2]}={screen.value(each['values'].get(n))}" for n in several if n != field]
        if isinstance(metric, int | float):
            points = series.setdefault(" ".join(rest), [])
            points.append((value if field in numbers else screen.value(value), float(metric)))
    if not series:
        return []
    draw = functools.partial(curves.swept, series=series, field=field, metric=by)
    return [Picture("swept", f"{by} over {field}, a dot for each run", draw)]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _learning(folder: Path, members: list[dict[str, Any]], by: str) -> list[Picture]:
    """The learning curves of the metric, where the runs are not more than lines can be told apart."""
    rows = {each["folder"]: history.intervals(folder / each["folder"]) for each in members[: LINES + 1]}
    rows = {name: each for name, each in rows.items() if any(by in row for row in each)}
    if not rows or len(rows) > LINES or max(map(len, rows.values())) < 2:
        return []
    draw = functools.partial(curves.curves, histories=rows, name=by)
    return [Picture("curves", f"{by} by epoch, a line for each run", draw)]
