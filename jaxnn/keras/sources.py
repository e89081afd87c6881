"""Where the steps of an epoch come from: rows that stay on the device, or batches that somebody gives."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxnn import engine, tree
from jaxnn.config.durations import Saves
from jaxnn.data import feeds
from jaxnn.engine.tally import Tally
from jaxnn.errors import InputError
from jaxnn.keras import intake
from jaxnn.report import flops
from jaxnn.training import loop
from jaxnn.training.plan import Plan
from jaxnn.training.programs import Programs
from jaxnn.training.shelf import ready
from jaxnn.types import Batch, Metrics, Recipe, State, Window

NEVER = 2**40
TOGETHER = 16  # batches of a generator that are taken in one compiled call, where no callback looks between them
POOL = ThreadPoolExecutor(1, "jaxnn.keras")  # a signal reaches the main thread while a step runs


class Done(NamedTuple):
    """Where training stands after some steps of an epoch: how many, the state, and the sums of the epoch so far."""

    steps: int
    state: State
    sums: Metrics


def chunk(
    recipe: Recipe, shuffle: bool, batch_size: int, state: State, data: Batch, n: int, shift: Any, *, key: jax.Array
) -> Any:
    """The next n steps over resident rows; step + shift is the position in the data."""
    feed = feeds.shuffled if shuffle else feeds.in_order
    return engine.steps(recipe, state, feed(data, key, state.step + shift, n, batch_size), key)


def on_device(data: Batch, earlier: Batch | None) -> Batch:
    """The rows on the device: those of an earlier fit if they are the same, as comparing is faster than copying.

    Only on a CPU, where both are in one memory.
    """
    if earlier is not None and jax.default_backend() == "cpu" and tree.nbytes(earlier) == tree.nbytes(data):
        if jax.tree.structure(earlier) == jax.tree.structure(data) and jax.tree.all(jax.tree.map(_same, data, earlier)):
            return earlier
    return jax.device_put(data)


def _same(a: np.ndarray, b: jax.Array) -> bool:
    if (a.shape, a.dtype) != (b.shape, b.dtype):
        return False
    rows = max(2**20 // max(a[:1].nbytes, 1), 1)  # 1 MiB at a time: what compares them stays in the cache
    return all(np.array_equal(a[i : i + rows], np.asarray(b)[i : i + rows]) for i in range(0, len(a), rows))


class Resident:
    """Rows on the device. `position` goes on from epoch to epoch, so that one fit after another is one longer fit."""

    def __init__(self, recipe: Recipe, programs: dict[Any, Any], key: jax.Array, data: Batch, batch_size: int,
                 shuffle: bool, steps: int | None, one_by_one: bool):  # fmt: skip
        n = len(data.weight)
        self.recipe: Recipe = recipe
        self.key: jax.Array = key
        self.batch_size: int = min(batch_size, n)
        self.data: Batch = on_device(data, programs.pop("rows", None))
        programs["rows"] = self.data
        whole = -(-n // self.batch_size)
        if steps is not None and not 1 <= steps <= whole:
            rule = f"the data have {whole} batches of {self.batch_size}"
            raise InputError(f"steps_per_epoch={steps}: {rule}; leave it out, or give 1 to {whole}")
        self.whole: int = whole
        self.steps: int = steps or whole
        self.one_by_one: bool = one_by_one
        none_of = {"saves": Saves(), "tol": None, "patience": NEVER, "best": None}
        self.plan: Plan = Plan(n, self.batch_size, whole, NEVER, NEVER, stop_on="train/loss", **none_of)
        name = (shuffle, self.batch_size)
        if name not in programs:
            programs[name] = jax.jit(functools.partial(chunk, recipe, *name), static_argnums=2)
        self.program: Callable[..., Any] = programs[name]

    def begin(self, step: int) -> None:
        """Before an epoch, after so many steps."""

    def _longest(self, state: State) -> int:
        plan, several = self.plan._replace(interval=self.steps), isinstance(self.data.x, tuple)
        return flops.longest_chunk(self.recipe, plan, state.params, self.data, own_model=several)

    def epoch(self, state: State, since: Done | None = None) -> Iterator[Done]:
        """The steps of an epoch, in chunks; those that are left after `since`. Raises `NotFinite`."""
        step, done = int(state.step), since.steps if since else 0
        # Other data may have been trained on before: an epoch begins at its first row.
        shift = 0 if self.steps != self.whole else (done - step) % self.whole
        first, total = step + shift, step + shift + self.steps - done
        plan = self.plan._replace(total=total)
        longest = 1 if self.one_by_one else self._longest(state)
        length, lengths = plan.cut(first, longest)

        def of_length(n: int) -> Any:
            return lambda state, data, key: self.program(state, data, n, np.int32(shift), key=key)

        programs = Programs(None, {n: ready(of_length(n)) for n in lengths}, {}, length)
        splits = {"train": self.data}
        feed = lambda step, n: splits["train"]
        session = loop.Session(
            self.recipe, plan, self.key, programs, splits, feed, POOL, lambda: False, lambda *_: None
        )
        tally = Tally(since.sums if since else None)
        for event in loop.events(session, loop.Event(first, loop.Progress(state, tally)), {}):
            sums = event.progress.tally.sums
            assert sums is not None
            yield Done(done + event.step - first, event.progress.state, sums)


class Streamed:
    """Batches `(x, y)` or `(x, y, weight)` as an iterable gives them, or an object with `[i]` and `len`."""

    def __init__(self, recipe: Recipe, programs: dict[Any, Any], key: jax.Array, batches: Any, given: intake.Given,
                 steps: int | None, class_weight: Any, shuffle: bool, one_by_one: bool):  # fmt: skip
        self.recipe: Recipe = recipe
        self.key: jax.Array = key
        self.batches: Any = batches
        self.given: intake.Given = given
        self.class_weight: Any = class_weight
        self.shuffle: bool = shuffle and not hasattr(batches, "__iter__") and not hasattr(batches, "__next__")
        sized = hasattr(batches, "__len__")
        if steps is not None and sized and steps > len(batches):
            raise InputError(f"steps_per_epoch={steps}: there are {len(batches)} batches; leave it out")
        if steps is not None and (not isinstance(steps, int | np.integer) or steps < 1):
            raise InputError(f"steps_per_epoch={steps}: must be a number >= 1")
        self.steps: int | None = steps if steps is not None else len(batches) if sized else None
        self.passing: bool = hasattr(batches, "__next__")  # it can be gone through once
        self.whole: bool = steps is None and not self.passing  # an epoch is all that it gives
        self.together: int = 1 if one_by_one else TOGETHER
        if "streamed" not in programs:
            run = lambda state, window, key: engine.steps(recipe, state, window, key)
            programs["streamed"] = jax.jit(run)
        self.program: Callable[..., Any] = programs["streamed"]
        self.width: int = 0
        self.iterator: Iterator[Any] | None = None

    def begin(self, step: int) -> None:
        """Before an epoch: it begins with the first batch again, unless it takes steps_per_epoch from where it was."""
        if self.iterator is not None and hasattr(self.batches, "on_epoch_end"):
            self.batches.on_epoch_end()
        self.draw: tuple[int, int] = (step, 0)
        if self.iterator is None or self.whole:
            self.iterator = self._pass()

    def epoch(self, state: State, since: Done | None = None) -> Iterator[Done]:
        """The steps of an epoch; those that are left after `since`.

        Raises `NotFinite`, and `InputError` for batches that do not fit and if there are none.
        """
        tally, done = Tally(since.sums if since else None), since.steps if since else 0
        while self.steps is None or done < self.steps:
            most = self.together if self.steps is None else min(self.together, self.steps - done)
            rows = [batch for batch in (self._next() for _ in range(most)) if batch is not None]
            for group in [rows] if len(rows) == self.together else [[row] for row in rows]:  # two programs at most
                call = POOL.submit(loop.advance, self.program, state, self._window(group), self.key)
                state, info = call.result()
                tally, done = tally.add(info), done + len(group)
                assert tally.sums is not None
                yield Done(done, state, tally.sums)
            if len(rows) < most:
                break
        if not done:
            rule = "gave no batch"
            raise InputError(
                f"x={type(self.batches).__name__}: {rule}; give steps_per_epoch= and as many batches for each epoch"
            )
        if self.steps is None:
            self.steps = done

    def _next(self) -> Batch | None:
        assert self.iterator is not None
        batch = next(self.iterator, None)
        if batch is None and not self.passing and not self.whole:
            self.draw = (self.draw[0], 1)
            self.iterator = self._pass()
            batch = next(self.iterator, None)
        if batch is None:
            return None
        x, y, weight = unpacked(batch)
        rows, given = intake.rows(x, y, self.given, weight, self.class_weight)
        if given.classes != self.given.classes:
            raise InputError("y: batches of texts, and one batch does not tell all classes; number them first")
        return rows

    def _pass(self) -> Iterator[Any]:
        """All batches once; those with numbers in an order that is drawn anew."""
        if not self.shuffle:
            return iterated(self.batches)
        random = np.random.default_rng([*np.asarray(jax.random.key_data(self.key)).tolist(), *self.draw])
        return (self.batches[int(i)] for i in random.permutation(len(self.batches)))

    def _window(self, rows: list[Batch]) -> Window:
        """Batches one after another, short ones padded with rows that weigh nothing."""
        self.width = max(self.width, *(len(batch.weight) for batch in rows))
        pad = lambda a: np.concatenate([a, np.repeat(a[:1], self.width - len(a), 0)]) if len(a) < self.width else a
        padded = [jax.tree.map(pad, batch) for batch in rows]
        real = np.stack([np.arange(self.width) < len(batch.weight) for batch in rows])
        return Window(jax.tree.map(lambda *each: np.stack(each), *padded), None, real)


def iterated(batches: Any) -> Iterator[Any]:
    """One pass over batches."""
    if hasattr(batches, "__iter__") or hasattr(batches, "__next__"):
        return iter(batches)
    return (batches[i] for i in range(len(batches)))


def unpacked(batch: Any) -> tuple[Any, Any, Any]:
    """x, y and weight of a batch. Raises `InputError` for one that has no labels."""
    if not isinstance(batch, tuple | list) or not 2 <= len(batch) <= 3:
        given = f"{len(batch)} parts" if isinstance(batch, tuple | list) else type(batch).__name__
        raise InputError(f"batch={given}: must be (x, y) or (x, y, sample_weight)")
    x, y, *weight = batch
    return x, y, weight[0] if weight else None
