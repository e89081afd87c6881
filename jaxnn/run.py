"""A run's folder: what was asked for, what happened, and what was learned.

It holds three files:

    config.json           all values of the config, versions, what is known of the data   (replays the run)
    history.jsonl         a row an epoch or interval; the last one has the test metrics and where the time went
    weights.safetensors   the weights by path (`dense_0/w`), readable without JAX
"""

from __future__ import annotations

import importlib.metadata
import json
import math
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import safetensors.numpy

import jaxnn
from jaxnn import engine, flax_models, models, tasks
from jaxnn.config import Config, from_dict, read_run, to_dict
from jaxnn.errors import InputError, StorageError
from jaxnn.labels import Labels
from jaxnn.types import Model, Params, Task

PREDICT_ROWS = 1024  # rows of one compiled call, so that memory does not grow with the input


class Run(NamedTuple):
    """A trained network with all that is needed to use it."""

    config: Config
    model: Model
    params: Params
    task: Task
    data: dict[str, Any]
    outputs: Callable[[Params, Any], jax.Array]  # probabilities (or numbers) of a batch, compiled once

    def predict_proba(self, x: Any) -> np.ndarray:
        """f32[n, K], the probabilities of `data["classes"]` (binary: K = 2; multilabel: each on its own)."""
        if self.task.name == "regression":
            raise InputError("predict_proba: a regression has no probabilities; use predict")
        p = self._outputs(x)
        return np.stack([1 - p, p], axis=-1) if self.task.name == "binary" else p

    def predict(self, x: Any) -> np.ndarray:
        """The label of each example as it stood in the data; for regression the number, f32[n] or f32[n, K]."""
        p = self._outputs(x)
        if self.task.name == "regression":
            return p[:, 0] if self.task.outputs == 1 else p
        if self.task.name == "multilabel":
            return (p > 0.5).astype(np.int32)
        index = p.argmax(-1) if self.task.name == "multiclass" else (p > 0.5).astype(int)
        return Labels(tuple(self.data["classes"])).decode(index)

    def _outputs(self, x: Any) -> np.ndarray:
        x = self._checked(x)
        padded = np.concatenate([x, np.zeros((-len(x) % PREDICT_ROWS, *x.shape[1:]), x.dtype)])
        parts = [self.outputs(self.params, padded[i : i + PREDICT_ROWS]) for i in range(0, len(padded), PREDICT_ROWS)]
        return np.concatenate(parts)[: len(x)]

    def _checked(self, x: Any) -> np.ndarray:
        shape, dtype = tuple(self.data["shape"]), np.dtype(self.data["dtype"])
        given = type(x).__qualname__
        try:
            x = np.asarray(x)
            numbers = x.dtype.kind in "biuf"
        except ValueError:
            numbers = False
        if not numbers:
            raise InputError(f"x={given}: must be an array of numbers, rows of the same length; convert it")
        if x.shape[1:] != shape or not len(x):
            expected = ", ".join(map(str, ("n", *shape)))
            raise InputError(f"x.shape={x.shape}: must be ({expected}) with n >= 1; one row for each example")
        with np.errstate(invalid="ignore", over="ignore"):
            cast = x.astype(dtype)
        exact = cast == x if dtype.kind in "iu" else np.isfinite(cast)
        if not exact.all():
            where = tuple(int(i) for i in np.argwhere(~exact)[0])
            cure = f"give {dtype} in the range of the training data, as it was before training"
            raise InputError(f"x{list(where)}={x[where]}: is no {dtype}, which the network was trained on; {cure}")
        return cast


def assemble(
    config: Config, data: dict[str, Any], own_model: Any = None, *, mean: Any = None, std: Any = None
) -> tuple[Model, Task, jax.ShapeDtypeStruct]:
    """The model, the task and the shape of an example: what a config becomes, given what is known of the data."""
    example = jax.ShapeDtypeStruct(tuple(data["shape"]), np.dtype(data["dtype"]))
    task = tasks.build(config.task, data["task"], data["outputs"], center=np.asarray(data["center"], np.float32))
    raw = {"scale": data["scale"], "mean": mean, "std": std}
    if own_model is None:
        return models.build(config.model, example, task.outputs, **raw), task, example
    network = own_model(task.outputs)
    if not isinstance(network, Model):  # flax is imported only by those who use it
        network = flax_models.from_linen(network, core_axes=len(example.shape))
    network = models.adopt(network, example, **raw)
    params = jax.eval_shape(network.init, jax.random.key(0), example)
    engine.refuse_half("model", params)
    given = jax.eval_shape(network.apply, params, example).shape
    if given != (task.outputs,):
        raise InputError(
            f"model: gives {list(given)} for one example: must give [{task.outputs}], the outputs it is asked for"
        )
    return network, task, example


def load_run(folder: str | Path, *, model: Callable[[int], Any] | None = None) -> Run:
    """The trained network of a run, in any process.

    Args:
      folder: the run's folder.
      model: where the config file brought a model of its own, that function (`outputs -> Model or Flax module`).

    Raises:
      InputError: the folder is no finished run, or its weights do not belong to its config.
    """
    folder = Path(folder)
    saved = read_run(folder / "config.json", "folder")
    try:
        weights = safetensors.numpy.load_file(folder / "weights.safetensors")
    except (OSError, ValueError, safetensors.SafetensorError) as reason:
        raise InputError(f"folder={folder}: has no weights ({reason}); name the --workdir of a finished run") from None
    if saved["own_model"] and model is None:
        raise InputError(f"model=None: {saved['source']} brought its own model; pass that function as model=")
    config, stats = from_dict(saved["config"]), {k: weights.pop(f"input/{k}", None) for k in ("mean", "std")}
    network, task, example = assemble(config, saved["data"], model, **stats)
    shapes = jax.eval_shape(network.init, jax.random.key(0), example)
    outputs = jax.jit(lambda params, x: task.link(network.apply(params, x)))
    return Run(config, network, _unflatten(shapes, weights), task, saved["data"], outputs)


def create(folder: Path) -> None:
    """Make the run's folder; one that holds a run is left alone."""
    try:
        if any((folder / name).exists() for name in ("config.json", "history.jsonl", "weights.safetensors")):
            raise InputError(f"--workdir={folder}: holds a run already; name another folder")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "history.jsonl").touch()
    except OSError as reason:
        cause = f"--workdir={str(folder)[:200]}: cannot be written ({reason.strerror})"
        raise InputError(f"{cause}; name another folder") from None


def save_config(folder: Path, config: Config, data: dict[str, Any], source: str | None, own_model: bool) -> None:
    packages = ("jax", "jaxlib", "optax", "flax", "numpy")
    versions = {"python": platform.python_version(), "jaxnn": jaxnn.__version__}
    versions |= {name: importlib.metadata.version(name) for name in packages}
    values = to_dict(config) | {"workdir": None}
    saved = {"config": values, "source": source, "own_model": own_model, "data": data, "versions": versions}
    write(folder / "config.json", json.dumps(saved, indent=2, allow_nan=False).encode())


def append_history(folder: Path, row: dict[str, Any]) -> None:
    """One more line; a metric that is not a number (0/0) is null."""
    values = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}
    try:
        with (folder / "history.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(values, allow_nan=False) + "\n")
    except OSError as reason:
        raise _unwritable(folder / "history.jsonl", reason) from None


def save_weights(folder: Path, params: Params, stats: dict[str, np.ndarray]) -> None:
    arrays = _flatten(params) | {f"input/{name}": value for name, value in stats.items()}
    write(folder / "weights.safetensors", safetensors.numpy.save(arrays))


def write(path: Path, content: bytes) -> None:
    """Write beside, then rename: a reader never sees half a file."""
    beside = path.with_name(path.name + ".tmp")
    try:
        beside.write_bytes(content)
        beside.replace(path)
    except OSError as reason:
        raise _unwritable(path, reason) from None


def _unwritable(path: Path, reason: OSError) -> StorageError:
    return StorageError(f"{path}: cannot be written ({reason.strerror}); free some space, or mend the folder")


def _flatten(params: Params) -> dict[str, np.ndarray]:
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf) for path, leaf in leaves}


def _unflatten(shapes: Params, weights: dict[str, np.ndarray]) -> Params:
    leaves, tree = jax.tree_util.tree_flatten_with_path(shapes)
    wanted = {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}
    if wanted.keys() != weights.keys():
        missing, extra = sorted(wanted.keys() - weights.keys())[:3], sorted(weights.keys() - wanted.keys())[:3]
        raise InputError(f"weights: missing {missing}, unexpected {extra}; are they from another model?")
    for path, leaf in wanted.items():
        if (weights[path].shape, weights[path].dtype) != (leaf.shape, leaf.dtype):
            given, needed = (f"{a.dtype}{list(a.shape)}" for a in (weights[path], leaf))
            raise InputError(f"weights[{path}]={given}: must be {needed}; are they from another model?")
    return jax.tree.unflatten(tree, [weights[path] for path in wanted])
