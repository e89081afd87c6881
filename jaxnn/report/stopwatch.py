"""Where the time of a run goes."""

from __future__ import annotations

import time
from collections import defaultdict


class Stopwatch:
    """Wall time by what it was spent on; it runs all the time, for the part that was named last.

    >>> clock = Stopwatch("start", since=time.perf_counter() - 2)
    >>> clock("steps")
    >>> round(clock.seconds["start"], 1), round(clock.elapsed, 1)
    (2.0, 2.0)
    """

    part: str
    began: float
    since: float
    step: int

    def __init__(self, part: str, *, since: float):
        self.part, self.began, self.since = part, since, since
        self.seconds: dict[str, float] = defaultdict(float)
        self.longest: dict[str, float] = {}  # the longest time without a break, of each part that has ended
        self.step = 0  # that the run has come to

    def __call__(self, part: str, step: int | None = None) -> None:
        """From now on the time is spent on `part`; `step`: that the run has come to."""
        now = time.perf_counter()
        spent = now - self.since
        self.seconds[self.part] += spent
        self.longest[self.part] = max(spent, self.longest.get(self.part, 0.0))
        self.step = self.step if step is None else step
        self.part, self.since = part, now

    def shares(self) -> dict[str, float]:
        """`seconds/PART` of each part."""
        return {f"seconds/{part}": seconds for part, seconds in self.seconds.items()}

    @property
    def elapsed(self) -> float:
        """Seconds from the beginning until `part` was named."""
        return self.since - self.began
