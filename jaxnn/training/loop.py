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

from jaxnn.devices import hosts
from jaxnn.engine.tally import Tally, history_row, score
from jaxnn.errors import NumericsError
from jaxnn.optim import optimizer
from jaxnn.training.plan import Plan
from jaxnn.training.programs import Programs
from jaxnn.types import Batch, Metrics, Params, Recipe, State, Window

FINISHED, STOPPED, FAILED = "finished", "stopped", "failed"  # how a run ends


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


class Session(NamedTuple):
    """What the loop works with.

    Args:
      recipe, plan, key: what is trained, when what happens, and the run's key.
      programs: from `compile_all`, for these splits.
      splits: rows, on the devices or the disk: `train`; `val` and `test` where they are there.
      feed: `feed(step, n)`, what the program of n steps from `step` on takes as data.
      pool: in whose threads programs are called.
      stop: asked before each chunk.
      clock: told what the time goes into: steps, waiting (for rows), evaluation, report.
    """

    recipe: Recipe
    plan: Plan
    key: jax.Array
    programs: Programs
    splits: dict[str, Batch]
    feed: Callable[[int, int], Batch | Window]
    pool: Executor
    stop: Callable[[], Any]
    clock: Any


class NotFinite(ArithmeticError):
    """A chunk of steps after which a loss, a gradient or a parameter is not finite."""

    n: int
    before: State
    after: State
    info: Metrics

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


def events(session: Session, start: Event, row: dict[str, Any]) -> Iterator[Event]:
    """The chunks of a run from `start` on, until `plan.is_over` or `stop()`; `row` is the last one of the history.

    Raises `NotFinite`, with the state before the chunk, from which the fault can be replayed.
    """
    plan, clock, programs = session.plan, session.clock, session.programs
    step, (state, tally) = start.step, start.progress
    seen_at_row, seconds = plan.seen(step), 0.0
    while not (session.stop() or plan.is_over(step, tally, row)):
        n, since = programs.length(step), time.perf_counter()
        data = session.feed(step, n)
        clock("steps", step)  # now, so that the longest time in this part is that of a whole chunk
        # In another thread: the main thread cannot handle a signal while it is inside an XLA call.
        call = session.pool.submit(advance, programs.steps[n].result(), state, data, key=session.key)
        state, info = call.result()
        seconds += time.perf_counter() - since
        step, tally = step + n, tally.add(info)
        event = Event(step, Progress(state, tally), still=float(info["still"]))
        if step % plan.interval == 0 or step == plan.total:
            row = {"epoch": plan.epoch(step), **history_row(session.recipe.task, tally.sums or {})}
            if "val" in session.splits:
                clock("evaluation")
                row |= measured(session, "val", state)
            clock("report")
            row["examples_per_s"] = (plan.seen(step) - seen_at_row) / seconds
            row = {"step": step} | {name: float(value) for name, value in row.items()}
            seen_at_row, seconds = plan.seen(step), 0.0
            if step % plan.interval == 0:  # an interval cut short by --epochs goes on when the run is extended
                tally = tally.close(score(session.recipe.task, row, plan.stop_on), plan.tol)
            by_best = None if plan.best is None else score(session.recipe.task, row, plan.best)
            is_best = by_best is not None and by_best > tally.best_score
            tally = tally._replace(best_score=by_best) if is_best else tally
            event = event._replace(progress=Progress(state, tally), row=row, score=by_best, is_best=is_best)
        yield event


def measured(session: Session, part: str, state: State) -> dict[str, float]:
    """The metrics of a split, if there, by the weights that are saved in the end: their average, if one is kept."""
    if part not in session.splits:
        return {}
    program, rows = session.programs.evaluate[part].result(), session.splits[part]
    params = final(state)
    call = session.pool.submit(lambda: jax.device_get(program(params, rows)))
    task, sums = session.recipe.task, call.result()
    row = history_row(task, sums, part)
    if part == "test" and task.final:
        row |= {f"{part}/{name}": value for name, value in task.final(sums).items()}
    return {name: float(value) for name, value in row.items()}


def tested(session: Session, event: Event) -> dict[str, float]:
    """The last row of a history: where the run ended, the step that its weights are of if another, the test metrics."""
    step, state = event.step, event.progress.state
    of = {} if int(state.step) == step else {"best_step": int(state.step)}
    return {"step": step, "epoch": session.plan.epoch(step)} | of | measured(session, "test", state)


def final(state: State) -> Params:
    """The weights that a run ends with: their average, if one is kept."""
    return optimizer.averaged(state.params, state.opt_state)


class Result(NamedTuple):
    """The weights of a run, and how it ended: `FAILED` (a loss is no number), `FINISHED`, or `STOPPED`."""

    params: Params
    ended: str


def result(session: Session, event: Event, row: dict[str, Any]) -> Result:
    """What a run has come to by its last row."""
    over = session.plan.is_over(event.step, event.progress.tally, row)
    params = hosts.gathered(final(event.progress.state))
    return Result(params, FAILED if bad_loss(row) else FINISHED if over else STOPPED)


def bad_loss(row: dict[str, Any]) -> str | None:
    """The first loss of a row that is not finite (null in a history that was read)."""
    losses = (name for name in row if name.endswith("/loss"))
    return next((name for name in losses if row[name] is None or not math.isfinite(row[name])), None)


def check_finite(step: int, row: dict[str, Any]) -> None:
    """Refuse to call a run good that ends with a loss that is no number. Raises `NumericsError`."""
    if name := bad_loss(row):
        cause = f"step={step}: {name}={row[name]}: must be finite"
        raise NumericsError(f"{cause}; lower --optim.lr, or look for examples unlike those of training")
