"""compile, fit, evaluate, predict: what Keras' models do, on jaxnn's engine."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn import engine
from jaxnn.engine import descent
from jaxnn.errors import InputError, NumericsError, choices
from jaxnn.keras import callbacks as hooks
from jaxnn.keras import intake, losses, metrics, optimizers
from jaxnn.keras.base import Session
from jaxnn.keras.objective import block_rows, recipe_of
from jaxnn.keras.sources import POOL, Done, Resident, Streamed, iterated, unpacked
from jaxnn.training import loop
from jaxnn.types import Batch, Recipe, State

IGNORED = {"workers", "use_multiprocessing", "max_queue_size", "validation_batch_size", "jit_compile", "run_eagerly",
           "steps_per_execution", "auto_scale_loss"}  # they change no number  # fmt: skip


class Trainer:
    """The part of a model that learns."""

    def _begin_training(self) -> None:
        Session.noise += 1
        self._draws = (Session.seed, Session.noise)  # where the order of its batches and its noise come from
        self.optimizer: Any = None
        self.loss: losses.Loss | None = None
        self._asked: tuple[Any, Any] = (None, None)
        self.classes: tuple[str, ...] | None = None
        self.history: Any = None
        self.stop_training = False
        self._forget()

    def _forget(self) -> None:
        """What is compiled for the layers as they were."""
        self._recipe: Recipe | None = None
        self._programs: dict[Any, Any] = {}
        self._opt_state: Any = None
        self._step = 0
        self._rate: Any = None

    # ---- compile ----

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        **more: Any,
    ) -> None:
        """Say how it is trained. A final softmax or sigmoid with its cross-entropy is trained on logits, exactly.

        Args:
          optimizer, loss, metrics, weighted_metrics: names, objects or functions, as Keras takes them.

        Raises `InputError` for a name or an argument that is not known.
        """
        self._refuse("compile", more, ["optimizer", "loss", "metrics", "weighted_metrics"])
        if loss is None or (isinstance(loss, list | tuple | dict) and len(loss) != 1):
            raise InputError(f"compile loss={loss}: must be one loss, as in loss='categorical_crossentropy'")
        loss = (
            next(iter(loss.values() if isinstance(loss, dict) else loss))
            if isinstance(loss, list | tuple | dict)
            else loss
        )
        self.optimizer, self.loss = optimizers.get(optimizer), losses.get(loss)
        listed = [
            list(each) if isinstance(each, list | tuple) else [] if each is None else [each]
            for each in (metrics, weighted_metrics)
        ]
        self._asked = (listed[0], listed[1])
        for each in (*listed[0], *listed[1]):
            metrics_of(each, self.loss, (2,))  # what is not known is refused here
        self._forget()

    @property
    def metrics_names(self) -> list[str]:
        """What `evaluate` gives, in that order."""
        return [
            "loss",
            *(metric.name for metric in self._metrics()[0]),
            *(metric.name for metric in self._metrics()[1]),
        ]

    def _metrics(self: Any) -> tuple[list[metrics.Metric], list[metrics.Metric]]:
        """The metrics for the shape of the outputs, no two of one name."""
        shape, seen = self.outputs[0].core, set()
        found: tuple[list[Any], list[Any]] = ([], [])
        for asked, into in zip(self._asked, found, strict=True):
            for each in asked or ():
                metric = metrics_of(each, self.loss, shape)
                name, number = metric.name, 1
                while metric.name in seen or metric.name == "loss":
                    metric.name, number = f"{name}_{number}", number + 1
                seen.add(metric.name)
                into.append(metric)
        return found

    def _need_compiled(self) -> None:
        if self.loss is None:
            raise InputError("You must call `compile()` before calling `fit()` or `evaluate()`.")

    def _refuse(self, where: str, more: Mapping[str, Any], known: Sequence[str]) -> None:
        for argument in more.keys() - IGNORED:
            raise choices(f"{where} {argument}", more[argument], known)

    # ---- its recipe, its state ----

    def to_recipe(self: Any) -> Recipe:
        """How it is trained, as jaxnn has it: `jaxnn.engine.step(model.to_recipe(), ...)`."""
        self._need_compiled()
        self._need_built()
        if self._recipe is None:
            self._recipe = recipe_of(self, self.loss, *self._metrics(), self.optimizer.tx())
        return self._recipe

    def state(self: Any) -> State:
        """The state of its run, from which the next step goes on."""
        recipe, params = self.to_recipe(), self.drawn()
        if self._opt_state is None:
            begin = jax.jit(functools.partial(descent.state_of, recipe))
            self._opt_state = begin(params).opt_state
        rate = self.optimizer.learning_rate
        if self._rate is not None and not callable(rate) and float(rate) != self._rate:
            self._opt_state = self.optimizer.with_rate(self._opt_state, float(rate))
        self._rate = None if callable(rate) else float(rate)
        return State(jnp.asarray(self._step, jnp.int32), params, self._opt_state)

    def _training(self: Any) -> dict[str, Any]:
        """How far it has been trained, and with what: all that the next step depends on but for its weights."""
        state = None if self._opt_state is None else jax.tree.map(np.asarray, self._opt_state)
        given = {name: getattr(self, name) for name in ("optimizer", "loss", "classes", "_asked", "_draws", "_rate")}
        return given | {"opt_state": state, "step": int(self._step)}

    def _go_on(self, training: dict[str, Any]) -> None:
        """Take what `_training` gave."""
        self._opt_state, self._step = training["opt_state"], training["step"]
        for name in ("optimizer", "loss", "classes", "_asked", "_draws", "_rate"):
            setattr(self, name, training[name])

    def keep(self: Any, state: State) -> None:
        """Go on from this state."""
        self.params, self._opt_state, self._step = state.params, state.opt_state, state.step

    def key(self) -> Any:
        """The key of its run."""
        seed, number = self._draws
        return jax.random.fold_in(jax.random.key(seed), 2**31 + number)

    def _given(self: Any) -> intake.Given:
        shapes = {each.name: each.core for each in self.inputs}
        return intake.Given(shapes, self.outputs[0].core, self.loss, self.classes)

    def _inputs(self: Any, x: Any) -> Any:
        """x as the network takes it; a model that has no shapes yet takes those of x."""
        if not self.built:
            found = intake.inputs(x, None)
            self.build((None, *found.shape[1:]))
        return intake.inputs(x, {each.name: each.core for each in self.inputs})

    def _rows(self: Any, x: Any, y: Any, sample_weight: Any = None, class_weight: Any = None) -> Batch:
        """Rows to train or to be measured on."""
        self._inputs(x if self.built else _few(x))
        rows, given = intake.rows(x, y, self._given(), sample_weight, class_weight)
        self.classes = given.classes
        return rows

    # ---- fit ----

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
          callbacks: one or several. One with a batch hook makes the run go step by step, which costs time.

        Raises `InputError` for data that do not fit, before anything is trained, and `NumericsError` where a loss or a
        weight is not finite: the model has the weights from before then.
        """
        self._refuse(
            "fit", more, ["x", "y", "batch_size", "epochs", "verbose", "callbacks", "validation_data", "shuffle"]
        )
        self._need_compiled()
        for name, value, least in (
            ("epochs", epochs, 1),
            ("initial_epoch", initial_epoch, 0),
            ("batch_size", batch_size or 1, 1),
        ):
            if not isinstance(value, int | np.integer) or value < least:
                raise InputError(f"fit {name}={value}: must be a number >= {least}")
        verbose = 1 if verbose in ("auto", True) else int(verbose)
        validation = validation_data
        if validation_split and validation is None:
            if intake.is_batches(x):
                raise InputError(f"validation_split={validation_split}: is for arrays; give validation_data=")
            (x, y, sample_weight), validation = intake.split_off(x, y, sample_weight, validation_split)
        told = hooks.CallbackList(self._listening(callbacks, verbose), model=self)
        source = self._source(x, y, batch_size, shuffle, class_weight, sample_weight, steps_per_epoch, told.batches)
        measured = None if validation is None else self._measuring(validation, validation_steps)
        told.set_params({"epochs": epochs, "steps": source.steps, "verbose": verbose})
        self._train(source, told, range(initial_epoch, epochs), measured, validation_freq)
        return self.history

    def _listening(self: Any, callbacks: Any, verbose: int) -> list[Any]:
        """Those of the user, and those that every fit has."""
        given = [] if callbacks is None else list(callbacks) if isinstance(callbacks, list | tuple) else [callbacks]
        self.history = next((each for each in given if isinstance(each, hooks.History)), None) or hooks.History()
        own = [] if self.history in given else [self.history]
        return [*([hooks.ProgbarLogger()] if verbose else []), *given, *own]

    def _source(self: Any, x: Any, y: Any, batch_size: Any, shuffle: Any, class_weight: Any, sample_weight: Any,
                steps: Any, one_by_one: bool) -> Resident | Streamed:  # fmt: skip
        if intake.is_batches(x):
            if y is not None:
                raise InputError("fit y=: x gives batches (x, y); leave it out")
            if not self.built:
                x, first = _peeked(x)
                self._inputs(unpacked(first)[0])
            return Streamed(
                self.to_recipe(), self._programs, self.key(), x, self._given(), steps, class_weight, one_by_one
            )
        rows = self._rows(x, y, sample_weight, class_weight)
        size = batch_size or 32
        return Resident(self.to_recipe(), self._programs, self.key(), rows, size, bool(shuffle), steps, one_by_one)

    def _train(self: Any, source: Any, told: Any, epochs: range, measured: Any, every: int) -> None:
        """The epochs, with what the callbacks do between them."""
        self.stop_training = False
        told.on_train_begin()
        logs: dict[str, float] = {}
        for epoch in epochs:
            told.on_epoch_begin(epoch)
            source.begin()
            logs = self._epoch(source, told)
            if measured is not None and (epoch - epochs.start + 1) % every == 0:
                told.on_test_begin()
                logs = logs | {f"val_{name}": value for name, value in measured().items()}
                told.on_test_end(logs)
            told.on_epoch_end(epoch, logs)
            if self.stop_training:
                break
        told.on_train_end(logs)

    def _epoch(self: Any, source: Any, told: Any) -> dict[str, float]:
        """One epoch: its logs."""
        steps, done, logs = source.epoch(self.state()), 0, {}
        while source.steps is None or done < source.steps:
            if told.batches:
                told.on_train_batch_begin(done)
            try:
                event: Done | None = next(steps, None)
            except loop.NotFinite as failed:
                return self._failed(failed, told, done)
            if event is None:
                break
            self.keep(event.state)
            logs, done = self._logs(event.sums), event.steps
            if told.batches:
                told.on_train_batch_end(done - 1, logs)
                if self.stop_training:
                    break
                steps = self._changed(source, steps, event)
        return logs

    def _changed(self: Any, source: Any, steps: Any, event: Done) -> Any:
        """The steps that are left; a batch hook may have set another rate or other weights."""
        rate = self.optimizer.learning_rate
        if (callable(rate) or float(rate) == self._rate) and self._same(event.state.params):
            return steps
        return source.epoch(self.state(), event)

    def _same(self: Any, params: Any) -> bool:
        return all(a is b for a, b in zip(jax.tree.leaves(self.params), jax.tree.leaves(params), strict=True))

    def _failed(self: Any, failed: loop.NotFinite, told: Any, step: int) -> dict[str, float]:
        """End gently where a `TerminateOnNaN` listens. Raises `NumericsError` where none does."""
        logs = {"loss": float("nan")}
        told.not_finite(step, logs)
        if not self.stop_training:
            rule = "a loss, a gradient or a weight is not finite"
            cure = "lower learning_rate=, or give clipnorm=; the weights are those from before"
            raise NumericsError(f"step={int(failed.before.step)}: {rule}; {cure}") from None
        return logs

    def _logs(self: Any, sums: Any) -> dict[str, float]:
        summary = self.to_recipe().task.summary(sums)
        return {name: float(value) for name, value in summary.items()}

    # ---- evaluate and predict ----

    def _measuring(self: Any, data: Any, steps: int | None) -> Any:
        """A function that gives the logs of these examples for the weights as they are then."""
        if intake.is_batches(data):
            return lambda: self._over_batches(data, steps)
        if not isinstance(data, tuple | list) or not 2 <= len(data) <= 3:
            raise InputError(f"validation_data={type(data).__name__}: must be (x, y), (x, y, sample_weight) or batches")
        rows = jax.device_put(self._rows(*data))
        return lambda: self._logs(jax.device_get(self._sums(rows)))

    def _sums(self: Any, rows: Batch) -> Any:
        if "evaluate" not in self._programs:
            recipe = self.to_recipe()
            size = block_rows(self.outputs[0].core)
            self._programs["evaluate"] = jax.jit(functools.partial(engine.evaluate, recipe, batch_size=size))
        return POOL.submit(self._programs["evaluate"], self.drawn(), rows).result()

    def _over_batches(self: Any, batches: Any, steps: int | None) -> dict[str, float]:
        total: Any = None
        for i, batch in enumerate(iterated(batches)):
            sums = jax.tree.map(
                lambda a: np.asarray(a, np.float64), jax.device_get(self._sums(self._rows(*unpacked(batch))))
            )
            total = sums if total is None else jax.tree.map(np.add, total, sums)
            if i + 1 == steps:
                break
        if total is None:
            raise InputError(f"validation_data={type(batches).__name__}: gave no batch; give some")
        return self._logs(total)

    def evaluate(
        self: Any, x: Any = None, y: Any = None, batch_size: int | None = None, verbose: Any = "auto",
        sample_weight: Any = None, steps: int | None = None, callbacks: Any = None, return_dict: bool = False, **more: Any,
    ) -> Any:  # fmt: skip
        """The loss, or `[loss, metric, ...]`; with return_dict by their names."""
        self._refuse("evaluate", more, ["x", "y", "batch_size", "verbose", "sample_weight", "steps", "return_dict"])
        self._need_compiled()
        told = hooks.CallbackList([] if callbacks is None else callbacks, model=self)
        told.on_test_begin()
        if intake.is_batches(x):
            logs = self._over_batches(x, steps)
        else:
            logs = self._logs(jax.device_get(self._sums(self._rows(x, y, sample_weight))))
        told.on_test_end(logs)
        hooks.tell_evaluated(logs, 1 if verbose in ("auto", True) else int(verbose))
        return logs if return_dict else next(iter(logs.values())) if len(logs) == 1 else list(logs.values())

    def predict(
        self: Any, x: Any, batch_size: int | None = None, verbose: Any = "auto", steps: int | None = None,
        callbacks: Any = None, **more: Any,
    ) -> Any:  # fmt: skip
        """The outputs for examples, f32[n, ...]; of several outputs a list."""
        self._refuse("predict", more, ["x", "batch_size", "verbose", "steps", "callbacks"])
        told = hooks.CallbackList([] if callbacks is None else callbacks, model=self)
        told.on_predict_begin()
        if intake.is_batches(x):
            parts = [
                self.predict_on_batch(_of_batch(batch))
                for _, batch in zip(range(steps or 2**40), iterated(x), strict=False)
            ]
            if not parts:
                raise InputError(f"x={type(x).__name__}: gave no batch; give some")
            y = jax.tree.map(lambda *each: np.concatenate(each), *parts)
        else:
            y = self._outputs(self._inputs(x))
        told.on_predict_end()
        return y

    def predict_on_batch(self: Any, x: Any) -> Any:
        """The outputs for one batch."""
        return self._outputs(self._inputs(x))

    def _outputs(self: Any, x: Any) -> Any:
        """In blocks of a few sizes, so that few programs are compiled."""
        apply = self._calls.setdefault("apply", jax.jit(self.network().apply))
        params, n = self.drawn(), len(jax.tree.leaves(x)[0])
        most, parts = block_rows([each.core for each in self.outputs]), []
        for start in range(0, n, most):
            part = intake.cut(x, start, start + most)
            rows = min(most, n - start)
            size = next(size for size in sorted({1, 16, 128, most}) if size >= rows)
            part = jax.tree.map(lambda a: np.concatenate([a, np.zeros((size - len(a), *a.shape[1:]), a.dtype)]), part)
            parts.append(jax.tree.map(lambda a: np.asarray(a)[:rows], apply(params, part)))
        y = jax.tree.map(lambda *each: np.concatenate(each), *parts)
        return list(y) if self.several and isinstance(y, tuple) else [y] if self.several else y

    # ---- one batch ----

    def train_on_batch(
        self: Any, x: Any, y: Any = None, sample_weight: Any = None, class_weight: Any = None, return_dict: bool = False
    ) -> Any:
        """One step on these rows: the loss and metrics before it."""
        self._need_compiled()
        self._rows(x, y, sample_weight, class_weight)
        batch = [(x, y) if sample_weight is None else (x, y, sample_weight)]
        source = Streamed(self.to_recipe(), self._programs, self.key(), batch, self._given(), 1, class_weight, True)
        source.begin()
        (event,) = source.epoch(self.state())
        self.keep(event.state)
        logs = self._logs(event.sums)
        return logs if return_dict else next(iter(logs.values())) if len(logs) == 1 else list(logs.values())

    def test_on_batch(self: Any, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False) -> Any:
        """The loss and metrics of these rows."""
        return self.evaluate(x, y, verbose=0, sample_weight=sample_weight, return_dict=return_dict)


def metrics_of(given: Any, loss: Any, shape: tuple[int, ...]) -> metrics.Metric:
    return metrics.get(given, loss, shape)


def _few(x: Any) -> Any:
    """The first rows, from which a model takes its shape."""
    return x[:1] if hasattr(x, "shape") and np.ndim(x) and len(x) else x


def _peeked(batches: Any) -> tuple[Any, Any]:
    """The first batch, and an iterable that still has it."""
    if not hasattr(batches, "__next__"):
        first = next(iterated(batches), None)
        if first is None:
            raise InputError(f"x={type(batches).__name__}: gave no batch; give some")
        return batches, first
    import itertools

    first = next(batches, None)
    if first is None:
        raise InputError(f"x={type(batches).__name__}: gave no batch; give some")
    return itertools.chain([first], batches), first


def _of_batch(batch: Any) -> Any:
    return batch[0] if isinstance(batch, tuple) else batch
