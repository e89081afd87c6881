"""The page of one run: what its folder says, and what its network answers."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax

from jaxnn.config.names import GENERATIVE, KERAS_MODEL, PICTURED
from jaxnn.config.settings import Config
from jaxnn.config.values import from_dict
from jaxnn.errors import InputError
from jaxnn.plot import curves
from jaxnn.predict import Run
from jaxnn.report.page import amounts, classes, html, images
from jaxnn.report.page.answers import Answers
from jaxnn.report.page.html import Page, Picture, number
from jaxnn.store import history, identity, weights
from jaxnn.types import Task

ROWS, COLUMNS = 100, 40  # of the history, in the table of all numbers
PARTS = {"test": "test", "val": "validation", "train": "training"}
NOTHING: dict[str, Any] = dict.fromkeys(
    ("tiles", "matrix", "pairs", "mistakes", "by_class", "classes", "amounts", "hidden")
)


def made(
    folder: Path,
    run: Run | None = None,
    ask: Callable[[], Answers] | None = None,
    notes: tuple[str, ...] = (),
    page: Callable[..., Page] = html.page,
) -> Page:
    """The page of the run in a folder.

    Args:
      folder: of the run, by the path that its commands name.
      run: its network; None where that is not to be had.
      ask: gives what it answers; where that fails, in a task of one's own, the page says so and has all else.
      notes: what is said at the top.
      page: what draws.

    Raises `InputError` for a folder that is no run, `OSError` where it cannot be read.
    """
    identity.refuse_no_run(folder)
    saved = identity.read(folder / "config.json", "run")
    rows, last = history.intervals(folder), history.last(folder)
    config, data = from_dict(saved["config"], Config), saved["data"]
    best = history.best(rows, curves.judged_by(saved["config"], rows))
    learning = _curves(rows, best)
    found, answered, failed = _asked(config, run, data, ask)
    metrics = {name: value for name, value in ((rows[-1] if rows else {}) | last).items() if "/" in name}
    params = None if run is None else run.params
    filters = None if params is None else images.filters(params, data["shape"])
    pictures = [*learning, *answered.get("pictures", ())]
    return page(
        "run.html",
        pictures,
        title=config.name,
        lead=_lead(config, data, params),
        notes=[*notes, *failed, *_ending(folder, config, run), *_sampled(found)],
        tiles=[*(answered["tiles"] or _of_history(metrics)), *_more(rows, best)],
        curves=learning,
        part=None if found is None else PARTS[found.part],
        answered=answered,
        calibration=[p for p in pictures if p.name == "calibration"],
        of_classes=_of_classes(metrics),
        kept=images.kept(folder),
        filters=filters,
        time=_time(last),
        commands=_commands(folder, config, saved),
        numbers=_numbers(rows, last),
        settings=identity.flat(saved["config"]),
        versions=saved.get("versions", {}),
    )


def _curves(rows: list[dict[str, Any]], best: Mapping[str, Any] | None) -> list[Picture]:
    pictures = []
    for name in curves.panels_of(rows) if rows else ():
        ends = {part: rows[-1].get(f"{part}/{name}") for part in ("train", "val")}
        said = ", ".join(f"{part} {number(value)}" for part, value in ends.items() if value is not None)
        text = f"{'learning rate' if name == 'lr' else name} by epoch" + (f"; in the end {said}" if said else "")
        pictures.append(Picture(name, text, functools.partial(curves.curve, rows=rows, name=name, best=best)))
    return pictures


def _asked(
    config: Config, run: Run | None, data: dict[str, Any], ask: Callable[[], Answers] | None
) -> tuple[Answers | None, dict[str, Any], list[str]]:
    """The answers, what they come to, and why there are none."""
    if run is None or ask is None:
        return None, NOTHING, []
    try:
        found = ask()
        return found, NOTHING | _answered(config, run.task, data, found), []
    except Exception as error:  # a function of the user's own, or examples that are not there any more
        return None, NOTHING, [f"What the network answers could not be looked at ({type(error).__name__}: {error})."]


def _answered(config: Config, task: Task, data: dict[str, Any], found: Answers) -> dict[str, Any]:
    """What the answers come to, by what the labels are."""
    if task.distribution is None:
        return amounts.of(data, found, config.task.quantiles)
    if data.get("classes") and found.y.ndim == 1:
        return classes.of_one(task, data, found)
    return classes.of_several(task, data, found)


def _of_history(metrics: dict[str, Any]) -> list[tuple[str, str, str]]:
    """The tiles of a run whose answers are not looked at: the metrics of the test, else of the last row."""
    part = next((part for part in PARTS if any(name.startswith(f"{part}/") for name in metrics)), None)
    names = [name for name in metrics if name.startswith(f"{part}/") and name.count("/") == 1]
    of = f"of {PARTS[part or 'test']} examples"
    return [(name.partition("/")[2], number(metrics[name]), of) for name in names[:4]]


def _more(rows: list[dict[str, Any]], best: Mapping[str, Any] | None) -> list[tuple[str, str, str]]:
    """The tiles of every run."""
    tiles = []
    if best is not None and rows:
        by = "validation" if "val/loss" in best else "training"
        tiles.append(("best epoch", number(best["epoch"]), f"of {number(rows[-1]['epoch'])}, by the {by} examples"))
    if rows:
        tiles.append(("time", f"{rows[-1]['seconds']:.1f} s", ""))
    return tiles


def _lead(config: Config, data: dict[str, Any], params: Any) -> list[str]:
    """What was trained on what, in a few words each."""
    counts = [f"{n:,} {PARTS.get(part[:3], PARTS.get(part, part))}" for part, n in data.get("examples", {}).items()]
    kinds = data.get("classes")
    lead = [f"data {data.get('name', '')}", f"{', '.join(counts)} examples", str(data.get("task", ""))]
    lead += [f"{len(kinds):,} classes"] if kinds else []
    lead += [f"{sum(leaf.size for leaf in jax.tree.leaves(params)):,} parameters"] if params is not None else []
    return [*lead, f"seed {config.seed}", f"data digest {str(data.get('digest'))[:12]}"]


def _ending(folder: Path, config: Config, run: Run | None) -> list[str]:
    """What is to be known of a run that has not come to its end."""
    if run is not None and run.folder is None:  # it ends in this process
        return []
    try:
        found = weights.read(folder)
    except InputError:
        return ["The run has not come to its end, or its weights are gone: this page has what its history says."]
    if found.ending == weights.FAILED:
        return ["The run failed with a number that is not finite; its weights mean nothing."]
    if found.ending == weights.STOPPED or found.epochs not in ("", str(config.epochs)):
        return [f"The run was stopped before the end of its {config.epochs} epochs; these are its weights so far."]
    return []


def _sampled(found: Answers | None) -> list[str]:
    if found is None:
        return []
    lines = []
    if len(found.rows) < found.total:
        some = f"{len(found.rows):,} of {found.total:,} {PARTS[found.part]} examples"
        lines.append(f"The answers below are of {some}, evenly spaced.")
    if found.part == "train":
        lines.append("Nothing was kept for testing or validation: the answers below are of training examples.")
    if found.weighted:
        lines.append("The examples have different weights in the history; below each counts once.")
    return lines


def _of_classes(metrics: dict[str, Any]) -> dict[str, list[tuple[str, Any]]]:
    """Metrics of single classes, as iou/NAME, by metric: of the test, else of the last row."""
    part = next((part for part in PARTS if any(n.startswith(f"{part}/") and n.count("/") > 1 for n in metrics)), None)
    found: dict[str, list[tuple[str, Any]]] = {}
    for name, value in metrics.items():
        of, _, rest = name.partition("/")
        metric, slash, kind = rest.partition("/")
        if of == part and slash:
            found.setdefault(metric, []).append((kind, value))
    return found


def _time(last: dict[str, Any]) -> list[tuple[str, float, float]]:
    """(part, seconds, share of all) of what a run spent its time on, the longest first."""
    spent = {name.partition("/")[2]: value for name, value in last.items() if name.startswith("seconds/")}
    total = sum(spent.values()) or 1.0
    return sorted(((part, value, value / total) for part, value in spent.items()), key=lambda each: -each[1])


def _commands(folder: Path, config: Config, saved: dict[str, Any]) -> list[tuple[str, str]]:
    """What to type to train it again, to ask it, and to take it elsewhere."""
    place, keras = shlex.quote(str(folder)), saved["source"] == KERAS_MODEL
    own = not keras and bool(saved["own_model"] or saved.get("own"))
    file = shlex.quote(f"{saved['source']}.py") if own else ""
    brought = f" --config {file}" if own else ""
    again = shlex.quote(f"{folder}-again")
    words = f"jaxnn train {file}{' ' * own}--config {place}/config.json --workdir {again}"
    commands = [] if keras else [("train it again", words)]
    if config.task.name in GENERATIVE:
        return [*commands, ("draw images", f"jaxnn sample {place}{brought}")]
    if saved["data"].get("task") in PICTURED:
        commands.append(("predict", f"jaxnn predict {place} new_pictures --output found{brought}"))
    else:
        new, labelled = ("new_images", "labelled") if len(saved["data"]["shape"]) == 3 else ("new.csv", "labelled.csv")
        commands.append(("predict", f"jaxnn predict {place} {new} --output answers.csv{brought}"))
        commands.append(("evaluate", f"jaxnn evaluate {place} {labelled}{brought}"))
    commands.append(("export", f"jaxnn export {place} --to onnx,numpy{brought}"))
    return commands


def _numbers(rows: list[dict[str, Any]], last: dict[str, Any]) -> dict[str, Any]:
    """The table of all numbers: rows of the history, every k-th of many, and the last one."""
    every = -(-len(rows) // ROWS) or 1
    shown = [*rows[:-1:every], *rows[-1:], *([last] if last else [])]
    names = list(dict.fromkeys(name for row in shown for name in row if not name.startswith("seconds/")))
    cells = [[row.get(name) for name in names[:COLUMNS]] for row in shown]
    return {"names": names[:COLUMNS], "rows": cells, "every": every, "hidden": max(len(names) - COLUMNS, 0)}
