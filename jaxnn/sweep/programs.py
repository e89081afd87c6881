"""The compiled programs of the members of a sweep: those of a run (`jaxnn.training.programs`), for S members at once.

`lax.map` computes them one after the other, to the bits of single runs; `vmap` each operation for all of them.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxnn import tree
from jaxnn.devices import mesh
from jaxnn.engine import exact
from jaxnn.engine.descent import init
from jaxnn.engine.evaluation import evaluate
from jaxnn.optim import optimizer
from jaxnn.sweep.together import Together
from jaxnn.tasks.base import block_rows
from jaxnn.training.plan import Plan
from jaxnn.training.programs import Programs, run_steps
from jaxnn.training.shelf import ready
from jaxnn.types import Batch, Recipe, State

Build = Callable[[dict[str, Any]], Recipe]  # the recipe with these settings, which may be traced


class Shared(NamedTuple):
    """The programs of a group of members, each there when its compilation has ended."""

    starts: list[Future[Any]]  # for each data set: (key, settings) -> state
    steps: dict[int, Future[Any]]  # by their number: (active, which, settings, keys, states, data) -> results
    evaluate: dict[str, Future[Any]]  # by the split: (active, which, params, rows) -> sums of each

    def wait(self) -> None:
        """Until all are compiled."""
        for job in (*self.starts, *self.steps.values(), *self.evaluate.values()):
            job.result()


def compile_all(
    builds: Sequence[Build],
    plan: Plan,
    lengths: set[int],
    shapes: State,
    splits: dict[str, Batch],
    lane: Lane,
    example: Any,
    mode: str,
    pool: Executor,
) -> Shared:
    """Trace here, compile in the threads of `pool`.

    Args:
      builds: for each data set; a first state has the mean and deviation of its training examples.
      plan, example: when what happens, and one input.
      lengths: of the chunks of steps.
      shapes: of the state of one member.
      splits: rows on the devices, of one data set or stacked `[D, n, ...]` where the members have D of them.
      lane: of as many members as each call takes.
      mode: map or vmap.
    """
    size, several, build = len(lane.members), lane.several, builds[0]
    over = functools.partial(_over, _map if mode == "map" else _vmap, size)

    def compiled(function: Any, *args: Any) -> Future[Any]:
        return pool.submit(jax.jit(function).lower(*args).compile)

    def rows_of(data: Batch, which: jax.Array) -> Batch:
        return jax.tree.map(lambda a: a[which], data) if several else data

    def chunk(n: int, active: Any, which: Any, settings: Any, keys: Any, states: tuple[State, ...], data: Batch) -> Any:
        def one(data: Batch, which: Any, settings: Any, key: Any, state: State) -> Any:
            recipe = build(settings)
            multiple = exact.multiple(recipe)
            return run_steps(recipe, plan.batch_size, multiple, state, rows_of(data, which), n, key=key)

        return over(one, data, active, which, settings, keys, _stacked(states))

    def sums(active: Any, which: Any, params: tuple[Any, ...], data: Batch) -> Any:
        recipe = build({})  # an evaluation knows nothing of the optimizer

        def one(data: Batch, which: Any, params: Any) -> Any:
            blocks = {"batch_size": block_rows(recipe.task), "multiple": exact.multiple(recipe)}
            return evaluate(recipe, params, rows_of(data, which), **blocks)

        return over(one, data, active, which, _stacked(params))

    params = optimizer.averaged(shapes.params, shapes.opt_state)
    each = (np.ones(size, bool), lane.which)
    key, settings = lane.keys[0], {name: value[0] for name, value in lane.settings.items()}
    first = lambda build, key, settings: init(build(settings), key, example)
    starts = [compiled(functools.partial(first, build), key, settings) for build in builds]
    given = (*each, lane.settings, lane.keys, (shapes,) * size, splits["train"])
    steps = {n: compiled(functools.partial(chunk, n), *given) for n in sorted(lengths)}
    parts = {k: compiled(sums, *each, (params,) * size, rows) for k, rows in splits.items() if k != "train"}
    return Shared(starts, steps, parts)


def _over(each: Any, size: int, one: Callable[..., Any], data: Batch, active: jax.Array, *stacked: Any) -> Any:
    """What `one(data, ...)` gives for each of the members, S trees; those that are not active have others' numbers."""
    local = lambda data, members: each(functools.partial(one, data), *members)
    results = mesh.split_members(local, data, (active, stacked))
    return tuple(jax.tree.map(operator.itemgetter(k), results) for k in range(size))


def _map(one: Callable[..., Any], active: jax.Array, stacked: Any) -> Any:
    """One after the other, but for those that are not active."""
    shapes = jax.eval_shape(one, *jax.tree.map(lambda a: a[0], stacked))
    either = lambda xs: lax.cond(xs[0], one, lambda *_: tree.zeros(shapes), *xs[1])
    return lax.map(either, (active, stacked))


def _vmap(one: Callable[..., Any], active: jax.Array, stacked: Any) -> Any:
    """Each operation for all of them at once."""
    return jax.vmap(one)(*stacked)


def _stacked(trees: tuple[Any, ...]) -> Any:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


class Lane:
    """Members whose calls are one call: their programs, as each of them calls its own.

    Args:
      members: their numbers in the sweep.
      keys, settings, which: of each of them, stacked: its key, the values that are traced, its data set.
      several: whether there are several data sets.
    """

    members: Sequence[int]
    keys: jax.Array
    settings: dict[str, Any]
    which: np.ndarray
    several: bool
    together: Together

    def __init__(
        self, members: Sequence[int], keys: jax.Array, settings: dict[str, Any], which: np.ndarray, *, several: bool
    ):
        self.members, self.keys, self.settings, self.which, self.several = members, keys, settings, which, several
        self.together = Together()
        self.calls: dict[Any, Callable[..., Any]] = {}

    def programs(self, k: int, shared: Shared, splits: dict[str, Batch], length: Callable[[int], int]) -> Programs:
        """Those of member k of the lane."""
        values = {name: value[k] for name, value in self.settings.items()}
        start = lambda key: shared.starts[self.which[k]].result()(key, values)
        steps = {n: ready(self._steps(k, n, job.result(), splits["train"])) for n, job in shared.steps.items()}
        parts = {part: ready(self._sums(k, part, job.result(), splits[part])) for part, job in shared.evaluate.items()}
        return Programs(ready(start), steps, parts, length)

    def _steps(self, k: int, n: int, program: Any, data: Batch) -> Callable[..., Any]:
        def for_all(states: dict[int, State]) -> dict[int, Any]:
            active, filled = self._filled(states)
            return self._told(states, program(active, self.which, self.settings, self.keys, filled, data))

        call = self.calls.setdefault(n, for_all)
        return lambda state, rows, *, key: self.together(k, call, state)

    def _sums(self, k: int, part: str, program: Any, data: Batch) -> Callable[..., Any]:
        def for_all(params: dict[int, Any]) -> dict[int, Any]:
            active, filled = self._filled(params)
            return self._told(params, program(active, self.which, filled, data))

        call = self.calls.setdefault(part, for_all)
        return lambda params, rows: self.together(k, call, params)

    def _filled(self, given: dict[int, Any]) -> tuple[np.ndarray, tuple[Any, ...]]:
        """Who takes part, and what each of the lane gives: the others what the first one does."""
        places = range(len(self.members))
        first = next(iter(given.values()))
        return np.array([k in given for k in places]), tuple(given.get(k, first) for k in places)

    def _told(self, given: dict[int, Any], results: tuple[Any, ...]) -> dict[int, Any]:
        jax.block_until_ready(results)
        return {k: results[k] for k in given}
