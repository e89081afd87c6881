"""A trained network with all that is needed to use it, from a run's folder (`jaxnn/workdir.py` writes that)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import safetensors

from jaxnn import checkpoint, engine, flax_models, models, tasks
from jaxnn.config import Config, from_dict, read_run
from jaxnn.errors import InputError
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
        except ValueError:
            shapes = [np.asarray(row, object).shape for row in x]
            i = next((i for i, each in enumerate(shapes) if each != shapes[0]), 0)
            what = f"x[{i}]={shapes[i]}: must be an array of numbers, every row as the first one, {shapes[0]}"
            raise InputError(f"{what}; make them alike") from None
        if x.dtype.kind not in "biuf":
            what = f"array of {x.dtype}" if given == "ndarray" else given
            raise InputError(f"x={what}: must be an array of numbers; convert it")
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
    weights = read_weights(folder)
    if saved["own_model"] and model is None:
        raise InputError(f"model=None: {saved['source']} brought its own model; pass that function as model=")
    config, stats = from_dict(saved["config"]), {k: weights.pop(f"input/{k}", None) for k in ("mean", "std")}
    network, task, example = assemble(config, saved["data"], model, **stats)
    shapes = jax.eval_shape(network.init, jax.random.key(0), example)
    outputs = jax.jit(lambda params, x: task.link(network.apply(params, x)))
    return Run(config, network, checkpoint.restore(weights, shapes, "weights"), task, saved["data"], outputs)


def read_weights(folder: Path) -> dict[str, np.ndarray]:
    """The arrays of `weights.safetensors` by path. Raises `InputError` unless they are what was saved."""
    try:
        with safetensors.safe_open(folder / "weights.safetensors", "numpy") as file:
            weights = {name: file.get_tensor(name) for name in file.keys()}
            digest = (file.metadata() or {}).get("sha256")
    except (OSError, ValueError, KeyError, safetensors.SafetensorError) as reason:
        raise InputError(f"folder={folder}: has no weights ({reason}); name the --workdir of a finished run") from None
    if digest != checkpoint.digest_all(weights):
        raise InputError(f"folder={folder}: weights.safetensors is not what was saved; run the same command again")
    return weights
