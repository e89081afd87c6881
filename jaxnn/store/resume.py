"""Where a run begins: at step 0, or where the one in its folder was cut off."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxnn import tree
from jaxnn.config.settings import Config
from jaxnn.engine.tally import Tally
from jaxnn.errors import InputError, StorageError
from jaxnn.store import arrays, checkpoint, folder, history, identity, weights
from jaxnn.training.loop import Progress
from jaxnn.training.plan import Plan


class Begun(NamedTuple):
    """Where a run begins; `progress` is None at step 0."""

    step: int
    progress: Progress | None
    row: dict[str, Any]  # the last one of the history
    lines: list[str]  # what to tell
    folder: Path
    finished: bool = False


def begin(
    config: Config, about: dict[str, Any], shapes: Any, plan: Plan, *, statistics: dict[str, np.ndarray]
) -> Begun:
    """Lock the folder of a run and find where to go on; no result in it is touched before all that can be refused is.

    Args:
      config: its settings; without a `workdir`, the folder is runs/NAME-TIME, or where that is taken the next number.
      about: what the run is (`identity.describe`).
      shapes: of the state.
      plan: what the run is going to do.
      statistics: of the input, by their paths in the state: leaves that checkpoints of format 1 do not have.

    Raises:
      InputError: no room, no right to write, other settings than those of the run that is there.
      LockedError: another process is at it.
      StorageError: there are checkpoints and all are damaged.
    """
    default = time.strftime(f"runs/{config.name}-%Y%m%d-%H%M%S")
    path = folder.named(default if config.workdir is None else config.workdir)
    folder.refuse_full(path, config.checkpoint.room * tree.nbytes(shapes) + 2**16)
    path = folder.enter(path, new=config.workdir is None)
    found = checkpoint.latest(path / "checkpoints")
    if found is None:
        folder.refuse_foreign(path)
        begun = Begun(0, None, {}, [], path)
    else:
        begun = _resumed(path, found, about, shapes, plan, statistics)
        if begun.finished:
            return begun
    if left := folder.tidy(path):
        begun.lines.append(f"removed what {left} killed save{'s' * (left > 1)} had left")
    identity.write(path, about)
    return begun


def _resumed(
    path: Path,
    found: checkpoint.Checkpoint,
    about: dict[str, Any],
    shapes: Any,
    plan: Plan,
    statistics: dict[str, np.ndarray],
) -> Begun:
    step = found.step
    try:
        tally = _tally(found)
        notes = identity.check_same(path, found.about["run"], about, step=step, per_epoch=plan.steps_per_epoch)
    except (LookupError, TypeError, AttributeError):
        raise StorageError(f"{path}: its checkpoints are not those of a run; name another folder") from None
    leaves = found.leaves | statistics if found.format == 1 else found.leaves
    progress = Progress(arrays.restore(leaves, shapes), tally)
    if plan.is_over(step, tally, {}) and history.is_finished(path, step) and _has_weights(path):
        return Begun(step, progress, {}, [f"finished at step {step:,}; nothing is left to do"], path, True)
    row, lost = history.cut(path, step, pending=tally.sums is not None and step < plan.total)
    again = f"; the {lost:,} steps after it had not been saved, and are done again" if lost else ""
    lines = [f"resumed at step {step:,}{again}"]
    lines += [f"note: {note}; the last digits may differ" for note in notes]
    return Begun(step, progress, row, lines, path)


def _tally(found: checkpoint.Checkpoint) -> Tally:
    """As format 1 named its parts, or as it is."""
    if found.format > 1:
        return Tally.from_json(found.about["tally"])
    host = found.about["host"]
    names = {"lowest_loss": "best", "rows_without_gain": "waited", "best_score": "top"}
    return Tally.from_json({"sums": host["sums"]} | {new: host[old] for new, old in names.items()})


def _has_weights(path: Path) -> bool:
    try:
        weights.read(path)
    except InputError:
        return False
    return True
