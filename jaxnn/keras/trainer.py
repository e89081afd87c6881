"""What Keras' models do with data, on jaxnn's engine: compile, fit, evaluate, predict, and one batch at a time."""

from __future__ import annotations

import functools
import itertools
import math
from typing import Any

import jax
import numpy as np

from jaxnn import engine
from jaxnn.devices.cache import keeping
from jaxnn.errors import InputError, check
from jaxnn.keras import callbacks as hooks
from jaxnn.keras import intake
from jaxnn.keras.compiled import Compiled
from jaxnn.keras.fitting import Fitting, not_finite
from jaxnn.keras.sources import POOL, Resident, Streamed, iterated, unpacked
from jaxnn.tasks.base import block_rows, block_sizes, rows_of
from jaxnn.training import loop
from jaxnn.types import Batch


class Trainer(Fitting, Compiled):
    """The part of a model that learns."""

    @keeping
    def fit(
        self: Any, x: Any = None, y: Any = None, batch_size: int | None = None, epochs: int = 1, verbose: Any = "auto",
        callbacks: Any = None, validation_split: float = 0.0, validation_data: Any = None, shuffle: bool = True,
        class_weight: Any = None, sample_weight: Any = None, initial_epoch: int = 0, steps_per_epoch: int | None = None,
        validation_steps: int | None = None, validation_freq: int = 1, **more: Any,
    ) -> Any:  # fmt: skip
        """Train for some epochs: `History`, with a list of each metric in `history`.

        Args:
          x, y: arrays (uint8 is kept as it is), data frames, for several inputs a list of them; or x alone: an iterable
            of batches `(x, y)` or `(x, y, sample_weight)`.
          validation_split: the last part of the rows, taken before they are shuffled.
          validation_data: `(x, y)`, `(x, y, sample_weight)`, or an iterable of batches.
          shuffle: the rows of arrays, or the batches of an object with `[i]` and `len`, in another order each epoch.
          callbacks: one or several. One with a batch hook makes the run go step by step, which costs time.

        Raises `InputError` for data that do not fit, before anything is trained, and `NumericsError` where a loss or a
        weight is not finite: the model has the weights from before then.
        """
        self._refuse("fit", more, ("batch_size", "callbacks", "class_weight", "epochs", "validation_data", "verbose"))
        self._need_compiled()
        at_least = {
            "epochs": (epochs, 1), "initial_epoch": (initial_epoch, 0), "validation_freq": (validation_freq, 1),
            "batch_size": (batch_size or 32, 1),
            "validation_steps": (1 if validation_steps is None else validation_steps, 1),
        }  # fmt: skip
        for name, (value, least) in at_least.items():
            if not isinstance(value, int | np.integer) or value < least:
                raise InputError(f"fit {name}={value}: must be a number >= {least}")
        verbose, validation = _level(verbose), validation_data
        if validation_split and validation is None:
            if intake.is_batches(x):
                raise InputError(f"validation_split={validation_split}: is for arrays; give validation_data=")
            (x, y, sample_weight), validation = intake.split_off(x, y, sample_weight, validation_split)
        told = hooks.CallbackList(self._listening(callbacks, verbose), model=self)
        weights = (class_weight, sample_weight)
        source = self._source(x, y, batch_size or 32, bool(shuffle), weights, steps_per_epoch, told.batches)
        rows = (more.get("validation_batch_size") or batch_size or 32) * validation_steps if validation_steps else None
        measured = None if validation is None else self._measuring(validation, validation_steps, rows)
        told.set_params({"epochs": epochs, "steps": source.steps, "verbose": verbose})
        self._train(source, told, range(initial_epoch, epochs), measured, validation_freq)
        return self.history

    def _told(self: Any, callbacks: Any, verbose: Any, steps: int | None) -> hooks.CallbackList:
        """Who listens to an evaluation or a prediction."""
        verbose = _level(verbose)
        own = [hooks.ProgbarLogger()] if verbose else []
        return hooks.CallbackList([callbacks, own], model=self, params={"verbose": verbose, "steps": steps})

    def _source(
        self: Any, x: Any, y: Any, batch_size: int, shuffle: bool, weights: Any, steps: Any, one_by_one: bool
    ) -> Resident | Streamed:
        class_weight, sample_weight = weights
        if not intake.is_batches(x):
            rows = self._rows(x, y, sample_weight, class_weight, learn=True)
            given = (self.to_recipe(), self._programs, self.key())
            return Resident(*given, rows, batch_size, shuffle, steps, one_by_one)
        if y is not None:
            raise InputError("fit y=: x gives batches (x, y); leave it out")
        if sample_weight is not None:
            raise InputError("fit sample_weight=: x gives batches; have it give (x, y, sample_weight)")
        if not self.built:
            x, first = _peeked(x)
            self._inputs(unpacked(first)[0])
        given = (self.to_recipe(), self._programs, self.key())
        return Streamed(*given, x, self._given(), steps, class_weight, shuffle, one_by_one)

    # ---- evaluate and predict ----

    def _measuring(self: Any, data: Any, steps: int | None, most: int | None) -> Any:
        """A function that gives the logs of these batches or first rows, for the weights that the model has then."""
        if intake.is_batches(data):
            return lambda: self._over_batches(data, steps)
        if not isinstance(data, tuple | list) or not 2 <= len(data) <= 3:
            raise InputError(f"validation_data={type(data).__name__}: must be (x, y), (x, y, sample_weight) or batches")
        rows = jax.device_put(intake.cut(self._rows(*data), 0, most))
        return lambda: self._logs(self._sums(rows))

    def _sums(self: Any, rows: Batch) -> Any:
        if "evaluate" not in self._programs:
            recipe = self.to_recipe()
            size = block_rows(recipe.task)
            self._programs["evaluate"] = jax.jit(functools.partial(engine.evaluate, recipe, batch_size=size))
        params = self.drawn()
        return POOL.submit(lambda: jax.device_get(self._programs["evaluate"](params, rows))).result()

    def _over_batches(self: Any, batches: Any, steps: int | None) -> dict[str, float]:
        total: Any = None
        for batch in itertools.islice(iterated(batches), steps):
            found = self._sums(self._rows(*unpacked(batch)))
            sums = jax.tree.map(lambda a: np.asarray(a, np.float64), found)
            total = sums if total is None else jax.tree.map(np.add, total, sums)
        if total is None:
            raise InputError(f"{type(batches).__name__}: gave no batch; give some")
        return self._logs(total)

    @keeping
    def evaluate(
        self: Any, x: Any = None, y: Any = None, batch_size: int | None = None, verbose: Any = "auto",
        sample_weight: Any = None, steps: int | None = None, callbacks: Any = None, return_dict: bool = False,
        **more: Any,
    ) -> Any:  # fmt: skip
        """The loss, or `[loss, metric, ...]`; with return_dict by their names.

        x, y and sample_weight as `fit` takes them; `steps`: the first batches alone. Raises `InputError` for data that
        do not fit, and for a model that is not compiled.
        """
        self._refuse("evaluate", more, ("batch_size", "return_dict", "sample_weight", "steps", "verbose"))
        self._need_compiled()
        batches = intake.is_batches(x)
        if batches and (y is not None or sample_weight is not None):
            raise InputError("evaluate y=, sample_weight=: x gives batches; have it give (x, y, sample_weight)")
        most = (batch_size or 32) * steps if steps else None
        told = self._told(callbacks, verbose, steps if batches else _steps(x, batch_size))
        told.on_test_begin()
        if batches:
            logs = self._over_batches(x, steps)
        else:
            logs = self._logs(self._sums(intake.cut(self._rows(x, y, sample_weight), 0, most)))
        told.on_test_end(logs)
        return _returned(logs, return_dict)

    @keeping
    def predict(
        self: Any, x: Any, batch_size: int | None = None, verbose: Any = "auto", steps: int | None = None,
        callbacks: Any = None, **more: Any,
    ) -> Any:  # fmt: skip
        """The outputs for examples, f32[n, ...]; of several outputs a list.

        x: arrays, or an iterable of batches. What the network ends with: probabilities after a softmax, logits without.
        Raises `InputError` for data that do not fit.
        """
        self._refuse("predict", more, ("batch_size", "callbacks", "steps", "verbose"))
        told = self._told(callbacks, verbose, steps if intake.is_batches(x) else _steps(x, batch_size))
        told.on_predict_begin()
        if intake.is_batches(x):
            given = itertools.islice(iterated(x), steps)
            parts = [self.predict_on_batch(batch[0] if isinstance(batch, tuple) else batch) for batch in given]
            if not parts:
                raise InputError(f"x={type(x).__name__}: gave no batch; give some")
            y = jax.tree.map(lambda *each: np.concatenate(each), *parts)
        else:
            x = self._inputs(x)
            y = self.predict_on_batch(intake.cut(x, 0, (batch_size or 32) * steps) if steps else x)
        told.on_predict_end()
        return y

    @keeping
    def predict_on_batch(self: Any, x: Any) -> Any:
        """The outputs for these examples, in blocks of a few sizes so that few programs are compiled."""
        x = self._inputs(x)
        params, n = self.drawn(), len(jax.tree.leaves(x)[0])
        sizes = block_sizes(rows_of(sum(math.prod(each.core) for each in self.outputs)))
        rows = lambda start, end: intake.cut(x, start, end)
        y = engine.in_blocks(functools.partial(self.compiled_apply(), params), n, rows, sizes)
        return y if not self.several else list(y) if isinstance(y, tuple) else [y]

    # ---- one batch ----

    @keeping
    def train_on_batch(
        self: Any, x: Any, y: Any = None, sample_weight: Any = None, class_weight: Any = None, return_dict: bool = False
    ) -> Any:
        """One step on these rows: the loss and metrics before it. Raises `NumericsError`."""
        self._need_compiled()
        self._rows(x, y, sample_weight, class_weight)
        given = (self.to_recipe(), self._programs, self.key())
        source = Streamed(*given, [(x, y, sample_weight)], self._given(), 1, class_weight, False, one_by_one=True)
        source.begin(int(self._step))
        try:
            (event,) = source.epoch(self.state())
        except loop.NotFinite as failed:
            raise not_finite(failed) from None
        self.keep(event.state)
        return _returned(self._logs(event.sums), return_dict)

    def test_on_batch(self: Any, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False) -> Any:
        """The loss and metrics of these rows."""
        return self.evaluate(x, y, verbose=0, sample_weight=sample_weight, return_dict=return_dict)


def _level(verbose: Any) -> int:
    level = 1 if verbose == "auto" else verbose
    check("verbose", verbose, "'auto', 0, 1 or 2", level in (0, 1, 2))
    return int(level)


def _steps(x: Any, batch_size: int | None) -> int:
    """How many batches Keras would count."""
    leaf: Any = next(iter(x.values()), []) if isinstance(x, dict) else x
    first: Any = next(iter(leaf), None) if isinstance(leaf, list | tuple) else None
    leaf = first if hasattr(first, "shape") and np.ndim(first) > 1 else leaf
    return -(-len(leaf) // (batch_size or 32)) if hasattr(leaf, "__len__") else 1


def _returned(logs: dict[str, float], return_dict: bool) -> Any:
    """As Keras gives them: a number where there is one."""
    return logs if return_dict else next(iter(logs.values())) if len(logs) == 1 else list(logs.values())


def _peeked(batches: Any) -> tuple[Any, Any]:
    """An iterable that still has its first batch, and that."""
    passing = iterated(batches)
    first = next(passing, None)
    if first is None:
        raise InputError(f"x={type(batches).__name__}: gave no batch; give some")
    return itertools.chain([first], passing) if passing is batches else batches, first
