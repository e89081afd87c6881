"""The loop of a run with what it writes: history and checkpoints as it goes, tests and weights at its end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from jaxnn.config.settings import Config
from jaxnn.errors import DataError, Error, NumericsError
from jaxnn.store import best, history, weights
from jaxnn.store.saver import Saver
from jaxnn.training import faults, loop
from jaxnn.types import Params, State


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
            if event.is_best or plan.saves.is_due(event.step, saver.idle(plan.saves.rest)):
                clock("saving")
                saver.start(event.step, event.progress, event.score)
    except loop.NotFinite as failed:
        # A run is a pure function: replayed, it fails at the same step. What was good until then is kept.
        params, error = explain(session, failed)
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
    saver.wait()  # what follows may fail: the rows of a test set may not be there any more
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
