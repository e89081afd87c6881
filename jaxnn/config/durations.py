"""Durations in any unit, as a number of steps."""

from __future__ import annotations

import math
import re

from jaxnn.errors import InputError, positive

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


def save_every(duration: str, *, steps_per_epoch: int, total: int) -> tuple[int | None, float]:
    """How often a checkpoint is saved: `(steps, seconds)`, None and infinity where that plays no part.

    >>> [save_every(d, steps_per_epoch=45, total=900) for d in ("500", "2epochs", "30s", "never")]
    [(500, inf), (90, inf), (None, 30.0), (None, inf)]
    """
    flag = "--checkpoint.every"
    if duration == "never":
        return None, math.inf
    if seconds := re.fullmatch(r"(\d+(?:\.\d+)?)s", duration):
        positive(flag, float(seconds[1]))
        return None, float(seconds[1])
    if not _DURATION.fullmatch(duration.strip()):
        raise InputError(f"{flag}={duration}: must be steps, epochs, percent or seconds; write 500, 2epochs or 30s")
    every = steps(flag, duration, steps_per_epoch=steps_per_epoch, total=total)
    if every < 1:
        raise InputError(f"{flag}={duration}: is less than one of the {total} steps; write 1epoch")
    return every, math.inf
