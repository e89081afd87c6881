"""What is known of a run once its network has been looked at, before its first step and in the end.

A run is a pure function: what it began with is made again from its seed, and its examples are read again by its config.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxnn import recipe
from jaxnn.config.names import KERAS_MODEL, OPTIMIZERS
from jaxnn.config.own import Own
from jaxnn.config.settings import Config
from jaxnn.config.values import from_dict
from jaxnn.data.assemble import from_config
from jaxnn.data.dataset import Dataset
from jaxnn.devices import mesh
from jaxnn.engine.descent import init
from jaxnn.errors import InputError
from jaxnn.report.examination import Look, examiner, moved, sample
from jaxnn.store import arrays, history, weights
from jaxnn.training import plan
from jaxnn.types import Batch, Params, Recipe, unchanged


class Evidence(NamedTuple):
    """What is known of a run.

    Args:
      start: its network before the first step; None where it began with the weights of another.
      end: with the weights that it ended with.
      moved: |theta_end - theta_start| / |theta_start|.
      lr: the learning rate of its settings; None where the optimizer finds its step itself.
      failed: whether it ended with a number that is not finite.
      rows: its history.
      parts: its examples, by `train` and `val`.
      classes: where each example is of one: their names.
      guess: the loss of a network that knows nothing, log K; None where the loss is no cross-entropy.
      answers: i32[n], the class that it gives each of the training examples that were asked.
    """

    start: Look | None
    end: Look
    moved: float | None
    lr: float | None
    failed: bool
    rows: list[dict[str, Any]]
    parts: dict[str, Batch]
    classes: Sequence[Any] | None = None
    guess: float | None = None
    answers: np.ndarray | None = None


def gather(folder: Path, saved: dict[str, Any], own: Own) -> Evidence:
    """What is known of the run in a folder, whose config.json is `saved` and whose config file brought `own`.

    It may have been stopped, or have failed. Raises `InputError` where its weights are not there, or its examples
    cannot be read as they were.
    """
    if saved["source"] == KERAS_MODEL:
        rule = "was trained by jaxnn.keras on arrays, which a run does not keep"
        raise InputError(f"run={folder}: {rule}; diagnose a run of jaxnn train")
    found, config = weights.read(folder, "run"), from_dict(saved["config"], Config)
    rows = history.rows(folder)
    data = from_config(config.data, config.task.name, keep=True, arrays=own.data)
    if data.digest != saved["data"]["digest"]:
        had = saved["data"]["digest"][:12]
        raise InputError(f"data.digest={data.digest[:12]}: the run in {folder} had {had}; bring its data back")
    with mesh.use(1):
        made, example = _recipe(config, data, own)
        look = examiner(made, data.train)
        begin = jax.jit(lambda key: init(made, key, example).params)
        start = jax.device_get(begin(jax.random.key(config.seed)))
        end = arrays.restore(found.leaves, start, "weights")
        anew = config.init_from is None
        return Evidence(
            start=look(start) if anew else None,
            end=look(end),
            moved=moved(start, end, made.freeze) if anew else None,
            lr=_rate(config, own),
            failed=found.ending == weights.FAILED or any(_is_null(row) for row in rows),
            rows=rows,
            parts=data.parts,
            classes=data.classes,
            guess=guess_of(made.task.name, data.outputs, config.task.loss, own_loss=bool(own.loss or own.task)),
            answers=_answers(made, end, data),
        )


def _recipe(config: Config, data: Dataset, own: Own) -> tuple[Recipe, Any]:
    """What is trained, at the full rate from the first step on; and the shape of an example."""
    optim = replace(config.optim, schedule="constant", warmup="0", unfreeze=())
    config = replace(config, optim=optim, exact=None)
    model, task, example = recipe.network(config, data.describe(), own, mean=data.mean, std=data.std)
    steps = plan.plan(config, len(data.train.weight))
    own = own._replace(schedule=None)
    made = recipe.recipe(config, data.describe(), model, task, example, steps, data.class_weight, own)
    return made, example


def _rate(config: Config, own: Own) -> float | None:
    """The learning rate of a run; None where its optimizer finds its step itself."""
    if config.optim.name == "lbfgs" and not own.optimizer:
        return None
    return OPTIMIZERS[config.optim.name] if config.optim.lr is None else config.optim.lr


def _is_null(row: dict[str, Any]) -> bool:
    return any(value is None for name, value in row.items() if name.endswith("/loss"))


def _answers(made: Recipe, params: Params, data: Dataset) -> np.ndarray | None:
    """The classes that are answered, where each example is of one."""
    task = made.task
    if data.classes is None or np.ndim(data.train.y) != 1 or task.prepare is not unchanged:
        return None
    outputs = jax.jit(lambda x: task.link(made.model.apply(params, x)))
    return np.concatenate([np.asarray(task.decide(outputs(block.x))) for block in sample(data.train)])


def guess_of(task: str, outputs: int, loss: str, *, own_loss: bool) -> float | None:
    """log K, the cross-entropy of a network that gives each of K classes the same probability; log 2 for each of
    several labels. None where the loss is another one.

    >>> round(guess_of("multiclass", 10, "auto", own_loss=False), 3)
    2.303
    """
    if own_loss or loss not in ("auto", "cross_entropy"):
        return None
    known = {"multiclass": math.log(outputs), "segmentation": math.log(outputs)}
    return (known | {"binary": math.log(2), "multilabel": outputs * math.log(2)}).get(task)
