"""How the estimators are trained and used: what `MLPClassifier` and `MLPRegressor` share.

An epoch is one compiled call; what scikit-learn decides between two epochs (shuffle, stop, change the learning rate,
keep the best weights) is decided here, in its words and by its rules.
"""

from __future__ import annotations

import math
import operator
import warnings
from collections.abc import Callable, Iterator
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from jaxnn.config import ACTIVATIONS, OPTIMIZERS
from jaxnn.solvers import Settings, Spec, layer_names, programs
from jaxnn.types import Batch, Params, State

SPARSE_BYTES = 2**26  # sparse rows become dense so many bytes at a time
PADDED_BYTES = 2**26  # data up to this size is padded
PREDICT_ROWS = (16, 128, 1024)  # rows of one compiled call: the smallest that holds what is left
RELATIVE_FALL = 2.220446049250313e-09  # L-BFGS stops when the loss falls by less, as in scipy.optimize

EXTRAS: dict[str, Any] = {
    "activation": [StrOptions(set(ACTIVATIONS)), "array-like", callable],
    "solver": [StrOptions(set(OPTIMIZERS)), HasMethods(["init", "update"])],
    "pieces": [Interval(Integral, 2, None, closed="left")],
    "dropout": [Interval(Real, 0, 1, closed="left")],
    "keep_state": ["boolean"],
    "callback": [callable, None],
}


class Split(NamedTuple):
    """Rows as the programs take them: y encoded, weights of the dtype of x."""

    x: Any  # an array, or a sparse matrix
    y: np.ndarray
    weight: np.ndarray

    def rows(self, index: np.ndarray) -> Split:
        return Split(*(a[index] for a in self))


Watch = Callable[[Params], dict[str, float]]  # validates, and keeps what it gave


class Optimizer(NamedTuple):
    """Where a solver stands; arrays of NumPy, so that an estimator can be pickled."""

    solver: str  # whose state it is
    learning_rate: float
    state: Any
    step: Any
    order: np.ndarray | None  # of the rows, which each epoch shuffles further; kept by keep_state


class MLP(BaseEstimator):
    """What the classifier and the regressor share."""

    _best: Params | None = None  # the weights of the best validation score
    _last: Params | None = None  # those of the last epoch, where the best ones are in coefs_
    _optimizer: Any = None  # an Optimizer
    _noise_seed = _no_improvement_count = 0
    _split_state: Any = None  # of the random stream, before rows were split off to validate on

    if TYPE_CHECKING:  # the parameters, and what fit finds
        best_loss_: Any
        validation_loss_curve_: Any
        validation_scores_: Any

        def __getattr__(self, name: str) -> Any: ...

    def _store(self, params: dict[str, Any]) -> None:
        vars(self).update({name: value for name, value in params.items() if name not in ("self", "__class__")})

    # ---- fit ---------------------------------------------------------------------------------------------
    def fit(self, X: Any, y: Any, sample_weight: Any = None, *, X_val: Any = None, y_val: Any = None) -> Any:
        """Train on X `[n, features]` (dense or sparse) and y `[n]` or `[n, outputs]`.

        Args:
          X, y: what is learned from. float32 is trained in float32, everything else in float64.
          sample_weight: `[n]`, not negative.
          X_val, y_val: rows to validate on after each epoch: their score and loss are kept, and `early_stopping`
            goes by them instead of a part of X.

        Raises:
          ValueError: input that cannot be learned from, named; or weights that are not finite, with the epoch.
        """
        self._validate_params()
        return self._fit(X, y, sample_weight, incremental=False, X_val=X_val, y_val=y_val)

    def _fit(
        self, X: Any, y: Any, sample_weight: Any, *, incremental: bool, X_val: Any = None, y_val: Any = None
    ) -> Any:
        hidden = self.hidden_layer_sizes
        hidden = [operator.index(size) for size in (hidden if hasattr(hidden, "__iter__") else [hidden])]
        if any(size <= 0 for size in hidden):
            raise ValueError(f"hidden_layer_sizes must be > 0, got {hidden}.")
        if incremental and self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True")
        if (X_val is None) != (y_val is None):
            raise ValueError("X_val and y_val must be given together.")
        if self.solver == "lbfgs" and self.dropout:
            raise ValueError(f"dropout={self.dropout}: lbfgs needs the same loss at each step; use sgd or adam")
        first = not hasattr(self, "coefs_") or not (self.warm_start or incremental)
        X, y = self._validate_input(X, y, incremental, reset=first)
        if not first:
            X = X.astype(self.coefs_[0].dtype, copy=False)
        weight = np.ones(X.shape[0], X.dtype)
        if sample_weight is not None:
            weight = _check_sample_weight(sample_weight, X, ensure_non_negative=True).astype(X.dtype)
        target = self._encode(y, X.dtype)
        self.n_outputs_ = len(self.classes_) if self._task() == "multiclass" else math.prod(target.shape[1:])
        spec = self._spec(hidden)
        if self._optimizer and self._optimizer.solver != self._solver_name():
            self._optimizer = None  # its state is of no use to another
        going_on = bool(self.keep_state and not first and self._optimizer)
        self._random_state = self._random_state if going_on else check_random_state(self.random_state)
        train, validation = Split(X, target, weight), None
        if first:
            self._initialize(X.shape[1], spec, X.dtype)
        needed, given = [shape for shape, _ in layer_shapes(X.shape[1], spec)], [w.shape for w in self.coefs_]
        if given != needed:
            raise ValueError(f"coefs_ have the shapes {given}, hidden_layer_sizes={hidden} needs {needed}: fit anew.")
        if X_val is not None:
            validation = self._validation(X_val, y_val)
        elif self.early_stopping and self.solver != "lbfgs":
            train, validation = self._split(train, going_on)
        train = train._replace(weight=train.weight * self._class_weight(train.y, incremental).astype(X.dtype))
        with jax.enable_x64(X.dtype == np.float64):
            self._train(spec, train, validation, incremental, going_on)
        return self

    def _spec(self, hidden: list[int]) -> Spec:
        given = self.activation
        each: tuple[Any, ...] = (given,) if isinstance(given, str) or callable(given) else tuple(given)
        if len(each) not in (1, len(hidden)):
            raise ValueError(
                f"activation={list(each)}: must be one, or one for each of the {len(hidden)} hidden layers"
            )
        nesterov = bool(self.nesterovs_momentum) and self.solver == "sgd"
        sizes = (tuple(hidden), self.n_outputs_)
        return Spec(*sizes, self._task(), self.solver, each, self.pieces, float(self.dropout), nesterov)

    def _solver_name(self) -> str:
        return self.solver if isinstance(self.solver, str) else "an optax object"

    def _settings(self, learning_rate: float, dtype: Any) -> Settings:
        values = (learning_rate, self.alpha, self.momentum, self.beta_1, self.beta_2, self.epsilon)
        return Settings(*(np.asarray(value, dtype) for value in values))

    def _initialize(self, features: int, spec: Spec, dtype: Any) -> None:
        """Uniform weights and biases within sqrt(6 / (fan in + fan out)), or sqrt(2 / ...) for the logistic function.

        Source: Glorot and Bengio 2010, as scikit-learn applies it.
        """
        self.n_iter_, self.t_ = 0, 0
        self.n_layers_ = len(spec.hidden) + 2
        link = {"binary": "logistic", "multilabel": "logistic", "multiclass": "softmax", "poisson": "exp"}
        self.out_activation_ = link.get(spec.task, "identity")
        self.coefs_, self.intercepts_ = [], []
        for (fan_in, fan_out), name in layer_shapes(features, spec):
            bound = math.sqrt((2.0 if name in ("logistic", "sigmoid") else 6.0) / (fan_in + fan_out))
            self.coefs_.append(self._random_state.uniform(-bound, bound, (fan_in, fan_out)).astype(dtype, copy=False))
            self.intercepts_.append(self._random_state.uniform(-bound, bound, fan_out).astype(dtype, copy=False))
        self._noise_seed = int(self._random_state.randint(2**31)) if spec.dropout else 0
        self._no_improvement_count = 0
        self.loss_curve_, self.validation_loss_curve_, self.validation_scores_ = [], None, None
        self.best_loss_, self.best_validation_score_ = np.inf, None
        self._best = self._last = self._optimizer = None

    def _split(self, train: Split, going_on: bool) -> tuple[Split, Split]:
        """A part of the rows for early stopping; a fit that goes on keeps the part it had."""
        random_state = self._random_state
        if going_on and self._split_state is not None:
            random_state = np.random.RandomState()
            random_state.set_state(self._split_state)
        self._split_state = random_state.get_state()
        stratify = train.y.astype(bool)[:, None] if self._task() == "binary" else None  # so does scikit-learn
        rows = np.arange(len(train.weight))
        size = self.validation_fraction
        rest, part = map(
            np.asarray, train_test_split(rows, random_state=random_state, test_size=size, stratify=stratify)
        )
        if len(part) < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of your dataset."
            )
        return train.rows(rest), train.rows(part)

    def _validation(self, X: Any, y: Any) -> Split:
        X, y = self._validate_input(X, y, incremental=True, reset=False)
        X = X.astype(self.coefs_[0].dtype, copy=False)
        return Split(X, self._encode(y, X.dtype), np.ones(X.shape[0], X.dtype))

    # ---- parameters ---------------------------------------------------------------------------------------------
    def _params(self, spec: Spec) -> Params:
        """coefs_ and intercepts_ as the network has them: `w [out, in]`."""
        layers = zip(layer_names(spec), self.coefs_, self.intercepts_, strict=True)
        return {name: {"b": np.asarray(b), "w": np.ascontiguousarray(np.transpose(w))} for name, w, b in layers}

    # ---- train ---------------------------------------------------------------------------------------------
    def _train(self, spec: Spec, train: Split, validation: Split | None, incremental: bool, going_on: bool) -> None:
        watch = None
        if validation is not None:
            self.validation_scores_ = self.validation_scores_ or []
            self.validation_loss_curve_ = self.validation_loss_curve_ or []
            data = jax.device_put(Batch(dense(validation.x), validation.y, validation.weight))
            watch = lambda params: self._validate(validation, *jax.device_get(programs(spec).validate(params, data)))
        self.n_iter_, self.stop_reason_ = 0, "max_iter"
        run = self._lbfgs if self.solver == "lbfgs" else self._epochs
        last = run(spec, train, watch, 1 if incremental else self.max_iter, going_on, incremental)
        stops_early = self.early_stopping and self.solver != "lbfgs"
        self._last = last if stops_early else None
        best = self._best if stops_early and self._best is not None else last
        self.coefs_ = [np.ascontiguousarray(best[name]["w"].T) for name in layer_names(spec)]
        self.intercepts_ = [np.array(best[name]["b"]) for name in layer_names(spec)]
        if self.stop_reason_ == "interrupted":
            warnings.warn("Training interrupted by user.", stacklevel=4)
        elif self.stop_reason_.startswith("not finite"):
            text = (
                "Solver produced non-finite parameter weights. The input data may contain large values and need to be "
                f"preprocessed. ({self.stop_reason_})"
            )
            if best is last:
                raise ValueError(text)
            warnings.warn(f"{text} The best weights before that are kept.", ConvergenceWarning, stacklevel=4)
        elif self.stop_reason_ in ("max_iter", "max_fun") and not incremental:
            reason, most = self.stop_reason_, getattr(self, self.stop_reason_)
            text = (
                f"Stochastic Optimizer: Maximum iterations ({most}) reached and the optimization hasn't converged yet."
            )
            if self.solver == "lbfgs":
                text = f"lbfgs failed to converge after {self.n_iter_} iteration(s): {reason}={most} was reached.\n"
                text += f"Increase {reason} to improve the convergence, or scale the data."
            warnings.warn(text, ConvergenceWarning, stacklevel=4)

    def _epochs(
        self, spec: Spec, train: Split, watch: Watch | None, most: int, going_on: bool, incremental: bool
    ) -> Params:
        """sgd, adam and the optimizers of optax: epochs in mini-batches, until the loss or the score stands still."""
        run, n, dtype = programs(spec), len(train.weight), train.x.dtype
        batch_size = min(200, n) if self.batch_size == "auto" else min(self.batch_size, n)
        if self.batch_size != "auto" and self.batch_size > n:
            text = "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped"
            warnings.warn(text, stacklevel=5)
        params = self._last if going_on and self._last else self._params(spec)
        if self._optimizer and (going_on or incremental):
            _, rate, opt_state, step, order = self._optimizer
        else:
            rate = float(self.learning_rate_init)
            step: Any = self._optimizer.step if self._optimizer else np.int32(0)
            order = None
            opt_state = run.init(params, self._settings(rate, dtype))
        if self.early_stopping and self.best_validation_score_ is None:
            self.best_loss_, self.best_validation_score_ = None, -np.inf
        elif not self.early_stopping and self.best_loss_ is None:
            self.best_loss_, self.best_validation_score_ = np.inf, None
        state, key = jax.device_put(State(step, params, opt_state)), jax.random.key(self._noise_seed)
        feed, order = Feed(train, batch_size), np.arange(n) if order is None or len(order) != n else order
        try:
            while self.n_iter_ < most and self.stop_reason_ == "max_iter":
                if self.shuffle:
                    order = order[self._random_state.permutation(n)]
                good, loss, finite = state, 0.0, True
                for data, index in feed(order):
                    state, *sums = run.epoch(state, data, index, self._settings(rate, dtype), key)
                    part, ok = jax.device_get(sums)
                    loss, finite = loss + float(part), finite and bool(ok)
                self.t_ += n
                stop = self._record(loss / n, rate, state.params, watch)
                if not finite:
                    state = good
                    self.stop_reason_ = f"not finite: loss or weights of epoch {self.n_iter_}, learning rate {rate:g}"
                    break
                self._count_no_improvement(state.params)
                if self.learning_rate == "invscaling" and self.solver != "adam":
                    rate = float(self.learning_rate_init) / (self.t_ + 1) ** self.power_t
                if self._no_improvement_count > self.n_iter_no_change:
                    rate = self._no_longer_improving(rate)
                if stop:
                    self.stop_reason_ = "callback"
        except KeyboardInterrupt:
            self.stop_reason_ = "interrupted"
        step, last, opt_state = jax.device_get(state)
        order = order if self.keep_state else None
        self._optimizer = Optimizer(self._solver_name(), rate, opt_state, step, order)
        return last

    def _lbfgs(
        self, spec: Spec, train: Split, watch: Watch | None, most: int, going_on: bool, incremental: bool
    ) -> Params:
        """All rows at once, until the gradient is below tol or, as in scipy.optimize, the loss no longer falls."""
        del incremental  # there is no partial_fit
        run, settings = programs(spec), self._settings(1.0, train.x.dtype)
        params = jax.device_put(self._params(spec))
        opt_state = self._optimizer.state if going_on else run.init(params, settings)
        rows = -(-len(train.weight) // 16) * 16
        data = jax.device_put(Batch(*padded(train._replace(x=dense(train.x)), rows)))
        evaluations = 1
        try:
            while self.n_iter_ < most and self.stop_reason_ == "max_iter":
                moved, searched, info = run.lbfgs(params, opt_state, data, settings)
                info = {name: value.item() for name, value in jax.device_get(info).items()}
                evaluations += info["evaluations"]
                fall = (info["before"] - info["loss"]) / max(abs(info["before"]), abs(info["loss"]), 1.0)
                if info["slope_before"] <= self.tol:  # at the start already
                    self.loss_, self.stop_reason_ = info["before"], "gradient below tol"
                    break
                if not info["finite"]:
                    self.stop_reason_ = f"not finite: loss or weights of iteration {self.n_iter_ + 1}"
                    break
                opt_state = searched
                if fall >= 0:
                    params = moved
                stop = self._record(min(info["before"], info["loss"]), None, params, watch)
                self.best_loss_ = self.loss_
                if info["slope"] <= self.tol:
                    self.stop_reason_ = "gradient below tol"
                elif fall <= RELATIVE_FALL:
                    self.stop_reason_ = "loss no longer falls"
                elif evaluations >= self.max_fun:
                    self.stop_reason_ = "max_fun"
                elif stop:
                    self.stop_reason_ = "callback"
        except KeyboardInterrupt:
            self.stop_reason_ = "interrupted"
        self._optimizer = Optimizer("lbfgs", 1.0, jax.device_get(opt_state), np.int32(0), None)
        return jax.device_get(params)

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

    def _validate(self, validation: Split, loss: np.ndarray, outputs: np.ndarray) -> dict[str, float]:
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

    def _no_longer_improving(self, rate: float) -> float:
        """Stop, or go on with a fifth of the learning rate, which is returned."""
        what = "Validation score" if self.early_stopping else "Training loss"
        text = f"{what} did not improve more than tol={self.tol:f} for {self.n_iter_no_change} consecutive epochs."
        adaptive = self.learning_rate == "adaptive" and self.solver != "adam"
        if adaptive and rate > 1e-6:
            self._no_improvement_count, rate = 0, rate / 5
            text += f" Setting learning rate to {rate:f}"
        else:
            self.stop_reason_ = f"{what.lower()} did not improve"
            text += (" Learning rate too small." if adaptive else "") + " Stopping."
        if self.verbose:
            print(text)
        return rate

    # ---- predict ---------------------------------------------------------------------------------------------
    def _outputs(self, X: Any, logarithm: bool = False) -> np.ndarray:
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse=["csr", "csc"], reset=False)
        dtype = self.coefs_[0].dtype
        X = (X.tocsr() if sparse.issparse(X) else X).astype(dtype, copy=False)
        hidden = [len(w) for w in self.coefs_[1:]]
        spec = self._spec(hidden)
        with jax.enable_x64(dtype == np.float64):
            params, run = jax.device_put(self._params(spec)), programs(spec._replace(solver="adam", nesterov=False))
            function = run.log_outputs if logarithm else run.outputs
            parts, start = [], 0
            while start < X.shape[0]:
                part = dense(X[start : start + PREDICT_ROWS[-1]])
                size = next(size for size in PREDICT_ROWS if size >= len(part))
                padded: Any = np.zeros((size, X.shape[1]), dtype)
                padded[: len(part)] = part
                parts.append(np.asarray(function(params, padded))[: len(part)])
                start += len(part)
        return np.concatenate(parts)

    def _partial_fit_exists(self) -> bool:
        if self.solver == "lbfgs":
            raise AttributeError("partial_fit is only available for stochastic optimizers. lbfgs is not stochastic.")
        return True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


class Feed:
    """The rows of an epoch, in their order, as `(data, index of each step)`: dense rows all at once, from where they
    already are; sparse ones a part of the steps at a time."""

    def __init__(self, train: Split, batch_size: int):
        self.train, self.batch_size = train, batch_size
        n, features = train.x.shape
        self.steps, self.width = -(-n // batch_size), -(-batch_size // 8) * 8
        if sparse.issparse(train.x):
            self.train = train._replace(x=train.x.tocsr())
            self.together = max(1, SPARSE_BYTES // (self.width * features * train.x.dtype.itemsize))
        else:
            self.resident = jax.device_put(Batch(*padded(train, self.steps * self.width)))

    def __call__(self, order: np.ndarray) -> Iterator[tuple[Batch, np.ndarray]]:
        index = np.full((self.steps, self.width), -1, np.int32)
        batches = np.full((self.steps, self.batch_size), -1, np.int32)
        batches.flat[: len(order)] = order
        index[:, : self.batch_size] = batches
        if not sparse.issparse(self.train.x):
            yield self.resident, index
            return
        for start in range(0, self.steps, self.together):
            part = index[start : start + self.together]
            data = self.train.rows(np.where(part >= 0, part, 0).ravel())
            places = np.arange(part.size, dtype=np.int32).reshape(part.shape)
            yield Batch(*data._replace(x=data.x.toarray())), np.where(part >= 0, places, -1)


def padded(train: Split, rows: int) -> Split:
    """Up to so many rows, the further ones of weight 0, so that sets of nearly the same size (the folds of a cross-
    validation) share a program. Large ones are left alone: compiling is cheap beside training on them."""
    missing = rows - len(train.weight)
    if not missing or train.x.nbytes > PADDED_BYTES:
        return train
    return Split(*(np.concatenate([a, np.zeros((missing, *a.shape[1:]), a.dtype)]) for a in train))


def layer_shapes(features: int, spec: Spec) -> list[tuple[tuple[int, int], Any]]:
    """The shape of each layer's weights, and the activation that follows it (the last one's is that before it)."""
    pieces = [spec.pieces if name == "maxout" else 1 for name in spec.activations] + [1]
    widths = (*spec.hidden, spec.outputs)
    shapes = [(a, b * k) for a, b, k in zip((features, *spec.hidden), widths, pieces, strict=True)]
    return list(zip(shapes, (*spec.activations, spec.activation[-1]), strict=True))


def dense(x: Any) -> np.ndarray:
    return x.toarray() if sparse.issparse(x) else x
