"""report.html of a run that ends. What makes it is imported while the run compiles; what fails is a warning."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

from jaxnn.config.settings import Config
from jaxnn.devices import hosts, mesh
from jaxnn.report import screen
from jaxnn.store import durable
from jaxnn.types import Batch, Params, Recipe

NAME = "report.html"


def begin(config: Config, recipe: Recipe, shapes: Any, parts: dict[str, Batch], pool: Executor) -> Future[Any] | None:
    """Import what draws, and compile what the network is asked at the end, in a thread of `pool`; None where nobody
    asked for a report. `shapes`: of the parameters."""
    return pool.submit(_ready, recipe, shapes, parts) if config.report != "off" and hosts.leads() else None


def _ready(recipe: Recipe, shapes: Any, parts: dict[str, Batch]) -> Any:
    from jaxnn.report.page import answers, html

    html.warm()
    with mesh.use(1):
        return answers.question(recipe.model, recipe.task, shapes, parts)


def end(
    ready: Future[Any] | None,
    console: screen.Screen,
    folder: Path,
    config: Config,
    known: dict[str, Any],
    recipe: Recipe,
    params: Params,
    parts: dict[str, Batch],
) -> None:
    """Write the report of a finished run and say where it is, or why there is none: the run has its results."""
    if ready is None:
        return
    with _told(console, folder):
        question = ready.result()
        from jaxnn.predict import run_of
        from jaxnn.report.page import answers, run

        trained = run_of(config, known, recipe.model, recipe.task, params)
        ask = lambda: answers.answered(question, recipe.task, params, parts)
        with mesh.use(1):
            page = run.made(folder, trained, None if question is None else ask)
        durable.replace(folder / NAME, [page.text.encode()])


def of_sweep(console: screen.Screen, folder: Path) -> None:
    """Write the report of a sweep."""
    with _told(console, folder):
        from jaxnn.report.page import html, sweep

        html.warm()
        durable.replace(folder / NAME, [sweep.made(folder).text.encode()])


@contextlib.contextmanager
def _told(console: screen.Screen, folder: Path) -> Iterator[None]:
    """Say where the report is, or why there is none."""
    try:
        yield
    except Exception as error:  # of the library that draws, or a disk that is full
        cure = f"try jaxnn report {folder} --traceback, or leave it out with --report off"
        screen.warn("warning", [f"report.html: could not be made ({type(error).__name__}: {error}); {cure}"])
    else:
        console.print(f"report: {folder / NAME}", soft_wrap=True)
