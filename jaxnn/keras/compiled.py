"""What a model was compiled with, and the state that its training has come to."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.engine import descent
from jaxnn.errors import InputError, choices
from jaxnn.keras import intake, losses, metrics, optimizers
from jaxnn.keras.metrics import Metric
from jaxnn.keras.objective import frozen_of, recipe_of
from jaxnn.keras.session import next_draws, noise_key
from jaxnn.types import Batch, Params, Recipe, State

SAME = (
    *("workers", "use_multiprocessing", "max_queue_size", "validation_batch_size", "jit_compile", "run_eagerly"),
    *("steps_per_execution", "auto_scale_loss"),
)  # arguments of Keras that change no number
KEPT = ("optimizer", "loss", "classes", "_metrics", "_draws", "_rate")


class Compiled:
    """A network with a loss and an optimizer."""

    params: Params  # of all its layers

    def _begin_training(self) -> None:
        self._draws = next_draws()  # where the order of its batches and its noise come from
        self.optimizer: Any = None
        self.loss: losses.Loss | None = None
        self._metrics: tuple[list[Metric], list[Metric]] = ([], [])
        self.classes: tuple[str, ...] | None = None
        self._forget()

    def _forget(self) -> None:
        """What is compiled for layers and loss as they were."""
        self._recipe: Recipe | None = None
        self._programs: dict[Any, Any] = {}
        self._opt_state: Any = None
        self._step: Any = 0
        self._rate: float | None = None

    def compile(
        self, optimizer: Any = "rmsprop", loss: Any = None, metrics: Any = None, weighted_metrics: Any = None,
        **more: Any,
    ) -> None:  # fmt: skip
        """Say how it is trained. A final softmax or sigmoid with its cross-entropy is trained on logits, exactly.

        Args:
          optimizer, loss, metrics, weighted_metrics: names, objects or functions, as Keras takes them.

        Raises `InputError` for a name or an argument that is not known.
        """
        self._refuse("compile", more, ("loss", "metrics", "optimizer", "weighted_metrics"))
        if isinstance(loss, list | tuple | dict) and len(loss) == 1:
            (loss,) = loss.values() if isinstance(loss, dict) else loss
        if loss is None or isinstance(loss, list | tuple | dict):
            raise InputError(f"compile loss={loss}: must be one loss, as in loss='categorical_crossentropy'")
        asked = losses.get(loss)
        if asked.reduction not in ("sum_over_batch_size", "mean"):
            rule = "a model is trained on the mean over the examples of a batch"
            raise InputError(f"compile loss={asked.name} reduction={asked.reduction}: {rule}; leave it out")
        self.optimizer, self.loss = optimizers.get(optimizer), asked
        self._metrics = _named(_listed(metrics), _listed(weighted_metrics))
        self._forget()

    @property
    def metrics(self) -> list[Metric]:
        """Those that it is compiled with, but for the loss."""
        return [metric for chosen in self._metrics for metric in chosen]

    @property
    def metrics_names(self) -> list[str]:
        """What `evaluate` gives, in that order."""
        return ["loss", *(metric.name for metric in self.metrics)]

    def _need_compiled(self) -> None:
        if self.loss is None:
            raise InputError("You must call `compile()` before calling `fit()` or `evaluate()`.")

    def _refuse(self, where: str, more: Mapping[str, Any], known: Sequence[str]) -> None:
        for argument in more.keys() - set(SAME):
            raise choices(f"{where} argument", argument, known)

    # ---- its recipe and its state ----

    def to_recipe(self: Any) -> Recipe:
        """How it is trained, as jaxnn has it: for `jaxnn.engine.step` and all that stands on it."""
        self._need_compiled()
        self._need_built()
        if self._recipe is None:
            self._recipe = recipe_of(self, self.loss, self._metrics, self.optimizer.tx())
        return self._recipe

    def state(self: Any) -> State:
        """Where its training stands: the next step goes on from here."""
        recipe, params = self.to_recipe(), self.drawn()
        if recipe.freeze != frozen_of(self):
            raise InputError(f"{self.name}: trainable= was changed since it was trained; call compile again")
        if self._opt_state is None:
            self._opt_state = jax.jit(functools.partial(descent.state_of, recipe))(params).opt_state
        self.optimizer.iterations = self._step
        rate = None if self.optimizer.scheduled else float(self.optimizer.learning_rate)
        if rate is not None and rate != self._rate:
            self._opt_state = self.optimizer.with_rate(self._opt_state, rate)
        self._rate = rate
        return State(jnp.asarray(self._step, jnp.int32), params, self._opt_state)

    def keep(self: Any, state: State) -> None:
        """Go on from this state."""
        self.params, self._opt_state, self._step = state.params, state.opt_state, state.step
        self.optimizer.iterations = state.step

    def key(self) -> jax.Array:
        """The key of its run."""
        return noise_key(*self._draws)

    def _training(self: Any) -> dict[str, Any]:
        """How far it has been trained, and with what: all that the next step depends on but for its weights."""
        state = None if self._opt_state is None else jax.tree.map(np.asarray, self._opt_state)
        return {name: getattr(self, name) for name in KEPT} | {"opt_state": state, "step": int(self._step)}

    def _go_on(self, training: dict[str, Any]) -> None:
        """Take what `_training` gave."""
        self._opt_state, self._step = training["opt_state"], training["step"]
        for name in KEPT:
            setattr(self, name, training[name])

    # ---- its data ----

    def _given(self: Any) -> intake.Given:
        shapes = {each.name: each.core for each in self.inputs}
        return intake.Given(shapes, self.outputs[0].core, self.loss, self.classes)

    def _inputs(self: Any, x: Any) -> Any:
        """x as the network takes it; a model that has no shapes yet takes those of x."""
        if not self.built:
            self.build((None, *intake.inputs(x, None).shape[1:]))
        return intake.inputs(x, {each.name: each.core for each in self.inputs})

    def _rows(
        self: Any, x: Any, y: Any, sample_weight: Any = None, class_weight: Any = None, *, learn: bool = False
    ) -> Batch:
        """Rows to train on, or to be measured on; with `learn` texts among the labels become the model's classes."""
        if not self.built:
            self._inputs(x)
        rows, given = intake.rows(x, y, self._given(), sample_weight, class_weight)
        if given.classes != self.classes and not learn:
            cure = "call fit first, which numbers them"
            raise InputError(f"y={np.ravel(y)[0]!r}: is a text, and the model does not know the classes; {cure}")
        self.classes = given.classes
        return rows


def _listed(given: Any) -> list[Any]:
    if isinstance(given, dict) and "class_name" not in given:
        return [each for of_output in given.values() for each in _listed(of_output)]
    return [] if given is None else list(given) if isinstance(given, list | tuple) else [given]


def _named(*asked: list[Any]) -> tuple[list[Metric], list[Metric]]:
    """The metrics of these specs, no two of one name."""
    seen: set[str] = {"loss"}
    found: tuple[list[Metric], list[Metric]] = ([], [])
    for specs, into in zip(asked, found, strict=True):
        for metric in map(metrics.get, specs):
            name, number = metric.name, 1
            while metric.name in seen:
                metric.name, number = f"{name}_{number}", number + 1
            seen.add(metric.name)
            into.append(metric)
    return found
