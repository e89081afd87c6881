"""A trained network with all that is needed to use it, from a run's folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxnn import fork
from jaxnn.config.settings import Config
from jaxnn.config.values import from_dict
from jaxnn.engine.evaluation import in_blocks
from jaxnn.errors import InputError
from jaxnn.recipe import network
from jaxnn.store import arrays, identity, weights
from jaxnn.tasks.labels import Labels
from jaxnn.types import Model, Params, Task


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
        if self.task.distribution is None:
            raise InputError(f"predict_proba: a {self.task.name} has no probabilities; use predict")
        return np.asarray(self.task.distribution(self._outputs(x)))

    def predict(self, x: Any) -> np.ndarray:
        """The label of each example as it stood in the data; for regression the number, f32[n] or f32[n, K]."""
        answers, classes = np.asarray(self.task.decide(self._outputs(x))), self.data["classes"]
        if classes is None or answers.ndim > 1:  # numbers, or 0 and 1 for each label
            return answers
        return Labels(tuple(classes)).decode(answers)

    def _outputs(self, x: Any) -> np.ndarray:
        fork.refuse()
        x = self._checked(x)
        return in_blocks(lambda rows: self.outputs(self.params, rows), len(x), lambda start, end: x[start:end])

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


def load_run(folder: str | Path, *, model: Callable[[int], Any] | None = None) -> Run:
    """The trained network of a run, in any process.

    Args:
      folder: the run's folder.
      model: where the config file brought a model of its own, that function (`outputs -> Model or Flax module`).

    Raises:
      InputError: the folder is no finished run, or its weights do not belong to its config.
    """
    fork.refuse()
    folder = Path(folder)
    saved, leaves = identity.read(folder / "config.json", "folder"), weights.read(folder)
    if saved["own_model"] and model is None:
        raise InputError(f"model=None: {saved['source']} brought its own model; pass that function as model=")
    config = from_dict(saved["config"], Config)
    made, task, example = network(config, saved["data"], model)
    shapes = jax.eval_shape(made.init, jax.random.key(0), example)
    outputs = jax.jit(lambda params, x: task.link(made.apply(params, x)))
    return Run(config, made, arrays.restore(leaves, shapes, "weights"), task, saved["data"], outputs)
