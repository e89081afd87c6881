"""scikit-learn's `MLPClassifier` and `MLPRegressor` with jaxnn's engine inside: change one import.

The rules that results depend on are scikit-learn's: the draws from `random_state`, the loss, the solvers, when to
stop. So in float64 the weights after any number of epochs are its weights, up to rounding. What its users have asked
for comes as further keyword arguments, whose defaults change nothing.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from numbers import Integral, Real
from typing import Any, NamedTuple

import jax
import numpy as np
from scipy import sparse
from sklearn import neural_network
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import check_random_state, column_or_1d, compute_sample_weight, shuffle
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import _check_partial_fit_first_call, type_of_target, unique_labels
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from jaxnn.config import ACTIVATIONS, OPTIMIZERS
from jaxnn.solvers import Programs, Settings, Spec, layer_names, programs
from jaxnn.types import Batch, Params, State

SPARSE_BYTES = 2**26  # sparse rows become dense so many bytes at a time
PREDICT_ROWS = (16, 128, 1024)  # rows of one compiled call: the smallest that holds what is left
RELATIVE_FALL = 2.220446049250313e-09  # L-BFGS stops when the loss falls by less, as in scipy.optimize

_EXTRAS: dict[str, Any] = {
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


class Optimizer(NamedTuple):
    """Where a solver stands; arrays of NumPy, so that an estimator can be pickled."""

    learning_rate: float
    state: Any
    step: Any


class _MLP(BaseEstimator):
    """What the classifier and the regressor share."""

    _best: Params | None = None  # the weights of the best validation score
    _last: Params | None = None  # those of the last epoch, where the best ones are in coefs_
    _optimizer: Optimizer | None = None
    _noise_seed = _no_improvement_count = 0

    def _store(self, params: dict[str, Any]) -> None:
        vars(self).update({name: value for name, value in params.items() if name not in ("self", "__class__")})

    # ---- fit ---------------------------------------------------------------------------------------------------------
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
        hidden = [int(size) for size in (hidden if hasattr(hidden, "__iter__") else [hidden])]
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
        going_on = bool(self.keep_state and not first and self._optimizer)
        self._random_state = self._random_state if going_on else check_random_state(self.random_state)
        train, validation = Split(X, target, weight), None
        if first:
            self._initialize(X.shape[1], spec, X.dtype)
        elif (given := [w.shape for w in self.coefs_]) != (needed := [size for size, _ in _layers(X.shape[1], spec)]):
            raise ValueError(f"coefs_ have the shapes {given}, hidden_layer_sizes={hidden} needs {needed}: fit anew.")
        if X_val is not None:
            validation = self._validation(X_val, y_val)
        elif self.early_stopping and self.solver != "lbfgs":
            train, validation = self._split(train, going_on)
        train = train._replace(weight=train.weight * self._class_weight(train.y, incremental).astype(X.dtype))
        with jax.enable_x64(X.dtype == np.float64):
            if self.solver == "lbfgs":
                self._run_lbfgs(programs(spec), spec, train, validation, going_on)
            else:
                self._run_epochs(programs(spec), spec, train, validation, incremental, going_on)
        return self

    def _spec(self, hidden: list[int]) -> Spec:
        given = self.activation
        each = (given,) if isinstance(given, str) or callable(given) else tuple(given)
        if len(each) not in (1, len(hidden)):
            raise ValueError(f"activation={list(each)}: must be one, or one for each of the {len(hidden)} hidden layers")
        nesterov = bool(self.nesterovs_momentum) and self.solver == "sgd"
        sizes = (tuple(hidden), self.n_outputs_)
        return Spec(*sizes, self._task(), self.solver, each, self.pieces, float(self.dropout), nesterov)

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
        for (fan_in, fan_out), name in _layers(features, spec):
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
        if going_on:
            random_state = np.random.RandomState()
            random_state.set_state(self._split_state)
        self._split_state = random_state.get_state()
        stratify = train.y.astype(bool)[:, None] if self._task() == "binary" else None  # so does scikit-learn
        rows = np.arange(len(train.weight))
        rest, part = train_test_split(
            rows, random_state=random_state, test_size=self.validation_fraction, stratify=stratify
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

    # ---- parameters ----------------------------------------------------------------------------------------------------
    def _params(self, spec: Spec) -> Params:
        """coefs_ and intercepts_ as the network has them: `w [out, in]`."""
        layers = zip(layer_names(spec), self.coefs_, self.intercepts_, strict=True)
        return {name: {"b": np.asarray(b), "w": np.ascontiguousarray(np.transpose(w))} for name, w, b in layers}

    def _set_params_of(self, spec: Spec, params: Params) -> None:
        names = layer_names(spec)
        self.coefs_ = [np.ascontiguousarray(np.asarray(params[name]["w"]).T) for name in names]
        self.intercepts_ = [np.array(params[name]["b"]) for name in names]

    # ---- sgd, adam and the optimizers of optax -------------------------------------------------------------------------
    def _run_epochs(
        self,
        run: Programs,
        spec: Spec,
        train: Split,
        validation: Split | None,
        incremental: bool,
        going_on: bool,
    ) -> None:
        n, dtype = len(train.weight), train.x.dtype
        if self.batch_size == "auto":
            batch_size = min(200, n)
        else:
            if self.batch_size > n:
                warnings.warn(
                    "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped", stacklevel=4
                )
            batch_size = min(self.batch_size, n)
        params = self._last if going_on and self._last else self._params(spec)
        rate, opt_state, step = self._optimizer or (0.0, None, np.int32(0))
        if not (going_on or (incremental and self._optimizer)):
            rate = float(self.learning_rate_init)
            opt_state = run.init(params, self._settings(rate, dtype))
        if self.early_stopping and self.best_validation_score_ is None:
            self.best_loss_, self.best_validation_score_ = None, -np.inf
        elif not self.early_stopping and self.best_loss_ is None:
            self.best_loss_, self.best_validation_score_ = np.inf, None
        if validation is not None:
            self.validation_scores_ = self.validation_scores_ or []
            self.validation_loss_curve_ = self.validation_loss_curve_ or []
            watched = jax.device_put(Batch(_dense(validation.x), validation.y, validation.weight))
        feed = _Feed(train, batch_size)
        key = jax.random.key(self._noise_seed)
        state = State(jax.numpy.asarray(step, "int32"), *jax.device_put((params, opt_state)))
        order = np.arange(n)
        self.n_iter_, self.stop_reason_ = 0, "max_iter"
        try:
            while self.n_iter_ < (1 if incremental else self.max_iter):
                if self.shuffle:
                    order = shuffle(order, random_state=self._random_state)
                good, settings = state, self._settings(rate, dtype)
                loss, finite = 0.0, True
                for data, index in feed(order):
                    state, *told = run.epoch(state, data, index, settings, key)
                    part, ok = jax.device_get(told)
                    loss, finite = loss + float(part), finite and bool(ok)
                self.n_iter_ += 1
                self.t_ += n
                self.loss_ = loss / n
                self.loss_curve_.append(self.loss_)
                if self.verbose:
                    print(f"Iteration {self.n_iter_}, loss = {self.loss_:.8f}")
                told = {"epoch": self.n_iter_, "loss": self.loss_, "learning_rate": rate}
                if validation is not None:
                    told |= self._watch(run, state.params, watched, validation)
                wanted = self.callback is not None and self.callback(told)
                if not finite:
                    state = good
                    self.stop_reason_ = f"loss or weights not finite in epoch {self.n_iter_} at learning rate {rate:g}"
                    break
                self._count_no_improvement(state.params)
                if self.learning_rate == "invscaling" and self.solver != "adam":
                    rate = float(self.learning_rate_init) / (self.t_ + 1) ** self.power_t
                if self._no_improvement_count > self.n_iter_no_change:
                    rate, stops = self._no_longer_improving(rate)
                    if stops:
                        break
                    self._no_improvement_count = 0
                if wanted:
                    self.stop_reason_ = "callback"
                    break
        except KeyboardInterrupt:
            self.stop_reason_ = "interrupted"
            warnings.warn("Training interrupted by user.", stacklevel=4)
        last, opt_state, step = jax.device_get((state.params, state.opt_state, state.step))
        self._optimizer = Optimizer(rate, opt_state, step)
        self._last = last if self.early_stopping else None
        best = self._best if self.early_stopping and self._best is not None else last
        self._set_params_of(spec, best)
        if self.stop_reason_.startswith("loss or weights"):
            self._not_finite(restored=self.early_stopping and self._best is not None)
        if self.stop_reason_ == "max_iter" and not incremental:
            warnings.warn(
                f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) reached and the optimization hasn't "
                "converged yet.",
                ConvergenceWarning,
                stacklevel=4,
            )

    def _watch(self, run: Programs, params: Params, watched: Batch, validation: Split) -> dict[str, float]:
        """Validate, and keep what it gave."""
        loss, outputs = jax.device_get(run.validate(params, watched))
        finite = np.isfinite(outputs).all()
        score = float(self._score_of(outputs, validation)) if finite else np.nan
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

    def _no_longer_improving(self, rate: float) -> tuple[float, bool]:
        """The next learning rate, and whether to stop."""
        what = "Validation score" if self.early_stopping else "Training loss"
        text = f"{what} did not improve more than tol={self.tol:f} for {self.n_iter_no_change} consecutive epochs."
        adaptive = self.learning_rate == "adaptive" and self.solver != "adam"
        if adaptive and rate > 1e-6:
            if self.verbose:
                print(f"{text} Setting learning rate to {rate / 5:f}")
            return rate / 5.0, False
        self.stop_reason_ = f"{what.lower()} did not improve"
        if self.verbose:
            print(text + (" Learning rate too small." if adaptive else "") + " Stopping.")
        return rate, True

    def _not_finite(self, restored: bool) -> None:
        text = (
            "Solver produced non-finite parameter weights. The input data may contain large values and need to be "
            f"preprocessed. ({self.stop_reason_})"
        )
        if not restored:
            raise ValueError(text)
        warnings.warn(f"{text} The best weights before that are kept.", ConvergenceWarning, stacklevel=5)

    # ---- lbfgs ---------------------------------------------------------------------------------------------------------
    def _run_lbfgs(
        self, run: Programs, spec: Spec, train: Split, validation: Split | None, going_on: bool
    ) -> None:
        settings = self._settings(1.0, train.x.dtype)
        params = jax.device_put(self._params(spec))
        opt_state = self._optimizer.state if going_on else run.init(params, settings)
        data = jax.device_put(Batch(_dense(train.x), train.y, train.weight))
        self.n_iter_, evaluations, self.stop_reason_ = 0, 1, "max_iter"
        if validation is not None:
            self.validation_scores_ = self.validation_scores_ or []
            self.validation_loss_curve_ = self.validation_loss_curve_ or []
            watched = jax.device_put(Batch(_dense(validation.x), validation.y, validation.weight))
        try:
            while self.n_iter_ < self.max_iter:
                moved, opt_state, info = run.lbfgs(params, opt_state, data, settings)
                info = {name: value.item() for name, value in jax.device_get(info).items()}
                if not self.n_iter_:
                    self.loss_ = info["before"]
                    if info["slope_before"] <= self.tol:
                        self.stop_reason_ = "gradient below tol"
                        break
                evaluations += info["evaluations"]
                if not info["finite"]:
                    self.stop_reason_ = f"loss or weights not finite in iteration {self.n_iter_ + 1}"
                    break
                fall = (info["before"] - info["loss"]) / max(abs(info["before"]), abs(info["loss"]), 1.0)
                self.n_iter_ += 1
                if fall >= 0:
                    params, self.loss_ = moved, info["loss"]
                self.loss_curve_.append(self.loss_)
                self.best_loss_ = min(self.best_loss_, self.loss_)
                if self.verbose:
                    print(f"Iteration {self.n_iter_}, loss = {self.loss_:.8f}")
                told = {"epoch": self.n_iter_, "loss": self.loss_}
                if validation is not None:
                    told |= self._watch(run, params, watched, validation)
                wanted = self.callback is not None and self.callback(told)
                if info["slope"] <= self.tol:
                    self.stop_reason_ = "gradient below tol"
                elif fall <= RELATIVE_FALL:
                    self.stop_reason_ = "loss no longer falls"
                elif evaluations >= self.max_fun:
                    self.stop_reason_ = "max_fun"
                elif wanted:
                    self.stop_reason_ = "callback"
                else:
                    continue
                break
        except KeyboardInterrupt:
            self.stop_reason_ = "interrupted"
            warnings.warn("Training interrupted by user.", stacklevel=4)
        self._optimizer = Optimizer(0.0, jax.device_get(opt_state), np.int32(0))
        self._set_params_of(spec, jax.device_get(params))
        if self.stop_reason_.startswith("loss or weights"):
            self._not_finite(restored=False)
        if self.stop_reason_ in ("max_iter", "max_fun"):
            limit = getattr(self, self.stop_reason_)
            warnings.warn(
                f"lbfgs failed to converge after {self.n_iter_} iteration(s): {self.stop_reason_}={limit} was reached.\n"
                f"Increase {self.stop_reason_} to improve the convergence.\n"
                "You might also want to scale the data as shown in:\n"
                "    https://scikit-learn.org/stable/modules/preprocessing.html",
                ConvergenceWarning,
                stacklevel=4,
            )

    # ---- predict -------------------------------------------------------------------------------------------------------
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
                part = _dense(X[start : start + PREDICT_ROWS[-1]])
                size = next(size for size in PREDICT_ROWS if size >= len(part))
                padded = np.zeros((size, X.shape[1]), dtype)
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


class _Feed:
    """The rows of an epoch, in their order, as `(data, index of each step)`: dense rows all at once, from where they
    already are; sparse ones a part of the steps at a time."""

    def __init__(self, train: Split, batch_size: int):
        self.train, self.batch_size = train, batch_size
        n, features = train.x.shape
        self.steps = -(-n // batch_size)
        if sparse.issparse(train.x):
            self.x = train.x.tocsr()
            self.together = max(1, SPARSE_BYTES // (batch_size * features * train.x.dtype.itemsize))
        else:
            self.resident = jax.device_put(Batch(*train))

    def __call__(self, order: np.ndarray) -> Iterator[tuple[Batch, np.ndarray]]:
        index = np.full(self.steps * self.batch_size, -1, np.int32)
        index[: len(order)] = order
        index = index.reshape(self.steps, self.batch_size)
        if not sparse.issparse(self.train.x):
            yield self.resident, index
            return
        for start in range(0, self.steps, self.together):
            part = index[start : start + self.together]
            rows = np.where(part >= 0, part, 0).ravel()
            data = Batch(self.x[rows].toarray(), self.train.y[rows], self.train.weight[rows])
            yield data, np.where(part >= 0, np.arange(part.size, dtype=np.int32).reshape(part.shape), -1)


def _layers(features: int, spec: Spec) -> list[tuple[tuple[int, int], Any]]:
    """The shape of each layer's weights, and the activation that follows it (the last one's is that before it)."""
    each = spec.activation * len(spec.hidden) if len(spec.activation) == 1 else spec.activation
    pieces = [spec.pieces if name == "maxout" else 1 for name in each] + [1]
    widths = (*spec.hidden, spec.outputs)
    shapes = [(a, b * k) for a, b, k in zip((features, *spec.hidden), widths, pieces, strict=True)]
    return list(zip(shapes, (*each, spec.activation[-1]), strict=True))


def _dense(x: Any) -> np.ndarray:
    return x.toarray() if sparse.issparse(x) else x


class MLPClassifier(ClassifierMixin, _MLP):
    """TODO"""

    _parameter_constraints: dict[str, Any] = {
        **neural_network.MLPClassifier._parameter_constraints,
        **_EXTRAS,
        "class_weight": [dict, StrOptions({"balanced"}), None],
    }

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: Any = "adam",
        alpha: float = 0.0001,
        batch_size: Any = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: Any = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        class_weight: Any = None,
        pieces: int = 2,
        dropout: float = 0.0,
        keep_state: bool = False,
        callback: Callable[[dict[str, float]], Any] | None = None,
    ):
        self._store(locals())

    @available_if(_MLP._partial_fit_exists)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> Any:
        """One epoch over X `[n, features]` and y; `classes`, all there are going to be, is needed at the first call."""
        self._validate_params()
        if _check_partial_fit_first_call(self, classes):
            self._label_binarizer = LabelBinarizer()
            self._label_binarizer.fit(y if type_of_target(y).startswith("multilabel") else classes)
        return self._fit(X, y, sample_weight, incremental=True)

    def predict(self, X: Any) -> np.ndarray:
        """The label of each row of X `[n, features]`; multilabel: 0 or 1, `[n, labels]`."""
        return self._label_binarizer_of(self._outputs(X))

    def _label_binarizer_of(self, outputs: np.ndarray) -> np.ndarray:
        return self._label_binarizer.inverse_transform(outputs)

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probability of each class, `[n, classes]` in the order of `classes_`."""
        p = self._outputs(X)
        return np.stack([1 - p, p], axis=1) if p.ndim == 1 else p

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """The logarithm of `predict_proba`, from the logits: finite at any margin."""
        return self._outputs(X, logarithm=True)

    def _task(self) -> str:
        kind = self._label_binarizer.y_type_
        return "multilabel" if kind.startswith("multilabel") else kind

    def _validate_input(self, X: Any, y: Any, incremental: bool, reset: bool) -> tuple[Any, Any]:
        X, y = validate_data(
            self,
            X,
            y,
            accept_sparse=["csr", "csc"],
            multi_output=True,
            dtype=(np.float64, np.float32),
            reset=reset,
        )
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if not hasattr(self, "classes_") or not (self.warm_start or incremental):
            self._label_binarizer = LabelBinarizer().fit(y)
            self.classes_ = self._label_binarizer.classes_
            if len(self.classes_) == 1:
                warnings.warn(f"y has one class only, {self.classes_}: there is nothing to learn", RuntimeWarning, 5)
            return X, y
        classes = unique_labels(y)
        if self.warm_start and not incremental and set(classes) != set(self.classes_):
            raise ValueError(
                "warm_start can only be used where `y` has the same classes as in the previous call to fit. Previously "
                f"got {self.classes_}, `y` has {classes}"
            )
        if len(np.setdiff1d(classes, self.classes_, assume_unique=True)):
            raise ValueError(
                f"`y` has classes not in `self.classes_`. `self.classes_` has {self.classes_}. 'y' has {classes}."
            )
        return X, y

    def _encode(self, y: Any, dtype: Any) -> np.ndarray:
        encoded = _dense(self._label_binarizer.transform(y)).astype(np.int32)
        if self._task() == "multiclass":
            return encoded.argmax(1).astype(np.int32)
        return encoded[:, 0] if self._task() == "binary" else encoded

    def _class_weight(self, y: np.ndarray, incremental: bool) -> np.ndarray:
        if self.class_weight is None:
            return np.ones(len(y))
        if incremental and self.class_weight == "balanced":
            raise ValueError("class_weight='balanced' needs all rows at once: give partial_fit a dict")
        labels = self._label_binarizer.inverse_transform(y if y.ndim == 2 or self._task() == "binary" else np.eye(len(self.classes_))[y])
        return compute_sample_weight(self.class_weight, labels)

    def _score_of(self, outputs: np.ndarray, validation: Split) -> float:
        predicted = outputs.argmax(1) if self._task() == "multiclass" else outputs > 0.5
        return accuracy_score(validation.y, predicted, sample_weight=validation.weight)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class MLPRegressor(RegressorMixin, _MLP):
    """TODO"""

    _parameter_constraints: dict[str, Any] = {**neural_network.MLPRegressor._parameter_constraints, **_EXTRAS}

    def __init__(
        self,
        loss: str = "squared_error",
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: Any = "adam",
        alpha: float = 0.0001,
        batch_size: Any = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: Any = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        pieces: int = 2,
        dropout: float = 0.0,
        keep_state: bool = False,
        callback: Callable[[dict[str, float]], Any] | None = None,
    ):
        self._store(locals())

    @available_if(_MLP._partial_fit_exists)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """One epoch over X `[n, features]` and y `[n]` or `[n, outputs]`."""
        self._validate_params()
        return self._fit(X, y, sample_weight, incremental=True)

    def predict(self, X: Any) -> np.ndarray:
        """The value of each row of X `[n, features]`: `[n]` or `[n, outputs]`."""
        y = self._outputs(X)
        return y[:, 0] if y.shape[1] == 1 else y

    def _task(self) -> str:
        return self.loss

    def _validate_input(self, X: Any, y: Any, incremental: bool, reset: bool) -> tuple[Any, Any]:
        del incremental  # there are no classes that must agree
        X, y = validate_data(
            self,
            X,
            y,
            accept_sparse=["csr", "csc"],
            multi_output=True,
            y_numeric=True,
            dtype=(np.float64, np.float32),
            reset=reset,
        )
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if self.loss == "poisson" and (y < 0).any():
            raise ValueError(f"y has the negative value {y.min():g}: loss='poisson' needs y >= 0")
        return X, y

    def _encode(self, y: np.ndarray, dtype: Any) -> np.ndarray:
        return (y[:, None] if y.ndim == 1 else y).astype(dtype)

    def _class_weight(self, y: np.ndarray, incremental: bool) -> np.ndarray:
        return np.ones(len(y))

    def _score_of(self, outputs: np.ndarray, validation: Split) -> float:
        return r2_score(validation.y, outputs, sample_weight=validation.weight)
