"""The one place where a config becomes functions: the model, the task, the optimizer, and how they are trained."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from jaxnn import tree
from jaxnn.config.settings import Config
from jaxnn.errors import InputError
from jaxnn.nn import flax, models, norms
from jaxnn.numerics import refuse_half
from jaxnn.optim import optimizer
from jaxnn.tasks import supervised
from jaxnn.training.plan import Plan
from jaxnn.types import Batch, Model, Recipe, Task


def network(
    config: Config, data: dict[str, Any], own_model: Any = None, *, mean: Any = None, std: Any = None
) -> tuple[Model, Task, jax.ShapeDtypeStruct]:
    """The model, the task and the shape of an example, given what is known of the data (`Dataset.describe`).

    Args:
      config: the settings of the run.
      data: what is known of its data.
      own_model: the config file's `model`, `outputs -> Model or Flax module`, if it brought one.
      mean, std: of the training examples, where the input is standardised; weights that are read bring their own.

    Raises:
      InputError: settings that do not fit the data, or a model that does not.
    """
    example = jax.ShapeDtypeStruct(tuple(data["shape"]), np.dtype(data["dtype"]))
    center, spread = np.asarray(data["center"], np.float32), data.get("spread")
    units = None if spread is None else supervised.units(config.task.loss, data["center"], spread)
    task = supervised.build(config.task, data["task"], data["outputs"], center=center, scale=units and units[2])
    if mean is None and data.get("standardized", config.data.standardize):
        mean, std = np.zeros(example.shape, np.float32), np.ones(example.shape, np.float32)
    raw = {"scale": data["scale"], "mean": mean, "std": std}
    if own_model is None:
        model = models.build(config.model, example, task.outputs, **raw)
    else:
        model = _adopted(own_model, task, example, raw)
    return model if units is None else norms.in_units(model, *units[:2]), task, example


def _adopted(own_model: Any, task: Task, example: Any, raw: dict[str, Any]) -> Model:
    """The model that a config file brought."""
    given = own_model(task.outputs)
    if not isinstance(given, Model):  # flax is imported only by those who use it
        given = flax.for_example(given, example)
    model = models.adopt(given, example, **raw)
    params = jax.eval_shape(model.init, jax.random.key(0), example)
    refuse_half("model", params)
    shape = jax.eval_shape(model.apply, params, example).shape
    if shape != (task.outputs,):
        rule = f"must give [{task.outputs}], the outputs it is asked for"
        raise InputError(f"model: gives {list(shape)} for one example: {rule}")
    return model


def checked(task: Task, parts: dict[str, Batch]) -> dict[str, Batch]:
    """The parts, once the task has looked at all labels. Raises what `Task.check` does."""
    for split in parts.values():
        task.check(split.y)
    return parts


def recipe(config: Config, model: Model, task: Task, example: Any, plan: Plan, class_weight: Any = None) -> Recipe:
    """What is trained, and how. Raises `InputError` for settings of the optimizer that do not fit the model or run."""
    optim = config.optim
    if optim.freeze:
        params = jax.eval_shape(model.init, jax.random.key(0), example)
        tree.check_freeze("--optim.freeze", optim.freeze, params)
    tx = optimizer.optimizer(optim, steps_per_epoch=plan.steps_per_epoch, total_steps=plan.total)
    how = {"accumulate": optim.accumulate, "watch": optimizer.bounded(optim), "freeze": optim.freeze}
    return Recipe(model, task, tx, optim.alpha, class_weight=class_weight, **how)
