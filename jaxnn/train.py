"""A run, from its config to its report: what `jaxnn train` does. Read it from top to bottom."""

from __future__ import annotations

import functools
from concurrent.futures import Executor, Future

import jax

from jaxnn import recipe
from jaxnn.config.request import Request
from jaxnn.data.dataset import Dataset
from jaxnn.devices import cache, hosts, mesh
from jaxnn.engine.tally import Tally
from jaxnn.report import diagnosis, flops, log, reported, screen, stopwatch
from jaxnn.report.page.drawing import Drawing
from jaxnn.store import history, identity, origin, program, resume
from jaxnn.store.saver import Saver
from jaxnn.training import loop, plan, process, recorded, shelf, streamed
from jaxnn.training.process import Stop
from jaxnn.training.programs import check_metrics, compile_all, start_of


def train(
    request: Request,
    reading: Future[Dataset],
    stop: Stop,
    clock: stopwatch.Stopwatch,
    pool: Executor,
    drawing: Drawing | None = None,
) -> int:
    """The exit code of a run of `request` on the data that are being read; `stop` asks it to end early, and `drawing`
    draws its report."""
    config, own, console = request.flags.run, request.brought, screen.Screen()
    clock("data")
    data = reading.result()
    clock("start")
    request.check_digest(data.digest)
    known, steps = data.describe(), plan.plan(config, len(data.train.weight))
    model, task, example = recipe.network(config, known, own, mean=data.mean, std=data.std)
    rows = recipe.checked(task, data.parts, own)["train"]
    made = recipe.recipe(config, known, model, task, example, steps, data.class_weight, own)
    with mesh.of(config) as devices:
        # What can be refused is refused here, before a folder is made and anything is compiled.
        loggers, key = log.found(request.flags.log), jax.random.key(config.seed)
        start, shapes = start_of(made, config, example, key)
        check_metrics(config, made, shapes.params, data.parts)
        about = request.own() | program.describe(made, example, rows, own)
        about = hosts.agreed(identity.describe(config, known, devices, **about))
        head = functools.partial(recipe.head, config, task, example, own.model)
        source, steps, about = origin.find(config, about, steps, shapes, request.start, head)
        screen.warn("note", data.notes)
        if request.flags.dry_run:
            screen.dry_run(console, config.name, data, steps, devices, model, example, shapes)
            return stop.exit_code

        begun = resume.begin(config, about, shapes, steps, data.statistics)
        screen.opening(console, config, data, devices, shapes, begun.folder, (*source.lines, *begun.lines))
        if begun.finished:
            log.complete(begun.folder, loggers, config)
            screen.next_steps(console, begun.folder, request, data, finished=True)
            return stop.exit_code
        clock("data")
        splits = data.parts if data.is_streamed else mesh.replicate(data.parts)
        clock("compilation")  # all of it before the first step, on all cores
        place = None if request.flags.no_cache else cache.place()
        programs = shelf.of_run(place, about, steps, own, data.mean, data.std, data.class_weight)
        most = flops.longest_chunk(made, steps, shapes.params, rows, own_model=own.model is not None)
        page = reported.begin(begun.folder, config, made, shapes.params, data.parts, pool, programs)
        feed, window, most = streamed.feed(made, splits["train"], steps, begun.step, most, key, clock)
        compiled = compile_all(made, steps, begun.step, most, start, shapes, splits, key, pool, window, programs)
        saver = Saver(begun.folder, about, config, pool, begun.step if begun.progress else None)
        progress = begun.progress or loop.Progress(source.put(made, compiled.first_state(key), shapes), Tally())
        saver.start_if_new(begun.step, progress)
        compiled.wait()
        if place:
            cache.keep_programs()
        saver.wait()  # a folder that cannot be written ends the run before its first step
        process.collect_garbage()
        session = loop.Session(made, steps, key, compiled, splits, feed, pool, stop, clock)
        with log.following(saver, loggers, config):
            with screen.told(console, steps, diagnosis.Alarms(made, rows)) as tell:
                event, row = recorded.take_steps(session, loop.Event(begun.step, progress), begun.row, saver, tell)
            event, row, result = recorded.end(config, session, saver, event, row, shapes, data.statistics)
        screen.ending(console, config.name, session, event, row, begun.step)
        if result.ended == loop.FINISHED:
            reported.end(page, begun.folder, config, known, made, result.params, data.parts, drawing)
        loop.check_finite(event.step, row)
        if result.ended == loop.FINISHED:
            screen.warn("warning", diagnosis.never_better(data.parts, history.rows(begun.folder)))
        screen.next_steps(console, begun.folder, request, data, finished=result.ended == loop.FINISHED)
        return stop.exit_code
