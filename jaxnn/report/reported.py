"""What a finished run leaves to look at: pictures, and report.html, which is a warning where it cannot be made."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

from jaxnn.config.settings import Config
from jaxnn.devices import hosts, mesh
from jaxnn.report import pictures, screen
from jaxnn.store import durable
from jaxnn.store.folder import REPORT
from jaxnn.types import Batch, Params, Recipe


def begin(
    folder: Path, config: Config, recipe: Recipe, shapes: Any, parts: dict[str, Batch], pool: Executor
) -> Future[Any] | None:
    """Import what draws, and compile what the network is asked at the end, in a thread of `pool`; None where nobody
    asked for a report. `shapes`: of the parameters. A page that is there is an older one: it is removed."""
    if not hosts.leads():
        return None
    with contextlib.suppress(OSError):
        (folder / REPORT).unlink(missing_ok=True)
    return pool.submit(_ready, recipe, shapes, parts) if config.report != "off" else None


def _ready(recipe: Recipe, shapes: Any, parts: dict[str, Batch]) -> Any:
    from jaxnn.report.page import answers, html

    html.warm()
    with mesh.use(1):
        return answers.question(recipe.model, recipe.task, shapes, parts)


def end(
    ready: Future[Any] | None,
    folder: Path,
    config: Config,
    known: dict[str, Any],
    recipe: Recipe,
    params: Params,
    parts: dict[str, Batch],
) -> None:
    """Write them; `ready` comes from `begin`. A report that cannot be made costs nothing else: the run has its results.

    Raises `StorageError` where pictures cannot be written.
    """
    pictures.save(folder, config, known, recipe, params, parts)
    if ready is None:
        return
    with _warned(folder):
        question = ready.result()
        from jaxnn.predict import run_of
        from jaxnn.report.page import answers, run

        trained = run_of(config, known, recipe.model, recipe.task, params)
        ask = lambda: answers.answered(question, recipe.task, params, parts)
        with mesh.use(1):
            page = run.made(folder, trained, None if question is None else ask)
        durable.replace(folder / REPORT, [page.text.encode()])


def of_sweep(console: screen.Screen, folder: Path) -> None:
    """Write the report of a sweep, and say where it is."""
    with _warned(folder):
        from jaxnn.report.page import html, sweep

        html.warm()
        durable.replace(folder / REPORT, [sweep.made(folder).text.encode()])
        console.print(f"report   {folder / REPORT}", soft_wrap=True)


@contextlib.contextmanager
def _warned(folder: Path) -> Iterator[None]:
    """Say why there is no report."""
    try:
        yield
    except Exception as error:  # of the library that draws, or a disk that is full
        cure = f"try jaxnn report {folder} --traceback, or leave it out with --report off"
        screen.warn("warning", [f"report.html: could not be made ({type(error).__name__}: {error}); {cure}"])
