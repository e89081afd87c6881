"""What a run that goes on must have in common with the one that was cut off, and the host's part of it.

The final weights are those of the run that was never cut off. So whatever they depend on must be the same: data, model,
task, optimizer, seed, batch. How often something is written or looked at may change, and a run may be made longer where
no schedule stretches with it.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxnn import checkpoint, workdir
from jaxnn.config import Config, from_dict, to_dict
from jaxnn.errors import InputError, StorageError

FREE = ("name", "workdir", "epochs", "eval_every", "tol", "patience", "devices")  # epochs: see `_longer`
PLACES = ("data.name", "data.dir", "data.validation")  # where the data are: their digest says what they are
STRETCHED = ("cosine", "one_cycle")  # schedules that end with the run


class Host(NamedTuple):
    """What the loop of a run carries besides its `State`."""

    sums: dict[str, np.ndarray] = {}  # of an interval of the history that is not finished
    best: float = math.inf  # training loss so far, for early stopping
    waited: int = 0  # rows of the history since then
    top: float = -math.inf  # score of the best checkpoint

    def pack(self) -> dict[str, Any]:
        """As JSON keeps it: its floats come back exactly, and what is not finite as null."""
        plain = lambda a: [plain(v) for v in a] if isinstance(a, list) else a if math.isfinite(a) else None
        sums = {name: plain(np.asarray(value, np.float64).tolist()) for name, value in self.sums.items()}
        return {"sums": sums, "best": plain(self.best), "waited": self.waited, "top": plain(self.top)}

    @classmethod
    def unpack(cls, saved: dict[str, Any]) -> Host:
        sums = {name: np.asarray(value, np.float64) for name, value in saved["sums"].items()}
        best, top = (default if saved[name] is None else saved[name] for name, default in LOWEST.items())
        return cls(sums, best, saved["waited"], top)

    def next(self, loss: float, tol: float | None) -> Host:
        """After a row of the history: a new interval, and whether the training loss has fallen by `tol`."""
        waited = self.waited + 1 if tol is not None and loss > self.best - tol else 0
        return self._replace(sums={}, best=min(self.best, loss), waited=waited)


LOWEST = {"best": math.inf, "top": -math.inf}


class Begun(NamedTuple):
    """Where a run begins: at step 0 (`state` is None), or where the one in its folder was cut off."""

    step: int
    state: Any
    host: Host
    row: dict[str, Any]  # the last one of the history
    lines: list[str]  # what to tell
    finished: bool = False


def begin(folder: Path, about: dict[str, Any], shapes: Any, config: Config, *, total: int, per_epoch: int) -> Begun:
    """Lock the folder of a run and find where to go on; no result in it is touched before all that can be refused is.

    Raises:
      InputError: no room, no right to write, other settings than those of the run that is there.
      LockedError: another process is at it.
      StorageError: there are checkpoints and all are damaged.
    """
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(shapes))
    workdir.refuse_full(folder, (config.checkpoint.keep + 2 + bool(config.checkpoint.best)) * size + 2**16)
    workdir.enter(folder)
    found = checkpoint.latest(folder / "checkpoints")
    if found is None:
        workdir.refuse_foreign(folder)
        begun = Begun(0, None, Host(), {}, [])
    else:
        step = found.step
        try:
            host = Host.unpack(found.about["host"])
            notes = check(folder, found.about["run"], about, step=step, per_epoch=per_epoch)
        except (LookupError, TypeError, AttributeError):
            raise StorageError(f"{folder}: its checkpoints are not those of a run; name another folder") from None
        state = checkpoint.restore(found.leaves, shapes)
        if (step >= total or host.waited >= config.patience) and workdir.is_finished(folder, step):
            return Begun(step, state, host, {}, [f"finished at step {step:,}; nothing is left to do"], True)
        row, lost = workdir.cut_history(folder, step, pending=bool(host.sums) and step < total)
        again = f"; the {lost:,} steps after it had not been saved, and are done again" if lost else ""
        lines = [f"resumed at step {step:,}{again}"]
        lines += [f"note: {note}; the last digits may differ" for note in notes]
        begun = Begun(step, state, host, row, lines)
    if left := workdir.tidy(folder):
        begun.lines.append(f"removed what {left} killed save{'s' * (left > 1)} had left")
    workdir.save_config(folder, about)
    return begun


def check(folder: Any, old: dict[str, Any], new: dict[str, Any], *, step: int, per_epoch: int) -> list[str]:
    """Refuse to go on with other settings; what may differ and could change the last digits is returned, for a note.

    Args:
      folder: the run's, for the message.
      old, new: what `workdir.about` says of the run that was cut off, and of this one.
      step: where it was cut off.
      per_epoch: steps of an epoch.

    Raises:
      InputError: with every setting that differs, old -> new.
    """
    was, now = (from_dict(about["config"]) for about in (old, new))
    before, after = _flat(to_dict(was)), _flat(to_dict(now))
    free = {name for name in after if name in FREE or name.startswith("checkpoint.")} | set(PLACES)
    if was.tol is not None or now.tol is not None:
        free.discard("eval_every")  # the rows of the history decide where the run stops
    if old["data"]["digest"] != new["data"]["digest"]:
        free -= set(PLACES)
    changed = [f"--{name}: {before[name]} -> {after[name]}" for name in after if after[name] != before[name]]
    changed = [text for text in changed if text[2:].partition(":")[0] not in free]
    for name in ("source", "source_digest"):
        if (old["own_model"] or new["own_model"]) and old.get(name) != new.get(name):
            what = {"source": "config", "source_digest": "the file with the model"}[name]
            changed.append(f"{what}: {str(old.get(name))[:20]} -> {str(new.get(name))[:20]}")
            break
    if changed:
        listed = "; ".join(changed)
        raise InputError(f"--workdir={folder}: holds a run with other settings ({listed}); name another folder")
    if old["data"]["digest"] != new["data"]["digest"]:
        digests = f"{new['data']['digest'][:12]}: the run in {folder} had {old['data']['digest'][:12]}"
        raise InputError(f"data.digest={digests}; the data have changed: bring them back, or name another folder")
    if was.epochs != now.epochs:
        _longer(was.epochs, now, step, per_epoch)
    names = {*old["versions"], *new["versions"]}
    pairs = {name: (old["versions"].get(name), new["versions"].get(name)) for name in sorted(names)}
    return [f"{name}: {a} -> {b}" for name, (a, b) in pairs.items() if a != b]


def _longer(before: int, now: Any, step: int, per_epoch: int) -> None:
    """Refuse another number of epochs where it would have changed the steps that were done."""
    flag = f"--epochs={now.epochs}: the run was to have {before}"
    if now.epochs * per_epoch < step:
        raise InputError(f"{flag} and is at epoch {step / per_epoch:g} already; name another folder for a shorter run")
    optim = now.optim
    reasons = {
        f"--optim.schedule {optim.schedule}": optim.schedule in STRETCHED,
        f"--optim.warmup {optim.warmup}": optim.warmup.endswith("%"),
        f"--optim.decay_every {optim.decay_every}": optim.decay_every.endswith("%")
        and optim.schedule in ("step", "plateau"),
        f"--eval_every {now.eval_every}, with --tol": now.eval_every.endswith("%") and now.tol is not None,
    }
    for reason, holds in reasons.items():
        if holds:
            raise InputError(f"{flag}, and {reason} depends on it; name another folder")


def _flat(values: dict[str, Any], path: str = "") -> dict[str, Any]:
    """`{"optim": {"lr": 0.1}}` -> `{"optim.lr": 0.1}`"""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{path}{name}.") if isinstance(value, dict) else {path + name: value}
    return flat
