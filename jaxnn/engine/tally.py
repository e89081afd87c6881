"""The sums of an interval of the history and what decides when a run stops: on the host, in float64."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from jaxnn.types import Metrics, Task

WORST = -math.inf  # of a score, greater is better


class Tally(NamedTuple):
    """What the loop of a run carries besides its `State`."""

    sums: dict[str, np.ndarray] | None = None  # of the steps since the last row of the history; None: there are none
    lowest_loss: float = math.inf  # training loss of a row so far
    rows_without_gain: int = 0  # rows since it last fell by `tol`
    best_score: float = WORST  # of a checkpoint so far

    def add(self, info: dict[str, np.ndarray]) -> Tally:
        """With the `info` of one more chunk of steps, the last rate and gradient norm taking the place of earlier ones.

        In float64, where counts are exact up to 2^53, and in the order of the steps, so that the sums are the same bits
        however the steps were cut into chunks.
        """
        last = {"grad_norm": np.asarray(info["grad_norm"])}
        if "lr" in info:
            last["lr"] = np.asarray(info["lr"])[-1]
        for name in info.keys() - {*last, "finite", "still"}:
            values = np.array(info[name], np.float64)  # a copy: the next line writes into it
            values[0] += (self.sums or {}).get(name, 0.0)
            last[name] = values.cumsum(0)[-1]
        return self._replace(sums=last)

    def close(self, loss: float, tol: float | None) -> Tally:
        """After a row of the history: a new interval, and whether the training loss has fallen by `tol`."""
        waits = tol is not None and loss > self.lowest_loss - tol
        rows = self.rows_without_gain + 1 if waits else 0
        return self._replace(sums=None, lowest_loss=min(self.lowest_loss, loss), rows_without_gain=rows)

    def to_json(self) -> dict[str, Any]:
        """As JSON keeps it: its floats come back exactly, and what is not finite as null."""
        plain = lambda a: [plain(v) for v in a] if isinstance(a, list) else a if math.isfinite(a) else None
        sums = {name: plain(np.asarray(value, np.float64).tolist()) for name, value in (self.sums or {}).items()}
        return self._asdict() | {
            "sums": sums,
            "lowest_loss": plain(self.lowest_loss),
            "best_score": plain(self.best_score),
        }

    @classmethod
    def from_json(cls, saved: dict[str, Any]) -> Tally:
        """What `to_json` was called on."""
        sums = {name: np.asarray(value, np.float64) for name, value in saved["sums"].items()}
        given = {name: saved[name] for name in ("lowest_loss", "rows_without_gain", "best_score")}
        return cls(sums or None, **{name: value for name, value in given.items() if value is not None})


def history_row(task: Task, sums: Metrics, part: str = "train") -> dict[str, Any]:
    """The metrics of a task as the history calls them, `PART/loss` and so on; with rate and gradient norm, if there.

    `loss_weight` in the sums: the weight of the losses, where that of the metrics is another (class weights).
    """
    if "loss_weight" in sums:
        sums = sums | {"loss": sums["loss"] / sums["loss_weight"] * sums["weight"]}
    metrics = {f"{part}/{name}": value for name, value in task.summary(sums).items()}
    return metrics | {name: sums[name] for name in ("lr", "grad_norm") if name in sums}
