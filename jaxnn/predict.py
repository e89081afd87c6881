"""A trained network with all that is needed to use it, from a run's folder."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from jaxnn import augment, fork
from jaxnn.config import paths
from jaxnn.config.data import READ_BY, DataConfig
from jaxnn.config.names import GENERATIVE, KERAS_MODEL, MISSING, UNKNOWN, WEIGHTS
from jaxnn.config.own import Own
from jaxnn.config.settings import Config
from jaxnn.config.values import from_dict, to_dict
from jaxnn.data import images, incoming
from jaxnn.data.columns import Column, Rules
from jaxnn.data.grid import Grid, is_frame
from jaxnn.data.readers import image_form, table
from jaxnn.engine.evaluation import evaluate, in_blocks
from jaxnn.errors import InputError, NumericsError, choices
from jaxnn.recipe import network
from jaxnn.store import arrays, best, identity
from jaxnn.store import weights as stored
from jaxnn.tasks.base import block_rows, block_sizes
from jaxnn.tasks.labels import Labels
from jaxnn.types import Batch, Model, Params, Recipe, Task, unchanged


class Outputs(NamedTuple):
    """Some examples as the network takes them, and its probabilities (or numbers) of these, f32[n, ...]; the files that
    these are; and what to tell of them."""

    x: np.ndarray
    outputs: np.ndarray
    files: tuple[str, ...] | None
    notes: tuple[str, ...]


class Run(NamedTuple):
    """A trained network with all that is needed to use it.

    >>> import jax, jaxnn
    >>> iris, model, task = jaxnn.data.load("iris"), jaxnn.linear(3), jaxnn.multiclass(3)
    >>> params = model.init(jax.random.key(0), iris.train.x[0])
    >>> run = jaxnn.Run(jaxnn.Config(), model, params, task, iris.describe(), lambda p, x: task.link(model.apply(p, x)))
    >>> run.predict_proba(iris.test.x).shape
    (30, 3)
    """

    config: Config
    model: Model
    params: Params
    task: Task
    data: dict[str, Any]
    outputs: Callable[[Params, Any], jax.Array]  # probabilities (or numbers) of a batch, compiled once
    lacks: tuple[str, ...] = ()  # what the run's config file brought for its metrics, and is not here
    folder: Path | None = None  # that it was loaded from

    def _repr_html_(self) -> str:
        """What a notebook shows: the metrics of the run and its learning curves."""
        from jaxnn.report.page import notebook

        return notebook.card(self)

    def predict_proba(self, x: Any, unknown: Any = "refuse") -> np.ndarray:
        """f32[n, K], the probabilities of `data["classes"]` (binary: K = 2; multilabel: each on its own)."""
        if self.task.distribution is None:
            raise InputError(f"predict_proba: a {self.task.name} has no probabilities; use predict")
        return np.asarray(self.task.distribution(self._outputs(x, unknown)))

    def predict(self, x: Any, unknown: Any = "refuse") -> np.ndarray:
        """The label of each example as it stood in the data; for regression the number, f32[n] or f32[n, K].

        x: an array `[n, ...]` like `x` of a `jaxnn.data.Dataset`; a data frame, whose columns are found by name; or the
        path of a table, an image, a folder of images, or a .npz. unknown: as for `encode`.
        """
        return self.answers(self._outputs(x, unknown))

    def answers(self, outputs: np.ndarray) -> np.ndarray:
        """What `predict` makes of the outputs of the network."""
        answers, classes = np.asarray(self.task.decide(outputs)), self.data["classes"]
        if classes is None or answers.ndim > 1:  # numbers, or 0 and 1 for each label
            return answers
        return Labels(tuple(classes)).decode(answers)

    def evaluate(self, source: Any, unknown: Any = "refuse") -> dict[str, float]:
        """The metrics of the task on labelled examples, as the run's history has them of its test examples.

        source: the path of a table or a data frame (with the target, and the weight if the run had one), of a .npz with
        x and y, or of a folder of images by class. A metric that these examples do not have (auc of one class) is nan.
        Raises `InputError` for a label that no training example had, and `NumericsError` for a loss that is not finite.
        """
        fork.refuse()
        if self.lacks:
            what = " and ".join(self.lacks)
            raise InputError(
                f"{what}=None: the config file brought its own; pass it to load_run, or add --config FILE.py"
            )
        if not is_frame(source) and not isinstance(source, str | os.PathLike):
            raise InputError(f"source={type(source).__qualname__}: must be a path or a data frame, with the labels")
        source = source if is_frame(source) else paths.expand("source", source)
        given = incoming.labelled(source, self._known(unknown), self._read_as.positive)
        x = self._checked(self.encode(given.x, unknown) if isinstance(given.x, Grid) else given.x)
        self.task.check(given.y)
        recipe = Recipe(self.model, self.task, optax.identity())
        program = jax.jit(functools.partial(evaluate, recipe, batch_size=block_rows(self.task)))
        sums = jax.device_get(program(self.params, Batch(x, given.y, given.weight)))
        final = self.task.final(sums) if self.task.final else {}
        metrics = {name: float(value) for name, value in (self.task.summary(sums) | final).items()}
        if not np.isfinite(metrics["loss"]):
            raise NumericsError(f"loss={metrics['loss']}: must be finite; look for examples unlike those of training")
        return metrics

    def outputs_of(self, sources: Sequence[str | os.PathLike[str]], unknown: Any = "refuse") -> Iterator[Outputs]:
        """The outputs of the network for the examples in files, a part at a time."""
        first = 0
        for part in incoming.parts([paths.expand("source", source) for source in sources], self._known(unknown)):
            x = self.encode(part.x, unknown) if isinstance(part.x, Grid) else part.x
            # In an image file 1 is nearly black, in an array it may be white: the check of the range is for arrays.
            same_range = part.files is not None and (self.data["dtype"], self.data["scale"]) == ("uint8", 255)
            x = x if same_range else self._checked(x)
            yield Outputs(x, self._apply(x, first), part.files, part.notes)
            first += len(x)

    def encode(self, source: Any, unknown: Any = "refuse") -> np.ndarray:
        """Rows of a table as `predict` takes them, [n, F]: columns by name, texts by the categories of training.

        source: the path of a table (.csv, .tsv, .parquet, .feather), or a data frame. Columns that the network was not
        trained on, the target among them, are not looked at. A category that the training table has not is refused, or
        read as none (`unknown="ignore"`). Raises `InputError` for a column that is missing, and for cells that the
        training table could not have had.
        """
        if unknown not in UNKNOWN:
            raise choices("unknown", unknown, UNKNOWN)
        known = self._known(unknown)
        if known.columns is None:
            raise InputError("source: the network was not trained on a table; give its array x to predict")
        frame = table.encode(source, known.columns, known.roles)
        known_features = set(self.data["features"])
        chosen = [feature for feature in frame.features() if frame.name(feature) in known_features]
        offset = self._offset(len(chosen))
        for k in np.flatnonzero(offset):
            frame.fill_exact(chosen[k].column)
        return frame.matrix(chosen, np.arange(len(frame)), np.float64 if offset.any() else np.float32)

    def _offset(self, n: int) -> np.ndarray:
        offset = self.data.get("offset")
        return np.zeros(n) if offset is None else np.array(offset)

    @property
    def _read_as(self) -> DataConfig:
        """The settings by which new examples are read: where the data were converted first, those of that."""
        given = self.data.get("settings") or {}
        values = to_dict(self.config.data) | {name: given[name] for name in READ_BY if given.get(name) is not None}
        return from_dict(values, DataConfig)

    def _known(self, unknown: Any) -> incoming.Known:
        """What new examples must be like. The columns of a bundled table are its features, which are numbers."""
        config, data = self._read_as, self.data
        known = data.get("columns") or [(name, None) for name in data.get("features") or ()]
        columns = tuple(Column(name, None if texts is None else tuple(texts)) for name, texts in known) or None
        nan = "refuse" if config.nan == "drop" else config.nan  # each row has an answer
        rules = Rules(config.text, tuple(data.get("missing", MISSING)), nan, data.get("fill"), unknown)
        target = tuple(data.get("targets") or ()) or config.target
        others = (config.drop, config.split_by, config.time_column, config.images)
        roles = table.Roles(target, config.weight, config.delimiter, rules, *others)
        return incoming.Known(data, columns, roles, image_form.of(config))

    def _outputs(self, x: Any, unknown: Any) -> np.ndarray:
        if isinstance(x, str | os.PathLike):
            return np.concatenate([part.outputs for part in self.outputs_of([x], unknown)])
        named = is_frame(x) and self.data.get("features") is not None  # of arrays without names a frame is one too
        return self._apply(self._checked(self.encode(x, unknown) if named else x))

    def _apply(self, x: np.ndarray, first: int = 0) -> np.ndarray:
        """The outputs for rows that are checked, the first of which is number `first` of all."""
        fork.refuse()
        if self.task.prepare is not unchanged:
            rule = "it generates, see jaxnn.sample"
            if self.task.name not in GENERATIVE:
                rule = "its task prepares them with their labels; use run.model.apply of what it prepares"
            raise InputError(f"predict: a {self.task.name} answers no examples; {rule}")
        rows = lambda start, end: x[start:end]
        sizes = block_sizes(block_rows(self.task))
        found = in_blocks(lambda part: self.outputs(self.params, part), len(x), rows, sizes)
        bad = ~np.isfinite(found).reshape(len(found), -1).all(1)
        if bad.any():
            row = int(np.argmax(bad))
            answer = found[row] if found[row].ndim < 2 else found[row][~np.isfinite(found[row])][0]
            raise NumericsError(
                f"x[{first + row}]: the network answers {answer}; look for numbers unlike those of training"
            )
        return found

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


def load_run(
    folder: str | Path,
    *,
    model: Callable[[Any], Any] | None = None,
    loss: Callable[[Any, Any], Any] | None = None,
    metrics: Mapping[str, Any] | None = None,
    task: Callable[[dict[str, Any]], Task] | None = None,
    partial: bool = False,
    weights: str = "last",
    flips: bool = False,
) -> Run:
    """The trained network of a run, in any process.

    Args:
      folder: the run's folder.
      model: where the config file brought a model of its own, that function (`outputs -> Model or Flax module`).
      loss, metrics: those of the config file, where it brought them; needed to evaluate, not to predict.
      task: where the config file brought a task of its own, that function (`data -> Task`).
      partial: take the weights of a run that was stopped before its end, too.
      weights: `last`, which the run ended with, or `best`, of the checkpoint that was best by `--checkpoint.best`.
      flips: of each image the mean of the network's outputs (logits) for it and for its mirror image.

    Raises:
      InputError: the folder is no finished run (one that failed never is), or its weights do not belong to its config.
      StorageError: the best checkpoint is damaged or gone.

    >>> import tempfile, jaxnn.keras as keras
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="softmax")])
    >>> model.compile(loss="sparse_categorical_crossentropy")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     load_run(model.as_run(f"{folder}/run")).predict_proba([[5.1, 3.5, 1.4, 0.2]]).shape
    (1, 3)
    """
    fork.refuse()
    folder = paths.expand("folder", folder)
    if weights not in WEIGHTS:
        raise choices("weights", weights, WEIGHTS)
    identity.refuse_no_run(folder)
    saved = identity.read(folder / "config.json", "folder")
    found = best.read(folder) if weights == "best" else stored.read(folder)
    if model is None and saved["source"] == KERAS_MODEL:
        from jaxnn.keras import runs

        model = runs.network_in(folder)
    if saved["own_model"] and model is None:
        raise InputError(f"model=None: {saved['source']} brought its own model; pass that function as model=")
    if "task" in saved.get("own", ()) and task is None:
        raise InputError(f"task=None: {saved['source']} brought its own task; pass that function as task=")
    config = from_dict(saved["config"], Config)
    stored.refuse_unfinished(folder, found, config.epochs, partial=partial)
    own = Own(model=model, loss=loss, metrics=metrics, task=task)
    made, means, example = network(config, saved["data"], own)
    if flips:
        if len(saved["data"]["shape"]) != 3:
            raise InputError(f"flips=True: the run was trained on {saved['data']['shape']}, no images; leave it out")
        if means.labels != "whole" or means.prepare is not unchanged:
            raise InputError(f"flips=True: is for classes of whole images, and the task is {means.name}; leave it out")
        made = augment.with_flips(made)
    shapes = jax.eval_shape(made.init, jax.random.key(0), example)
    params = arrays.restore(found.leaves, shapes, "weights")
    given = {"loss": loss, "metrics": metrics}
    lacks = tuple(name for name in saved.get("own", ()) if name in given and given[name] is None)
    return run_of(config, saved["data"], made, means, params)._replace(lacks=lacks, folder=folder)


def run_of(config: Config, data: dict[str, Any], model: Model, task: Task, params: Params) -> Run:
    """A network that has been trained in this process; data: what is known of those that it has learned from."""
    return Run(config, model, params, task, data, jax.jit(lambda params, x: task.link(model.apply(params, x))))
