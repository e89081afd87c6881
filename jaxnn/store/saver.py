"""Saves that run beside the steps: these do not wait for the disk, but no row is written before the save before it."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

from jaxnn.config.settings import Config
from jaxnn.devices import hosts
from jaxnn.store import checkpoint, history
from jaxnn.training.loop import Progress


class Saver:
    """Writes the checkpoints of a run, one at a time, in a thread of `pool`; `step`: that is on the disk already."""

    folder: Path
    about: dict[str, Any]
    config: Config
    pool: Executor
    saved: int | None
    saved_at: float
    took: float

    def __init__(self, folder: Path, about: dict[str, Any], config: Config, pool: Executor, step: int | None):
        self.folder, self.about, self.config, self.pool = folder, about, config, pool
        self.saved, self.saved_at = step, time.monotonic()  # the step of the newest checkpoint, and when it was made
        self.took = 0.0  # seconds that saving it has taken
        self.under_way: Future[None] = Future()
        self.under_way.set_result(None)
        self.then: Callable[[], None] = lambda: None  # called in the thread of each save, once that is on the disk

    def start(self, step: int, progress: Progress, score: float | None = None) -> None:
        """Begin a save; the one before it has ended then. `score`: of the checkpoint, greater is better."""
        self.wait()
        progress = progress._replace(state=hosts.gathered(progress.state))
        if hosts.leads():
            self.under_way = self.pool.submit(self._save, step, progress, score)
        self.saved, self.saved_at = step, time.monotonic()

    def wait(self) -> None:
        """Until the save under way is on the disk and verified. Raises what went wrong with it."""
        self.under_way.result()

    def start_if_new(self, step: int, progress: Progress) -> None:
        """Begin a save of this step, unless there is one."""
        if self.saved != step:
            self.start(step, progress)

    def finish(self, step: int, progress: Progress) -> None:
        """Have this step saved, where this process can do that without the others: something has failed."""
        if hosts.has_whole(progress.state):
            self.start_if_new(step, progress)
            self.wait()

    def idle(self, rest: float) -> float:
        """Seconds since the newest checkpoint was begun, less `rest` times what it took; all processes begin the next
        one at the same step."""
        took = hosts.greatest(self.took) if rest else 0.0
        return hosts.greatest(time.monotonic() - self.saved_at) - rest * took

    def _save(self, step: int, progress: Progress, score: float | None) -> None:
        """The rows of the history that led to it are on the disk before a checkpoint is."""
        began = time.monotonic()
        history.sync(self.folder)
        about = {"run": self.about, "tally": progress.tally.to_json()}
        kept = {"keep": self.config.checkpoint.keep, "score": score, "keep_best": self.config.best is not None}
        checkpoint.save(self.folder / "checkpoints", step, progress.state, about, **kept)
        self.took = time.monotonic() - began
        self.then()
