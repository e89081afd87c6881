"""A run, from its config to its report: what `jaxnn train` does. Read it from top to bottom."""

from __future__ import annotations

import gc
import math
import time
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any, NamedTuple

import jax

from jaxnn import recipe
from jaxnn.config.request import Request
from jaxnn.data.dataset import Dataset
from jaxnn.devices import mesh, programs
from jaxnn.engine.tally import Tally
from jaxnn.errors import Error
from jaxnn.optim.optimizer import averaged
from jaxnn.report import diagnosis, flops, screen
from jaxnn.report.stopwatch import Stopwatch
from jaxnn.store import history, identity, resume, saver, weights
from jaxnn.training import faults, loop, plan
from jaxnn.training.process import Stop
from jaxnn.training.programs import Programs, compile_all, metric_names, start_of
from jaxnn.types import Batch, Recipe


class Session(NamedTuple):
    """What the steps of a run work with."""

    recipe: Recipe
    plan: plan.Plan
    key: jax.Array
    programs: Programs
    splits: dict[str, Batch]  # on the devices: train; val and test where they are there
    folder: Path
    begun: resume.Begun
    saver: saver.Saver
    console: screen.Screen
    clock: Stopwatch
    pool: Executor
    stop: Stop


def train(request: Request, reading: Future[Dataset], stop: Stop, clock: Stopwatch, pool: Executor) -> int:
    """The exit code of a run of `request` on the data that are being read; `stop` asks it to end early."""
    config, console = request.flags.run, screen.Screen()
    clock("data")
    data = reading.result()
    clock("start")
    request.check_digest(data.digest)
    steps = plan.plan(config, len(data.train.weight))
    model, task, example = recipe.network(config, data.describe(), request.model, mean=data.mean, std=data.std)
    for split in filter(None, data.splits):
        task.check(split.y)

    with mesh.use(config.devices) as devices:
        # What can be refused is refused here, before a folder is made and anything is compiled.
        made, key = recipe.recipe(config, model, task, example, steps), jax.random.key(config.seed)
        start, shapes = start_of(made, example, key)
        config.checkpoint.check_best(metric_names(made, shapes.params, data.train, validation=bool(data.validation)))
        screen.warn("note", data.notes)
        if request.flags.dry_run:
            screen.dry_run(console, config.name, data, steps, devices, model, shapes)
            return stop.exit_code

        folder = Path(config.workdir or time.strftime(f"runs/{config.name}-%Y%m%d-%H%M%S"))
        about = identity.describe(config, data.describe(), devices, **request.own())
        statistics = {f"params/{name}": a for name, a in data.statistics.items()}
        begun = resume.begin(folder, about, shapes, steps, spare=config.checkpoint.room, statistics=statistics)
        screen.opening(console, config.name, data, devices, folder, begun.lines)
        if begun.finished:
            return stop.exit_code
        clock("data")
        parts = {"train": data.train, "val": data.validation, "test": data.test}
        splits = {name: mesh.replicate(part) for name, part in parts.items() if part is not None}

        clock("compilation")  # all of it before the first step, on all cores
        if not request.flags.no_cache:
            programs.keep_programs()
        most = flops.most_flops(model, shapes.params, example) if request.model is None else math.inf
        longest = steps.longest(most, lambda: flops.of_example(made, shapes.params, data.train))
        cut, first = steps.cut(begun.step, longest), start if begun.progress is None else None
        compiled = compile_all(made, steps.batch_size, cut, first, shapes, splits, key, pool)
        saves = saver.Saver(folder, about, config.checkpoint, pool, begun.step)
        progress = begun.progress or loop.Progress(compiled.first_state(key), Tally())
        progress = progress._replace(state=mesh.replicate(progress.state))
        if begun.progress is None:
            saves.start(0, progress)
        compiled.wait()
        saves.wait()  # no step is taken before it is known that steps can be saved
        gc.freeze()  # what was made so far stays: it need not be looked through again
        gc.enable()
        session = Session(made, steps, key, compiled, splits, folder, begun, saves, console, clock, pool, stop)
        last = take_steps(session, progress, diagnosis.Alarms(model, data.train.x, made.freeze))
        return finish(session, *last, config.name)


def take_steps(
    session: Session, progress: loop.Progress, alarms: diagnosis.Alarms
) -> tuple[loop.Event, dict[str, Any]]:
    """Every step that is left, with rows, warnings and checkpoints between them: the last event and the last row."""
    s, begun, clock = session, session.begun, session.clock
    event, row, before = loop.Event(begun.step, progress), begun.row, begun.row.get("seconds", 0.0)
    try:
        with screen.progress(s.console, s.plan.total, s.plan.epoch(s.plan.total)) as show:
            events = loop.events(s.programs, s.splits, s.plan, s.recipe.task, event, row, s.key, s.pool, s.stop, clock)
            for event in events:
                if event.row:
                    clock("saving")
                    s.saver.wait()  # no row is written before the checkpoint that it starts from is safe
                    clock("report")
                    row = event.row | {"seconds": before + clock.elapsed}
                    history.append(s.folder, row)
                    show(row)
                    screen.warn("warning", alarms(row, event.progress.state.params, event.still))
                if event.is_best or s.plan.is_due(event.step, s.saver.age):
                    clock("saving")
                    s.saver.start(event.step, event.progress, event.score)
    except loop.NotFinite as failed:
        # A run is a pure function: replayed from the state before the chunk, it fails at the same step. What was good
        # until then is kept.
        fault = faults.find_fault(s.recipe, s.plan.batch_size, failed.before, s.splits["train"], failed.n, key=s.key)
        weights.save(s.folder, averaged(fault.state.params, fault.state.opt_state))
        s.saver.wait()
        raise faults.error(fault, failed) from None
    except Error:
        raise
    except Exception:  # in a function of the user's own: the steps so far are not lost
        s.saver.finish(event.step, event.progress)
        raise
    return event, row


def finish(session: Session, event: loop.Event, row: dict[str, Any], name: str) -> int:
    """Save the end, test, and report."""
    s, clock, step, state = session, session.clock, event.step, event.progress.state
    clock("saving")
    s.saver.start_if_new(step, event.progress)
    weights.save(s.folder, averaged(state.params, state.opt_state))
    clock("evaluation")
    last = loop.measured(s.programs, s.splits, "test", s.recipe.task, state, s.pool) if "test" in s.splits else {}
    clock("saving")
    s.saver.wait()
    clock("report")
    spent = {f"seconds/{part}": seconds for part, seconds in clock.seconds.items()}
    history.append(s.folder, {"step": step, "epoch": s.plan.epoch(step), **last, **spent})
    screen.table(s.console, row | last, f"{name} after {step:,} steps, {clock.elapsed:.1f} s")
    done = s.plan.seen(step) - s.plan.seen(s.begun.step)
    screen.spent(s.console, clock.seconds, done)
    if clock.seconds["steps"] > 1 and not s.stop():  # a third of a second of products, on a run that took longer
        each = flops.of_example(s.recipe, state.params, s.splits["train"])
        screen.peak(s.console, done * each / clock.seconds["steps"], mesh.processors() * flops.benchmark_peak(0.3))
    loop.check_finite(step, row | last)
    return s.stop.exit_code
