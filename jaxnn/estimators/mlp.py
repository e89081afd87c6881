"""scikit-learn's `MLPClassifier` and `MLPRegressor` with jaxnn's engine inside: change one import.

The rules that results depend on are scikit-learn's: the draws from `random_state`, the loss, the solvers, when to
stop. So in float64 the weights after any number of epochs are its weights, up to rounding. What its users have asked
for comes as further keyword arguments, whose defaults change nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn import neural_network
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.metrics import accuracy_score, r2_score
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import column_or_1d
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import _check_partial_fit_first_call, type_of_target, unique_labels
from sklearn.utils.validation import validate_data

from jaxnn.estimators.base import EXTRAS, MLP
from jaxnn.estimators.check import cast, class_weights
from jaxnn.estimators.epochs import warn
from jaxnn.estimators.rows import dense
from jaxnn.tasks import scikit_learn
from jaxnn.types import Batch


class MLPClassifier(ClassifierMixin, MLP):
    """Classes from a multi-layer perceptron, by maximum likelihood: `sklearn.neural_network.MLPClassifier`, compiled.

    Minimises `1/n sum_i w_i L(f(x_i), y_i) + alpha/2 |W|^2 / n` over mini-batches of n rows, where L is the
    cross-entropy of a softmax (several classes), of a sigmoid (two), or the sum of those of all labels (multilabel).

    The parameters up to `max_fun` are scikit-learn's, with its defaults and its results: see there. Beyond those:

    Args:
      activation: also `elu`, `gelu`, `leaky_relu`, `maxout`, `selu`, `silu`, `softplus`, ...; any function that JAX can
        trace; or a sequence of these, one for each hidden layer.
      solver: also any optax optimizer that `jaxnn.OptimConfig` names (`"adamw"`, `"lion"`, ...), run with
        `learning_rate_init`; or an optax object, which brings its own learning rate. `"lbfgs"` is optax' and,
        as in scikit-learn, takes no part in early stopping.
      class_weight: `{label: weight}` (1 for those left out), a list in the order of `classes_`, or `"balanced"` (the
        only one for multilabel); times sample_weight.
      pieces: linear pieces of a maxout unit; its `coefs_` are `[fan_in, pieces * units]`.
      dropout: probability that a hidden unit is dropped in training.
      keep_state: with warm_start and partial_fit, go on where the last call stopped, with its optimizer's state and
        random stream: 2 epochs and 2 more are 4 epochs, bit for bit. (scikit-learn starts those anew.)
      callback: called after each epoch with a dict of `epoch`, `loss`, `learning_rate` and, where there is validation,
        `validation_loss` and `validation_score`; training stops when it returns something true.

    Attributes:
      stop_reason_: why training ended.
      loss_curve_: there for all solvers.
      validation_loss_curve_: the mean loss over the validation rows after each epoch, without penalty; beside
        `validation_scores_`.

    Raises `ValueError` (of scikit-learn's own classes and in its words where it has some) for input and parameters that
    cannot be used, and at the first epoch after which the loss or the weights are not finite.

    >>> from sklearn.datasets import load_iris
    >>> import jaxnn
    >>> X, y = load_iris(return_X_y=True)
    >>> model = jaxnn.MLPClassifier((16,), learning_rate_init=0.01, random_state=0, dropout=0.1, max_iter=500)
    >>> model.fit(X, y).score(X, y) > 0.9, model.stop_reason_
    (True, 'training loss did not improve')

    Source: scikit-learn 1.9, `sklearn.neural_network`; the lecture.
    """

    _parameter_constraints: dict[str, Any] = {
        **neural_network.MLPClassifier._parameter_constraints,
        **EXTRAS,
        "class_weight": [dict, "array-like", StrOptions({"balanced"}), None],
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

    @available_if(MLP._partial_fit_exists)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> Any:
        """One epoch over X `[n, features]` and y; `classes`, all there are going to be, is needed at the first call."""
        self._validate_params()
        if _check_partial_fit_first_call(self, classes):
            self._label_binarizer = LabelBinarizer()
            self._label_binarizer.fit(y if type_of_target(y).startswith("multilabel") else classes)
        return self._fit(X, y, sample_weight, incremental=True)

    def predict(self, X: Any) -> np.ndarray:
        """The label of each row of X `[n, features]`; multilabel: 0 or 1, `[n, labels]`."""
        outputs = self._outputs(X)
        return np.asarray(self._label_binarizer.inverse_transform(outputs))

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probability of each class, `[n, classes]` in the order of `classes_`."""
        outputs = self._outputs(X)
        distribution = scikit_learn.build(self._task(), self.n_outputs_).distribution
        assert distribution
        return distribution(outputs)

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
            self.classes_: np.ndarray = self._label_binarizer.classes_
            if len(self.classes_) == 1:
                warn(f"y has one class only, {self.classes_}: there is nothing to learn", RuntimeWarning)
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
        hot = dense(self._label_binarizer.transform(y))
        hot = hot[:, 0] if hot.shape[1] == 1 else hot
        return scikit_learn.build(self._task(), hot.shape[-1]).decide(hot).astype(np.int32)

    def _count_outputs(self, target: np.ndarray) -> int:
        classes = len(self.classes_)
        return target.shape[1] if target.ndim == 2 else classes if classes > 2 else 1

    def _strata(self, y: np.ndarray) -> np.ndarray | None:
        return y.astype(bool)[:, None] if self.n_outputs_ == 1 else None  # scikit-learn keeps to two classes too

    def _class_weight(self, y: np.ndarray, incremental: bool) -> np.ndarray:
        return class_weights(self.class_weight, self.classes_, y, incremental)

    def _score_of(self, outputs: np.ndarray, validation: Batch) -> float:
        predicted = scikit_learn.build(self._task(), self.n_outputs_).decide(outputs)
        return accuracy_score(validation.y, predicted, sample_weight=validation.weight)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class MLPRegressor(RegressorMixin, MLP):
    """Numbers from a multi-layer perceptron: `sklearn.neural_network.MLPRegressor`, compiled.

    Minimises `1/n sum_i w_i L(f(x_i), y_i) + alpha/2 |W|^2 / n` over mini-batches of n rows, where L is half the
    squared error (`loss="squared_error"`) or half the Poisson deviance of exp(f) (`loss="poisson"`), summed over the
    outputs: the function whose gradient scikit-learn takes too (its `loss_` is another, the mean over the
    outputs).

    The parameters up to `max_fun` are scikit-learn's; `activation`, `solver`, `pieces`, `dropout`, `keep_state`,
    `callback` and the attributes beyond its own are as in `MLPClassifier`. Raises `ValueError` as that does.

    >>> import numpy as np
    >>> import jaxnn
    >>> X = np.linspace(-1, 1, 50)[:, None]
    >>> model = jaxnn.MLPRegressor(hidden_layer_sizes=(8,), activation="tanh", solver="lbfgs", random_state=0)
    >>> model.fit(X, X[:, 0] ** 2).score(X, X[:, 0] ** 2) > 0.99
    True

    Source: scikit-learn 1.9, `sklearn.neural_network`; scikit-learn issue 8349 for the sum over the outputs.
    """

    _parameter_constraints: dict[str, Any] = {**neural_network.MLPRegressor._parameter_constraints, **EXTRAS}

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

    @available_if(MLP._partial_fit_exists)
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
        return cast(y, dtype, "y").reshape(len(y), -1)

    def _score_of(self, outputs: np.ndarray, validation: Batch) -> float:
        return r2_score(validation.y, outputs, sample_weight=validation.weight)
