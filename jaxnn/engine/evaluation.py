"""What a network makes of given rows: the sums of a task over all of them, and the outputs of new ones."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxnn.data import feeds
from jaxnn.devices import mesh
from jaxnn.engine import exact, parts
from jaxnn.numerics import sum_in_pairs
from jaxnn.tasks.metrics import Centered, measure
from jaxnn.types import Batch, Metrics, Params, Recipe, Task

ROWS = 1024  # rows of one block, so that memory does not grow with the size of the set


def evaluate(recipe: Recipe, params: Params, data: Batch, *, batch_size: int = ROWS, multiple: int = 1) -> Metrics:
    """The sums of the task over all rows, in blocks of `batch_size`. To be called under `jit`.

    Padding weighs nothing, so it is exact for any batch size. Sums are float32, added up in pairs: counts are exact up
    to 2^24 and right to 7 digits beyond. `multiple`: blocks are padded to a multiple of it, so that they can be split
    over so many devices. Where a metric is of all rows together (`Task.whole`), their outputs are kept until the end.
    Raises `InputError` if x, y and weight differ in length.

    >>> import jax, jax.numpy as jnp, jaxnn
    >>> recipe = jaxnn.Recipe(jaxnn.linear(1), jaxnn.binary(), tx=None)
    >>> params = {"dense_0": {"w": jnp.ones((1, 1)), "b": jnp.zeros(1)}}
    >>> data = jaxnn.Batch(jnp.array([[1.0], [2.0], [3.0]]), jnp.array([1, 1, 0]), jnp.ones(3))
    >>> sums = jaxnn.engine.evaluate(recipe, params, data, batch_size=2)
    >>> float(sums["weight"]), round(float(recipe.task.summary(sums)["accuracy"]), 4)
    (3.0, 0.6667)
    """
    feeds.check_lengths(data)
    data = jax.tree.map(jnp.asarray, data)  # NumPy's arrays are not indexed by what is traced
    n = len(data.weight)
    width = -(-min(batch_size, n) // multiple) * multiple
    task = recipe.task
    if isinstance(task.metrics, Centered):
        task = task._replace(metrics=task.metrics.over(data.y, data.weight))

    def block(_: None, start: jax.Array) -> tuple[None, tuple[Metrics, Any]]:
        index = start + lax.iota(jnp.int32, width)
        batch = mesh.shard(feeds.take(data, jnp.minimum(index, n - 1), index < n))
        return None, _measured(recipe, task, params, batch)

    return added(task, *lax.scan(block, None, jnp.arange(0, n, width, dtype=jnp.int32))[1])


def evaluate_blocks(recipe: Recipe, params: Params, blocks: Batch, center: Any = None) -> tuple[Metrics, Any]:
    """What `added` takes of some blocks `[k, B, ...]` of a split whose rows are read as they are needed.

    `center`: of a `Centered` metric, which is of all labels of the split.
    """
    task = recipe.task
    if isinstance(task.metrics, Centered):
        task = task._replace(metrics=task.metrics._replace(center=center))
    body = lambda _, batch: (None, _measured(recipe, task, params, mesh.shard(batch)))
    return lax.scan(body, None, blocks)[1]


def _measured(recipe: Recipe, task: Task, params: Params, batch: Batch) -> tuple[Metrics, Any]:
    """The sums of a block; and its outputs, labels and weights, where a metric is of all rows together."""
    in_sums = task._replace(whole=None)

    def sums_of(part: Batch, key: jax.Array | None) -> Metrics:
        return measure(in_sums, recipe.model.apply(params, part.x, key=key), part.y, part.weight)

    def of_rows(batch: Batch, key: None) -> tuple[Metrics, Any]:
        batch = task.prepare(batch, None)
        if task.whole is None:
            return parts.for_the_cache(sums_of, recipe.model, batch, None), ()
        outputs = recipe.model.apply(params, batch.x)
        return measure(in_sums, outputs, batch.y, batch.weight), (outputs, batch.y, batch.weight)

    if not recipe.exact:
        return of_rows(batch, None)
    sums, rows = exact.each_part(of_rows, recipe.exact, parts.padded(batch, recipe.exact), None)
    return exact.add_up(sums), exact.joined(rows)


def added(task: Task, sums: Metrics, rows: Any) -> Metrics:
    """The sums over all blocks of a split, `f32[blocks, ...]` each, and those of all its rows `[blocks, B, ...]`."""
    sums = jax.tree.map(lambda a: sum_in_pairs(jnp.moveaxis(a, 0, -1)), sums)
    if task.whole:
        sums |= task.whole(*jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), rows))
    return sums


def in_blocks(outputs: Callable[[Any], Any], n: int, rows: Callable[[int, int], Any], sizes: Sequence[int]) -> Any:
    """`outputs` of n rows, in blocks of a few sizes so that few programs are compiled.

    Args:
      outputs: a compiled function of rows `[B, ...]`, an array or a pytree of them; what it gives may be one too.
      n: how many rows there are.
      rows: `rows(start, end)`, some of them.
      sizes: what B may be; a block is padded with zeros to the smallest of them that holds it.

    >>> in_blocks(lambda x: x + 1, 3, lambda start, end: np.arange(3)[start:end], sizes=(2,)).tolist()
    [1, 2, 3]
    """

    def block(start: int) -> Any:
        end = min(start + sizes[-1], n)
        size = next(size for size in sizes if size >= end - start)
        padded = jax.tree.map(functools.partial(_padded, size), rows(start, end))
        return jax.tree.map(lambda a: np.asarray(a)[: end - start], outputs(padded))

    return jax.tree.map(lambda *parts: np.concatenate(parts), *map(block, range(0, n, sizes[-1])))


def _padded(size: int, part: np.ndarray) -> np.ndarray:
    padded = np.zeros((size, *part.shape[1:]), part.dtype)
    padded[: len(part)] = part
    return padded
