"""A run, from its config to its report: what `jaxnn train` does. Read it from top to bottom."""

from __future__ import annotations

import functools
from concurrent.futures import Executor, Future
from typing import Any

import jax

from jaxnn import recipe
from jaxnn.config.request import Request
from jaxnn.data.dataset import Dataset
from jaxnn.devices import cache, hosts, mesh
from jaxnn.engine.tally import Tally
from jaxnn.errors import DataError, Error
from jaxnn.report import diagnosis, flops, pictures, screen, stopwatch
from jaxnn.store import best, history, identity, origin, program, resume, weights
from jaxnn.store.saver import Saver
from jaxnn.training import faults, loop, plan, process, streamed
from jaxnn.training.process import Stop
from jaxnn.training.programs import check_metrics, compile_all, start_of
from jaxnn.types import Batch


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
    with mesh.of(config) as devices:
        # What can be refused is refused here, before a folder is made and anything is compiled.
        key = jax.random.key(config.seed)
        start, shapes = start_of(made, config, example, key)
        check_metrics(config, made, shapes.params, data.parts)
        about = hosts.agreed(identity.describe(config, known, devices, **request.own(), **computes))
        head = functools.partial(recipe.head, config, task, example, own.model)
        source, steps, about = origin.find(config, about, steps, shapes, request.start, head)
        screen.warn("note", data.notes)
        if request.flags.dry_run:
            screen.dry_run(console, config.name, data, steps, devices, model, example, shapes)
            return stop.exit_code

        begun = resume.begin(config, about, shapes, steps, data.statistics)
        screen.opening(console, config, data, devices, shapes, begun.folder, (*source.lines, *begun.lines))
        if begun.finished:
            return stop.exit_code
        clock("data")
        splits = data.parts if data.is_streamed else mesh.replicate(data.parts)
        clock("compilation")  # all of it before the first step, on all cores
        if not request.flags.no_cache:
            cache.keep_programs()
        most = flops.longest_chunk(made, steps, shapes.params, rows, own_model=own.model is not None)
        feed, window, most = streamed.feed(made, splits["train"], steps, begun.step, most, key, clock)
        compiled = compile_all(made, steps, begun.step, most, start, shapes, splits, key, pool, window)
        saver = Saver(begun.folder, about, config, pool, begun.step if begun.progress else None)
        progress = begun.progress or loop.Progress(source.put(made, compiled.first_state(key), shapes), Tally())
        saver.start_if_new(begun.step, progress)
        compiled.wait()
        saver.wait()  # a folder that cannot be written ends the run before its first step
        process.collect_garbage()
        session = loop.Session(made, steps, key, compiled, splits, feed, pool, stop, clock)
        event, row = take_steps(session, loop.Event(begun.step, progress), begun.row, saver, console, rows)
        # ---- save the end, test, and report ----
        clock("saving")
        saver.start_if_new(event.step, event.progress)
        saver.wait()  # what follows may fail: the rows of a test set may not be there any more
        event, row = best.restored(config, saver, event, row, shapes, data.statistics)
        clock("evaluation")
        last = loop.tested(session, event)
        clock("saving")
        result = loop.result(session, event, row | last)
        weights.save(begun.folder, *result, config.epochs, restore=config.restore)
        saver.wait()
        clock("report")
        history.append(begun.folder, last | clock.shares())
        if result.ended == loop.FINISHED:
            pictures.save(begun.folder, config, known, made, result.params, data.parts)
        screen.ending(console, config.name, session, event, row | last, begun.step)
        loop.check_finite(event.step, row | last)
        screen.warn("warning", diagnosis.never_better(data.parts, history.rows(begun.folder)))
        return stop.exit_code


def take_steps(
    session: loop.Session, start: loop.Event, row: dict[str, Any], saver: Saver, console: screen.Screen, rows: Batch
) -> tuple[loop.Event, dict[str, Any]]:
    """Every step that is left, with rows, warnings and checkpoints between them: the last event and the last row."""
    event, plan, clock, before = start, session.plan, session.clock, row.get("seconds", 0.0)
    alarms = diagnosis.Alarms(session.recipe, rows)
    try:
        with screen.progress(console, plan.total, plan.epoch(plan.total)) as show:
            for event in loop.events(session, start, row):
                if event.row:
                    clock("saving")
                    saver.wait()  # no row is written before the checkpoint that it starts from is safe
                    clock("report")
                    row = event.row | {"seconds": before + clock.elapsed}
                    history.append(saver.folder, row)
                    show(row)
                    screen.warn("warning", alarms(row, event.progress.state.params, event.still))
                if event.is_best or plan.is_due(event.step, saver.age):
                    clock("saving")
                    saver.start(event.step, event.progress, event.score)
    except loop.NotFinite as failed:
        # A run is a pure function: replayed, it fails at the same step. What was good until then is kept.
        params, error = faults.explain(session, failed)
        weights.save(saver.folder, params, weights.FAILED)
        saver.wait()
        raise error from None
    except Exception as error:
        if isinstance(error, Error) and not isinstance(error, DataError):
            raise
        # In a function of the user's own, or rows that cannot be read any more: the steps so far are not lost.
        saver.finish(event.step, event.progress)
        raise
    return event, row
