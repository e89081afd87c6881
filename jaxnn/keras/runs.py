"""A trained model as the folder of a run: for `jaxnn predict`, `jaxnn evaluate` and `jaxnn.load_run`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from jaxnn.config import paths
from jaxnn.config.data import DataConfig
from jaxnn.config.names import KERAS_MODEL
from jaxnn.config.settings import Config
from jaxnn.errors import InputError
from jaxnn.keras import losses
from jaxnn.keras.objective import is_on_logits, network_of_logits
from jaxnn.keras.saving import load_model, save_model
from jaxnn.store import folder as folders
from jaxnn.store import history, identity, weights
from jaxnn.types import Model


def save_run(model: Any, folder: Any) -> Path:
    """Write the folder of a run that has this network and these weights; its last fit is the history.

    Raises `InputError` for a model that was not compiled, of several inputs or outputs, or of outputs that are no
    row of logits or numbers, and for a folder that is there.
    """
    model._need_built()
    model._need_compiled()
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise InputError(
            f"{model.name}: has {len(model.inputs)} inputs and {len(model.outputs)} outputs; a run has one each"
        )
    if len(model.outputs[0].core) != 1:
        raise InputError(f"{model.name}: gives {model.outputs[0].core} for an example; a run has one axis, (outputs,)")
    if model.loss.final and not is_on_logits(model):
        rule = f"has {model.loss.name} of probabilities, and a run's network gives logits"
        raise InputError(f"{model.name}: {rule}; end it with a layer of its own with activation={model.loss.final!r}")
    path = paths.expand("folder", folder)
    if path.exists():
        raise InputError(f"folder={path}: is there already; name another")
    params = model.drawn()
    (outputs,) = model.outputs[0].core
    task, of_classes, labels = _task(model.loss, outputs)
    classes = model.classes or tuple(range(max(outputs, 2))) if of_classes else None
    rows = _rows(model)
    config = Config(name=model.name, epochs=max(len(rows), 1), data=DataConfig(name=model.name, standardize=False))
    data = {
        "name": model.name, "task": task, "classes": None if classes is None else list(classes), "labels": None,
        "features": None, "columns": None, "targets": None, "missing": [], "fill": None, "outputs": outputs,
        "examples": {}, "shape": list(model.inputs[0].core), "dtype": "float32", "range": None, "scale": None,
        "y": {"shape": labels, "dtype": "float32"},
        "offset": None, "standardized": False, "center": None, "spread": None, "digest": "",
    }  # fmt: skip
    path = folders.enter(path)
    save_model(model, path / KERAS_MODEL)
    weights.save(path, params, epochs=config.epochs)
    for row in rows:
        history.append(path, row)
    about = {"source": KERAS_MODEL, "source_digest": None, "own_model": True}
    identity.write(path, identity.describe(config, data, jax.default_backend(), **about))
    return path


def _task(loss: losses.Loss, outputs: int) -> tuple[str, bool, list[int]]:
    """What jaxnn calls the task of a loss, whether its labels are classes, and the shape of one label."""
    if isinstance(loss, losses.CategoricalCrossentropy | losses.SparseCategoricalCrossentropy):
        return "multiclass", True, []
    if isinstance(loss, losses.BinaryCrossentropy):
        return ("binary", True, []) if outputs == 1 else ("multilabel", True, [outputs])
    return "regression", False, [outputs]


def _rows(model: Any) -> list[dict[str, Any]]:
    """The history of its last fit, as that of a run calls it."""
    told = getattr(model.history, "history", None) or {}
    epochs = getattr(model.history, "epoch", [])
    per_epoch = int(model._step) // max(len(epochs), 1)
    return [
        {"step": (i + 1) * per_epoch, "epoch": float(epoch + 1)}
        | {_name(name): values[i] for name, values in told.items()}
        for i, epoch in enumerate(epochs)
    ]


def _name(name: str) -> str:
    part, _, metric = name.partition("_") if name.startswith("val_") else ("train", "_", name)
    return f"{part}/{metric}"


def network_in(folder: Path) -> Callable[[Any], Model]:
    """The network of a run that `save_run` wrote, `outputs -> jaxnn.Model`."""
    return lambda outputs: network_of_logits(load_model(folder / KERAS_MODEL))
