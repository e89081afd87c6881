"""How the estimators are trained: what scikit-learn decides between two epochs, in its words and by its rules.

An epoch is one compiled call (`jaxnn.training.loop.advance`); whether to shuffle, stop, change the learning rate or
keep the best weights is decided here.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
from sklearn.exceptions import ConvergenceWarning

from jaxnn.engine import in_blocks
from jaxnn.estimators.rows import BLOCKS, Feed, dense, few_sizes, fingerprint, padded, rows_between
from jaxnn.estimators.solvers import Spec, programs
from jaxnn.estimators.targets import beats, constant_loss, spread
from jaxnn.training.loop import NotFinite, advance
from jaxnn.types import Batch, Params, State

RELATIVE_FALL = 2.220446049250313e-09  # L-BFGS stops when the loss falls by less, as in scipy.optimize
UNUSED: Any = np.zeros(2, np.uint32)  # the key of a fit that draws no noise: one that is drawn takes compiled programs
PACKAGE = str(Path(__file__).parent.parent)

Watch = Callable[[Params], dict[str, float]]  # validates the params, appends the score, and returns both


def warn(text: str, kind: type[Warning] = UserWarning) -> None:
    """A warning that points to the first line outside of this package."""
    frame, level = sys._getframe(1), 2
    while frame.f_back and frame.f_code.co_filename.startswith(PACKAGE):
        frame, level = frame.f_back, level + 1
    warnings.warn(text, kind, stacklevel=level - 1)


class Ending(NamedTuple):
    """Why training ended, and what is said of it."""

    reason: str
    warning: str | None = None
    kind: type[Warning] = UserWarning
    failed: bool = False  # the loss or the weights are not finite
    converged: bool = False  # the loss is said to be as low as it gets


INTERRUPTED = Ending("interrupted", "Training interrupted by user.")


class Optimizer(NamedTuple):
    """Where a solver stands; arrays of NumPy, so that an estimator can be pickled."""

    solver: str  # the solver that `state` is of
    learning_rate: float
    state: Any
    step: Any
    order: np.ndarray | None  # of the rows, which each epoch shuffles further; kept by keep_state
    objective: str | None = None  # of L-BFGS, whose state holds its values: a hash of the rows and the penalty


class Epochs:
    """The loops of an estimator, over its own attributes."""

    if TYPE_CHECKING:
        loss_: float
        best_loss_: Any  # float, None with early stopping
        best_validation_score_: Any  # float, None without

        def __getattr__(self, name: str) -> Any: ...

    def _epochs(
        self, spec: Spec, train: Batch, watch: Watch | None, most: int, going_on: bool, incremental: bool
    ) -> tuple[Params, Ending]:
        """sgd, adam and the optimizers of optax: epochs in mini-batches, until the loss or the score stands still."""
        run, n, dtype = programs(spec), len(train.weight), train.x.dtype
        if self.batch_size != "auto" and self.batch_size > n:
            text = "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped"
            warn(text)
        params = self._last if going_on and self._last else self._params(spec)
        if self._optimizer and (going_on or incremental):
            _, rate, opt_state, step, order, _ = self._optimizer
        else:
            rate = float(self.learning_rate_init)
            step: Any = self._optimizer.step if self._optimizer else np.int32(0)
            order = None
            opt_state = run.init(params, self._settings(rate, dtype))
        if self.early_stopping and self.best_validation_score_ is None:
            self.best_loss_, self.best_validation_score_ = None, -np.inf
        elif not self.early_stopping and self.best_loss_ is None:
            self.best_loss_, self.best_validation_score_ = np.inf, None
        state = jax.device_put(State(step, params, opt_state))
        key = (
            jax.random.key(self._noise_seed) if spec.dropout else jax.random.wrap_key_data(UNUSED, impl="threefry2x32")
        )
        feed = Feed(train, 200 if self.batch_size == "auto" else self.batch_size, alone=incremental)
        order = np.arange(n) if order is None or len(order) != n else order
        ending = None
        try:
            while self.n_iter_ < most and ending is None:
                started = state
                if self.shuffle:
                    order = order[self._random_state.permutation(n)]
                loss, failed = 0.0, None
                try:
                    for window in feed(order):
                        state, info = advance(run.epoch, state, window, self._settings(rate, dtype), key)
                        loss += float(info["loss"])
                except NotFinite as fault:
                    failed, loss = fault, loss + float(fault.info["loss"])
                self.t_ += n
                stop = self._record(loss / n, rate, failed.after.params if failed else state.params, watch)
                if failed:
                    state = started
                    reason = f"not finite: loss or weights of epoch {self.n_iter_}, learning rate {rate:g}"
                    ending = Ending(reason, failed=True)
                    break
                self._count_no_improvement(state.params)
                if self.learning_rate == "invscaling" and self.solver != "adam":
                    rate = float(self.learning_rate_init) / (self.t_ + 1) ** self.power_t
                if self._no_improvement_count > self.n_iter_no_change:
                    rate, ending = self._no_longer_improving(rate)
                ending = Ending("callback") if stop else ending
        except KeyboardInterrupt:
            ending = INTERRUPTED
        step, last, opt_state = jax.device_get(state)
        order = order if self.keep_state else None
        self._optimizer = Optimizer(self._solver_name(), rate, opt_state, step, order)
        text = f"Stochastic Optimizer: Maximum iterations ({most}) reached and the optimization hasn't converged yet."
        return last, ending or Ending("max_iter", text, ConvergenceWarning)

    def _lbfgs(
        self, spec: Spec, train: Batch, watch: Watch | None, most: int, going_on: bool, incremental: bool
    ) -> tuple[Params, Ending]:
        """All rows at once, until the gradient is below tol or, as in scipy.optimize, the loss no longer falls.

        A gradient below tol at a loss that the mean of y would have too is no optimum, but a small y: it goes on.
        """
        del incremental  # there is no partial_fit
        run, settings = programs(spec), self._settings(1.0, train.x.dtype)
        params = jax.device_put(self._params(spec))
        objective = fingerprint(train, self.alpha) if self.keep_state else None
        going_on = going_on and self._optimizer.objective == objective  # of another one the history would mislead
        opt_state = self._optimizer.state if going_on else run.init(params, settings)
        data = jax.device_put(padded(train._replace(x=dense(train.x)), few_sizes(len(train.weight))))
        units, least = np.asarray(spread(spec.task, train), train.x.dtype), constant_loss(spec.task, train)
        evaluations, ending, floor = 1, None, min(least, 1.0) or 1.0
        try:
            while self.n_iter_ < most and ending is None:
                moved, searched, info = run.lbfgs(params, opt_state, data, settings, units)
                info = {name: value.item() for name, value in jax.device_get(info).items()}
                evaluations += info["evaluations"]
                fall = (info["before"] - info["loss"]) / max(abs(info["before"]), abs(info["loss"]), floor)
                if info["slope_before"] <= self.tol and beats(info["before"], least):  # converged before this step
                    self.loss_, ending = info["before"], Ending("gradient below tol", converged=True)
                    break
                if not info["finite"]:
                    ending = Ending(f"not finite: loss or weights of iteration {self.n_iter_ + 1}", failed=True)
                    break
                opt_state = searched
                if fall >= 0:
                    params = moved
                if fall <= RELATIVE_FALL and not info["first"]:  # the history may mislead: begin a new one here
                    opt_state = run.init(params, settings)
                    continue
                stop = self._record(min(info["before"], info["loss"]), None, params, watch)
                self.best_loss_ = self.loss_
                if info["slope"] <= self.tol and beats(self.loss_, least):
                    ending = Ending("gradient below tol", converged=True)
                elif fall <= RELATIVE_FALL:
                    ending = Ending("loss no longer falls", converged=True)
                elif evaluations >= self.max_fun:
                    ending = self._too_short("max_fun")
                elif stop:
                    ending = Ending("callback")
        except KeyboardInterrupt:
            ending = INTERRUPTED
        self._optimizer = Optimizer("lbfgs", 1.0, jax.device_get(opt_state), np.int32(0), None, objective)
        return jax.device_get(params), ending or self._too_short("max_iter")

    def _too_short(self, reason: str) -> Ending:
        text = f"lbfgs failed to converge after {self.n_iter_} iteration(s): {reason}={getattr(self, reason)} was "
        text += f"reached.\nIncrease {reason} to improve the convergence, or scale the data."
        return Ending(reason, text, ConvergenceWarning)

    def _record(self, loss: float, rate: float | None, params: Params, watch: Watch | None) -> bool:
        """One more epoch in the history; whether the callback wants to stop."""
        self.n_iter_ += 1
        self.loss_ = loss
        self.loss_curve_.append(loss)
        if self.verbose:
            print(f"Iteration {self.n_iter_}, loss = {loss:.8f}")
        told = {"epoch": self.n_iter_, "loss": loss} | ({} if rate is None else {"learning_rate": rate})
        if watch is not None:
            told |= watch(params)
        return self.callback is not None and bool(self.callback(told))

    def _validate(self, spec: Spec, params: Params, validation: Batch) -> dict[str, float]:
        run, n = programs(spec), len(validation.weight)
        rows = lambda start, end: rows_between(validation.x, start, end)
        raw = in_blocks(lambda x: run.raw(params, x), n, rows, BLOCKS)
        loss, outputs = jax.device_get(run.judge(*padded(validation._replace(x=raw), few_sizes(n))))
        outputs = outputs[:n]
        score = float(self._score_of(outputs, validation)) if np.isfinite(outputs).all() else np.nan
        self.validation_loss_curve_.append(float(loss))
        self.validation_scores_.append(score)
        if self.verbose:
            print(f"Validation score: {score:f}")
        return {"validation_loss": float(loss), "validation_score": score}

    def _count_no_improvement(self, params: Params) -> None:
        if self.early_stopping:
            score = self.validation_scores_[-1]
            worse = score < self.best_validation_score_ + self.tol
            if score > self.best_validation_score_:
                self.best_validation_score_, self._best = score, jax.device_get(params)
        else:
            worse = self.loss_curve_[-1] > self.best_loss_ - self.tol
            self.best_loss_ = min(self.best_loss_, self.loss_curve_[-1])
        self._no_improvement_count = self._no_improvement_count + 1 if worse else 0

    def _no_longer_improving(self, rate: float) -> tuple[float, Ending | None]:
        """Stop, or go on with a fifth of the learning rate."""
        ending = None
        what = "Validation score" if self.early_stopping else "Training loss"
        text = f"{what} did not improve more than tol={self.tol:f} for {self.n_iter_no_change} consecutive epochs."
        adaptive = self.learning_rate == "adaptive" and self.solver != "adam"
        if adaptive and rate > 1e-6:
            self._no_improvement_count, rate = 0, rate / 5
            text += f" Setting learning rate to {rate:f}"
        else:
            ending = Ending(f"{what.lower()} did not improve", converged=not self.early_stopping)
            text += (" Learning rate too small." if adaptive else "") + " Stopping."
        if self.verbose:
            print(text)
        return rate, ending
