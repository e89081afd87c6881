"""The host's loop: compiled chunks of steps, and what is told between two of them.

It writes, prints and saves nothing: whoever runs it (`jaxnn.train`) does that with each `Event`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from typing import Any, NamedTuple

import jax

from jaxnn.engine.tally import Tally, history_row
from jaxnn.errors import NumericsError
from jaxnn.optim import optimizer
from jaxnn.training.plan import Plan
from jaxnn.training.programs import Programs
from jaxnn.types import Batch, Metrics, State, Task


class Progress(NamedTuple):
    """All that a checkpoint holds."""

    state: State
    tally: Tally


class Event(NamedTuple):
    """What the loop yields after each chunk of steps."""

    step: int
    progress: Progress
    row: dict[str, Any] | None = None  # of the history, where an interval has ended
    score: float | None = None  # of that row, greater is better
    is_best: bool = False  # better than all rows before
    still: float = 0.0  # of the leaf that moved least, the share of entries that the chunk left as they were


class NotFinite(ArithmeticError):
    """A chunk of steps after which a loss, a gradient or a parameter is not finite."""

    def __init__(self, n: int, before: State, after: State, info: Metrics):
        super().__init__("not finite")
        self.n, self.before, self.after, self.info = n, before, after, info


def advance(program: Callable[..., tuple[State, Metrics]], state: State, *args: Any, **more: Any) -> Any:
    """One call of a compiled chunk of steps: `(state, info)`, info on the host.

    Raises `NotFinite`, with the state before and after, unless `info["finite"]`.
    """
    after, info = program(state, *args, **more)
    info = jax.device_get(info)
    if not info["finite"]:
        raise NotFinite(len(info.get("weight", ())), state, after, info)
    return after, info


def events(
    programs: Programs,
    splits: dict[str, Batch],
    plan: Plan,
    task: Task,
    start: Event,
    row: dict[str, Any],
    key: jax.Array,
    pool: Executor,
    stop: Callable[[], Any],
    clock: Callable[[str], None],
) -> Iterator[Event]:
    """The chunks of a run from `start` on, until `plan.is_over` or `stop()`.

    Args:
      programs: from `compile_all`, for these splits.
      splits: rows on the devices: `train`, and `val` where there is validation.
      plan: the intervals of the run.
      task: makes the rows of the history.
      start: where the run stands; `row`: the last row of its history, or {}.
      key: the run's key.
      pool: programs are called in one of its threads, since the main thread cannot handle a signal while it is inside
        an XLA call.
      stop: asked before each chunk.
      clock: told what the time goes into: steps, evaluation, report.

    Raises:
      NotFinite: with the state before the chunk, from which the fault can be replayed.
    """
    step, (state, tally) = start.step, start.progress
    seen_at_row, seconds = plan.seen(step), 0.0
    while not (stop() or plan.is_over(step, tally, row)):
        clock("steps")
        n, since = programs.length(step), time.perf_counter()
        program = programs.steps[n].result()
        state, info = pool.submit(advance, program, state, splits["train"], key=key).result()
        seconds += time.perf_counter() - since
        step, tally = step + n, tally.add(info)
        event = Event(step, Progress(state, tally), still=float(info["still"]))
        if step % plan.interval == 0 or step == plan.total:
            row = {"epoch": plan.epoch(step), **history_row(task, tally.sums or {})}
            if "val" in splits:
                clock("evaluation")
                row |= measured(programs, splits, "val", task, state, pool)
            clock("report")
            row["examples_per_s"] = (plan.seen(step) - seen_at_row) / seconds
            row = {"step": step} | {name: float(value) for name, value in row.items()}
            seen_at_row, seconds = plan.seen(step), 0.0
            if step % plan.interval == 0:  # an interval cut short by --epochs goes on when the run is extended
                tally = tally.close(row["train/loss"], plan.tol)
            score = plan.score(row)
            is_best = score is not None and score > tally.best_score
            tally = tally._replace(best_score=score) if score is not None and is_best else tally
            event = event._replace(progress=Progress(state, tally), row=row, score=score, is_best=is_best)
        yield event


def measured(
    programs: Programs, splits: dict[str, Batch], part: str, task: Task, state: State, pool: Executor
) -> dict[str, float]:
    """The metrics of one split, by the weights that are saved in the end (their average, where one is kept)."""
    params = optimizer.averaged(state.params, state.opt_state)
    call = pool.submit(lambda: jax.device_get(programs.evaluate[part].result()(params, splits[part])))
    return {name: float(value) for name, value in history_row(task, call.result(), part).items()}


def check_finite(step: int, row: dict[str, Any]) -> None:
    """Refuse to call a run good that ends with a loss that is no number. Raises `NumericsError`."""
    for name, value in row.items():
        if name.endswith("/loss") and (value is None or not math.isfinite(value)):
            cause = f"step={step}: {name}={value}: must be finite"
            raise NumericsError(f"{cause}; lower --optim.lr, or look for examples unlike those of training")
