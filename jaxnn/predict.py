"""A trained network with all that is needed to use it, from a run's folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxnn import fork
from jaxnn.config import paths
from jaxnn.config.settings import Config
from jaxnn.config.values import from_dict
from jaxnn.data import images
from jaxnn.data.columns import Column, Rules
from jaxnn.data.grid import is_frame
from jaxnn.data.readers import table
from jaxnn.engine.evaluation import in_blocks
from jaxnn.errors import InputError, NumericsError
from jaxnn.recipe import network
from jaxnn.store import arrays, identity, weights
from jaxnn.tasks.labels import Labels
from jaxnn.types import Model, Params, Task

SIZES = (1, 16, 128, 1024)  # rows of one compiled call: the smallest that holds what is left


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
        """The label of each example as it stood in the data; for regression the number, f32[n] or f32[n, K].

        x: an array `[n, ...]` like `x` of a `jaxnn.data.Dataset`, or a data frame, whose columns are found by name.
        """
        answers, classes = np.asarray(self.task.decide(self._outputs(x))), self.data["classes"]
        if classes is None or answers.ndim > 1:  # numbers, or 0 and 1 for each label
            return answers
        return Labels(tuple(classes)).decode(answers)

    def encode(self, source: Any) -> np.ndarray:
        """Rows of a table as `predict` takes them, [n, F]: columns by name, texts by the categories of training.

        source: the path of a table (.csv, .tsv, .parquet, .feather), or a data frame. Columns that the network was not
        trained on, the target among them, are not looked at. Raises `InputError` for a column that is missing, and for
        cells that the training table could not have had.
        """
        known = self.data.get("columns")
        if known is None:
            raise InputError("source: the network was not trained on a table; give its array x to predict")
        columns = tuple(Column(name, None if texts is None else tuple(texts)) for name, texts in known)
        config = self.config.data
        rules = Rules(config.text, tuple(self.data["missing"]), config.nan, self.data.get("fill"))
        frame = table.encode(source, columns, table.Roles(config.target, config.weight, config.delimiter, rules))
        chosen = [feature for feature in frame.features() if frame.name(feature) in set(self.data["features"])]
        offset = self._offset(len(chosen))
        for k in np.flatnonzero(offset):
            frame.fill_exact(chosen[k].column)
        return frame.matrix(chosen, np.arange(len(frame)), np.float64 if offset.any() else np.float32)

    def _offset(self, n: int) -> np.ndarray:
        offset = self.data.get("offset")
        return np.zeros(n) if offset is None else np.array(offset)

    def _outputs(self, x: Any) -> np.ndarray:
        fork.refuse()
        x = self._checked(self._by_name(x) if is_frame(x) else x)
        rows = lambda start, end: x[start:end]
        found = in_blocks(lambda part: self.outputs(self.params, part), len(x), rows, SIZES)
        bad = ~np.isfinite(found).reshape(len(found), -1).all(1)
        if bad.any():
            row = int(np.argmax(bad))
            raise NumericsError(
                f"x[{row}]: the network answers {found[row]}; look for numbers unlike those of training"
            )
        return found

    def _by_name(self, frame: Any) -> Any:
        """The columns of a data frame in the order of training."""
        if self.data.get("columns") is not None:
            return self.encode(frame)
        names = self.data.get("features")
        if names is None:
            return frame  # the network was trained on arrays, whose columns have no names
        columns = tuple(Column(name) for name in names)
        found = table.encode(frame, columns, table.Roles(None, None, None, Rules()))
        return found.matrix(found.features(), np.arange(len(found)), np.float32)

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
        if self.data.get("offset") is not None:
            if x.dtype == np.float32:
                raise InputError("x=float32: loses the differences that the network was trained on; give float64")
            x = x - self._offset(x.shape[1])
        images.check_range(x, self.data.get("range"))
        with np.errstate(invalid="ignore", over="ignore"):
            cast = x.astype(dtype)
        exact = cast == x if dtype.kind in "iu" else np.isfinite(cast)
        if not exact.all():
            where = tuple(int(i) for i in np.argwhere(~exact)[0])
            cure = f"give {dtype} in the range of the training data, as it was before training"
            raise InputError(f"x{list(where)}={x[where]}: is no {dtype}, which the network was trained on; {cure}")
        return cast


def load_run(folder: str | Path, *, model: Callable[[int], Any] | None = None, partial: bool = False) -> Run:
    """The trained network of a run, in any process.

    Args:
      folder: the run's folder.
      model: where the config file brought a model of its own, that function (`outputs -> Model or Flax module`).
      partial: take the weights of a run that was stopped before its end, too.

    Raises:
      InputError: the folder is no finished run (one that failed never is), or its weights do not belong to its config.
    """
    fork.refuse()
    folder = paths.expand("folder", folder)
    saved, found = identity.read(folder / "config.json", "folder"), weights.read(folder)
    if saved["own_model"] and model is None:
        raise InputError(f"model=None: {saved['source']} brought its own model; pass that function as model=")
    config = from_dict(saved["config"], Config)
    weights.refuse_unfinished(folder, found, config.epochs, partial=partial)
    made, task, example = network(config, saved["data"], model)
    shapes = jax.eval_shape(made.init, jax.random.key(0), example)
    outputs = jax.jit(lambda params, x: task.link(made.apply(params, x)))
    return Run(config, made, arrays.restore(found.leaves, shapes, "weights"), task, saved["data"], outputs)
