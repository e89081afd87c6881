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
from jaxnn.report.page.drawing import Drawing
from jaxnn.store import durable
from jaxnn.store.folder import REPORT
from jaxnn.training.shelf import Shelf
from jaxnn.types import Batch, Params, Recipe


def begin(
    folder: Path,
    config: Config,
    recipe: Recipe,
    shapes: Any,
    parts: dict[str, Batch],
    pool: Executor,
    shelf: Shelf | None,
) -> Future[Any] | None:
    """Have the program ready by which the network is asked at the end, in a thread of `pool`; None where nobody asked
    for a report. `shapes`: of the parameters; `shelf`: where programs are kept. A page that is there is an older one:
    it is removed."""
    if not hosts.leads():
        return None
    with contextlib.suppress(OSError):
        (folder / REPORT).unlink(missing_ok=True)
    if config.report == "off":
        return None
    return pool.submit(_question, recipe, shapes, parts, shelf if mesh.size() == 1 else None)


def _question(recipe: Recipe, shapes: Any, parts: dict[str, Batch], shelf: Shelf | None) -> Any:
    from jaxnn.report.page import answers, run  # noqa: F401  # pyright: ignore[reportUnusedImport]  # `end` has them then

    with mesh.use(1):
        return answers.question(recipe.model, recipe.task, shapes, parts, shelf)


def end(
    asked: Future[Any] | None,
    folder: Path,
    config: Config,
    known: dict[str, Any],
    recipe: Recipe,
    params: Params,
    parts: dict[str, Batch],
    drawing: Drawing | None = None,
) -> None:
    """Write them; `asked` comes from `begin`. A report that cannot be made costs nothing else: the run has its results.

    drawing: the process that draws; None where it is this one. Raises `StorageError` where pictures cannot be written.
    """
    pictures.save(folder, config, known, recipe, params, parts)
    if asked is None:
        return
    with _warned(folder):
        question = asked.result()
        from jaxnn.predict import run_of
        from jaxnn.report.page import answers, html, run

        trained = run_of(config, known, recipe.model, recipe.task, params)
        ask = lambda: answers.answered(question, recipe.task, params, parts)
        with mesh.use(1):
            page = run.made(folder, trained, question and ask, page=drawing.page if drawing else html.page)
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
