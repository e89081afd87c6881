"""What a run computes, as far as its config does not say: the functions of a config file, and JAX's settings."""

from __future__ import annotations

import functools
import hashlib
import inspect
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.extend.core import jaxprs_in_params

from jaxnn import tree
from jaxnn.config.own import Own
from jaxnn.engine.descent import gradient
from jaxnn.engine.evaluation import evaluate
from jaxnn.numerics import relaxed
from jaxnn.tasks.metrics import measure
from jaxnn.types import Batch, Model, Recipe, Task

# With another value of these, the same program computes other numbers.
SETTINGS = (
    "jax_enable_x64",
    "jax_default_matmul_precision",
    "jax_default_prng_impl",
    "jax_threefry_partitionable",
    "jax_numpy_dtype_promotion",
    "jax_random_seed_offset",
)


def settings() -> dict[str, Any]:
    """JAX's settings that numbers depend on, by name, those that this version of it has."""
    found = {name: getattr(jax.config, name) for name in SETTINGS if hasattr(jax.config, name)}
    return {name: getattr(value, "value", value) for name, value in found.items()}  # of an enum, its text


def describe(recipe: Recipe, example: Any, rows: Batch, own: Own) -> dict[str, Any]:
    """What `identity.describe` keeps of a run's computations: the arguments are those of `of_own`."""
    return {"program": digest(of_own(recipe, example, rows, own)), "jax": settings()}


def digest(programs: Sequence[Any]) -> str | None:
    """SHA-256 of what traced functions compute, wherever their code stands: their own, that of a library, and their
    constants. None of none.

    It is that of StableHLO text, which has the values of all constants, and neither places in files nor addresses. Of a
    Python function that the program calls back, the text says no more than that: the file that it stands in is taken
    besides.
    """
    whole = hashlib.sha256()
    for program in programs:
        whole.update(program.lower().as_text().encode())
        for path in sorted(set(_called_back(program.jaxpr.jaxpr))):
            whole.update(path.read_bytes())
    return whole.hexdigest() if programs else None


def of_own(recipe: Recipe, example: Any, rows: Batch, own: Own) -> list[Any]:
    """What the functions of a config file have become, traced: none where there are none.

    Args:
      recipe: what they are a part of.
      example: one input, or its shape.
      rows: some of which y has the shape and type.
      own: which of them there are.
    """
    programs = of_model(recipe.model, example) if own.model else []
    programs += _of_whole_task(recipe, example, rows) if own.task else _of_task(recipe.task, rows.y, own)
    return programs + (_of_optimizer(recipe, example) if own.optimizer or own.schedule else [])


def of_model(model: Model, example: Any) -> list[Any]:
    """`init`, `apply` without a key, and the gradient with one (`observe` where there is one), which has the rules of
    `jax.custom_vjp`."""
    key, shapes = jax.random.key(0), jax.eval_shape(model.init, jax.random.key(0), example)
    batch = jax.tree.map(lambda a: jax.ShapeDtypeStruct((2, *a.shape), a.dtype), example)

    def pulled(params: Any, x: Any, key: jax.Array) -> Any:
        trained, kept = tree.split(params)

        def outputs(trained: Any) -> tuple[Any, Any]:
            params = tree.merge(trained, kept)
            if model.observe:
                return model.observe(params, x, key, jnp.ones(2), tree.is_frozen(params))
            return model.apply(params, x, key=key), ()

        y, pull, seen = jax.vjp(outputs, trained, has_aux=True)
        return y, seen, pull(jnp.ones_like(y))

    return [
        jax.jit(lambda key: model.init(key, example)).trace(key),
        jax.jit(lambda params, x: model.apply(params, x)).trace(shapes, batch),
        jax.jit(pulled).trace(shapes, batch, key),
    ]


def _of_task(task: Task, y: Any, own: Own) -> list[Any]:
    """The loss with its gradient, and the metrics as they are summed and divided."""
    y = jax.tree.map(lambda a: jax.ShapeDtypeStruct((2, *a.shape[1:]), a.dtype), y)
    outputs, weight = jax.ShapeDtypeStruct((2, *task.shape), float), jax.ShapeDtypeStruct((2,), float)

    def pulled(outputs: jax.Array, y: Any) -> Any:
        value, pull = jax.vjp(lambda outputs: task.loss(outputs, y), outputs)
        return value, pull(jnp.ones_like(value))

    def measured(outputs: jax.Array, y: Any, weight: jax.Array) -> Any:
        return task.summary(measure(task._replace(loss=lambda outputs, y: outputs[..., 0]), outputs, y, weight))

    of_loss = [jax.jit(pulled).trace(outputs, y)] if own.loss else []
    return of_loss + ([jax.jit(measured).trace(outputs, y, weight)] if own.metrics else [])


def _of_whole_task(recipe: Recipe, example: Any, rows: Batch) -> list[Any]:
    """All that a task is for: a gradient, with what it makes of the examples before, and the metrics."""
    recipe = recipe._replace(augment=None)
    shapes = jax.eval_shape(recipe.model.init, jax.random.key(0), example)
    batch = jax.tree.map(lambda a: jax.ShapeDtypeStruct((2, *a.shape[1:]), a.dtype), rows)

    def measured(params: Any, batch: Batch) -> Any:
        return recipe.task.summary(evaluate(recipe, params, batch))

    gradients = functools.partial(gradient, recipe)
    return [jax.jit(gradients).trace(shapes, batch, jax.random.key(0)), jax.jit(measured).trace(shapes, batch)]


def _of_optimizer(recipe: Recipe, example: Any) -> list[Any]:
    """The state that it begins with, and an update."""
    tx, shapes = recipe.tx, jax.eval_shape(recipe.model.init, jax.random.key(0), example)
    trained = tree.split(shapes, recipe.freeze)[0]

    def update(grads: Any, state: Any, params: Any) -> Any:
        with relaxed():
            extra = {"value": jnp.ones(()), "grad": grads, "value_fn": optax.tree.sum}
            return optax.with_extra_args_support(tx).update(grads, state, params, **extra)

    return [
        jax.jit(tx.init).trace(trained),
        jax.jit(update).trace(trained, jax.eval_shape(tx.init, trained), trained),
    ]


def _called_back(jaxpr: Any) -> Iterator[Path]:
    """The files of the Python functions whose results a program takes."""
    for equation in jaxpr.eqns:
        if equation.primitive.name in ("pure_callback", "io_callback"):
            called = equation.params["callback"]
            called = inspect.unwrap(getattr(called, "callback_func", called))
            while hasattr(called, "func"):  # functools.partial
                called = called.func
            kind = called if inspect.isroutine(called) else type(called)
            yield Path(inspect.getsourcefile(kind) or "")
        for inner in jaxprs_in_params(equation.params):
            yield from _called_back(inner)
