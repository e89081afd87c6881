"""The epochs of `fit`, and what callbacks do between them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from jaxnn.errors import NumericsError
from jaxnn.keras import callbacks as hooks
from jaxnn.keras.sources import Done
from jaxnn.training import loop


class Fitting:
    """The loop over epochs of a model that is compiled."""

    stop_training: bool = False
    history: Any = None

    def _listening(self: Any, callbacks: Any, verbose: int) -> list[Any]:
        """Those of the user, and those that every fit has."""
        given = [] if callbacks is None else list(callbacks) if isinstance(callbacks, list | tuple) else [callbacks]
        self.history = next((each for each in given if isinstance(each, hooks.History)), None) or hooks.History()
        own = [] if self.history in given else [self.history]
        return [*given, *([hooks.ProgbarLogger()] if verbose else []), *own]

    def _train(
        self: Any, source: Any, told: Any, epochs: range, measured: Callable[[], Any] | None, every: int
    ) -> None:
        self.stop_training = False
        told.on_train_begin()
        logs: dict[str, float] = {}
        for epoch in epochs:
            told.on_epoch_begin(epoch)
            source.begin(int(self._step))
            logs = self._epoch(source, told)
            if measured and (epoch + 1) % every == 0:
                told.on_test_begin()
                logs = logs | {f"val_{name}": value for name, value in measured().items()}
                told.on_test_end(logs)
            told.on_epoch_end(epoch, logs)
            if self.stop_training:
                break
        told.on_train_end(logs)

    def _epoch(self: Any, source: Any, told: Any) -> dict[str, float]:
        """One epoch: its logs. Raises `NumericsError`."""
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
                if self._is_other(event):
                    steps = source.epoch(self.state(), event)
        return logs

    def _is_other(self: Any, event: Done) -> bool:
        """Whether a batch hook has set another rate or other weights."""
        optimizer, leaves = self.optimizer, jax.tree.leaves
        if not optimizer.scheduled and float(optimizer.learning_rate) != self._rate:
            return True
        return any(a is not b for a, b in zip(leaves(self.params), leaves(event.state.params), strict=True))

    def _failed(self: Any, failed: loop.NotFinite, told: Any, step: int) -> dict[str, float]:
        """End gently where a `TerminateOnNaN` listens. Raises `NumericsError` where none does."""
        logs = {"loss": float("nan")}
        told.not_finite(step, logs)
        if self.stop_training:
            return logs
        raise not_finite(failed) from None

    def _logs(self: Any, sums: Any) -> dict[str, float]:
        return {name: float(value) for name, value in self.to_recipe().task.summary(sums).items()}


def not_finite(failed: loop.NotFinite) -> NumericsError:
    """The error for steps that came to no finite numbers."""
    rule = "a loss, a gradient or a weight is not finite"
    cure = "lower learning_rate=, or give clipnorm=; the weights are those from before"
    return NumericsError(f"step={int(failed.before.step)}: {rule}; {cure}")
