"""Where a run is cut into chunks: at its events, and often enough that a signal is answered in seconds.

The numbers of a run do not depend on it (`jaxnn/engine.py`), only how many programs are compiled, one for each length.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

TEN_SECONDS = {"cpu": 5e11}  # FLOPs; of anything else:
TEN_SECONDS_OF_AN_ACCELERATOR = 1e14
MOST_STEPS = 250_000  # a step that computes nothing takes 40 us
MOST_LENGTHS = 4


def longest(n: int, batch_size: int, most: float, flops: Callable[[], float], platform: str) -> int:
    """How many of n steps take about ten seconds at most, at 50 GFLOP/s on a CPU and 10 TFLOP/s elsewhere.

    `flops()` is what an example takes; it is asked only where `most`, which it cannot be above, does not settle it.

    >>> longest(1000, 10, 1e3, lambda: 0, "cpu"), longest(1000, 10, 1e9, lambda: 1e8, "cpu")
    (1000, 499)
    """
    limit = TEN_SECONDS.get(platform, TEN_SECONDS_OF_AN_ACCELERATOR)
    steps = lambda flops: max(int(limit / (flops * batch_size + limit / MOST_STEPS)), 1)
    return n if n <= steps(most) else steps(flops())


def cut(start: int, total: int, every: Sequence[int], longest: int) -> tuple[Callable[[int], int], set[int]]:
    """How many steps the chunk that begins at a step has, and all the lengths from `start` to `total`.

    A chunk ends at the next multiple of each of `every`, and has at most `longest` steps. Where that would make many
    different lengths, chunks are powers of two instead.

    >>> length, lengths = cut(0, 25, every=(10,), longest=100)
    >>> [length(step) for step in (0, 3, 10, 20)], lengths
    ([10, 7, 10, 5], {10, 5})
    """

    def exact(step: int) -> int:
        return min(longest, total - step, *(e - step % e for e in every))

    def power(step: int) -> int:
        return 1 << (exact(step).bit_length() - 1)

    lengths = _lengths(exact, start, total)
    return (exact, lengths) if len(lengths) <= MOST_LENGTHS else (power, _lengths(power, start, total))


def _lengths(length: Callable[[int], int], step: int, total: int) -> set[int]:
    found = set()
    while step < total:
        found.add(n := length(step))
        step += n
    return found
