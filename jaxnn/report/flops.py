"""The floating-point operations of a program, the one count of them, and how many the machine can do."""

from __future__ import annotations

import math
import time
from typing import Any

import jax
import jax.numpy as jnp

from jaxnn import tree
from jaxnn.data import feeds
from jaxnn.engine.descent import gradient
from jaxnn.errors import positive
from jaxnn.training.plan import Plan, longest
from jaxnn.types import Batch, Model, Params, Recipe, unchanged

TOGETHER = 256  # steps of a chunk of several processes: no FLOPs say how long their sums take, and a watchdog looks on


def matrix_flops(function: Any, *args: Any) -> int:
    """FLOPs of the matrix products and convolutions in a function, two for each product of two numbers.

    args: arrays or their shapes. A loop counts as often as it runs, if that is known; of branches the least one counts
    that has any.

    >>> import jax, jax.numpy as jnp
    >>> matrix_flops(jnp.dot, jnp.ones((2, 3)), jnp.ones((3, 4)))
    48
    """
    return _flops(jax.make_jaxpr(function)(*args).jaxpr)


def of_example(recipe: Recipe, params: Params, data: Batch) -> int:
    """`matrix_flops` of the gradient of one row of the data."""
    grads = lambda params, row: gradient(recipe._replace(exact=0), params, row, jax.random.key(0))
    return matrix_flops(grads, params, feeds.one_row(data))


def longest_chunk(recipe: Recipe, plan: Plan, params: Params, data: Batch, *, own_model: bool) -> int:
    """How many steps one compiled call takes at most (`jaxnn.training.plan.longest`)."""
    known = not own_model and recipe.task.prepare is unchanged
    most = most_flops(recipe.model, params, tree.example(data.x)) if known else math.inf
    of = lambda: of_example(recipe, params, data)
    steps = longest(plan.interval, plan.batch_size, most, of, jax.default_backend())
    return steps if jax.process_count() == 1 else min(steps, TOGETHER)


def most_flops(model: Model, params: Params, example: Any) -> float:
    """No less than the `matrix_flops` of a gradient of one of `jaxnn.nn.models` on one example, without tracing it.

    Each weight is used in one product, or in one for each pixel by a model with convolutions (which has a
    `micro_batch`), forwards and twice backwards.

    >>> import jax, jax.numpy as jnp, jaxnn
    >>> model, image = jaxnn.conv(8), jnp.ones((28, 28, 1))
    >>> most_flops(model, model.init(jax.random.key(0), image), image)
    376320
    """
    pixels = math.prod(example.shape[:-1]) if model.micro_batch else 1
    return 6 * sum(leaf.size for leaf in jax.tree.leaves(params)) * pixels


def _flops(jaxpr: Any) -> int:
    total = 0
    for eqn in jaxpr.eqns:
        if eqn.primitive.name == "dot_general":
            (contracted, _), _ = eqn.params["dimension_numbers"]
            total += 2 * eqn.outvars[0].aval.size * math.prod(eqn.invars[0].aval.shape[i] for i in contracted)
        elif eqn.primitive.name == "conv_general_dilated":
            kernel, outputs = eqn.invars[1].aval, eqn.params["dimension_numbers"].rhs_spec[0]
            total += 2 * eqn.outvars[0].aval.size * kernel.size // kernel.shape[outputs]
        else:
            inner = [p for value in eqn.params.values() for p in (value if isinstance(value, tuple) else (value,))]
            found = [_flops(getattr(p, "jaxpr", p)) for p in inner if hasattr(getattr(p, "jaxpr", p), "eqns")]
            if found:
                least = min(filter(None, found), default=0)  # a depthwise convolution has no product on a CPU
                total += least if eqn.primitive.name == "cond" else eqn.params.get("length", 1) * sum(found)
    return total


def benchmark_peak(seconds: float = 1.0) -> float:
    """FLOP/s of the fastest float32 matrix product that this machine's default device does, in `seconds` of trying.

    What a network of wide layers can come close to. Raises `InputError` unless seconds > 0.

    >>> import jaxnn
    >>> jaxnn.benchmark_peak(0.05) > 1e8
    True
    """
    positive("seconds", seconds)
    product = jax.jit(lambda a, b: a @ b.T)
    sizes = (1024, 2048) if jax.default_backend() == "cpu" else (4096, 8192)
    squares = [jnp.ones((n, n)) for n in sizes]
    for a in squares:
        product(a, a).block_until_ready()  # the first call compiles
    best, end = 0.0, time.perf_counter() + seconds
    while not best or time.perf_counter() < end:
        for n, a in zip(sizes, squares, strict=True):
            start = time.perf_counter()
            product(a, a).block_until_ready()
            best = max(best, 2 * n**3 / (time.perf_counter() - start))
    return best
