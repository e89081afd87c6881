"""What a run computes, as far as its config does not say: the network of a config file, and JAX's settings."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import jaxprs_in_params

from jaxnn import tree
from jaxnn.types import Model

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


def digest(model: Model, example: Any) -> str:
    """SHA-256 of what a model computes, wherever its code stands: its own, that of a library, and their constants.

    It is that of the StableHLO text of `init`, of `apply` without a key, and of the gradient with one (`observe`
    where there is one), which has the rules of `jax.custom_vjp`. The text has the values of all constants, and neither
    places in files nor addresses. Of a Python function that the program calls back, the text says no more than that:
    the file that it stands in is taken besides.
    """
    key, shapes = jax.random.key(0), jax.eval_shape(model.init, jax.random.key(0), example)
    batch = jax.tree.map(lambda a: jax.ShapeDtypeStruct((2, *a.shape), a.dtype), example)

    def gradient(params: Any, x: Any, key: jax.Array) -> Any:
        trained, kept = tree.split(params)

        def outputs(trained: Any) -> tuple[Any, Any]:
            params = tree.merge(trained, kept)
            if model.observe:
                return model.observe(params, x, key, jnp.ones(2))
            return model.apply(params, x, key=key), ()

        y, pull, seen = jax.vjp(outputs, trained, has_aux=True)
        return y, seen, pull(jnp.ones_like(y))

    programs = [
        jax.jit(lambda key: model.init(key, example)).trace(key),
        jax.jit(lambda params, x: model.apply(params, x)).trace(shapes, batch),
        jax.jit(gradient).trace(shapes, batch, key),
    ]
    whole = hashlib.sha256()
    for program in programs:
        whole.update(program.lower().as_text().encode())
        for path in sorted(set(_called_back(program.jaxpr.jaxpr))):
            whole.update(path.read_bytes())
    return whole.hexdigest()


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
