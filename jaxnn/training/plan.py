"""What a run is going to do: its steps, its intervals, and where it is cut into chunks.

The numbers of a run do not depend on the chunks (`jaxnn.engine`), only how many programs are compiled, one for each
length. A chunk ends at the run's events, and often enough that a signal is answered in seconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from jaxnn.config.durations import Saves, save_every, steps
from jaxnn.config.settings import Config
from jaxnn.engine.fitting import check_total
from jaxnn.engine.tally import Tally
from jaxnn.errors import InputError

FLOPS_IN_TEN_SECONDS = {"cpu": 5e11}  # by platform; of any other:
FLOPS_IN_TEN_SECONDS_OF_AN_ACCELERATOR = 1e14
MOST_STEPS = 250_000  # a step that computes nothing takes 40 us
MOST_LENGTHS = 4


class Plan(NamedTuple):
    """The steps of a run and what happens between them; made by `plan`."""

    examples: int
    batch_size: int
    steps_per_epoch: int
    total: int  # steps
    interval: int  # steps between two rows of the history
    saves: Saves  # when checkpoints are due
    stop_on: str  # the metric of a row that stops the run early
    tol: float | None  # how much better it must be to count as a gain; None: the run is not stopped early
    patience: int  # rows without a gain
    best: str | None  # the metric of a row by which the best checkpoint is kept
    first: int = 0  # step that the run begins at

    def after(self, first: int) -> Plan:
        """The same steps, but that the first one has this number."""
        check_total("--epochs", first + self.total, 1)
        return self._replace(first=first, total=first + self.total)

    def epoch(self, step: int) -> float:
        return step / self.steps_per_epoch

    def seen(self, step: int) -> int:
        """How many examples the steps before this one have taken."""
        epochs, rest = divmod(step, self.steps_per_epoch)
        return epochs * self.examples + min(rest * self.batch_size, self.examples)

    def is_over(self, step: int, tally: Tally, row: dict[str, Any]) -> bool:
        """The one rule by which a run stops: all steps are done, no row was a gain for `patience` rows, or the
        validation loss of the last row is not finite (null in a history that was read)."""
        loss = row.get("val/loss", 0.0)
        return step >= self.total or tally.rows_without_gain >= self.patience or loss is None or not math.isfinite(loss)

    def cut(self, start: int, longest: int) -> tuple[Callable[[int], int], set[int]]:
        """`cut` at the rows and checkpoints of this run."""
        return cut(start, self.total, [self.interval, *filter(None, [self.saves.steps])], longest)


def plan(config: Config, examples: int) -> Plan:
    """What the run of a config over so many training examples does. Raises `InputError` where that cannot be done."""
    batch_size = examples if config.batch_size == "full" else config.batch_size
    if batch_size > examples:
        cure = f"use {examples} or fewer, or full"
        raise InputError(f"--batch_size={batch_size}: there are {examples} training examples; {cure}")
    steps_per_epoch = -(-examples // batch_size)
    total = check_total("--epochs", config.epochs, steps_per_epoch)
    length = {"steps_per_epoch": steps_per_epoch, "total": total}
    interval = steps("--eval_every", config.eval_every, **length)
    if interval < 1:
        raise InputError(f"--eval_every={config.eval_every}: is less than one of the {total} steps; write 1epoch")
    saves = save_every(config.checkpoint.every, **length)
    stop = {"stop_on": config.stop_on or "train/loss", "tol": config.gain, "patience": config.patience}
    return Plan(examples, batch_size, steps_per_epoch, total, interval, saves, **stop, best=config.best)


def longest(n: int, batch_size: int, most: float, flops: Callable[[], float], platform: str) -> int:
    """How many of n steps take about ten seconds at most, at 50 GFLOP/s on a CPU and 10 TFLOP/s elsewhere.

    `flops()`, what an example takes, traces the gradient, which is slow. `most` is a cheap upper bound: if n steps fit
    in ten seconds by it, `flops` is not called.

    >>> longest(1000, 10, 1e3, lambda: 0, "cpu"), longest(1000, 10, 1e9, lambda: 1e8, "cpu")
    (1000, 499)
    """
    limit = FLOPS_IN_TEN_SECONDS.get(platform, FLOPS_IN_TEN_SECONDS_OF_AN_ACCELERATOR)
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
