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

from collections.abc import Mapping
from typing import Any

from jaxnn.config.task import TaskConfig
from jaxnn.errors import InputError, choices
from jaxnn.tasks import scores
from jaxnn.tasks.base import Loss
from jaxnn.tasks.classification import binary, multiclass, multilabel
from jaxnn.tasks.regression import LOSSES, regression
from jaxnn.types import Metric, Task


def build(
    config: TaskConfig,
    name: str,
    outputs: int,
    *,
    center: Any = 0.0,
    scale: Any = None,
    loss: Loss | None = None,
    metrics: Mapping[str, Metric] | None = None,
) -> Task:
    """The task of a config, for data whose labels are of the kind `name` and need `outputs` outputs.

    `--task.name auto` takes the kind of the labels. Two classes can also be learned as multiclass, with two outputs;
    any other kind than the labels' is refused, and so is a loss of another task. `loss` and `metrics` are one's own.
    Raises `InputError`.

    >>> import jaxnn
    >>> build(jaxnn.TaskConfig(loss="huber"), "regression", 3).outputs
    3
    """
    kind = name if config.name == "auto" else config.name
    if kind != name and (kind, name) != ("multiclass", "binary"):
        raise InputError(f"--task.name={kind}: the labels of this data are {name}; use --task.name auto")
    if loss and config.loss != "auto":
        raise InputError(f"--task.loss={config.loss}: the config file brings a loss; leave out one of them")
    classes = max(outputs, 2) if kind == "multiclass" else outputs
    asked = scores.named(config.metrics, kind, classes)
    if both := asked.keys() & (metrics or {}).keys():
        raise InputError(f"--task.metrics={min(both)}: the config file brings a metric of that name; rename it there")
    more = {**asked, **(metrics or {})}
    if kind == "regression":
        if config.label_smoothing:
            raise InputError(f"--task.label_smoothing={config.label_smoothing}: is for classes; leave it out here")
        if config.loss == "cross_entropy":
            raise InputError(f"--task.loss=cross_entropy: is for classes; use {', '.join(sorted(LOSSES))}")
        chosen = loss or ("squared" if config.loss == "auto" else config.loss)
        given = {"center": center, "scale": scale, "quantiles": config.quantiles}
        return regression(chosen, outputs=outputs, metrics=more, **given)
    if config.loss not in ("auto", "cross_entropy"):
        raise InputError(f"--task.loss={config.loss}: is for regression, this task is {kind}; use cross_entropy")
    own: dict[str, Any] = {"label_smoothing": config.label_smoothing, "loss": loss, "metrics": more}
    if kind == "binary":
        return binary(**own)
    if kind == "multiclass":
        return multiclass(classes, **own)
    if kind == "multilabel":
        return multilabel(outputs, **own)
    raise choices("task", kind, ["binary", "multiclass", "multilabel", "regression"])
