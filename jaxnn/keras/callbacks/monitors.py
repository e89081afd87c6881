"""Callbacks that watch a metric: to stop, to lower the learning rate, to keep the best model."""

from __future__ import annotations

import operator
import os
import string
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxnn.errors import InputError, check, fraction, nearest, non_negative
from jaxnn.keras import lookup
from jaxnn.keras.callbacks.base import Callback

if TYPE_CHECKING:
    import numpy as np


class MonitorCallback(Callback):
    """Compares a metric with its best; `mode` "auto" knows which metrics are better when they are less."""

    def __init__(self, monitor: str, mode: str, best: float | None = None, min_delta: float = 0.0):
        super().__init__()
        if mode not in ("auto", "min", "max"):
            kind = type(self).__name__
            warnings.warn(f"{kind} mode '{mode}' is unknown, fallback to auto mode.", stacklevel=3)
            mode = "auto"
        self.monitor: str = monitor
        self.mode: str = mode
        self.best: float | None = best
        self.min_delta: float = abs(min_delta)
        check(f"{type(self).__name__} min_delta", min_delta, "a number", self.min_delta < float("inf"))

    def value(self, logs: dict[str, Any], text: str) -> float | None:
        """The metric; None with a warning where there is none of this name."""
        if self.monitor in logs:
            return logs[self.monitor]
        near = nearest(self.monitor, logs)
        hint = f"; did you mean {near}?" if near else ""
        warnings.warn(f"{text.format(self.monitor)} Available metrics are: {','.join(logs)}{hint}", stacklevel=3)
        return None

    def minimized(self) -> bool:
        """Whether less is better. Raises `InputError` where nobody knows."""
        if self.mode != "auto":
            return self.mode == "min"
        name = self.monitor.removeprefix("val_")
        directions = {"loss": True} | {each.name: each.minimized for each in getattr(self.model, "metrics", [])}
        if directions.get(name) is None:
            rule = "it is not known whether that metric should be maximized or minimized"
            cure = "pass mode='max' for the highest value, or mode='min' for the lowest"
            raise InputError(f"{type(self).__name__} monitor={self.monitor}: {rule}; {cure}")
        return bool(directions[name])

    def improves(self, value: float, best: float | None) -> bool:
        """Whether the value is better than the best by more than `min_delta`; any is, where there is none."""
        if best is None:
            return True
        less = self.minimized()
        return (operator.lt if less else operator.gt)(value + (self.min_delta if less else -self.min_delta), best)


class EarlyStopping(MonitorCallback):
    """Ends the training when a metric has not become better for `patience` epochs.

    restore_best_weights: with the weights of the best epoch. baseline: an epoch that is no better than this number
    counts as one without progress. start_from_epoch: nothing is looked at before. Raises `InputError` for a metric of
    which it is not known whether less is better: give `mode`.

    >>> EarlyStopping("val_loss", patience=3).patience
    3
    """

    patience: int
    verbose: int
    baseline: float | None
    restore_best_weights: bool
    start_from_epoch: int
    best: float | None
    best_weights: list[np.ndarray] | None
    best_epoch: int
    stopped_epoch: int
    wait: int

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0,
        patience: int = 0,
        verbose: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ):
        super().__init__(monitor, mode, min_delta=min_delta)
        non_negative("EarlyStopping patience", patience)
        self.patience, self.verbose, self.baseline = patience, verbose, baseline
        self.restore_best_weights, self.start_from_epoch = restore_best_weights, start_from_epoch
        self.on_train_begin()

    def on_train_begin(self, logs: Any = None) -> None:
        self.wait = self.stopped_epoch = self.best_epoch = 0
        self.best, self.best_weights = None, None

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        text = "Early stopping conditioned on metric `{}` which is not available."
        current = self.value(logs or {}, text)
        if current is None or epoch < self.start_from_epoch:
            return
        if self.restore_best_weights and self.best_weights is None:
            self.best_weights, self.best_epoch = self.model.get_weights(), epoch
        self.wait += 1
        if self.improves(current, self.best):
            self.best, self.best_epoch = current, epoch
            if self.restore_best_weights:
                self.best_weights = self.model.get_weights()
            if self.improves(current, self.baseline):
                self.wait = 0
        elif self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def on_train_end(self, logs: Any = None) -> None:
        if self.stopped_epoch > 0 and self.verbose > 0:
            print(f"Epoch {self.stopped_epoch + 1}: early stopping", flush=True)
        if self.restore_best_weights and self.best_weights is not None:
            if self.verbose > 0:
                epoch = self.best_epoch + 1
                print(f"Restoring model weights from the end of the best epoch: {epoch}.", flush=True)
            self.model.set_weights(self.best_weights)


class ReduceLROnPlateau(MonitorCallback):
    """Multiplies the learning rate by `factor` when a metric has not become better for `patience` epochs.

    The rate stays at or above `min_lr`, and for `cooldown` epochs as it is.

    >>> ReduceLROnPlateau(factor=0.2).factor
    0.2
    """

    factor: float
    patience: int
    verbose: int
    cooldown: int
    min_lr: float
    best: float | None
    wait: int
    cooldown_counter: int

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        verbose: int = 0,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
        **older: Any,
    ):
        lookup.refuse_unknown("ReduceLROnPlateau", older, ["epsilon"])  # what min_delta was called before Keras 2.2
        super().__init__(monitor, mode, min_delta=older.get("epsilon", min_delta))
        fraction("ReduceLROnPlateau factor", factor)
        for name, value in (("patience", patience), ("cooldown", cooldown), ("min_lr", min_lr)):
            non_negative(f"ReduceLROnPlateau {name}", value)
        self.factor, self.patience, self.verbose = factor, patience, verbose
        self.cooldown, self.min_lr = cooldown, min_lr
        self.on_train_begin()

    def on_train_begin(self, logs: Any = None) -> None:
        self.best, self.wait, self.cooldown_counter = None, 0, 0

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        logs = {} if logs is None else logs
        logs["learning_rate"] = float(self.model.optimizer.learning_rate)
        current = self.value(logs, "Learning rate reduction is conditioned on metric `{}` which is not available.")
        if current is None:
            return
        if self.cooldown_counter:
            self.cooldown_counter, self.wait = self.cooldown_counter - 1, 0
        if self.improves(current, self.best):
            self.best, self.wait = current, 0
        elif not self.cooldown_counter:
            self.wait += 1
            if self.wait >= self.patience and logs["learning_rate"] > self.min_lr:
                rate = max(logs["learning_rate"] * self.factor, self.min_lr)
                self.model.optimizer.learning_rate = rate
                if self.verbose > 0:
                    print(f"\nEpoch {epoch + 1}: ReduceLROnPlateau reducing learning rate to {rate}.", flush=True)
                self.cooldown_counter, self.wait = self.cooldown, 0


class ModelCheckpoint(MonitorCallback):
    """Saves the model, or its weights, at the end of an epoch, or after each `save_freq` batches.

    The path may use `{epoch}`, from 1, `{batch}` and the names of the logs: `"{epoch:02d}-{val_loss:.2f}.keras"`.
    save_best_only: only where the metric is better than before (or than `initial_value_threshold`).

    >>> ModelCheckpoint("best.keras", save_best_only=True).monitor
    'val_loss'
    """

    filepath: str
    best: float | None
    verbose: int
    save_freq: str | int
    save_best_only: bool
    save_weights_only: bool
    epoch: int
    seen: int

    def __init__(
        self,
        filepath: str | os.PathLike[str],
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: str = "auto",
        save_freq: str | int = "epoch",
        initial_value_threshold: float | None = None,
        **older: Any,
    ):
        lookup.refuse_unknown("ModelCheckpoint", older, ["period"])
        check("ModelCheckpoint period", older.get("period"), "1; give save_freq=", older.get("period", 1) == 1)
        super().__init__(monitor, mode, initial_value_threshold)
        known = save_freq == "epoch" or (isinstance(save_freq, int) and save_freq >= 1)
        check("ModelCheckpoint save_freq", save_freq, "'epoch' or a number of batches >= 1", known)
        self.filepath, self.verbose, self.save_freq = os.fspath(filepath), verbose, save_freq
        try:
            list(string.Formatter().parse(self.filepath))
        except ValueError as error:
            raise InputError(f"ModelCheckpoint filepath={filepath}: {error}; write {{epoch:02d}} or like it") from None
        self.save_best_only, self.save_weights_only = save_best_only, save_weights_only
        self.epoch, self.seen = 0, 0

    def by_batch(self) -> bool:
        return self.save_freq != "epoch"

    def on_train_begin(self, logs: Any = None) -> None:
        """Raises `InputError` for a model that cannot be saved, before it is trained."""
        if not self.save_weights_only:
            self.model.get_config()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.seen += 1
        if self.save_freq != "epoch" and self.seen % int(self.save_freq) == 0:
            self._save(self.epoch, {"batch": batch + 1} | (logs or {}))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self.save_freq == "epoch":
            self._save(epoch, logs or {})

    def _save(self, epoch: int, logs: dict[str, Any]) -> None:
        def say(text: str) -> None:
            if self.verbose > 0:
                print(f"\nEpoch {epoch + 1}: {text}", flush=True)

        path = self._path(epoch, logs)
        current = self.value(logs, "Can save best model only with {} available.") if self.save_best_only else None
        if current is None:
            say(f"saving model to {path}")
        elif self.improves(current, self.best):
            best = "None" if self.best is None else f"{self.best:.5f}"
            say(f"{self.monitor} improved from {best} to {current:.5f}, saving model to {path}")
            self.best = current
        else:
            say(f"{self.monitor} did not improve from {self.best:.5f}")
            return
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        (self.model.save_weights if self.save_weights_only else self.model.save)(path)
        say(f"finished saving model to {path}")

    def _path(self, epoch: int, logs: dict[str, Any]) -> str:
        names = {"epoch": epoch + 1} | logs
        try:
            return self.filepath.format(**names)
        except (KeyError, IndexError) as error:
            missing = str(error).strip("'")
            near = nearest(missing, names)
            hint = f"did you mean {near}?" if near else f"it may use {', '.join(names)}"
            raise InputError(f"ModelCheckpoint filepath={self.filepath}: there is no {missing}; {hint}") from None
