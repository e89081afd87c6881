"""Where a run begins: at its first step, or where the one in its folder was cut off."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxnn import tree
from jaxnn.config.settings import Config
from jaxnn.devices import hosts, mesh
from jaxnn.engine.tally import Tally
from jaxnn.errors import InputError, StorageError
from jaxnn.store import arrays, checkpoint, folder, history, identity, weights
from jaxnn.training.loop import Progress
from jaxnn.training.plan import Plan


class Begun(NamedTuple):
    """Where a run begins; `progress` is None where it has no checkpoint."""

    step: int
    progress: Progress | None
    row: dict[str, Any]  # the last one of the history
    lines: list[str]  # what to tell
    folder: Path
    finished: bool = False


def begin(config: Config, about: dict[str, Any], shapes: Any, plan: Plan, statistics: dict[str, np.ndarray]) -> Begun:
    """Where a run begins, in every process, with the state of a checkpoint on the devices: `found` by the first one.

    Raises what `found` does.
    """

    def told() -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        begun = found(config, about, shapes, plan, statistics)
        tally, leaves = None, {}
        if begun.progress:
            tally, leaves = begun.progress.tally.to_json(), tree.by_name(begun.progress.state)
        return begun._asdict() | {"progress": tally, "folder": str(begun.folder)}, leaves

    begun, leaves = hosts.once(told)
    tally = begun.pop("progress")
    progress = tally and Progress(mesh.place(arrays.restore(leaves, shapes), shapes), Tally.from_json(tally))
    return Begun(**begun | {"progress": progress, "folder": Path(begun["folder"])})


def found(config: Config, about: dict[str, Any], shapes: Any, plan: Plan, statistics: dict[str, np.ndarray]) -> Begun:
    """Lock the folder of a run and find where to go on; no result in it is touched before all that can be refused is.

    Where the config names no folder, it is runs/NAME-TIME, with -2, -3, ... where another run has that.

    Args:
      config: of the run.
      about: what the run is (`identity.describe`).
      shapes: of the state, with where each leaf is to be.
      plan: what the run is going to do.
      statistics: of the input, by their paths in the state: leaves that checkpoints of format 1 do not have.

    Raises:
      InputError: no room, no right to write, other settings than those of the run that is there.
      LockedError: another process is at it.
      StorageError: there are checkpoints and all are damaged.
    """
    default = time.strftime(f"runs/{config.name}-%Y%m%d-%H%M%S")
    path = folder.named(default if config.workdir is None else config.workdir)
    folder.refuse_full(path, (config.checkpoint.keep + 2 + bool(config.best)) * tree.nbytes(shapes) + 2**16)
    path = folder.enter(path, new=config.workdir is None)
    last = checkpoint.latest(path / "checkpoints")
    if last is None:
        folder.refuse_foreign(path)
        begun = Begun(plan.first, None, {}, [], path)
    else:
        begun = _resumed(path, last, config, about, shapes, plan, statistics)
        if begun.finished:
            return begun
    if left := folder.tidy(path):
        begun.lines.append(f"removed what {left} killed save{'s' * (left > 1)} had left")
    identity.write(path, about)
    return begun


def _resumed(
    path: Path,
    found: checkpoint.Checkpoint,
    config: Config,
    about: dict[str, Any],
    shapes: Any,
    plan: Plan,
    statistics: dict[str, np.ndarray],
) -> Begun:
    step = found.step
    try:
        tally = tally_of(found.about)
        notes = identity.check_same(
            path, found.about["run"], about, step=step - plan.first, per_epoch=plan.steps_per_epoch
        )
    except (LookupError, TypeError, AttributeError):
        raise StorageError(f"{path}: its checkpoints are not those of a run; name another folder") from None
    progress = Progress(arrays.restore(leaves_of(found, statistics), shapes), tally)
    if plan.is_over(step, tally, {}) and history.is_finished(path, step) and _has_weights(path, config.restore):
        return Begun(step, progress, {}, [f"finished at step {step:,}; nothing is left to do"], path, True)
    pending = tally.sums is not None and step < plan.total
    if pending and found.score is not None and found.score == tally.best_score:
        cause = f"--epochs={config.epochs}: the run ended within an interval of --eval_every, and that row was the best"
        raise InputError(f"{cause} by --checkpoint.best; name another folder, with --init_from {path}")
    row, lost = history.cut(path, step, pending=pending)
    again = f"; the {lost:,} steps after it had not been saved, and are done again" if lost else ""
    lines = [f"resumed at step {step:,}{again}"]
    lines += [f"note: {note}; the last digits may differ" for note in notes]
    return Begun(step, progress, row, lines, path)


def tally_of(about: dict[str, Any]) -> Tally:
    """That of a checkpoint; earlier ones kept the lowest training loss, and format 1 named all parts otherwise."""
    if "host" in about:
        host = about["host"]
        names = {"lowest_loss": "best", "rows_without_gain": "waited", "best_score": "top"}
        about = {"tally": {"sums": host["sums"]} | {new: host[old] for new, old in names.items()}}
    saved = about["tally"]
    if "lowest_loss" in saved:
        lowest = saved["lowest_loss"]
        saved = saved | {"stop_score": lowest if lowest is None else -lowest}
    return Tally.from_json(saved)


def leaves_of(found: checkpoint.Checkpoint, statistics: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays of a checkpoint; format 1 had those of the input's statistics elsewhere."""
    return found.leaves | statistics if found.format == 1 else found.leaves


def _has_weights(path: Path, restore: str) -> bool:
    """Whether the weights of the end are there, those that --restore names."""
    try:
        return weights.read(path).restore == restore
    except InputError:
        return False
