"""Callbacks that write down what was measured, set the learning rate, or end a training that has failed."""

from __future__ import annotations

import csv
import inspect
import os
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from jaxnn.errors import InputError
from jaxnn.keras import lookup
from jaxnn.keras.callbacks.base import Callback


class LearningRateScheduler(Callback):
    """Before each epoch the learning rate is `schedule(epoch, rate)`, or `schedule(epoch)`; the epoch counts from 0.

    Raises `InputError` for a schedule that gives no number.

    >>> LearningRateScheduler(lambda epoch: 0.1 * 0.5**epoch).verbose
    0
    """

    def __init__(self, schedule: Callable[..., float], verbose: int = 0):
        super().__init__()
        if not callable(schedule):
            rule = "must be a function (epoch, rate) -> rate"
            raise InputError(f"LearningRateScheduler schedule={schedule}: {rule}")
        self.schedule: Callable[..., float] = schedule
        self.verbose: int = verbose

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        optimizer = self.model.optimizer
        given = (epoch, float(optimizer.learning_rate))
        rate = self.schedule(*given[: 2 if _takes_two(self.schedule) else 1])
        try:
            rate = float(rate)
        except TypeError:
            name, cure = lookup.named(self.schedule), "return the learning rate"
            raise InputError(f"schedule={name}: The output should be a float. Got: {rate}; {cure}") from None
        optimizer.learning_rate = rate
        if self.verbose > 0:
            print(f"\nEpoch {epoch + 1}: LearningRateScheduler setting learning rate to {rate}.", flush=True)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if logs is not None:
            logs["learning_rate"] = float(self.model.optimizer.learning_rate)


def _takes_two(function: Callable[..., Any]) -> bool:
    try:
        inspect.signature(function).bind(0, 0.0)
    except TypeError:
        return False
    return True


class TerminateOnNaN(Callback):
    """Ends the training where a loss, a gradient or a weight is not finite.

    Without this callback `fit` raises `NumericsError`. The model has the weights from before.

    >>> TerminateOnNaN().by_batch()  # each step is looked at, and an epoch stays one program
    False
    """

    def not_finite(self, batch: int, logs: Any = None) -> None:
        print(f"Batch {batch}: Invalid loss, terminating training", flush=True)
        self.model.stop_training = True


class CSVLogger(Callback):
    """A row for each epoch in a table: `epoch`, from 0, and the logs.

    Raises `InputError` before the first step for a file that cannot be written.

    >>> CSVLogger("log.csv").filename
    'log.csv'
    """

    def __init__(self, filename: str | os.PathLike[str], separator: str = ",", append: bool = False):
        super().__init__()
        self.filename: str = os.fspath(filename)
        self.separator: str = separator
        self.append: bool = append
        self.names: list[str] = []

    def on_train_begin(self, logs: Any = None) -> None:
        self.header: bool = not (self.append and os.path.exists(self.filename) and os.path.getsize(self.filename))
        self.names = []
        try:
            open(self.filename, "a" if self.append else "w").close()
        except OSError as error:
            raise InputError(f"CSVLogger filename={self.filename}: {error.strerror}; make its folder first") from None

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        logs = logs or {}
        with open(self.filename, "a", newline="") as file:
            if not self.names:
                self.names = sorted(logs)
                if not any(name.startswith("val_") for name in self.names):  # they may come in a later epoch
                    self.names += [f"val_{name}" for name in self.names]
            writer = csv.DictWriter(file, ["epoch", *self.names], restval="NA", delimiter=self.separator)
            if self.header:
                writer.writeheader()
                self.header = False
            writer.writerow({"epoch": epoch} | {name: logs[name] for name in self.names if name in logs})


class TensorBoard(Callback):
    """The logs of each epoch for TensorBoard, in `log_dir/train` and `log_dir/validation`, by the package tensorboardX.

    Graphs, images, histograms and profiles are not written, whatever the arguments say. Raises `InputError` without
    tensorboardX.

    >>> TensorBoard("logs").log_dir
    'logs'
    """

    def __init__(self, log_dir: str | os.PathLike[str] = "logs", **arguments: Any):
        super().__init__()
        known = ["log_dir", "histogram_freq", "write_graph", "write_images", "write_steps_per_second", "update_freq"]
        lookup.refuse_unknown("TensorBoard", arguments, [*known, "profile_batch", "embeddings_freq"])
        if find_spec("tensorboardX") is None:
            cure = "pip install 'jaxnn[tensorboard]', or use CSVLogger"
            raise InputError(f"TensorBoard: needs the package tensorboardX; {cure}")
        self.log_dir: str = os.fspath(log_dir)

    def on_train_begin(self, logs: Any = None) -> None:
        self.writers: dict[str, Any] = {}

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        from tensorboardX import SummaryWriter  # pyright: ignore[reportMissingImports]

        for name, value in (logs or {}).items():
            part = "validation" if name.startswith("val_") else "train"
            if part not in self.writers:
                self.writers[part] = SummaryWriter(os.path.join(self.log_dir, part))
            self.writers[part].add_scalar(f"epoch_{name.removeprefix('val_')}", value, epoch)

    def on_train_end(self, logs: Any = None) -> None:
        for writer in self.writers.values():
            writer.close()
