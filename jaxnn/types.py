"""The contract: a model is a pair of pure functions, a run is a value.

Leading axes are free. A layer's core axes come last (`[F]` for features, `[H, W, C]` for images); whatever
stands before them is batch. So for every model and every layer, without a key,

    apply(params, xs) == vmap(apply, (None, 0))(params, xs)

Inputs and labels are arrays, or pytrees of arrays (an image and its mask, boxes with their classes).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

if TYPE_CHECKING:  # at run time this module is used before jax is imported
    import jax
    import optax

Params = Any  # a pytree of arrays
Metrics = dict[str, Any]
"""Sums and counts by name, `f32[...]` each; divided once, at the end."""


class Init(Protocol):
    """`init(key, x) -> params`; `x` is one example, or its `jax.ShapeDtypeStruct`."""

    def __call__(self, key: jax.Array, x: Any, /) -> Params: ...


class Apply(Protocol):
    """`apply(params, x, key=None) -> y`, pure; a key switches training noise (dropout) on."""

    def __call__(self, params: Params, x: Any, /, key: jax.Array | None = None) -> Any: ...


class Observe(Protocol):
    """`observe(params, x, key, weight, frozen) -> (y, params)`: `apply` while training, if a model keeps statistics.

    The statistics in the params that come back have seen the batch x, in which rows of weight 0 have no part. `frozen`
    is a pytree of bool like params: what is True stays as it is, and stands for the statistics of the batch.
    """

    def __call__(
        self, params: Params, x: Any, key: jax.Array | None, weight: jax.Array, frozen: Any, /
    ) -> tuple[Any, Params]: ...


class Model(NamedTuple):
    """A network, or one layer of it: the same kind of pair as an optax optimizer.

    `name` is what `chain` calls the layer's parameters (`dense` -> `dense_0/w`). Parameters in an entry whose name ends
    in `_stats` are statistics (`jaxnn.tree.is_kept`): carried and saved with the others, and not trained. A model that
    renews them while it trains has `observe`.

    `micro_batch`: on a CPU, how many rows at a time are trained on, so that what passes from one layer to the next
    stays in its cache; None where that is no gain.

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
    observe: Observe | None = None
    micro_batch: int | None = None


class Batch(NamedTuple):
    """Examples: `x [B, ...]`, `y [B, ...]`, `weight f32[B]`; weight 0 is padding, else the sample's weight.

    >>> import jax.numpy as jnp, jaxnn
    >>> batch = jaxnn.Batch(x=jnp.zeros((32, 784)), y=jnp.zeros(32, int), weight=jnp.ones(32))
    >>> batch.x.shape, float(batch.weight.sum())
    ((32, 784), 32.0)
    """

    x: Any
    y: Any
    weight: Any


class Mixed(NamedTuple):
    """The `y` of a batch whose rows were mixed with others (`jaxnn.augment.mixup`).

    `y` and `partner [B, ...]`, the labels of both; `share f32[B]`, that of y; `weight f32[B]`, that of the partner.
    """

    y: Any
    partner: Any
    share: Any
    weight: Any


class Window(NamedTuple):
    """The rows of n steps of B rows each.

    Resident data: `data` are all rows, and `index i32[n, B]` says which of them each step takes. Streamed data: `data`
    are the rows of these steps alone, `[n, B, ...]`, and `index` is None. `real bool[n, B]`: those that are no padding.

    >>> import jax.numpy as jnp, jaxnn
    >>> rows = jaxnn.Batch(jnp.arange(6.0)[:, None], jnp.arange(6), jnp.ones(6))
    >>> two_steps = jaxnn.Window(rows, index=jnp.array([[4, 1, 0], [5, 2, 3]]), real=jnp.ones((2, 3), bool))
    >>> rows.x[two_steps.index[0], 0].tolist()
    [4.0, 1.0, 0.0]
    """

    data: Batch
    index: Any
    real: Any


class State(NamedTuple):
    """All that a run carries from step to step; `step` is also the position in the data.

    >>> import jax, jax.numpy as jnp, jaxnn, optax
    >>> recipe = jaxnn.Recipe(jaxnn.linear(3), jaxnn.multiclass(3), optax.sgd(0.1))
    >>> state = jaxnn.engine.init(recipe, jax.random.key(0), jnp.zeros(4))
    >>> int(state.step), state.params["dense_0"]["w"].shape
    (0, (3, 4))
    """

    step: jax.Array  # i32[]
    params: Params
    opt_state: Any


def unchanged(batch: Batch, key: jax.Array | None) -> Batch:
    """The batch itself: what `Task.prepare` is by default."""
    return batch


class Metric(NamedTuple):
    """What a task measures besides, in sums that add up over batches and are divided once, at the end.

        sums(outputs, y, weight) -> {name: f32[...]}   sums over the rows, each times its weight (0: padding)
        value(sums) -> f32[]                           what they come to
        minimized                                      less is better
        whole                                          of all rows of a split together, where it is evaluated; for
                                                       sums that do not add up over batches. No such metric of training

    Outputs and y are what the loss of the task takes: `[B]` and `[B]` for binary, `[B, K]` and integers `[B]` for
    multiclass, else `[B, K]` both. `jaxnn.metrics.weighted_sum` leaves out what weighs nothing, even if it is NaN.

    >>> import jax, jax.numpy as jnp, jaxnn
    >>> def sums(logits, y, weight):
    ...     return {"error": jaxnn.metrics.weighted_sum((jax.nn.sigmoid(logits) - y) ** 2, weight), "n": weight.sum()}
    >>> brier = jaxnn.Metric(sums, lambda sums: sums["error"] / sums["n"], minimized=True)
    >>> task = jaxnn.binary(metrics={"brier": brier})
    >>> found = jaxnn.metrics.measure(task, jnp.zeros((4, 1)), jnp.array([0, 1, 1, 0]), jnp.ones(4))
    >>> float(task.summary(found)["brier"]), "brier" in task.minimized
    (0.25, True)
    """

    sums: Callable[[Any, Any, jax.Array], Metrics]
    value: Callable[[Metrics], Any]
    minimized: bool = False
    whole: bool = False


class Task(NamedTuple):
    """What the outputs mean. Built by `jaxnn.binary`, `multiclass`, `multilabel`, `regression`, `segmentation`, ...

    The model must have `outputs` outputs for each example, or outputs of that shape.

        loss(outputs, y) -> f32[B]                   what is minimised, one number for each example
        metrics(outputs, y, weight) -> sums          what is measured besides
        summary(sums) -> {name: f32[]}               those sums, and `loss` and `weight`, divided
        link(outputs) -> probabilities               or the prediction, for regression
        log_link(outputs) -> log-probabilities       None where there are no probabilities
        distribution(probabilities) -> f32[B, K]     one for each class; None where there are none
        decide(probabilities) -> answers             class numbers, yes or no for each label, or numbers
        check(y)                                     on the host: raises `InputError` for labels that are none
        prepare(batch, key) -> batch                 in the step, before the model: what x and y become
        minimized                                    the names in the summary of which less is better
        columns(probabilities) -> {suffix: f32[B, K]}   what is written of K amounts; None: the answers
        whole(outputs, y, weight) -> sums            those of all rows of a split that is evaluated, or None
        final(sums) -> {name: float}                 on the host, of a test set: what is no quotient of sums, or None
        labels                                       what y is, for an augmentation that moves the image: of the
                                                     `whole` image, a `mask [H, W]`, or `boxes [M, 5]`

    >>> import jax.numpy as jnp, jaxnn
    >>> task = jaxnn.multiclass(3)
    >>> logits = jnp.array([[5.0, 0.0, 0.0]])
    >>> task.shape, task.decide(task.link(logits)).tolist(), task.loss(logits, jnp.array([0])).shape
    ((3,), [0], (1,))
    """

    name: str
    outputs: int | tuple[int, ...]
    loss: Callable[[Any, Any], jax.Array]
    link: Callable[[Any], Any]
    metrics: Callable[[Any, Any, jax.Array], Metrics]
    summary: Callable[[Metrics], dict[str, Any]]
    decide: Callable[[Any], Any]
    log_link: Callable[[Any], Any] | None = None
    distribution: Callable[[Any], Any] | None = None
    check: Callable[[Any], Any] = lambda y: None
    prepare: Callable[[Batch, jax.Array | None], Batch] = unchanged
    minimized: frozenset[str] = frozenset(("loss", "mse", "mae"))
    columns: Callable[[Any], dict[str, Any]] | None = None
    whole: Callable[[Any, Any, jax.Array], Metrics] | None = None
    final: Callable[[Metrics], dict[str, float]] | None = None
    labels: Literal["whole", "mask", "boxes"] = "whole"

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the outputs for one example."""
        return (self.outputs,) if isinstance(self.outputs, int) else tuple(self.outputs)


class Recipe(NamedTuple):
    """What is trained, and how.

        minimise  sum_i w_i loss(model(theta, x_i), y_i) / sum_i w_i + alpha/2 |W|^2      over theta, by tx

    Plain values: every number in it may be traced, so that `vmap` and `grad` over alpha or a learning rate work. Close
    over it under `jit` (`jax.jit(functools.partial(engine.steps, recipe))`); a traced alpha has no hash.

    Args:
      model, task, tx: the network, what its outputs mean, and the optimizer (optax, or `jaxnn.optimizer`).
      alpha: L2 penalty on the weights that are trained, biases left alone.
      penalise: the `mean` of the losses, or their `sum` before it is divided by the weight of the batch (as
        scikit-learn does).
      accumulate: parts into which a batch is cut to save memory.
      watch: the norm of the gradient is taken at each step, for a tx that makes a finite step of an infinite gradient.
      freeze: patterns of the paths of parameters that are not trained (`dense_0`, `conv_*`, `*/b`).
      class_weight: f32[K], the factors of the classes that are in `Batch.weight`; the loss has them, no metric has.
      augment: what the rows of each step become before they are trained on, `(batch, key) -> batch`, drawn from the key
        of the step alone (`jaxnn.augment.rows`, `mixup`); no part of an evaluation.
      exact: parts of a batch whose gradients are added in their order, so that the bits are the same on any number of
        devices that divides it (`jaxnn.engine.exact`); 0: the batch is whole.

    >>> import jaxnn, optax
    >>> recipe = jaxnn.Recipe(jaxnn.mlp((50,), 10), jaxnn.multiclass(10), optax.adam(1e-3), freeze=("dense_0",))
    >>> recipe._replace(alpha=1e-4).freeze
    ('dense_0',)
    """

    model: Model
    task: Task
    tx: optax.GradientTransformation
    alpha: Any = 0.0
    penalise: Literal["mean", "sum"] = "mean"
    accumulate: int = 1
    watch: bool = False
    freeze: tuple[str, ...] = ()
    class_weight: Any = None
    augment: Callable[[Batch, jax.Array], Batch] | None = None
    exact: int = 0
