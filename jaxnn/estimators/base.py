"""What `MLPClassifier` and `MLPRegressor` share: input that is checked, first weights, outputs that are predicted."""

from __future__ import annotations

import math
import operator
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from jaxnn import fork
from jaxnn.config.names import ACTIVATIONS, OPTIMIZERS
from jaxnn.devices.cache import keeping
from jaxnn.engine import in_blocks
from jaxnn.estimators.check import cast
from jaxnn.estimators.epochs import Epochs, warn
from jaxnn.estimators.rows import BLOCKS, rows_between, rows_of
from jaxnn.estimators.solvers import Settings, Spec, layer_names, layer_shapes, programs
from jaxnn.estimators.targets import beats, constant_loss
from jaxnn.tasks import scikit_learn
from jaxnn.types import Batch, Params

EXTRAS: dict[str, Any] = {
    "activation": [StrOptions(set(ACTIVATIONS)), "array-like", callable],
    "solver": [StrOptions(set(OPTIMIZERS)), HasMethods(["init", "update"])],
    "pieces": [Interval(Integral, 2, None, closed="left")],
    "dropout": [Interval(Real, 0, 1, closed="left")],
    "keep_state": ["boolean"],
    "callback": [callable, None],
}


class MLP(Epochs, BaseEstimator):
    """What the classifier and the regressor share."""

    _best: Params | None = None  # the weights of the best validation score
    _last: Params | None = None  # those of the last epoch, where the best ones are in coefs_
    _optimizer: Any = None  # an Optimizer
    _noise_seed = _no_improvement_count = 0
    _split_state: Any = None  # of the random stream, before rows were split off to validate on

    if TYPE_CHECKING:  # the parameters, and what fit finds
        n_outputs_: int
        n_layers_: int
        n_iter_: int
        t_: int
        out_activation_: str
        coefs_: list[np.ndarray]
        intercepts_: list[np.ndarray]
        loss_curve_: list[float]
        validation_loss_curve_: list[float] | None
        validation_scores_: list[float] | None
        stop_reason_: str
        best_loss_: Any
        best_validation_score_: Any

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

    @keeping
    def _fit(
        self, X: Any, y: Any, sample_weight: Any, *, incremental: bool, X_val: Any = None, y_val: Any = None
    ) -> Any:
        fork.refuse()
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
            X = cast(X, self.coefs_[0].dtype, "X")
        weight = np.ones(X.shape[0], X.dtype)
        if sample_weight is not None:
            given = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
            weight = cast(given, X.dtype, "sample_weight")
            if not weight.any():
                raise ValueError(f"sample_weight: all are 0 in {X.dtype}; rescale them")
        target = self._encode(y, X.dtype)
        self.n_outputs_ = self._count_outputs(target)
        spec = self._spec(hidden)
        if self._optimizer and self._optimizer.solver != self._solver_name():
            self._optimizer = None  # another solver has no use for this state
        going_on = bool(self.keep_state and not first and self._optimizer)
        self._random_state = self._random_state if going_on else check_random_state(self.random_state)
        train, validation = Batch(X, target, weight), None
        if first:
            self._initialize(X.shape[1], spec, X.dtype)
        needed, given = [shape for shape, _ in layer_shapes(X.shape[1], spec)], [w.shape for w in self.coefs_]
        if given != needed:
            raise ValueError(f"coefs_ have the shapes {given}, hidden_layer_sizes={hidden} needs {needed}: fit anew.")
        if X_val is not None:
            validation = self._validation(X_val, y_val)
        elif self.early_stopping and self.solver != "lbfgs":
            train, validation = self._split(train, going_on)
        weight = train.weight.astype(float) * self._class_weight(train.y, incremental)
        train = train._replace(weight=cast(weight, X.dtype, "sample_weight * class_weight"))
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
        self.out_activation_ = scikit_learn.OUT_ACTIVATION[spec.task]
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

    def _split(self, train: Batch, going_on: bool) -> tuple[Batch, Batch]:
        """A part of the rows for early stopping; a fit that goes on keeps the part it had."""
        random_state = self._random_state
        if going_on and self._split_state is not None:
            random_state = np.random.RandomState()
            random_state.set_state(self._split_state)
        self._split_state = random_state.get_state()
        rows, size, stratify = np.arange(len(train.weight)), self.validation_fraction, self._strata(train.y)
        rest, part = map(
            np.asarray, train_test_split(rows, random_state=random_state, test_size=size, stratify=stratify)
        )
        if len(part) < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of your dataset."
            )
        return rows_of(train, rest), rows_of(train, part)

    def _validation(self, X: Any, y: Any) -> Batch:
        X, y = self._validate_input(X, y, incremental=True, reset=False)
        X = cast(X, self.coefs_[0].dtype, "X_val")
        return Batch(X, self._encode(y, X.dtype), np.ones(X.shape[0], X.dtype))

    # ---- parameters ---------------------------------------------------------------------------------------------
    def _params(self, spec: Spec) -> Params:
        """coefs_ and intercepts_ as the network has them: `w [out, in]`."""
        layers = zip(layer_names(spec), self.coefs_, self.intercepts_, strict=True)
        return {name: {"b": np.asarray(b), "w": np.ascontiguousarray(np.transpose(w))} for name, w, b in layers}

    # ---- train ---------------------------------------------------------------------------------------------
    def _train(self, spec: Spec, train: Batch, validation: Batch | None, incremental: bool, going_on: bool) -> None:
        watch = None
        if validation is not None:
            self.validation_scores_ = self.validation_scores_ or []
            self.validation_loss_curve_ = self.validation_loss_curve_ or []
            watch = lambda params: self._validate(spec, params, validation)
        self.n_iter_ = 0
        run = self._lbfgs if self.solver == "lbfgs" else self._epochs
        last, ending = run(spec, train, watch, 1 if incremental else self.max_iter, going_on, incremental)
        self.stop_reason_ = ending.reason
        stops_early = self.early_stopping and self.solver != "lbfgs"
        self._last = last if stops_early else None
        best = self._best if stops_early and self._best is not None else last
        self.coefs_ = [np.ascontiguousarray(best[name]["w"].T) for name in layer_names(spec)]
        self.intercepts_ = [np.array(best[name]["b"]) for name in layer_names(spec)]
        if ending.failed:
            text = (
                "Solver produced non-finite parameter weights. The input data may contain large values and need to be "
                f"preprocessed. ({ending.reason})"
            )
            if best is last:
                raise ValueError(text)
            warn(f"{text} The best weights before that are kept.", ConvergenceWarning)
        elif ending.warning and not (incremental and ending.kind is ConvergenceWarning):
            warn(ending.warning, ending.kind)
        elif ending.converged and not beats(self.loss_, least := constant_loss(spec.task, train)):
            what = f"{ending.reason} (tol={self.tol:g}), but the loss {self.loss_:.4g} is no better than that of"
            cure = "Standardise y (sklearn.compose.TransformedTargetRegressor), or lower tol."
            warn(f"{what} predicting the mean of y, {least:.4g}.\n{cure}", ConvergenceWarning)

    # ---- predict ---------------------------------------------------------------------------------------------
    @keeping
    def _outputs(self, X: Any, logarithm: bool = False) -> np.ndarray:
        fork.refuse()
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse=["csr", "csc"], reset=False)
        dtype = self.coefs_[0].dtype
        X = cast(X.tocsr() if sparse.issparse(X) else X, dtype, "X")
        hidden = [len(w) for w in self.coefs_[1:]]
        spec = self._spec(hidden)
        with jax.enable_x64(dtype == np.float64):
            params, run = jax.device_put(self._params(spec)), programs(spec._replace(solver="adam", nesterov=False))
            function = run.log_outputs if logarithm else run.outputs
            rows = lambda start, end: rows_between(X, start, end)
            found = in_blocks(lambda part: function(params, part), X.shape[0], rows, BLOCKS)
        if (bad := np.isnan(found).any(axis=-1)).any():
            raise ValueError(f"X[{np.argmax(bad)}]: the network's outputs are nan in {dtype}; rescale X")
        return found

    # ---- what a classifier does otherwise ---------------------------------------------------------------------------
    def _count_outputs(self, target: np.ndarray) -> int:
        return target.shape[1]

    def _strata(self, y: np.ndarray) -> np.ndarray | None:
        """What the rows that are split off for validation are stratified by."""
        return None

    def _class_weight(self, y: np.ndarray, incremental: bool) -> np.ndarray:
        return np.ones(len(y))

    def _partial_fit_exists(self) -> bool:
        if self.solver == "lbfgs":
            raise AttributeError("partial_fit is only available for stochastic optimizers. lbfgs is not stochastic.")
        return True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags
