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

    def __init__(self, part: str, *, since: float):
        self.part, self.began, self.since = part, since, since
        self.seconds: dict[str, float] = defaultdict(float)

    def __call__(self, part: str) -> None:
        """From now on the time is spent on `part`."""
        now = time.perf_counter()
        self.seconds[self.part] += now - self.since
        self.part, self.since = part, now

    def shares(self) -> dict[str, float]:
        """`seconds/PART` of each part."""
        return {f"seconds/{part}": seconds for part, seconds in self.seconds.items()}

    @property
    def elapsed(self) -> float:
        """Seconds from the beginning until `part` was named."""
        return self.since - self.began
