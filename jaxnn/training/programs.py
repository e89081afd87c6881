"""The compiled programs of a run: all of them before the first step, on all cores."""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, NamedTuple

import jax

from jaxnn.config.settings import Config
from jaxnn.data import feeds
from jaxnn.devices import mesh, sharding
from jaxnn.engine import exact
from jaxnn.engine.descent import init
from jaxnn.engine.evaluation import evaluate
from jaxnn.engine.scan import steps
from jaxnn.optim import optimizer
from jaxnn.tasks.base import block_rows
from jaxnn.training import shelf as shelves
from jaxnn.training.plan import Plan
from jaxnn.training.streamed import Evaluation, check_size, is_streamed
from jaxnn.types import Batch, Metrics, Recipe, State, Task, Window


def run_steps(
    recipe: Recipe, batch_size: int, multiple: int, state: State, data: Batch | Window, n: int, *, key: jax.Array
) -> tuple[State, Metrics]:
    """The next n steps of a run over resident rows, or over the window of their rows: what is compiled, with n
    static."""
    if not isinstance(data, Window):
        data = feeds.shuffled(data, key, state.step, n, batch_size, multiple)
    return steps(recipe, state, data, key)


class Programs(NamedTuple):
    """The programs of a run, each there when its compilation has ended."""

    start: Future[Callable[[jax.Array], State]] | None
    steps: dict[int, Future[Any]]  # by the number of steps: (state, data, key=) -> (state, info)
    evaluate: dict[str, Future[Any]]  # by the split: (params, rows) -> sums
    length: Callable[[int], int]  # of the chunk that begins at a step

    def first_state(self, key: jax.Array) -> State:
        """The state of step 0."""
        assert self.start, "a run that is resumed has a state"
        return self.start.result()(key)

    def wait(self) -> None:
        """Until all are compiled."""
        for job in (*self.steps.values(), *self.evaluate.values()):
            job.result()


def start_of(recipe: Recipe, config: Config, example: Any, key: jax.Array) -> tuple[Any, State]:
    """The jitted function that makes the state of step 0, and its shapes with where each leaf is to be."""

    def make(key: jax.Array) -> State:
        return init(recipe, key, example)

    shapes = sharding.split(jax.eval_shape(make, key), config.sharding, config.tensor)
    return _jitted(make, shapes), shapes


def _jitted(function: Any, state: State, *rest: Any, **more: Any) -> Any:
    """`jax.jit` of a function that gives a state, to go where its shapes say, and perhaps more, whole everywhere."""
    places = jax.tree.map(lambda a: a.sharding, state)
    where = {"out_shardings": (places, *rest) if rest else places} if mesh.size() > 1 else {}
    return jax.jit(function, **where, **more)


def compile_all(
    recipe: Recipe,
    plan: Plan,
    step: int,
    longest: int,
    start: Any,
    shapes: State,
    splits: dict[str, Batch],
    key: jax.Array,
    pool: Executor,
    window: Callable[[int], Window] | None = None,
    shelf: shelves.Shelf | None = None,
) -> Programs:
    """Find those that are kept; trace the others here, and compile them in the threads of `pool`.

    Args:
      recipe, plan: what is trained, and when what happens.
      step: where the run begins.
      longest: steps of a chunk at most.
      start: from `start_of`; compiled where the run begins at its first step.
      shapes: of the state, with where each leaf is to be.
      splits: rows, on the devices or the disk: `train`, and `val` and `test` where they are there.
      key: the run's key.
      pool: XLA compiles without holding Python's lock.
      window: the shapes of the window of n steps, where rows are on the disk.
      shelf: where programs are kept.
    """
    multiple, (length, lengths) = exact.multiple(recipe), plan.cut(step, longest)
    one_step = functools.partial(run_steps, recipe, plan.batch_size, multiple)
    chunk = _jitted(one_step, shapes, mesh.everywhere(), static_argnums=2)
    sums = jax.jit(functools.partial(evaluate, recipe, batch_size=block_rows(recipe.task), multiple=multiple))
    params = optimizer.averaged(shapes.params, shapes.opt_state)
    first = {"start": shelves.Wanted("start", lambda: start.lower(key), (key,), lambda _: shapes)}

    def of_steps(n: int) -> shelves.Wanted:
        rows = splits["train"] if window is None else window(n)
        lower = lambda: chunk.lower(shapes, rows, n, key=key)
        return shelves.Wanted(f"{n} steps", lower, (shapes, rows), lambda info: (shapes, info), {"key": key})

    def of_split(rows: Batch) -> shelves.Wanted:
        return shelves.Wanted("evaluation", lambda: sums.lower(params, rows), (params, rows), lambda sums: sums)

    evaluated = {name: rows for name, rows in splits.items() if name != "train"}
    wanted = {n: of_steps(n) for n in sorted(lengths)}
    wanted |= {name: of_split(rows) for name, rows in evaluated.items() if not is_streamed(rows)}
    programs = shelves.compiled((first if step == plan.first else {}) | wanted, pool, shelf)
    streams = {name: rows for name, rows in evaluated.items() if is_streamed(rows)}
    for name, rows in streams.items():
        programs[name] = pool.submit(Evaluation(recipe, params, rows, block_rows(recipe.task), multiple).compile)
    return Programs(
        programs.get("start"), {n: programs[n] for n in lengths}, {k: programs[k] for k in evaluated}, length
    )


def check_metrics(config: Config, recipe: Recipe, params: Any, parts: dict[str, Batch]) -> None:
    """Refuse a metric of the config that the rows of the history are not going to have, and one that is too large.

    Their names are found by tracing an evaluation, which takes time at every start.
    """
    if config.best:
        config.check_metrics(metric_names(recipe, params, parts["train"], "val" in parts))
    check_size(recipe.task, parts)


def metric_names(recipe: Recipe, params: Any, data: Batch, validation: bool) -> list[str]:
    """What the rows of a history call their metrics, found by tracing."""

    def names(task: Task) -> list[str]:
        sums = functools.partial(evaluate, recipe._replace(task=task))
        return list(jax.eval_shape(lambda params, rows: task.summary(sums(params, rows)), params, feeds.one_row(data)))

    of_split = names(recipe.task)
    of_training = names(recipe.task._replace(whole=None)) if recipe.task.whole else of_split
    parts = {"train": of_training} | ({"val": of_split} if validation else {})
    return [f"{part}/{name}" for part, found in parts.items() for name in found]
