"""The best checkpoint of a run: its weights for those who read them, and for the end of a run with --restore best."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from jaxnn.config.settings import Config
from jaxnn.devices import hosts, mesh
from jaxnn.engine.tally import WORST, Tally
from jaxnn.errors import InputError, NumericsError, StorageError
from jaxnn.store import arrays, checkpoint, history, resume, weights
from jaxnn.store.saver import Saver
from jaxnn.training.loop import STOPPED, Event, bad_loss


def restored(
    config: Config, saver: Saver, event: Event, row: dict[str, Any], shapes: Any, statistics: dict[str, np.ndarray]
) -> tuple[Event, dict[str, Any]]:
    """The end of a run and its row: of its best checkpoint with --restore best, or as they are.

    A run that was stopped before its first row has no best one, and one whose last loss is not finite has failed:
    they end with what they have. Raises `StorageError` where the best checkpoint is damaged or gone, `NumericsError`
    where the metric was a finite number in no row.
    """
    if config.restore == "last" or not row or bad_loss(row):
        return event, row
    saver.wait()
    score = event.progress.tally.best_score
    if score == WORST:
        cause = f"--checkpoint.best={config.best}: was a finite number in no row"
        raise NumericsError(f"{cause}; name another metric, or end the run with --restore last")

    def of_best() -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        found = checkpoint.best(saver.folder / "checkpoints", score)
        row = next(row for row in history.rows(saver.folder) if row["step"] == found.step)
        return row, resume.leaves_of(found, statistics)

    row, leaves = hosts.once(of_best)
    state = mesh.place(arrays.restore(leaves, shapes), shapes)
    return event._replace(progress=event.progress._replace(state=state)), row


def read(folder: Path) -> weights.Weights:
    """The weights of the best checkpoint that a run has kept so far, their average if one is kept.

    Raises `InputError` where the run keeps none, `StorageError` where the best or the newest checkpoint is damaged: of
    those that are left, the best may be any.
    """
    there = checkpoint.steps(folder / "checkpoints")
    about = checkpoint.about_of(there[-1]) if there else {"tally": Tally().to_json()}
    try:
        tally = resume.tally_of(about or {})
    except (LookupError, TypeError, AttributeError):
        raise StorageError(f"{there[-1]}: its manifest is not what was saved; run the same command again") from None
    if tally.best_score == WORST:
        cure = "train with --checkpoint.best val/loss, or take weights=last"
        raise InputError(f"weights=best: the run in {folder} kept no best checkpoint; {cure}")
    leaves = checkpoint.best(folder / "checkpoints", tally.best_score).leaves
    # A run that was killed has weights so far in its checkpoints alone.
    ended = weights.read(folder) if (folder / weights.NAME).exists() else weights.Weights({}, STOPPED)
    return ended._replace(leaves=weights.of_state(leaves))
