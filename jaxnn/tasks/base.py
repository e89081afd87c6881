"""What all tasks share: outputs of the right number, sums divided by their weight, a loss and metrics of one's own."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxnn.errors import InputError
from jaxnn.numerics import relaxed, traced
from jaxnn.tasks.metrics import Centered
from jaxnn.types import Metric, Metrics, Task

Loss = Callable[[Any, Any], jax.Array]  # (outputs, y) -> one number for each example
View = Callable[[Any, Any], tuple[Any, Any]]  # of outputs and y, as a loss takes them


SIZES = (1, 16, 128)  # rows of a compiled call where a block is not full: the smallest that holds them


def block_rows(task: Task, most: int = 1024) -> int:
    """How many examples are evaluated or predicted at a time: their outputs are to have no more than 2^24 numbers.

    >>> import jaxnn
    >>> block_rows(jaxnn.multiclass(10)), block_rows(jaxnn.multiclass(2)._replace(outputs=(512, 512, 21)))
    (1024, 2)
    """
    return rows_of(math.prod(task.shape), most)


def rows_of(numbers: int, most: int = 1024) -> int:
    """`block_rows` for so many numbers an example."""
    fit = max(2**24 // max(numbers, 1), 1)
    return min(most, 1 << (fit.bit_length() - 1))


def block_sizes(most: int) -> list[int]:
    """The sizes of blocks of at most so many rows, so that few programs are compiled.

    >>> block_sizes(1024), block_sizes(2)
    ([1, 16, 128, 1024], [1, 2])
    """
    return [*(size for size in SIZES if size < most), most]


def outputs_of(logits: jax.Array, count: int) -> jax.Array:
    """The outputs themselves. Raises `InputError` unless the last axis is `count`."""
    if logits.ndim == 0 or logits.shape[-1] != count:
        raise InputError(f"logits{list(logits.shape)}: the last axis must be {count}; give the model {count} outputs")
    return logits


def each(loss: Loss, outputs: Any, y: Any, shape: tuple[int, ...]) -> jax.Array:
    """A loss of one's own. Raises `InputError` unless JAX can trace it, and it gives one number for each example."""
    with relaxed(), traced(f"loss={getattr(loss, '__name__', type(loss).__name__)}"):
        value = loss(outputs, y)
    if not isinstance(value, jax.Array) or value.shape != shape or not jnp.issubdtype(value.dtype, jnp.floating):
        given = jax.typeof(value) if isinstance(value, jax.Array) else type(value).__name__
        rule = f"must be one number for each example, float{list(shape)}"
        raise InputError(f"loss={given}: {rule}; take no mean over the examples")
    return value


def measuring(task: Task, more: Mapping[str, Metric] | None, view: View) -> Task:
    """The task, with more metrics. Raises `InputError` for what is no `Metric`, and for a name that the task has."""
    if not more:
        return task
    for name, metric in more.items():
        if not isinstance(metric, Metric):
            raise InputError(f"metrics={name}: is a {type(metric).__name__}; write jaxnn.Metric(sums, value)")
        if not str(name).isidentifier():
            raise InputError(f"metrics={name!r}: must be a name of letters, digits and _; rename it")
    chosen = [{name: metric for name, metric in more.items() if metric.whole is whole} for whole in (False, True)]

    def sums_of(chosen: Mapping[str, Metric], outputs: Any, y: Any, weight: jax.Array) -> Metrics:
        outputs, y = view(outputs, y)
        with relaxed():
            named = {name: _sums(name, metric.sums(outputs, y, weight)) for name, metric in chosen.items()}
        return {f"{name}.{key}": value for name, sums in named.items() for key, value in sums.items()}

    def summary(sums: Metrics) -> dict[str, Any]:
        found = task.summary(sums)
        for name, metric in more.items():
            if name in found:
                raise InputError(f"metrics={name}: is what a {task.name} task measures already; name it otherwise")
            own = {key.removeprefix(f"{name}."): sums[key] for key in sums if key.startswith(f"{name}.")}
            if own:  # those of whole splits are no sums of training
                with relaxed():
                    found[name] = _number(name, metric.value(own))
        return found

    base, (added, whole) = task.metrics, chosen
    if isinstance(base, Centered):
        with_more = lambda *given: base.sums(*given) | sums_of(added, *given[:3])
        metrics: Any = base._replace(sums=with_more)
    else:
        metrics = lambda outputs, y, weight: base(outputs, y, weight) | sums_of(added, outputs, y, weight)
    of_split = lambda outputs, y, weight: sums_of(whole, outputs, y, weight)
    minimized = task.minimized | {name for name, metric in more.items() if metric.minimized}
    return task._replace(metrics=metrics, summary=summary, minimized=minimized, whole=of_split if whole else None)


def _sums(name: str, found: Any) -> Metrics:
    if not isinstance(found, dict) or not found:
        raise InputError(
            f"metrics={name}: its sums are a {type(found).__name__}; must be a dict of sums by their names"
        )
    return {key: jnp.asarray(value, float) for key, value in found.items()}


def _number(name: str, value: Any) -> Any:
    if jnp.shape(value):
        raise InputError(f"metrics={name}: its value has the shape {jnp.shape(value)}; must be one number")
    return value


def as_they_are(p: Any) -> Any:
    """The answers of a task whose predictions are its answers."""
    return p


def weighed(weight: jax.Array) -> Metrics:
    """`weight`, the sum of weights that all others are divided by."""
    return {"weight": jnp.sum(jnp.asarray(weight, float))}


def means(sums: Metrics, **names: str) -> dict[str, Any]:
    """The sums that are there divided by the weight, each under the name that it is shown by."""
    return {shown: sums[name] / sums["weight"] for shown, name in names.items() if name in sums}
