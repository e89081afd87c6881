"""A model in one file: its layers, its weights, what it was compiled with, and how far it has been trained.

The file is one of safetensors, whatever its name: the arrays by path, and JSON beside them, with one SHA-256 of all.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import safetensors

from jaxnn.config import paths, strict_json
from jaxnn.engine import descent
from jaxnn.errors import InputError, choices
from jaxnn.keras import lookup
from jaxnn.keras.base import Layer, draw
from jaxnn.store import arrays, durable

FORMAT = 1
FOREIGN = {b"PK\x03\x04": "a .keras file of Keras", b"\x89HDF": "an HDF5 file of Keras"}
WITHIN = "model.keras"  # of a folder


def save_model(model: Any, filepath: Any, *, overwrite: bool = True, weights_only: bool = False) -> None:
    """Write a model, `weights_only` or whole, for `load_model`; `model.save(filepath)` is the same.

    Raises `InputError` for a layer, loss or metric that JSON cannot keep, for a model that is not built, and for a file
    that is there unless `overwrite`; `StorageError` if it cannot be written.
    """
    model._need_built()
    draw(model.layers)
    path = _path(filepath, new=True)
    if not overwrite and path.exists():
        raise InputError(f"filepath={path}: is there already; give overwrite=True, or another name")
    about: dict[str, Any] = {"format": FORMAT, "class_name": type(model).__name__, "order": _order(model)}
    leaves = arrays.flatten({"params": model.params})
    if not weights_only:
        training = model._training()
        about |= {"config": model.get_config(), "compile": _compiled(model, training)}
        about |= {name: training[key] for name, key in (("step", "step"), ("classes", "classes"), ("draws", "_draws"))}
        leaves |= arrays.flatten({"opt_state": training["opt_state"]})
    text = json.dumps(about, allow_nan=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    head = arrays.header(leaves, **{"jaxnn.keras": text, "sha256": _seal(leaves, text)})
    durable.replace(path, [head, *map(arrays.content, leaves.values())])


def save_weights(model: Any, filepath: Any, *, overwrite: bool = True) -> None:
    """The weights of a model, without the rest."""
    save_model(model, filepath, overwrite=overwrite, weights_only=True)


def load_model(filepath: Any, custom_objects: dict[str, Any] | None = None, **settings: Any) -> Any:
    """The model that `save` wrote: it predicts the same, and trains on as if it had never been away.

    Args:
      filepath: the file, or the folder that it is in.
      custom_objects: classes and functions of one's own, by their names.
      settings: compile=False for the network without what it was compiled with; safe_mode changes nothing.

    Raises `InputError` for a file of Keras itself, and for one that is not what was saved.

    >>> import tempfile
    >>> from jaxnn import keras
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     model.save(f"{folder}/model.keras")
    ...     again = keras.models.load_model(f"{folder}/model.keras")
    >>> bool((again.predict([[1, 2, 3, 4]], verbose=0) == model.predict([[1, 2, 3, 4]], verbose=0)).all())
    True
    """
    from jaxnn.keras import models

    lookup.refuse_unknown("load_model", settings, ["compile", "safe_mode"])
    path = _path(filepath)
    leaves, about = _read(path)
    if "config" not in about:
        raise InputError(f"filepath={path}: has weights alone; build the model, and call its load_weights")
    kinds = {
        "Sequential": models.Sequential,
        "Model": models.Model,
        "Functional": models.Model,
        **(custom_objects or {}),
    }
    if about["class_name"] not in kinds:
        raise choices("class_name", about["class_name"], kinds)
    model = kinds[about["class_name"]].from_config(about["config"], custom_objects)
    _take(model, leaves, about, path)
    compiled = about.get("compile")
    model.classes, model._draws = _tuple(about.get("classes")), tuple(about["draws"])
    if settings.get("compile", True) and compiled is not None:
        _compile(model, compiled, custom_objects)
        model._step = model.optimizer.iterations = about["step"]
        opt = {name.removeprefix("opt_state/"): leaf for name, leaf in leaves.items() if name.startswith("opt_state/")}
        if compiled["started"]:
            recipe = model.to_recipe()
            shapes = jax.eval_shape(lambda params: descent.state_of(recipe, params), model.params).opt_state
            model._opt_state, model._rate = arrays.restore(opt, shapes, str(path)), compiled["rate"]
    return model


def load_weights(model: Any, filepath: Any) -> None:
    """Give a model the weights of a file. Raises `InputError` for those of other layers."""
    model._need_built()
    draw(model.layers)
    path = _path(filepath)
    _take(model, *_read(path), path)


def layer_of(saved: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Layer:
    """The layer of a config. Raises `InputError` for a class that is not known."""
    from jaxnn.keras import layers, models

    name = saved["class_name"]
    own = (custom_objects or {}).get(name)
    if own is None and name in ("Sequential", "Model"):
        return getattr(models, name).from_config(saved["config"], custom_objects)
    kind = own or getattr(layers, name, None)
    if kind is None:
        raise InputError(f"class_name={name}: is no layer that is here; give custom_objects={{{name!r}: {name}}}")
    return kind.from_config(saved["config"])


def _path(filepath: Any, new: bool = False) -> Path:
    """The file that a name means: a folder's, or itself."""
    path = paths.expand("filepath", filepath)
    if path.is_dir() or (new and not path.suffix):
        return path / WITHIN
    return path


def _read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays of a file, and what is told of them."""
    try:
        with path.open("rb") as file:
            begins = file.read(4)
        if begins in FOREIGN:
            cure = "make the network with jaxnn.keras, and give its layers set_weights(keras_layer.get_weights())"
            raise InputError(f"filepath={path}: is {FOREIGN[begins]}, which is not read; {cure}")
        with safetensors.safe_open(path, "numpy") as file:
            leaves, about = {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}
    except OSError as reason:
        raise InputError(
            f"filepath={path}: cannot be read ({reason.strerror or reason}); name a file that save wrote"
        ) from None
    except (ValueError, KeyError, TypeError, safetensors.SafetensorError) as reason:
        raise InputError(f"filepath={path}: is no file that save wrote ({reason}); name another") from None
    text = about.get("jaxnn.keras")
    if text is None:
        raise InputError(f"filepath={path}: has no model of jaxnn.keras; a run's folder is read by jaxnn.load_run")
    if about.get("sha256") != _seal(leaves, text):
        raise InputError(f"filepath={path}: is not what was saved; bring it back from a copy")
    told = strict_json.loads(text, f"filepath={path}")
    if told.get("format") != FORMAT:
        cure = f"this jaxnn reads {FORMAT}; use the jaxnn that wrote it"
        raise InputError(f"filepath={path}: is of format {told.get('format')}, {cure}")
    return leaves, told


def _seal(leaves: dict[str, np.ndarray], text: str) -> str:
    return hashlib.sha256(f"{arrays.digest_all(leaves)} {text}".encode()).hexdigest()


def _order(model: Any, within: str = "") -> list[str]:
    """The paths of its parameters, layer after layer."""
    found: list[str] = []
    for layer in model.layers:
        path = f"{within}{layer.name}/"
        if layer.layers is not None:
            found += _order(layer, path)
        elif layer.shapes:
            found += [path + leaf for _, leaf in layer.leaves()]
    return found


def _take(model: Any, leaves: dict[str, np.ndarray], about: dict[str, Any], path: Path) -> None:
    """The parameters of a file, in the order of the layers: their names are counted anew in each process."""
    wanted, saved = _order(model), about["order"]
    if len(wanted) != len(saved):
        rule = f"has {len(saved)} arrays, and the model {len(wanted)}"
        raise InputError(f"filepath={path}: {rule}; is it from another model?")
    given = {name: leaves[f"params/{old}"] for name, old in zip(wanted, saved, strict=True)}
    model.params = arrays.restore(given, model.shapes, f"filepath={path}")


def _compiled(model: Any, training: dict[str, Any]) -> dict[str, Any] | None:
    """What a model was compiled with: objects by their arguments, functions of one's own by their names."""
    if model.loss is None:
        return None
    chosen = [list(map(lookup.serialize, each)) for each in model._metrics]
    given = {"optimizer": lookup.serialize(model.optimizer), "loss": lookup.serialize(model.loss), "metrics": chosen}
    return given | {"started": training["opt_state"] is not None, "rate": training["_rate"]}


def _compile(model: Any, compiled: dict[str, Any], own: dict[str, Any] | None) -> None:
    from jaxnn.keras import losses, metrics, optimizers

    chosen = [[metrics.get(each, own) for each in asked] for asked in compiled["metrics"]]
    model.compile(optimizers.get(compiled["optimizer"], own), losses.get(compiled["loss"], own), *chosen)


def _tuple(value: Any) -> Any:
    return None if value is None else tuple(value)
