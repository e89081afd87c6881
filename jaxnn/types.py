"""The contract: a model is a pair of pure functions, a run is a value.

Leading axes are free. A layer's core axes come last (`[F]` for features, `[H, W, C]` for images); whatever
stands before them is batch. So for every model and every layer, without a key,

    apply(params, xs) == vmap(apply, (None, 0))(params, xs)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax

Params = Any  # a pytree of arrays
Metrics = dict[str, jax.Array]  # sums and counts; divided once, at the end


class Init(Protocol):
    """`init(key, x) -> params`; `x` is one example, or its `jax.ShapeDtypeStruct`."""

    def __call__(self, key: jax.Array, x: Any, /) -> Params: ...


class Apply(Protocol):
    """`apply(params, x, key=None) -> y`, pure; a key switches training noise (dropout) on."""

    def __call__(self, params: Params, x: jax.Array, /, key: jax.Array | None = None) -> jax.Array: ...


class Model(NamedTuple):
    """A network, or one layer of it: the same kind of pair as an optax optimizer.

    `name` is what `chain` calls the layer's parameters (`dense` -> `dense_0/w`).

    >>> import jax, jax.numpy as jnp
    >>> import jaxnn
    >>> model = jaxnn.mlp((50, 50), 10)
    >>> params = model.init(jax.random.key(0), jnp.zeros(784))
    >>> model.apply(params, jnp.zeros((32, 784))).shape
    (32, 10)
    """

    init: Init
    apply: Apply
    name: str = "model"


class Batch(NamedTuple):
    """Examples: `x [B, ...]`, `y [B, ...]`, `weight f32[B]`; weight 0 is padding, else the sample's weight."""

    x: Any
    y: Any
    weight: Any


class State(NamedTuple):
    """All that a run carries from step to step; `step` is also the position in the data."""

    step: jax.Array  # i32[]
    params: Params
    opt_state: Any


class Task(NamedTuple):
    """What the outputs mean. Built by `jaxnn.binary`, `multiclass`, `multilabel`, `regression`.

    The model must have `outputs` outputs. `loss(logits, y) -> f32[...]`, one number for each example; `link(logits)`
    gives probabilities (or the prediction, for regression); `metrics(logits, y, weight)` gives sums;
    `summary(sums)` divides them.
    """

    name: str
    outputs: int
    loss: Callable[..., jax.Array]
    link: Callable[[jax.Array], jax.Array]
    metrics: Callable[[jax.Array, jax.Array, jax.Array], Metrics]
    summary: Callable[[Metrics], dict[str, Any]]
