"""Learning curves, of one run or several, and the metric of a sweep over what was swept."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxnn.config import paths
from jaxnn.errors import InputError
from jaxnn.plot import style
from jaxnn.store import history as stored
from jaxnn.store import identity

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

POINTS = 400  # of a line at most: more are no wider than a pixel
WIDE = 30.0  # a loss whose greatest value is so many times its least is drawn in the logarithm

Rows = Sequence[Mapping[str, Any]]  # of a history


def history(runs: Any) -> Figure:
    """The learning curves of a run: loss and metrics of its training and validation examples, and its rate; the best
    row by the metric that the run is judged by is marked. Of several runs each panel has a line for each.

    runs: the folder of a run or a `jaxnn.Run` that was loaded from one; or several of these.
    Raises `InputError` for a folder that is no run, and for a history without rows.

    >>> import tempfile, jaxnn
    >>> from jaxnn import keras
    >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    >>> model.compile(loss="mse")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     run = model.as_run(f"{folder}/run")
    ...     _ = (run / "history.jsonl").write_text('{"step": 1, "epoch": 1.0, "seconds": 0.1, "train/loss": 0.5}')
    ...     jaxnn.plot.history(run).axes[0].get_title()
    'loss'
    """
    named = _histories(runs)
    if len(named) == 1:
        rows, by = next(iter(named.values()))
        names = panels_of(rows)
        figure, axes = style.panels(len(names))
        for each, name in zip(axes, names, strict=True):
            curve(each, rows, name, stored.best(rows, by))
        return figure
    several = {name: rows for name, (rows, _) in named.items()}
    names = compared(several.values())
    figure, axes = style.panels(len(names))
    for each, name in zip(axes, names, strict=True):
        curves(each, several, name)
    return figure


def _histories(runs: Any) -> dict[str, tuple[Rows, str | None]]:
    """The rows of each run, and the metric that it is judged by."""
    several: Any = [runs] if isinstance(runs, str | os.PathLike) or hasattr(runs, "folder") else runs
    found: dict[str, tuple[Rows, str | None]] = {}
    for run in several:
        folder = getattr(run, "folder", run)
        if folder is None:
            raise InputError("runs=Run: has no folder, and so no history; load it with jaxnn.load_run")
        path = paths.expand("runs", folder)
        identity.refuse_no_run(path)
        rows = stored.intervals(path)
        if not rows:
            raise InputError(f"runs={path}: its history has no rows yet; wait for the first interval of the run")
        found[unlike(path, found)] = rows, judged_by(identity.read(path / "config.json", "runs")["config"], rows)
    if not found:
        raise InputError("runs=[]: there are none; name the folder of a run")
    return found


def unlike(path: Path, names: Iterable[str]) -> str:
    """What a run is called among others: its folder's name, with those above where two are called alike."""
    path, taken = path.absolute(), set(names)
    short = [str(Path(*path.parts[-k:])) for k in range(1, len(path.parts) + 1)]
    return next((name for name in short if name not in taken), f"{path} again")


def judged_by(config: Mapping[str, Any], rows: Rows) -> str | None:
    """The metric by which the best row of a run is told: that of its best checkpoint, or the loss."""
    given = (config.get("checkpoint") or {}).get("best") or config.get("stop_on")
    there = {name for row in rows for name in row}
    return next((name for name in (given, "val/loss", "train/loss") if name in there), None)


def panels_of(rows: Rows) -> list[str]:
    """What is drawn of a history: `loss`, the main metrics of its parts, or where there are none the first ones, and
    `lr` where it changes."""
    names = dict.fromkeys(name for row in rows for name in row)
    metrics = [name.partition("/")[2] for name in names if name.startswith(("train/", "val/")) and name.count("/") == 1]
    rates = {row.get("lr") for row in rows} - {None}
    others = list(dict.fromkeys(name for name in metrics if name != "loss"))
    main = [name for name in others if name in stored.MAIN] or others
    return ["loss", *main[:2], *["lr"] * (len(rates) > 1)]


def compared(histories: Iterable[Rows]) -> list[str]:
    """What several histories have in common: their validation metrics, or those of training where there are none."""
    names = [dict.fromkeys(name for row in rows for name in row if name.count("/") == 1) for rows in histories]
    common = [name for name in names[0] if all(name in each for each in names)]
    chosen = [name for name in common if name.startswith("val/")] or [n for n in common if n.startswith("train/")]
    main = [name for name in chosen if name.partition("/")[2] in stored.MAIN] or chosen
    return main[:3] or ["train/loss"]


def curve(axes: Axes, rows: Rows, name: str, best: Mapping[str, Any] | None = None) -> None:
    """One panel of a history: `name` of each part of the data, or the rate; `best`: the row that is marked."""
    parts = {"": "lr"} if name == "lr" else {part: f"{part}/{name}" for part in ("train", "val")}
    for number, (part, column) in enumerate(parts.items()):
        _line(axes, rows, column, part, number)
        value = None if best is None else best.get(column)
        if best is not None and value is not None and (part == "val" or name == "loss" and f"val/{name}" not in best):
            said = "best epoch" if name == "loss" else "_"
            axes.plot([best["epoch"]], [value], "o", color=style.line(number)["color"], label=said)
    _finished(axes, name)


def curves(axes: Axes, histories: Mapping[str, Rows], name: str) -> None:
    """One panel of several histories: the column `name` of each."""
    for number, (run, rows) in enumerate(histories.items()):
        _line(axes, rows, name, style.word(run) if len(histories) <= 14 else "", number)
    _finished(axes, name)


def _line(axes: Axes, rows: Rows, column: str, label: str, number: int) -> None:
    points = [(row["epoch"], row[column]) for row in rows if column in row]
    points = points[:: -(-len(points) // POINTS) or 1]
    if points:
        x, y = zip(*((x, math.nan if y is None else y) for x, y in points), strict=True)
        axes.plot(x, y, label=label or "_", marker="o" if len(points) < 3 else None, **style.line(number))


def _finished(axes: Axes, name: str) -> None:
    epochs = {float(x) for line in axes.lines for x in np.asarray(line.get_xdata())}
    if len(epochs) == 1:
        axes.set_xlim(0, 2 * max(epochs))
    axes.locator_params(axis="x", integer=True)
    axes.set(xlabel="epoch", title={"lr": "learning rate"}.get(name, style.word(name)))
    values = [v for line in axes.lines for v in np.asarray(line.get_ydata()) if math.isfinite(v)]
    if name.endswith("loss") and values and 0 < WIDE * min(values) < max(values):
        logarithmic(axes, "y")
    style.legend(axes)


def logarithmic(axes: Axes, which: str) -> None:
    """An axis in the logarithm, its numbers written as numbers: 0.01, and no power of ten."""
    getattr(axes, f"set_{which}scale")("log")
    axis = getattr(axes, f"{which}axis")
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter("")


def swept(axes: Axes, series: Mapping[str, Sequence[tuple[Any, float]]], field: str, metric: str) -> None:
    """The metric of a sweep over the values of a field: a dot for each run, a line through the means above one value.

    series: (value, metric) of each run, by what else was swept; words stand side by side, numbers that span a factor of
    30 in their logarithm. Runs whose metric is not finite are left out.
    """
    good = {name: [p for p in points if math.isfinite(p[1])] for name, points in series.items()}
    values = list(dict.fromkeys(x for points in good.values() for x, _ in points))
    numbers = all(isinstance(x, int | float) for x in values)
    place = (lambda x: float(x)) if numbers else values.index
    for number, (name, points) in enumerate(good.items()):
        above: dict[float, list[float]] = {}
        for x, y in sorted((place(x), y) for x, y in points):
            above.setdefault(x, []).append(y)
        how, label = style.line(number), style.word(name, 40) if len(good) <= 14 else ""
        dots = [(x, y) for x, ys in above.items() for y in ys]
        if dots:
            axes.plot(list(above), [sum(ys) / len(ys) for ys in above.values()], **how)
            axes.plot(*zip(*dots, strict=True), "o", color=how["color"], label=label or "_")
    axes.set(xlabel=style.word(field, 40), title=style.word(metric, 40))
    if numbers and values and 0 < WIDE * min(values) < max(values):
        logarithmic(axes, "x")
    if not numbers:
        axes.set_xticks(range(len(values)), [style.word(x, 12) for x in values])
    style.legend(axes)
