"""Keras' callbacks: the hooks, the list that calls them, and the history.

A batch hook of a callback makes `fit` go step by step, where else an epoch is one program: only where one is defined.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from jaxnn.errors import InputError
from jaxnn.keras import lookup

BATCH_HOOKS = ("on_train_batch_begin", "on_train_batch_end", "on_batch_begin", "on_batch_end")


class Callback:
    """What is called while `fit`, `evaluate` and `predict` run. Your own is a subclass with some of these hooks.

    `self.model` is the model, `self.params` has `epochs`, `steps` and `verbose`; `logs` has the loss and the metrics by
    name. `self.model.stop_training = True` ends the training. A hook for each step (`on_train_batch_end`, ...) makes an
    epoch many programs instead of one, which costs time.

    >>> class Best(Callback):
    ...     best = float("inf")
    ...     def on_epoch_end(self, epoch, logs=None):
    ...         self.best = min(self.best, logs["loss"])
    >>> best = Best()
    >>> best.on_epoch_end(0, {"loss": 0.5})
    >>> best.best, best.by_batch()
    (0.5, False)
    """

    def __init__(self) -> None:
        self.params: dict[str, Any] | None = None
        self._model: Any = None

    def set_params(self, params: dict[str, Any]) -> None:
        """Take `epochs`, `steps` and `verbose`, by name."""
        self.params = params

    def set_model(self, model: Any) -> None:
        """Take the model."""
        self._model = model

    @property
    def model(self) -> Any:
        """The model that is trained; None before."""
        return getattr(self, "_model", None)  # a subclass may have forgotten super().__init__()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Before an epoch; the epochs count from 0."""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """After an epoch: `logs` has the loss, the metrics, and those of the validation as `val_...`."""

    def on_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Before a step, by its older name."""

    def on_batch_end(self, batch: int, logs: Any = None) -> None:
        """After a step, by its older name."""

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Before a step of an epoch; the steps count from 0."""
        self.on_batch_begin(batch, logs=logs)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """After a step: `logs` has the means of the epoch so far."""
        self.on_batch_end(batch, logs=logs)

    def on_test_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Never called: an evaluation is one program."""

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        """Never called: an evaluation is one program."""

    def on_predict_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Never called: a prediction is one program."""

    def on_predict_batch_end(self, batch: int, logs: Any = None) -> None:
        """Never called: a prediction is one program."""

    def on_train_begin(self, logs: Any = None) -> None:
        """Before the first epoch."""

    def on_train_end(self, logs: Any = None) -> None:
        """After the last epoch: `logs` as in `on_epoch_end`."""

    def on_test_begin(self, logs: Any = None) -> None:
        """Before an evaluation, that of an epoch too."""

    def on_test_end(self, logs: Any = None) -> None:
        """After an evaluation."""

    def on_predict_begin(self, logs: Any = None) -> None:
        """Before a prediction."""

    def on_predict_end(self, logs: Any = None) -> None:
        """After a prediction."""

    def by_batch(self) -> bool:
        """Whether it has a hook that is called at each step of the training."""
        return any(getattr(getattr(self, hook), "__func__", None) is not vars(Callback)[hook] for hook in BATCH_HOOKS)

    def not_finite(self, batch: int, logs: Any = None) -> None:
        """Called where the loss of a step, its gradient or a weight is not finite."""


class CallbackList(Callback):
    """Callbacks, nested lists of them too, as one: each hook is called of all, with logs of numbers in sorted order.

    `batches`: whether one of them has a hook for each step. Raises `InputError` for what is no callback.

    >>> said = LambdaCallback(on_epoch_end=lambda epoch, logs: print(epoch, logs))
    >>> told = CallbackList([[said]])
    >>> told.on_epoch_end(0, {"loss": np.float32(0.5), "accuracy": 0.25})
    0 {'accuracy': 0.25, 'loss': 0.5}
    >>> told.batches
    False
    """

    def __init__(self, callbacks: Any = None, model: Any = None, params: dict[str, Any] | None = None):
        super().__init__()
        self.callbacks: list[Callback] = list(_flat(callbacks))
        self.batches: bool = any(callback.by_batch() for callback in self.callbacks)
        if model is not None:
            self.set_model(model)
        if params is not None:
            self.set_params(params)

    def set_params(self, params: dict[str, Any]) -> None:
        for each in (super(), *self.callbacks):
            each.set_params(params)

    def set_model(self, model: Any) -> None:
        for each in (super(), *self.callbacks):
            each.set_model(model)


def _flat(callbacks: Any) -> Iterator[Callback]:
    if isinstance(callbacks, list | tuple):
        for each in callbacks:
            yield from _flat(each)
    elif isinstance(callbacks, Callback):
        yield callbacks
    elif callbacks is not None:
        cure = "give an object of a subclass of keras.callbacks.Callback"
        raise InputError(f"callbacks={lookup.named(callbacks)}: is no callback; {cure}")


def _to_all(hook: str) -> Callable[..., None]:
    def at(self: CallbackList, place: int, logs: Any = None) -> None:
        logs = numbers(logs)  # one dict for all: what a callback adds, the next one sees
        for callback in self.callbacks:
            getattr(callback, hook)(place, logs)

    def once(self: CallbackList, logs: Any = None) -> None:
        logs = numbers(logs)
        for callback in self.callbacks:
            getattr(callback, hook)(logs)

    function = at if "epoch" in hook or "batch" in hook or hook == "not_finite" else once
    function.__doc__ = vars(Callback)[hook].__doc__
    return function


for _hook in [name for name in vars(Callback) if name.startswith("on_")] + ["not_finite"]:
    setattr(CallbackList, _hook, _to_all(_hook))


def numbers(logs: Mapping[str, Any] | None) -> dict[str, Any]:
    """Logs as Keras passes them on: sorted by name, each a Python number where it is one number."""
    number = lambda value: float(np.asarray(value)) if np.ndim(value) == 0 else value
    return {name: number(value) for name, value in sorted((logs or {}).items())}


OTHER_NAMES = {"acc": "accuracy", "mae": "mean_absolute_error", "mse": "mean_squared_error"}
OTHER_NAMES |= {long: short for short, long in OTHER_NAMES.items()}


class Told(dict[str, list[Any]]):
    """Logs by name; `acc`, `mae` and `mse` are found by their long names too, as scripts for Keras of any age ask.

    >>> Told(val_mae=[0.5])["val_mean_absolute_error"]
    [0.5]
    """

    def __missing__(self, name: str) -> list[Any]:
        part = "val_" * name.startswith("val_")
        other = part + OTHER_NAMES.get(name.removeprefix(part), "")
        if other in self:
            return self[other]
        raise KeyError(name)


class History(Callback):
    """What `fit` gives: `history`, the logs of each epoch by name, and `epoch`, their numbers from 0.

    >>> told = History()
    >>> told.on_train_begin()
    >>> told.on_epoch_end(0, {"loss": 0.5})
    >>> told.history, told.epoch
    ({'loss': [0.5]}, [0])
    """

    def __init__(self) -> None:
        super().__init__()
        self.history: dict[str, list[Any]] = Told()
        self.epoch: list[int] = []

    def on_train_begin(self, logs: Any = None) -> None:
        self.epoch = []

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.epoch.append(epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)


class LambdaCallback(Callback):
    """A callback of functions, each by the name of its hook.

    Raises `InputError` for a name that is no hook, with the nearest.

    >>> said = LambdaCallback(on_epoch_end=lambda epoch, logs: print(epoch, logs))
    >>> said.on_epoch_end(0, {"loss": 0.5})
    0 {'loss': 0.5}
    """

    def __init__(self, **hooks: Any):
        super().__init__()
        lookup.refuse_unknown("LambdaCallback", hooks, [name for name in vars(Callback) if name.startswith("on_")])
        for hook, function in hooks.items():
            if function is not None:
                setattr(self, hook, function)
