"""Durations in any unit, as a number of steps."""

from __future__ import annotations

import math
import re
from typing import NamedTuple

from jaxnn.errors import InputError, positive

REST = 10.0  # times what the last checkpoint took, before another one is saved, unless somebody said when
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(steps?|epochs?|%)?")


def steps(flag: str, duration: str, *, steps_per_epoch: int, total: int) -> int:
    """A duration as a whole number of steps: `"500"` or `"500steps"`, `"2epochs"`, `"10%"` of the run.

    >>> [steps("--warmup", d, steps_per_epoch=45, total=900) for d in ("500", "2epochs", "10%")]
    [500, 90, 90]
    """
    match = _DURATION.fullmatch(duration.strip())
    if not match:
        raise InputError(f"{flag}={duration}: must be a number of steps, epochs or percent; write 500, 2epochs or 10%")
    number, unit = float(match[1]), match[2] or "steps"
    scale = {"s": 1.0, "e": float(steps_per_epoch), "%": total / 100}[unit[0]]
    if unit[0] == "s" and not number.is_integer():
        raise InputError(f"{flag}={duration}: steps must be whole; write {math.ceil(number)} or use epochs or %")
    return round(number * scale)


class Saves(NamedTuple):
    """When a checkpoint is due: at a multiple of `steps`, or `seconds` after the one before; and not before `rest`
    times what that one took has passed. None, infinity and 0 where these play no part."""

    steps: int | None = None
    seconds: float = math.inf
    rest: float = 0.0

    def is_due(self, step: int, seconds: float) -> bool:
        """At a step, so many seconds after the checkpoint before was begun, without what `rest` asks for."""
        return seconds >= 0 and bool(self.steps and step % self.steps == 0) or seconds >= self.seconds


def save_every(duration: str, *, steps_per_epoch: int, total: int) -> Saves:
    """How often a checkpoint is saved.

    >>> [tuple(save_every(d, steps_per_epoch=45, total=900)) for d in ("auto", "2epochs", "30s", "never")]
    [(45, inf, 10.0), (90, inf, 0.0), (None, 30.0, 0.0), (None, inf, 0.0)]
    """
    flag = "--checkpoint.every"
    if duration == "never":
        return Saves()
    if duration == "auto":
        return Saves(steps_per_epoch, rest=REST)
    if seconds := re.fullmatch(r"(\d+(?:\.\d+)?)s", duration):
        positive(flag, float(seconds[1]))
        return Saves(seconds=float(seconds[1]))
    if not _DURATION.fullmatch(duration.strip()):
        raise InputError(
            f"{flag}={duration}: must be auto, never, steps, epochs, % or seconds; write 500, 2epochs or 30s"
        )
    every = steps(flag, duration, steps_per_epoch=steps_per_epoch, total=total)
    if every < 1:
        raise InputError(f"{flag}={duration}: is less than one of the {total} steps; write 1epoch")
    return Saves(every)
