"""The lines of `fit`, `evaluate` and `predict`, as Keras 3 prints them."""

from __future__ import annotations

import sys
import time
from typing import Any

from jaxnn.keras.callbacks.base import Callback

WIDTH = 20


class ProgbarLogger(Callback):
    """A line for each epoch (verbose 1 with a bar, 2 without), and one for `evaluate` and `predict`.

    The bar is printed when it is full, unlike in Keras: an epoch is one program. It has colours on a terminal alone.

    >>> lines = ProgbarLogger()
    >>> lines.set_params({"verbose": 1, "epochs": 3})
    >>> lines.on_epoch_begin(0)
    Epoch 1/3
    """

    def __init__(self) -> None:
        super().__init__()
        self.in_fit: bool = False
        self.started: float = 0.0

    def _begin(self) -> None:
        self.started = time.perf_counter()

    def _end(self, logs: Any) -> None:
        params = self.params or {}
        verbose, steps = params.get("verbose", 1), params.get("steps")
        if verbose:
            print(line(steps, time.perf_counter() - self.started, logs or {}, verbose, sys.stdout.isatty()), flush=True)

    def on_train_begin(self, logs: Any = None) -> None:
        self.in_fit = True

    def on_train_end(self, logs: Any = None) -> None:
        self.in_fit = False

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._begin()
        params = self.params or {}
        if params.get("verbose", 1) and params.get("epochs", 1) > 1:
            print(f"Epoch {epoch + 1}/{params['epochs']}", flush=True)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._end(logs)

    def on_test_begin(self, logs: Any = None) -> None:
        if not self.in_fit:
            self._begin()

    def on_test_end(self, logs: Any = None) -> None:
        if not self.in_fit:
            self._end(logs)

    def on_predict_begin(self, logs: Any = None) -> None:
        self._begin()

    def on_predict_end(self, logs: Any = None) -> None:
        self._end(None)


def line(steps: int | None, seconds: float, logs: dict[str, Any], verbose: Any = 1, colour: bool = False) -> str:
    """The line at the end of an epoch of so many steps (None: not known).

    >>> print(line(1875, 3.2, {"accuracy": 0.91234, "loss": 0.0001}))
    1875/1875 ━━━━━━━━━━━━━━━━━━━━ 3s 2ms/step - accuracy: 0.9123 - loss: 1.0000e-04
    >>> print(line(1875, 3.2, {"loss": 0.3}, verbose=2))
    1875/1875 - 3s - 2ms/step - loss: 0.3000
    """
    count = f"{steps}/{steps}" if steps else "unknown"
    each = f" {_duration(seconds / steps)}/step" if steps else ""
    told = "".join(f" - {name}: {_number(value)}" for name, value in logs.items())
    if verbose == 2:
        return f"{count} - {seconds:.0f}s{' -' + each if each else ''}{told}"
    bar, past = "━" * WIDTH, f"{seconds:.0f}s"
    if colour:
        count, bar, past = f"\x1b[1m{count}\x1b[0m", f"\x1b[32m{bar}\x1b[0m\x1b[37m\x1b[0m", f"\x1b[1m{past}\x1b[0m"
    return f"{count} {bar} {past}{each}{told}"


def _duration(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:.0f}s"
    return f"{seconds * 1e3:.0f}ms" if seconds >= 1e-3 else f"{seconds * 1e6:.0f}us"


def _number(value: Any) -> str:
    """Four digits; of an array the mean, as in Keras."""
    mean = float(value) if isinstance(value, float) else float(value.mean())
    return f"{mean:.4f}" if abs(mean) > 1e-3 else f"{mean:.4e}"
