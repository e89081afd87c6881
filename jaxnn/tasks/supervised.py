"""A task says what the outputs of a model mean: loss, link and metrics that belong together.

| task       | outputs       | y                                  | link                      |
|------------|---------------|------------------------------------|---------------------------|
| binary     | `[..., 1]`    | `[...]` 0 or 1                     | `[...]` P(y = 1)          |
| multiclass | `[..., K]`    | `[...]` integers, or soft `[..., K]` | `[..., K]` probabilities |
| multilabel | `[..., K]`    | `[..., K]` 0 or 1                  | `[..., K]` P(y_k = 1)     |
| regression | `[..., K]`    | `[..., K]`, for K = 1 also `[...]` | `[..., K]` prediction     |

`metrics` sums what is measured besides the loss, and `weight`; `jaxnn.metrics.measure` adds `loss` (the sum of weight x
loss); `summary` divides all by the weight. What the answers are is `decide`: the class number, 0 or 1 for each label,
or the number itself.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp

from jaxnn.config.task import TaskConfig
from jaxnn.errors import InputError, choices
from jaxnn.tasks import losses, metrics
from jaxnn.tasks.labels import check_labels, check_targets
from jaxnn.types import Metrics, Task

_REGRESSION = {"absolute": losses.absolute, "huber": losses.huber, "poisson": losses.poisson, "squared": losses.squared}


def binary(*, label_smoothing: float | jax.Array = 0.0) -> Task:
    """Yes or no: one logit, `P(y = 1) = sigmoid(logit)`; accuracy, precision, recall and F1.

    >>> import jax.numpy as jnp
    >>> import jaxnn
    >>> task = jaxnn.binary()
    >>> sums = jaxnn.metrics.measure(task, jnp.array([[3.0], [-3.0]]), jnp.array([1, 1]), jnp.ones(2))
    >>> {name: round(float(value), 2) for name, value in task.summary(sums).items()}
    {'loss': 1.55, 'accuracy': 0.5, 'precision': 1.0, 'recall': 0.5, 'f1': 0.67}
    """

    def loss(logits: jax.Array, y: jax.Array) -> jax.Array:
        return losses.binary_cross_entropy(_one(logits), y, label_smoothing=label_smoothing)

    def sums(logits: jax.Array, y: jax.Array, weight: jax.Array) -> Metrics:
        return _weighed(weight) | metrics.binary_sums(_one(logits), y, weight)

    def summary(sums: Metrics) -> dict[str, Any]:
        tp, fp, fn = sums["tp"], sums["fp"], sums["fn"]
        return _means(sums, loss="loss", accuracy="correct") | {
            "precision": metrics.ratio(tp, tp + fp),
            "recall": metrics.ratio(tp, tp + fn),
            "f1": metrics.ratio(2 * tp, 2 * tp + fp + fn),
        }

    def link(logits: jax.Array) -> jax.Array:
        return jax.nn.sigmoid(_one(logits))

    def log_link(logits: jax.Array) -> jax.Array:
        return jnp.concatenate([jax.nn.log_sigmoid(-_outputs(logits, 1)), jax.nn.log_sigmoid(logits)], axis=-1)

    check = functools.partial(labels_in, classes=2)
    return Task("binary", 1, loss, link, sums, summary, _more_likely, log_link, _no_and_yes, check)


def multiclass(classes: int, *, label_smoothing: float | jax.Array = 0.0) -> Task:
    """One of K classes: K logits, `P(y = k) = softmax(logits)_k`; accuracy. Raises `InputError` if classes < 2.

    >>> import jax.numpy as jnp
    >>> import jaxnn
    >>> task = jaxnn.multiclass(3)
    >>> task.outputs, task.link(jnp.zeros((2, 3))).shape, round(task.loss(jnp.zeros(3), jnp.array(2)).item(), 4)
    (3, (2, 3), 1.0986)
    """
    if classes < 2:
        raise InputError(f"classes={classes}: must be >= 2; there is nothing to learn from one class")

    def loss(logits: jax.Array, y: jax.Array) -> jax.Array:
        return losses.cross_entropy(_outputs(logits, classes), y, label_smoothing=label_smoothing)

    def summary(sums: Metrics) -> dict[str, Any]:
        return _means(sums, loss="loss", accuracy="correct")

    def link(logits: jax.Array) -> jax.Array:
        return jax.nn.softmax(_outputs(logits, classes))

    check = functools.partial(labels_in, classes=classes)

    def sums(logits: jax.Array, y: jax.Array, weight: jax.Array) -> Metrics:
        return _weighed(weight) | metrics.multiclass_sums(logits, y, weight)

    rest = (_most_likely, jax.nn.log_softmax, _as_they_are, check)
    return Task("multiclass", classes, loss, link, sums, summary, *rest)


def multilabel(labels: int, *, label_smoothing: float | jax.Array = 0.0) -> Task:
    """Any of K labels: K logits, each a yes or no; the loss is the sum over the labels, minus their log-likelihood.

    `accuracy` counts examples with every label right, `label_accuracy` single labels. Raises `InputError` if
    labels < 1.

    >>> import jax.numpy as jnp
    >>> import jaxnn
    >>> task = jaxnn.multilabel(2)
    >>> sums = jaxnn.metrics.measure(task, jnp.array([[5.0, 5.0]]), jnp.array([[1, 0]]), jnp.ones(1))
    >>> {name: round(float(value), 2) for name, value in task.summary(sums).items()}
    {'loss': 5.01, 'accuracy': 0.0, 'label_accuracy': 0.5}
    """
    if labels < 1:
        raise InputError(f"labels={labels}: must be >= 1; give the number of labels")

    def loss(logits: jax.Array, y: jax.Array) -> jax.Array:
        each = losses.binary_cross_entropy(_outputs(logits, labels), y, label_smoothing=label_smoothing)
        return jnp.sum(each, axis=-1)

    def summary(sums: Metrics) -> dict[str, Any]:
        return _means(sums, loss="loss", accuracy="correct", label_accuracy="labels_correct")

    def link(logits: jax.Array) -> jax.Array:
        return jax.nn.sigmoid(_outputs(logits, labels))

    def sums(logits: jax.Array, y: jax.Array, weight: jax.Array) -> Metrics:
        return _weighed(weight) | metrics.multilabel_sums(logits, y, weight)

    rest = (_more_likely, jax.nn.log_sigmoid, _as_they_are)
    return Task("multilabel", labels, loss, link, sums, summary, *rest)


def regression(loss: str = "squared", *, outputs: int = 1, center: Any = 0.0, scale: Any = None) -> Task:
    """K numbers: loss squared, absolute, huber or poisson (then the outputs are logarithms of rates).

    `center`, a number or `[K]`, is a rough mean of y. With `scale`, a number or `[K]`, the loss is that of
    (y - center) / scale, so that a learning rate does not depend on the unit of y (poisson: of the rate of y / scale);
    all else stays in the units of y. `mse` and `mae` are means over the outputs, `r2` too. Raises `InputError` for
    another loss or outputs < 1.

    >>> import jax.numpy as jnp
    >>> import jaxnn
    >>> task = jaxnn.regression()
    >>> sums = jaxnn.metrics.measure(task, jnp.array([[1.0], [2.0]]), jnp.array([1.0, 4.0]), jnp.ones(2))
    >>> {name: round(float(value), 2) for name, value in task.summary(sums).items()}
    {'loss': 2.0, 'mse': 2.0, 'mae': 1.0, 'r2': 0.11}
    """
    if loss not in _REGRESSION:
        raise choices("--task.loss", loss, _REGRESSION)
    if outputs < 1:
        raise InputError(f"outputs={outputs}: must be >= 1; give the number of values to predict")
    equation = _REGRESSION[loss]

    def columns(prediction: jax.Array, y: jax.Array) -> jax.Array:
        return jnp.expand_dims(y, -1) if outputs == 1 and y.shape == prediction.shape[:-1] else y

    def link(raw: jax.Array) -> jax.Array:
        return jnp.exp(_outputs(raw, outputs)) if loss == "poisson" else _outputs(raw, outputs)

    def loss_of(raw: jax.Array, y: jax.Array) -> jax.Array:
        raw, y = _outputs(raw, outputs), columns(raw, y)
        if scale is None:
            return equation(raw, y)
        like = lambda value: jnp.broadcast_to(jnp.asarray(value, raw.dtype), raw.shape)
        if loss == "poisson":
            return equation(raw - jnp.log(like(scale)), y / like(scale))
        return equation((raw - like(center)) / like(scale), (y - like(center)) / like(scale))

    def sums(raw: jax.Array, y: jax.Array, weight: jax.Array, center: Any) -> Metrics:
        return _weighed(weight) | metrics.regression_sums(link(raw), columns(raw, y), weight, center)

    def summary(sums: Metrics) -> dict[str, Any]:
        weight = sums["weight"]
        return _means(sums, loss="loss") | {
            "mse": jnp.mean(sums["squared_error"]) / weight,
            "mae": jnp.mean(sums["absolute_error"]) / weight,
            "r2": metrics.r_squared(
                sums["squared_error"], sums["y"], sums["y_squared"], weight, sums.get("y_within", 0.0)
            ),
        }

    check = functools.partial(check_targets, loss=loss)
    decide = _number if outputs == 1 else _as_they_are
    measured = metrics.Centered(sums, center)
    return Task("regression", outputs, loss_of, link, measured, summary, decide, check=check)


def units(loss: str, center: list[float], spread: list[float]) -> tuple[list[float], list[float], list[float]] | None:
    """`(mean, std, scale)` for amounts of this mean and deviation: the outputs of a network are mean + std y, and the
    loss is taken in units of scale. Rates (poisson) have a logarithm to be moved; None where all of them are 0.

    >>> units("squared", [200.0], [50.0]), units("poisson", [1.0], [3.0])
    (([200.0], [50.0], [50.0]), ([0.0], [1.0], [1.0]))
    """
    if loss != "poisson":
        return center, spread, spread
    return ([math.log(rate) for rate in center], [1.0] * len(center), center) if min(center) > 0 else None


def build(config: TaskConfig, name: str, outputs: int, *, center: Any = 0.0, scale: Any = None) -> Task:
    """The task of a config, for data whose labels are of the kind `name` and need `outputs` outputs.

    `--task.name auto` takes the kind of the labels. Two classes can also be learned as multiclass, with two outputs;
    any other kind than the labels' is refused, and so is a loss of another task. Raises `InputError`.

    >>> import jaxnn
    >>> build(jaxnn.TaskConfig(loss="huber"), "regression", 3).outputs
    3
    """
    kind = name if config.name == "auto" else config.name
    if kind != name and (kind, name) != ("multiclass", "binary"):
        raise InputError(f"--task.name={kind}: the labels of this data are {name}; use --task.name auto")
    if kind == "regression":
        if config.label_smoothing:
            raise InputError(f"--task.label_smoothing={config.label_smoothing}: is for classes; leave it out here")
        if config.loss == "cross_entropy":
            raise InputError("--task.loss=cross_entropy: is for classes; use squared, absolute, huber or poisson")
        loss = "squared" if config.loss == "auto" else config.loss
        return regression(loss, outputs=outputs, center=center, scale=scale)
    if config.loss not in ("auto", "cross_entropy"):
        raise InputError(f"--task.loss={config.loss}: is for regression, this task is {kind}; use cross_entropy")
    if kind == "binary":
        return binary(label_smoothing=config.label_smoothing)
    if kind == "multiclass":
        return multiclass(max(outputs, 2), label_smoothing=config.label_smoothing)
    if kind == "multilabel":
        return multilabel(outputs, label_smoothing=config.label_smoothing)
    raise choices("task", kind, ["binary", "multiclass", "multilabel", "regression"])


def _outputs(logits: jax.Array, count: int) -> jax.Array:
    if logits.ndim == 0 or logits.shape[-1] != count:
        raise InputError(f"logits{list(logits.shape)}: the last axis must be {count}; give the model {count} outputs")
    return logits


def _one(logits: jax.Array) -> jax.Array:
    return jnp.squeeze(_outputs(logits, 1), -1)


def labels_in(y: Any, classes: int) -> None:
    """`check_labels` of class numbers; one-hot and soft labels are probabilities, which the loss checks itself."""
    if jnp.ndim(y) == 1:
        check_labels(y, classes)


def _most_likely(p: Any) -> Any:
    return p.argmax(-1)


def _more_likely(p: Any) -> Any:
    return (p > 0.5).astype("int32")


def _number(p: Any) -> Any:
    return p[..., 0]


def _as_they_are(p: Any) -> Any:
    return p


def _no_and_yes(p: Any) -> Any:
    return p.__array_namespace__().stack([1 - p, p], axis=-1)  # NumPy's arrays stay NumPy's, and float64


def _weighed(weight: jax.Array) -> Metrics:
    return {"weight": jnp.sum(jnp.asarray(weight, float))}


def _means(sums: Metrics, **names: str) -> dict[str, Any]:
    return {shown: sums[name] / sums["weight"] for shown, name in names.items() if name in sums}
