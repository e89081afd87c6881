"""The one place where a config becomes functions: the model, the task, the optimizer, and how they are trained."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from jaxnn import tree
from jaxnn.augment import batches
from jaxnn.config.names import DECODED, GENERATIVE, PICTURED
from jaxnn.config.optim import OptimConfig
from jaxnn.config.own import Own
from jaxnn.config.settings import Config
from jaxnn.data.streams.rows import Rows, blocks
from jaxnn.errors import InputError
from jaxnn.nn import flax, models, norms
from jaxnn.numerics import refuse_half
from jaxnn.optim import optimizer
from jaxnn.tasks import choose
from jaxnn.tasks.base import each
from jaxnn.tasks.metrics import measure
from jaxnn.tasks.regression import units as in_units
from jaxnn.training.plan import Plan
from jaxnn.types import Batch, Model, Recipe, Task, unchanged

ROWS_OF_A_PART = 4  # at least, where they are normalised or mixed


def network(
    config: Config,
    data: dict[str, Any],
    own: Own | None = None,
    *,
    mean: Any = None,
    std: Any = None,
) -> tuple[Model, Task, jax.ShapeDtypeStruct]:
    """The model, the task and the shape of an example as the model takes it, given what is known of the data
    (`Dataset.describe`).

    Args:
      config: the settings of the run.
      data: what is known of its data.
      own: what the config file brought: `model`, `outputs -> Model or Flax module`, and `task`, `loss` and `metrics`;
        a network is used without these two.
      mean, std: of the training examples, where the input is standardised; weights that are read bring their own.

    Raises:
      InputError: settings that do not fit the data, or a model that does not.
    """
    own, example, spread = own or Own(), _example(data), data.get("spread")
    units = None if spread is None else in_units(config.task.loss, data["center"], spread, config.task.quantiles)
    given = {"loss": own.loss, "metrics": own.metrics, "own": own.task}
    task = choose.choose(config.task, data, scale=units and units[2], **given)
    if mean is None and data.get("standardized", config.data.standardize):
        mean, std = np.zeros(example.shape, np.float32), np.ones(example.shape, np.float32)
    raw = {"scale": data["scale"], "mean": mean, "std": std, "dtype": config.dtype}
    if task.prepare is not unchanged:
        if data.get("standardized"):
            cure = "add --data.no-standardize, and standardise there"
            raise InputError(f"--data.standardize=True: the task prepares its examples itself; {cure}")
        example = _prepared(task, data)
        as_read = getattr(example, "dtype", None) == np.uint8  # what is floating has the range that the task gave it
        raw = {"scale": data["scale"] if as_read else None, "dtype": config.dtype}
    if config.model.remat and own.model is not None:
        raise InputError("--model.remat=True: the model is the config file's own; wrap its blocks in jaxnn.remat there")
    _check_jitter(config, data)
    model = _built(config, own.model, task.outputs, example, raw)
    if own.model is not None or own.task is not None:
        _check_own_model(model, task, example)
        if config.task.name in DECODED:
            _check_decoder(model, example)
    return model if units is None else norms.in_units(model, *units[:2]), task, example


def _example(data: dict[str, Any]) -> jax.ShapeDtypeStruct:
    """The shape of an example as it is in the data."""
    return jax.ShapeDtypeStruct(tuple(data["shape"]), np.dtype(data["dtype"]))


def _prepared(task: Task, data: dict[str, Any]) -> Any:
    """The shape of an example as the task makes it for the model."""
    y = data.get("y") or {"shape": [], "dtype": "int32"}
    row = Batch(_example(data), jax.ShapeDtypeStruct(tuple(y["shape"]), np.dtype(y["dtype"])), np.float32(1))
    batch = jax.tree.map(lambda a: jax.ShapeDtypeStruct((1, *a.shape), a.dtype), row)
    x = jax.eval_shape(lambda batch: task.prepare(batch, None), batch).x
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), x)


def _check_jitter(config: Config, data: dict[str, Any]) -> None:
    """Refuse to change the colours of images whose numbers do not lie between black, 0, and white."""
    for word in config.data.augment:
        low, high = data.get("range") or (0.0, 0.0)
        if word.startswith("color_jitter") and not 0 <= low <= high <= (data["scale"] or 1.0):
            rule = f"images of {low:g} to {high:g} have no black and white; give bytes, or numbers of 0 to 1"
            raise InputError(f"--data.augment={word}: {rule}")


def head(config: Config, task: Task, example: Any, own_model: Any = None) -> frozenset[str]:
    """The paths of the parameters whose shapes depend on how many outputs there are: those of the last layer.

    Raises `InputError` where a model of one's own is not to be had with one output more.
    """

    def shapes(outputs: int | tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        model = _built(config, own_model, outputs, example, {})
        leaves = tree.by_name(jax.eval_shape(model.init, jax.random.key(0), example))
        return {name: leaf.shape for name, leaf in leaves.items()}

    *axes, last = task.shape
    more = last + 1 if isinstance(task.outputs, int) else (*axes, last + 1)
    ours = shapes(task.outputs)
    try:
        wider = shapes(more)
    except Exception as error:  # in a function of the user's own
        rule = f"the classes are others, and a model of {more} outputs, which would tell the last layer"
        cure = "name the weights.safetensors of the run, to take every array that fits"
        raise InputError(f"--init_from: {rule}, fails ({type(error).__name__}: {error}); {cure}") from error
    return frozenset(name for name, shape in ours.items() if wider.get(name) != shape)


def _built(config: Config, own_model: Any, outputs: Any, example: Any, raw: dict[str, Any]) -> Model:
    """The model of the settings, or the one that a config file brought, for raw examples like this one."""
    if own_model is None:
        return models.build(config.model, example, outputs, **raw)
    given = own_model(outputs)
    if not isinstance(given, Model):  # flax is imported only by those who use it
        given = flax.for_example(given, example)
    return models.adopt(given, example, **raw)


def _check_own_model(model: Model, task: Task, example: Any) -> None:
    """Refuse a model of a config file with other outputs than the task has, or parameters in half precision."""
    params = jax.eval_shape(model.init, jax.random.key(0), example)
    refuse_half("model", params)
    shape = jax.eval_shape(model.apply, params, example).shape
    if shape != task.shape:
        rule = f"must give {list(task.shape)}, the outputs it is asked for"
        raise InputError(f"model: gives {list(shape)} for one example: {rule}")


def _check_decoder(model: Model, example: Any) -> None:
    """Refuse a model of a config file that decodes no z, from which a vae draws images when it has been trained."""
    params, pixels = jax.eval_shape(model.init, jax.random.key(0), example), math.prod(example["x"].shape)
    try:
        shape = jax.eval_shape(model.apply, params, {"z": example["noise"]}).shape
    except Exception as error:  # in a function of the user's own
        shape = f"fails: {type(error).__name__}: {' '.join(str(error).split())}"
    if shape != (pixels,):
        rule = f"must decode {{'z': f32{list(example['noise'].shape)}}} to {[pixels]}, the pixels of an image"
        given = shape if isinstance(shape, str) else f"gives {list(shape)}"
        raise InputError(f"model: {rule} ({given}); see jaxnn.vae")


def checked(task: Task, parts: dict[str, Batch], own: Own | None = None) -> dict[str, Batch]:
    """The parts, once the task has looked at all labels. Raises what `Task.check` does, and `InputError` for metrics of
    one's own that are no sums, and a loss that gives anything but a number for each example."""
    for split in parts.values():
        for rows in blocks(split.y) if isinstance(split.x, Rows) else [...]:
            task.check(split.y[rows])
    if own is None or not (own.loss or own.metrics or own.task):  # tracing the task takes time at every start
        return parts
    batch = jax.tree.map(lambda a: np.asarray(a[:8]), parts["train"])
    outputs = np.random.default_rng(0).normal(size=(len(batch.weight), *task.shape)).astype(np.float32)
    loss = lambda outputs, batch: each(task.loss, outputs, task.prepare(batch, None).y, batch.weight.shape)
    jax.eval_shape(loss, outputs, batch)
    if own.metrics:  # of a task that prepares nothing
        _check_sums(task, outputs, batch.y, own.metrics)
    return parts


def _check_sums(task: Task, outputs: Any, y: Any, metrics: Any) -> None:
    """Refuse what a mean would be: the sums of rows of which some weigh nothing, and those of the rest, must add up."""
    first = (np.arange(len(outputs)) < len(outputs) // 2).astype(np.float32)
    sums_of = jax.jit(task.metrics)
    whole, one, other = (sums_of(outputs, y, weight) for weight in (np.ones_like(first), first, 1 - first))
    jax.eval_shape(task.summary, jax.eval_shape(functools.partial(measure, task), outputs, y, first))
    for key in whole:
        name, _, sum_name = key.partition(".")
        if name in metrics and not np.allclose(whole[key], np.add(one[key], other[key]), rtol=1e-3, equal_nan=True):
            rule = "of two halves of the rows do not add up to that of all"
            cure = "sum weight times value (jaxnn.metrics.weighted_sum), or say Metric(..., whole=True)"
            raise InputError(f"metrics={name}: the sums {sum_name} {rule}; {cure}")


def recipe(
    config: Config,
    data: dict[str, Any],
    model: Model,
    task: Task,
    example: Any,
    plan: Plan,
    class_weight: Any = None,
    own: Own | None = None,
    traced: Mapping[str, Any] | None = None,
) -> Recipe:
    """What is trained, and how.

    `traced`: lr, momentum, weight_decay and alpha in place of those of the config; they may be traced. Raises
    `InputError` for settings of the optimizer that do not fit the model or run, and for augmentations that do not fit
    the examples or the task.
    """
    optim, own = config.optim, own or Own()
    if class_weight is not None and task.name in GENERATIVE:
        rule = f"weighs the answers to a class, and {task.name} gives none; leave it out"
        raise InputError(f"--data.class_weight={config.data.class_weight}: {rule}")
    if optim.freeze:
        params = jax.eval_shape(model.init, jax.random.key(0), example)
        tree.check_freeze("--optim.freeze", optim.freeze, params)
    if optim.accumulate > 1 and model.observe:
        rule = "the model takes the statistics of a whole batch; leave it out, or train on a smaller --batch_size"
        raise InputError(f"--optim.accumulate={optim.accumulate}: {rule}")
    _check_own(optim, own)
    if config.data.augment and task.labels == "whole" and data["task"] in PICTURED:
        words, left = " ".join(config.data.augment), choose.LABELS[data["task"]]
        rule = f"would leave the {left} behind, as the config file's task has labels={task.labels}"
        raise InputError(f"--data.augment={words}: {rule}; give it labels=mask or boxes")
    length = {"steps_per_epoch": plan.steps_per_epoch, "total_steps": plan.total}
    numbers: dict[str, Any] = {"alpha": optim.alpha} | dict(traced or {})
    alpha = numbers.pop("alpha")
    tx = optimizer.optimizer(optim, **length, **numbers, own=own.optimizer, own_schedule=own.schedule)
    watch = optimizer.bounded(optim) or own.optimizer is not None  # which may make a finite step of any gradient
    augment = batches.build(config.data.augment, _example(data), task, data["scale"])
    _check_parts(config, model, plan)
    how = {"accumulate": optim.accumulate, "watch": watch, "freeze": optim.freeze, "augment": augment}
    how |= {"exact": config.exact or 0}
    return Recipe(model, task, tx, alpha, class_weight=class_weight, **how)


def _check_parts(config: Config, model: Model, plan: Plan) -> None:
    """Refuse parts of a batch so small that what is made of all their rows together would mean little."""
    mixed = next((word for word in config.data.augment if word.startswith(("mixup", "cutmix"))), None)
    rows = plan.batch_size // (config.exact or 1)
    if config.exact and rows < ROWS_OF_A_PART and (model.observe or mixed):
        what = f"--data.augment {mixed} mixes" if mixed else "batch norm normalises"
        rule = f"{what} the rows of a part alone, of which a batch of {plan.batch_size} gives it {rows}"
        raise InputError(f"--exact={config.exact}: {rule}; use --batch_size {ROWS_OF_A_PART * config.exact} or more")


def _check_own(optim: OptimConfig, own: Own) -> None:
    """Refuse settings that stand against the functions of a config file."""
    inner = ("name", "momentum", "nesterov", "b1", "b2", "eps", "weight_decay")
    shape = ("schedule", "warmup", "decay_every", "decay", "power")
    taken = dict.fromkeys(inner, "optimizer") if own.optimizer else {}
    taken |= dict.fromkeys(shape, "schedule") if own.schedule else {}
    for flag, by in taken.items():
        if getattr(optim, flag) != getattr(OptimConfig, flag):
            rule = f"the config file brings its {by}; leave it out, and set it there"
            raise InputError(f"--optim.{flag}={getattr(optim, flag)}: {rule}")
    if own.optimizer and optim.lr is None:
        raise InputError("--optim.lr=None: an optimizer of one's own has no default; add OptimConfig(lr=...)")
    if own.schedule and optim.name == "lbfgs":
        raise InputError("--optim.name=lbfgs: finds its step by a line search; leave out the schedule")
