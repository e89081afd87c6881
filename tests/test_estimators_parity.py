"""scikit-learn as the oracle: with the same `random_state`, in float64, every epoch is its epoch, up to rounding."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from scipy import sparse
from sklearn import neural_network
from sklearn.exceptions import ConvergenceWarning

import jaxnn

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

EPOCHS = 20
RNG = np.random.default_rng(0)
X = RNG.normal(size=(50, 4))
Z = X @ RNG.normal(size=(4, 3)) + 0.5 * RNG.normal(size=(50, 3))
Y = {
    "multiclass": np.array(["ant", "bee", "cat"])[Z.argmax(1)],
    "binary": np.where(Z[:, 0] > 0, "yes", "no"),
    "multilabel": (Z > 0).astype(int),
    "squared_error": Z[:, 0],
    "poisson": RNG.poisson(np.exp(Z[:, 0] / 2)).astype(float),
}
WEIGHT = RNG.uniform(0.2, 3.0, 50)
NET: dict[str, Any] = {"hidden_layer_sizes": (5,), "batch_size": 16, "max_iter": EPOCHS, "random_state": 3, "tol": 0.0}


def pair(task: str, **params: Any) -> tuple[Any, Any]:
    """Our estimator and scikit-learn's, with the same settings."""
    name = "MLPRegressor" if task in ("squared_error", "poisson") else "MLPClassifier"
    params = NET | params | ({"loss": task} if name == "MLPRegressor" else {})
    return getattr(jaxnn, name)(**params), getattr(neural_network, name)(**params)


def agree(ours: Any, theirs: Any, *, tolerance: float = 1e-10, outputs: int = 1) -> None:
    """Weights, curves and counters; the loss of `outputs` regression outputs is summed, theirs is averaged (#8349)."""
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)
    assert (ours.n_iter_, ours.t_) == (theirs.n_iter_, theirs.t_)
    for a, b in zip([*ours.coefs_, *ours.intercepts_], [*theirs.coefs_, *theirs.intercepts_], strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        close(a, b)
    close(ours.loss_curve_, np.multiply(theirs.loss_curve_, outputs))
    close(ours.loss_, theirs.loss_ * outputs)
    for name in ("validation_scores_", "best_validation_score_", "best_loss_"):
        a, b = getattr(ours, name), getattr(theirs, name)
        assert (a is None) == (b is None), name
        if a is not None:
            close(a, np.multiply(b, outputs if name == "best_loss_" else 1))
    for name in ("n_layers_", "n_outputs_", "out_activation_", "n_features_in_"):
        assert getattr(ours, name) == getattr(theirs, name), name


def same_fit(task: str, *, y: Any = None, X: Any = X, weight: Any = None, **params: Any) -> tuple[Any, Any]:
    ours, theirs = pair(task, **params)
    y = Y[task] if y is None else y
    for estimator in (ours, theirs):
        estimator.fit(X, y, sample_weight=weight)
    agree(ours, theirs, outputs=1 if np.ndim(y) == 1 or task == "multilabel" else y.shape[1])
    return ours, theirs


@pytest.mark.parametrize("alpha", [0.0, 0.3])
@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("schedule", ["constant", "invscaling", "adaptive"])
def test_sgd(schedule: str, nesterov: bool, alpha: float) -> None:
    rate = {"constant": 0.05, "invscaling": 0.5, "adaptive": 0.4}[schedule]
    change = {"tol": 0.02, "n_iter_no_change": 2} if schedule == "adaptive" else {}  # the rate falls during the run
    params: dict[str, Any] = {"learning_rate": schedule, "nesterovs_momentum": nesterov, "alpha": alpha, **change}
    ours, theirs = same_fit("multiclass", solver="sgd", learning_rate_init=rate, **params)
    assert ours._optimizer.learning_rate == pytest.approx(theirs._optimizer.learning_rate, rel=1e-12)
    assert (ours._optimizer.learning_rate < rate) == (schedule != "constant")


@pytest.mark.parametrize(
    "params", [{}, {"alpha": 0.3}, {"beta_1": 0.5, "beta_2": 0.9, "epsilon": 1e-3}, {"shuffle": False}]
)
def test_adam(params: dict[str, Any]) -> None:
    same_fit("multiclass", learning_rate_init=0.02, **params)


@pytest.mark.parametrize("params", [{"solver": "sgd", "learning_rate_init": 0.1}, {"learning_rate_init": 0.02}])
def test_sample_weights(params: dict[str, Any]) -> None:
    same_fit("multiclass", weight=WEIGHT, alpha=0.1, **params)


@pytest.mark.parametrize(
    "params", [{"solver": "sgd", "learning_rate_init": 0.1, "tol": 0.0}, {"learning_rate_init": 0.02, "tol": 1e-4}]
)
@pytest.mark.parametrize("weighted", [False, True])
def test_early_stopping(params: dict[str, Any], weighted: bool) -> None:
    """60 rows of which 10 validate: the program of the 50."""
    more, y = np.concatenate([X, X[:10] + 0.1]), np.concatenate([Y["multiclass"], Y["multiclass"][:10]])
    weight = np.concatenate([WEIGHT, WEIGHT[:10]]) if weighted else None
    stop: dict[str, Any] = {"early_stopping": True, "validation_fraction": 1 / 6, "n_iter_no_change": 4}
    ours, _ = same_fit("multiclass", X=more, y=y, weight=weight, alpha=0.1, **stop, **params)
    assert len(ours.validation_scores_) == ours.n_iter_


@pytest.mark.long
@pytest.mark.parametrize("task", Y)
def test_tasks_predict_and_score(task: str) -> None:
    ours, theirs = same_fit(task, learning_rate_init=0.02, weight=WEIGHT if task == "poisson" else None)
    if task in ("squared_error", "poisson"):
        np.testing.assert_allclose(ours.predict(X), theirs.predict(X), rtol=1e-9)
        assert (ours.predict(X) > 0).all() == (task == "poisson")
    else:
        np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))
        np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(ours.predict_log_proba(X), theirs.predict_log_proba(X), rtol=1e-9, atol=1e-12)
        np.testing.assert_array_equal(ours.classes_, theirs.classes_)
    assert ours.score(X, Y[task]) == pytest.approx(theirs.score(X, Y[task]), abs=1e-9)


def test_regression_with_several_outputs() -> None:
    """The weights are scikit-learn's; the loss is the one whose gradient they follow, three times its (#8349)."""
    ours, theirs = same_fit("squared_error", y=Z, learning_rate_init=0.02, alpha=0.0)
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X), rtol=1e-9)


@pytest.mark.parametrize(
    "activation", ["logistic", *(pytest.param(a, marks=pytest.mark.slow) for a in ("identity", "tanh"))]
)
def test_activations(activation: str) -> None:
    same_fit("multiclass", activation=activation, learning_rate_init=0.02)


@pytest.mark.parametrize("form", ["csr", "csc"])
def test_sparse_rows_are_dense_rows(form: str) -> None:
    rows = np.where(np.abs(X) > 0.7, X, 0)
    ours, _ = same_fit("multiclass", X=sparse.csr_array(rows).asformat(form), learning_rate_init=0.02)
    dense, _ = same_fit("multiclass", X=rows, learning_rate_init=0.02)
    for a, b in zip(ours.coefs_, dense.coefs_, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13, atol=1e-14)
    np.testing.assert_array_equal(ours.predict(rows), dense.predict(sparse.csc_array(rows)))


def test_float32() -> None:
    ours, theirs = pair("multiclass", learning_rate_init=0.02)
    for estimator in (ours, theirs):
        estimator.fit(X.astype(np.float32), Y["multiclass"])
    agree(ours, theirs, tolerance=1e-4)
    assert ours.predict_proba(X.astype(np.float32)).dtype == np.float32


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_partial_fit(solver: str) -> None:
    """Parts of the rows, then all of them, then a fit."""
    ours, theirs = pair("multiclass", solver=solver, learning_rate_init=0.05, alpha=0.1)
    for estimator in (ours, theirs):
        for epoch in range(3):
            estimator.partial_fit(X, Y["multiclass"], **({} if epoch else {"classes": ["ant", "bee", "cat"]}))
        estimator.partial_fit(X, Y["multiclass"], sample_weight=WEIGHT)
    agree(ours, theirs)
    assert ours.t_ == 200
    for estimator in (ours, theirs):
        estimator.fit(X, Y["multiclass"])
    agree(ours, theirs)


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_warm_start(solver: str) -> None:
    """The weights and counters go on, the optimizer starts anew; a partial_fit in between goes on with it."""
    ours, theirs = pair("multiclass", solver=solver, learning_rate_init=0.05, warm_start=True, max_iter=4)
    for estimator in (ours, theirs):
        estimator.fit(X, Y["multiclass"])
        estimator.set_params(max_iter=3).fit(X, Y["multiclass"], sample_weight=WEIGHT)
        estimator.partial_fit(X, Y["multiclass"])
    agree(ours, theirs)
    assert (ours.n_iter_, ours.t_, len(ours.loss_curve_)) == (1, 400, 8)


def test_a_generator_as_random_state_goes_on_as_theirs() -> None:
    ours, theirs = pair("multiclass", learning_rate_init=0.02)
    for estimator in (ours, theirs):
        estimator.set_params(random_state=np.random.RandomState(7)).fit(X, Y["multiclass"])
        estimator.fit(X, Y["multiclass"])
    agree(ours, theirs)


@pytest.mark.parametrize(
    ("tol", "epochs"),
    [(1e9, 5), (0.0, EPOCHS)],
)
def test_when_to_stop(tol: float, epochs: int) -> None:
    """The count must exceed n_iter_no_change: with 3 and a tolerance that nothing meets the fifth epoch is the last."""
    ours, _ = same_fit("multiclass", learning_rate_init=0.02, tol=tol, n_iter_no_change=3)
    assert ours.n_iter_ == epochs


def test_lbfgs_convex() -> None:
    """No hidden layer and a penalty: there is one optimum, and both find it."""
    ours, theirs = pair("multiclass", solver="lbfgs", hidden_layer_sizes=(), alpha=10.0, max_iter=500, tol=1e-8)
    for estimator in (ours, theirs):
        estimator.fit(X, Y["multiclass"], sample_weight=WEIGHT)
    assert ours.loss_ == pytest.approx(theirs.loss_, rel=1e-4)
    np.testing.assert_allclose(ours.coefs_[0], theirs.coefs_[0], atol=1e-4)
    assert ours.loss_ == ours.loss_curve_[-1] == ours.best_loss_


@pytest.mark.slow
@pytest.mark.parametrize("task", ["binary", "squared_error"])
def test_lbfgs_with_a_hidden_layer(task: str) -> None:
    params: dict[str, Any] = {"activation": "tanh", "alpha": 5.0, "max_iter": 1000, "tol": 1e-8}
    ours, theirs = pair(task, solver="lbfgs", **params)
    for estimator in (ours, theirs):
        estimator.fit(X, Y[task])
    assert ours.loss_ == pytest.approx(theirs.loss_, rel=1e-4)


def test_both_warn_when_the_epochs_run_out() -> None:
    for estimator in pair("multiclass", max_iter=2):
        with pytest.warns(ConvergenceWarning, match=r"Maximum iterations \(2\) reached"):
            estimator.fit(X, Y["multiclass"])


def test_both_clip_a_batch_larger_than_the_rows() -> None:
    ours, theirs = pair("multiclass", batch_size=51)
    for estimator in (ours, theirs):
        with (
            warnings.catch_warnings(),
            pytest.warns(UserWarning, match="larger than sample size. It is going to be cl"),
        ):
            warnings.simplefilter("ignore", ConvergenceWarning)
            estimator.fit(X, Y["multiclass"])
    agree(ours, theirs)
