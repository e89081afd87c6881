"""A sweep, from its flags to its table: what `jaxnn train` does where several runs are asked for.

Each member is a run of its own, in a thread of its own: the loop, the checkpoints and the history are those of
`jaxnn.train`. What members of one program compute, they compute together (`jaxnn.sweep.together`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from pathlib import Path

import jax

from jaxnn import tree
from jaxnn.config.data import DataConfig
from jaxnn.config.devices import axes
from jaxnn.config.request import Request
from jaxnn.config.settings import Config
from jaxnn.config.sweep import Sweep
from jaxnn.data.dataset import Dataset
from jaxnn.devices import cache, mesh
from jaxnn.errors import InputError, NumericsError
from jaxnn.report import log, reported, screen, stopwatch
from jaxnn.store import folder, history
from jaxnn.sweep import group, results
from jaxnn.sweep.crew import Crew
from jaxnn.sweep.group import Ready
from jaxnn.sweep.halving import Halving
from jaxnn.training.process import Stop

TOLD = 5  # members that failed are named, so many of them


def sweep(
    request: Request,
    asked: Sweep,
    reading: Future[Dataset],
    read: Callable[[DataConfig], Dataset],
    stop: Stop,
    clock: stopwatch.Stopwatch,
    pool: Executor,
) -> int:
    """The exit code of the sweep that is asked for; `reading`: the data of the config, `read(settings)`: of a fold."""
    config, console = request.flags.run, screen.Screen()
    if jax.process_count() > 1:
        rule = f"are for one process, and here are {jax.process_count()}"
        raise InputError(f"--sweep={len(asked.members)} runs: {rule}; train one run, or leave --distributed out")
    _refuse_split(config)
    loggers = log.found(request.flags.log)
    clock("data")
    jobs = {member.config.data: reading for member in asked.members if member.config.data == config.data}
    jobs |= {
        each: pool.submit(read, each)
        for each in dict.fromkeys(m.config.data for m in asked.members)
        if each not in jobs
    }
    data = {each: job.result() for each, job in jobs.items()}
    if any(each.is_streamed for each in data.values()):
        rule = "a sweep has its rows in memory; add --data.feed resident, or train one run"
        raise InputError(f"--data.name={config.data.name}: is streamed, and {rule}")
    clock("start")
    with mesh.of(config, split=False) as devices:
        members = group.checked(request, asked.members, data, devices)
        groups, first = group.groups(members), members[0]
        mode = _mode(asked, groups)
        halving = Halving([r.plan for r in members], [r.member.setting for r in members]) if asked.halve else None
        screen.warn("note", first.data.notes)
        if request.flags.dry_run:
            shapes = (first.recipe.model, first.example, first.shapes)
            screen.dry_run(console, config.name, first.data, first.plan, devices, *shapes)
            _opening(console, config, first, len(members), groups, mode, devices, "nothing is written")
            return stop.exit_code
        path = _folder(request.flags.run, asked, members)
        by = results.metric(config, validation=first.data.validation is not None)
        _opening(console, config, first, len(members), groups, mode, devices, str(path))
        if not request.flags.no_cache:
            cache.keep_programs()
        total = sum(ready.plan.total - ready.plan.first for ready in members)
        with screen.progress(console, total, first.plan.epoch(first.plan.total)) as show:
            crew = Crew(path, members, by, mode, halving, stop, pool, show, loggers)
            for wave in [groups] if halving else [[each] for each in groups]:
                if not stop():
                    crew.train(wave)
        clock("report")
        outcomes = [results.read(path, ready.member, ready.recipe.task, by) for ready in members]
        results.save(path, asked, outcomes, by)
        results.show(console, asked, outcomes, by, path, clock.elapsed)
        if config.report != "off":
            reported.of_sweep(console, path)
        _failures(asked, crew.failed)
        return stop.exit_code


def _refuse_split(config: Config) -> None:
    """Refuse what splits one run over several devices: each of these computes members of its own."""
    split = {
        "--sharding": None if config.sharding == "replicate" else config.sharding,
        "--tensor": " ".join(config.tensor) or None,
        "--mesh": config.mesh if config.mesh and axes(config.mesh).get("model", 1) > 1 else None,
        "--data.feed": "stream" if config.data.feed == "stream" else None,
    }
    for flag, value in split.items():
        if value is not None:
            raise InputError(f"{flag}={value}: is for one run, and these are several; leave one out")


def _mode(asked: Sweep, groups: Sequence[Sequence[int]]) -> str:
    """How the members of a program are computed. Raises `InputError` where vmap is asked for members of several."""
    if asked.mode == "vmap" and len(groups) > 1:
        rule = f"the runs need {len(groups)} programs, as what is swept changes shapes or operations"
        raise InputError(f"--sweep.mode=vmap: {rule}; leave it out, or sweep one program at a time")
    return asked.mode if asked.mode != "auto" else "map" if jax.default_backend() == "cpu" else "vmap"


def _folder(config: Config, asked: Sweep, members: Sequence[Ready]) -> Path:
    """The folder of the sweep, made where it is not there."""
    default = time.strftime(f"runs/{config.name}-sweep-%Y%m%d-%H%M%S")
    path = folder.named(default if config.workdir is None else config.workdir)
    results.check_same(path, asked)
    folder.refuse_foreign(path)
    copies = config.checkpoint.keep + 2 + bool(config.best)
    folder.refuse_full(path, sum(copies * tree.nbytes(ready.shapes) + 2**16 for ready in members))
    path = folder.enter(path, new=config.workdir is None)
    (path / history.NAME).unlink()
    results.save(path, asked)
    return path


def _opening(
    console: screen.Screen,
    config: Config,
    first: Ready,
    count: int,
    groups: Sequence[Sequence[int]],
    mode: str,
    devices: str,
    where: str,
) -> None:
    """What is trained, how, and where it is written."""
    how = {"map": "one after the other, to the bits of single runs", "vmap": "each operation for all at once"}[mode]
    several = f"{len(groups)} programs, one after the other" if len(groups) > 1 else "one program"
    examples = f"{len(first.data.train.weight):,} training examples"
    console.print(f"{config.name}: {first.data.name}, {examples}; {devices}; {where}", soft_wrap=True)
    console.print(f"{count} runs of {first.plan.total:,} steps in {several}; {mode}: {how}", soft_wrap=True)


def _failures(asked: Sweep, failed: dict[int, Exception]) -> None:
    """Say which members failed; raise what is not their own: a disk that is full, or that all of them failed."""
    for k, reason in list(failed.items())[:TOLD]:
        screen.warn("warning", [f"{asked.members[k].name}: {reason}"])
    if len(failed) > TOLD:
        screen.warn("warning", [f"{len(failed) - TOLD} more of the runs failed, as the table says"])
    for reason in failed.values():
        if not isinstance(reason, NumericsError):
            raise reason
    if len(failed) == len(asked.members):
        raise next(iter(failed.values()))
