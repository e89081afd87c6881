"""Which task a run has: by the settings, by the labels of its data, or that of the config file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from jaxnn.config.names import GENERATIVE, PICTURED
from jaxnn.config.task import TaskConfig
from jaxnn.errors import InputError
from jaxnn.tasks import supervised
from jaxnn.tasks.base import Loss
from jaxnn.types import Metric, Task

LABELS = {"segmentation": "masks", "detection": "boxes"}


def choose(
    config: TaskConfig,
    data: dict[str, Any],
    *,
    scale: Any = None,
    loss: Loss | None = None,
    metrics: Mapping[str, Metric] | None = None,
    own: Callable[[dict[str, Any]], Any] | None = None,
) -> Task:
    """The task of a config, for data of which this is known (`jaxnn.data.Dataset.describe`).

    Args:
      config: the settings; auto takes the kind of the labels.
      scale: of the amounts to predict, if they are standardised.
      loss, metrics, own: those of the config file, `own` the whole task.

    Raises `InputError` for settings that do not fit the data or one another.
    """
    if own is not None:
        return _own(config, data, own, loss, metrics)
    kind = data["task"] if config.name == "auto" else config.name
    if config.dice and kind != "segmentation":
        raise InputError(f"--task.dice={config.dice}: is for segmentation, and this task is {kind}; leave it out")
    if kind not in (*GENERATIVE, *PICTURED):
        if data["task"] in PICTURED:
            rule = f"the labels of this data are {LABELS[data['task']]}"
            raise InputError(f"--task.name={kind}: {rule}; use --task.name {data['task']}")
        center = np.asarray(data["center"], np.float32)
        given = {"center": center, "scale": scale, "loss": loss, "metrics": metrics}
        return supervised.build(config, data["task"], data["outputs"], **given)
    wanted = [kind] if kind in PICTURED else ["binary", "multiclass"]
    if data["task"] not in wanted:
        needs = f"needs {LABELS[kind]}" if kind in PICTURED else "needs images with a class each"
        raise InputError(f"--task.name={kind}: {needs}, and the labels of this data are {data['task']}; leave it out")
    if len(data["shape"]) != 3:
        raise InputError(
            f"--task.name={kind}: needs images [H, W, C], and these are rows of {data['shape'][0]} numbers"
        )
    for name, value in (("loss", loss), ("metrics", metrics)):
        if value is not None:
            raise InputError(
                f"{name}: is for classes and amounts, and this task is {kind}; bring the whole, def task(data)"
            )
    for name in ("loss", "label_smoothing", "metrics", "quantiles"):
        if (value := getattr(config, name)) != getattr(TaskConfig, name):
            raise InputError(
                f"--task.{name}={value}: is for classes and amounts, and this task is {kind}; leave it out"
            )
    return _module(kind).of(config, data)


def _own(config: TaskConfig, data: dict[str, Any], own: Callable[..., Any], loss: Any, metrics: Any) -> Task:
    """The task of a config file, which brings all of it."""
    for name, value in (("loss", loss), ("metrics", metrics)):
        if value is not None:
            raise InputError(f"{name}: the config file brings a task, which has its own; give it {name}= there")
    for name, value in vars(config).items():
        if value != getattr(TaskConfig, name):
            raise InputError(f"--task.{name}={value}: the config file brings the task; leave it out, and set it there")
    task = own(data)
    if not isinstance(task, Task):
        raise InputError(
            f"task(data)={type(task).__name__}: must be a jaxnn.Task; return jaxnn.multiclass(...), or one"
        )
    return task


def _module(kind: str) -> Any:
    """Imported by those alone who have such a task."""
    if kind == "segmentation":
        from jaxnn.tasks import segmentation as module
    elif kind == "detection":
        from jaxnn.tasks import detection as module
    elif kind == "flow_matching":
        from jaxnn.tasks import flow_matching as module
    else:
        from jaxnn.tasks import vae as module
    return module
