"""A run, from its config to its report: what `jaxnn train` does. Read it from top to bottom."""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

import jax
import numpy as np

from jaxnn import recipe
from jaxnn.config.request import Request
from jaxnn.config.settings import Config
from jaxnn.data.dataset import Dataset
from jaxnn.devices import cache, mesh
from jaxnn.engine.tally import Tally
from jaxnn.errors import Error, NumericsError
from jaxnn.report import diagnosis, flops, pictures, screen, stopwatch
from jaxnn.store import best, history, identity, origin, program, resume, weights
from jaxnn.store.saver import Saver
from jaxnn.training import faults, loop, plan, process
from jaxnn.training.process import Stop
from jaxnn.training.programs import check_metrics, compile_all, start_of
from jaxnn.types import Params, State


def train(request: Request, reading: Future[Dataset], stop: Stop, clock: stopwatch.Stopwatch, pool: Executor) -> int:
    """The exit code of a run of `request` on the data that are being read; `stop` asks it to end early."""
    config, own, console = request.flags.run, request.brought, screen.Screen()
    clock("data")
    data = reading.result()
    clock("start")
    request.check_digest(data.digest)
    known, steps = data.describe(), plan.plan(config, len(data.train.weight))
    model, task, example = recipe.network(config, known, own, mean=data.mean, std=data.std)
    rows = recipe.checked(task, data.parts, own)["train"]
    made = recipe.recipe(config, known, model, task, example, steps, data.class_weight, own)
    computes = {"program": program.digest(program.of_own(made, example, rows, own)), "jax": program.settings()}
    with mesh.use(config.devices, config.dtype) as devices:
        # What can be refused is refused here, before a folder is made and anything is compiled.
        key = jax.random.key(config.seed)
        start, shapes = start_of(made, example, key)
        check_metrics(config, made, shapes.params, rows, data.validation is not None)
        about = identity.describe(config, known, devices, **request.own(), **computes)
        head = functools.partial(recipe.head, config, task, example, own.model)
        source, steps, about = origin.find(config, about, steps, shapes, request.start, head)
        screen.warn("note", data.notes)
        if request.flags.dry_run:
            screen.dry_run(console, config.name, data, steps, devices, model, example, shapes)
            return stop.exit_code

        begun = resume.begin(config, about, shapes, steps, data.statistics)
        screen.opening(console, config.name, data, devices, begun.folder, (*source.lines, *begun.lines))
        if begun.finished:
            return stop.exit_code
        clock("data")
        splits = mesh.replicate(data.parts)
        clock("compilation")  # all of it before the first step, on all cores
        if not request.flags.no_cache:
            cache.keep_programs()
        most = flops.longest_chunk(made, steps, shapes.params, rows, own_model=own.model is not None)
        compiled = compile_all(made, steps, begun.step, most, start, shapes, splits, key, pool)
        saver = Saver(begun.folder, about, config, pool, begun.step if begun.progress else None)
        progress = begun.progress or loop.Progress(source.put(made, compiled.first_state(key)), Tally())
        saver.start_if_new(begun.step, progress)
        compiled.wait()
        saver.wait()  # a folder that cannot be written ends the run before its first step
        process.collect_garbage()
        session = loop.Session(made, steps, key, compiled, splits, pool, stop, clock)
        alarms = diagnosis.Alarms(made, rows)
        with screen.progress(console, steps.total, steps.epoch(steps.total)) as show:

            def tell(event: loop.Event) -> None:
                assert event.row
                show(event.row)
                screen.warn("warning", alarms(event.row, event.progress.state.params, event.still))

            event, row = take_steps(session, loop.Event(begun.step, progress), begun.row, saver, tell)
        event, row, result = end(config, session, saver, event, row, shapes, data.statistics)
        if result.ended == loop.FINISHED:
            pictures.save(begun.folder, config, known, made, result.params, data.parts)
        screen.ending(console, config.name, session, event, row, begun.step)
        loop.check_finite(event.step, row)
        screen.warn("warning", diagnosis.never_better(data.parts, history.rows(begun.folder)))
        return stop.exit_code


def take_steps(
    session: loop.Session,
    start: loop.Event,
    row: dict[str, Any],
    saver: Saver,
    tell: Callable[[loop.Event], None],
    explain: Callable[[loop.Session, loop.NotFinite], tuple[Params, NumericsError]] = faults.explain,
) -> tuple[loop.Event, dict[str, Any]]:
    """Every step that is left, with rows and checkpoints between them: the last event and the last row.

    `tell(event)` after each row; `explain` says what failed where a number is not finite.
    """
    event, plan, clock, before = start, session.plan, session.clock, row.get("seconds", 0.0)
    try:
        for event in loop.events(session, start, row):
            if event.row:
                clock("saving")
                saver.wait()  # no row is written before the checkpoint that it starts from is safe
                clock("report")
                row = event.row | {"seconds": before + clock.elapsed}
                history.append(saver.folder, row)
                tell(event._replace(row=row))
            if event.is_best or plan.is_due(event.step, saver.age):
                clock("saving")
                saver.start(event.step, event.progress, event.score)
    except loop.NotFinite as failed:
        # A run is a pure function: replayed, it fails at the same step. What was good until then is kept.
        params, error = explain(session, failed)
        weights.save(saver.folder, params, weights.FAILED)
        saver.wait()
        raise error from None
    except Error:
        raise
    except Exception:  # in a function of the user's own: the steps so far are not lost
        saver.finish(event.step, event.progress)
        raise
    return event, row


def end(
    config: Config,
    session: loop.Session,
    saver: Saver,
    event: loop.Event,
    row: dict[str, Any],
    shapes: State,
    statistics: dict[str, np.ndarray],
) -> tuple[loop.Event, dict[str, Any], loop.Result]:
    """Save what a run ends with, and test it: its end, the last row with the test metrics, and the weights."""
    clock = session.clock
    clock("saving")
    saver.start_if_new(event.step, event.progress)
    event, row = best.restored(config, saver, event, row, shapes, statistics)
    clock("evaluation")
    last = loop.tested(session, event)
    clock("saving")
    result = loop.result(session, event, row | last)
    weights.save(saver.folder, *result, config.epochs, restore=config.restore)
    saver.wait()
    clock("report")
    history.append(saver.folder, last | clock.shares())
    return event, row | last, result
