"""Successive halving: the better half of the settings goes on, the others stop.

S settings, each of which would have R rows of the history, are halved after R/P, 2R/P, ..., R/2 rows, where P is the
largest power of two up to S. (Rounded up: where R is small, several of these may be one.) A setting is judged by the
mean score of its seeds and folds. Source: Jamieson and Talwalkar 2016.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from typing import Any

from jaxnn.engine.tally import WORST
from jaxnn.errors import InputError
from jaxnn.training.plan import Plan


def rungs(rows: int, settings: int) -> list[int]:
    """The rows of the history after which the better half goes on.

    >>> rungs(rows=10, settings=8), rungs(rows=2, settings=16)
    ([2, 3, 5], [1])
    """
    parts = [2**j for j in range(int(math.log2(settings)), 0, -1)]
    return sorted({-(-rows // part) for part in parts} - {rows})


class Halving:
    """Which members go on: a function of the scores alone, so that a sweep that was killed decides the same.

    Args:
      plans, settings: of each member.

    Raises `InputError` where the runs have no row before their last one, or not equally many.
    """

    plans: Sequence[Plan]
    settings: Sequence[Any]
    rungs: list[int]
    changed: threading.Condition

    def __init__(self, plans: Sequence[Plan], settings: Sequence[Any]):
        lengths = {-(-(plan.total - plan.first) // plan.interval) for plan in plans}
        if len(lengths) > 1:
            rule = f"the runs have {' or '.join(map(str, sorted(lengths)))} rows of the history"
            raise InputError(f"--sweep.halve=True: {rule}, and are judged after as many; give all as many --epochs")
        self.rungs = rungs(lengths.pop(), len(set(settings)))
        if not self.rungs:
            cure = "train for 2 --epochs or more, or lower --eval_every"
            raise InputError(f"--sweep.halve=True: the runs have one row of the history, the last; {cure}")
        self.plans, self.settings = plans, settings
        self.scores: list[dict[int, float]] = [{} for _ in self.rungs]
        self.ended: dict[int, float] = {}  # the last score of those that have no more rows
        self.kept: list[set[Any]] = []  # the settings that went on after each rung that is decided
        self.changed = threading.Condition()

    def scored(self, k: int, step: int, score: float) -> None:
        """Member k has the row of a step."""
        with self.changed:
            if (rung := self._rung(k, step)) is not None:
                self.scores[rung][k] = score

    def leave(self, k: int, score: float = WORST) -> None:
        """Member k has ended, with this score; it is what it has at all later rungs."""
        with self.changed:
            self.ended[k] = score
            self._decide()

    def is_rung(self, k: int, step: int) -> bool:
        """Whether the members are judged when member k has come to this step."""
        return self._rung(k, step) is not None

    def goes_on(self, k: int, step: int, stop: Callable[[], Any]) -> bool:
        """Whether member k, at the step of a rung, is to go on: known when all that are left have come to that rung."""
        with self.changed:
            rung = self._rung(k, step)
            assert rung is not None
            self._decide()
            while len(self.kept) <= rung and not stop():
                self.changed.wait(0.2)  # a signal is looked for meanwhile
            return len(self.kept) > rung and self.settings[k] in self.kept[rung]

    def _rung(self, k: int, step: int) -> int | None:
        plan = self.plans[k]
        rows, rest = divmod(step - plan.first, plan.interval)
        return self.rungs.index(rows) if rest == 0 and rows in self.rungs else None

    def _decide(self) -> None:
        while len(self.kept) < len(self.rungs):
            there = self.kept[-1] if self.kept else set(self.settings)
            scores = self.ended | self.scores[len(self.kept)]
            members = [k for k, setting in enumerate(self.settings) if setting in there]
            if any(k not in scores for k in members):
                return
            mean: dict[Any, list[float]] = {}
            for k in members:
                mean.setdefault(self.settings[k], []).append(scores[k])
            order = sorted(mean, key=lambda setting: -sum(mean[setting]) / len(mean[setting]))
            self.kept.append(set(order[: -(-len(order) // 2)]))
            self.changed.notify_all()
