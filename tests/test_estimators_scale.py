"""L-BFGS on targets of any scale, beside scikit-learn's; and what is said where a fit is no better than a constant."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from sklearn import neural_network
from sklearn.dummy import DummyRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import mean_poisson_deviance, mean_squared_error, r2_score

import jaxnn
from jaxnn.estimators.targets import constant_loss, spread
from jaxnn.types import Batch

RNG = np.random.default_rng(0)
X = RNG.normal(size=(50, 4))
F = np.sin(X[:, 0]) + X[:, 1] * X[:, 2] + 0.1 * RNG.normal(size=50)
NET: dict[str, Any] = {"hidden_layer_sizes": (5,), "activation": "tanh", "random_state": 0, "solver": "lbfgs"}


def fitted(kind: Any, y: np.ndarray, dtype: Any = np.float64, **params: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return kind(**NET | params).fit(X.astype(dtype), y)


def score(net: Any, y: np.ndarray, dtype: Any) -> float:
    return r2_score(y, net.predict(X.astype(dtype)).astype(float))


@pytest.mark.long
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_scale_of_the_target_changes_nothing(dtype: Any) -> None:
    """The fit of y is as good whatever the unit of y; scikit-learn's is worse the larger it is."""
    for scale in (1.0, 1e3, 1e6, 1e9):
        ours, theirs = (fitted(module.MLPRegressor, scale * F, dtype) for module in (jaxnn, neural_network))
        assert score(ours, scale * F, dtype) > max(0.9, score(theirs, scale * F, dtype) - 0.02), scale


@pytest.mark.long
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_gradient_below_tol_ends_no_search_that_the_mean_beats(dtype: Any) -> None:
    """At 1e-3 of the scale scikit-learn stops so at a score below 0."""
    for y in (1e-3 * F, 1e-4 * np.exp(F / 2)):
        params = {"loss": "squared_error" if (y < 0).any() else "poisson", "max_iter": 500}
        ours, theirs = (fitted(module.MLPRegressor, y, dtype, **params) for module in (jaxnn, neural_network))
        assert score(theirs, y, dtype) < 0 < score(ours, y, dtype)


def test_counts_of_any_scale() -> None:
    for scale in (1.0, 1e9):
        y = scale * np.exp(F / 2)
        ours, theirs = (fitted(module.MLPRegressor, y, loss="poisson") for module in (jaxnn, neural_network))
        assert score(ours, y, np.float64) > score(theirs, y, np.float64) - 0.05


@pytest.mark.parametrize(
    "y", [1e6 + 1e3 * F, 1e9 + 1e6 * F, np.where(np.arange(50) == 7, 1e9, F)], ids=["1e6", "1e9", "outlier"]
)
def test_an_offset_and_an_outlier(y: np.ndarray) -> None:
    ours, theirs = (fitted(module.MLPRegressor, y) for module in (jaxnn, neural_network))
    penalty = 1e-4 / 2 * sum(np.sum(w**2) for w in ours.coefs_) / 50
    assert ours.loss_ == pytest.approx(np.mean((ours.predict(X) - y) ** 2) / 2 + penalty)
    assert ours.loss_ < theirs.loss_


def test_a_misleading_history_is_left_behind() -> None:
    """1e9 + y: from a point where its history gives no step further down, the search goes on without it."""
    ours = fitted(jaxnn.MLPRegressor, 1e9 + F, random_state=3)
    assert ours.loss_ == pytest.approx(np.var(F) / 2, rel=1e-3)  # that of the mean: y - mean(y) is 1e-9 of y


def test_other_data_begin_a_new_history() -> None:
    """With keep_state too: the state holds the loss of the data it was found on."""
    kept = fitted(jaxnn.MLPRegressor, F, warm_start=True, keep_state=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        kept.fit(X, 50 * F)
        assert score(kept, 50 * F, np.float64) > 0.9
        loss = kept.loss_
        kept.set_params(alpha=1e3).fit(X, 50 * F)
    penalty = 1e3 / 2 * sum(np.sum(w**2) for w in kept.coefs_) / 50
    assert kept.loss_ == pytest.approx(np.mean((kept.predict(X) - 50 * F) ** 2) / 2 + penalty)
    assert kept.loss_ > loss


@pytest.mark.parametrize("params", [{}, {"loss": "poisson"}, {"solver": "adam", "tol": 0.1}])
def test_no_better_than_the_mean_is_said(params: dict[str, Any]) -> None:
    """A loss that no longer falls, for what is small beside tol or beside an offset."""
    y = 1e-5 * np.exp(F / 2) if params else 1e9 + F
    with pytest.warns(ConvergenceWarning, match=r"no better than .* mean of y(.|\n)*TransformedTargetRegressor"):
        net: Any = jaxnn.MLPRegressor(**{**NET, "max_iter": 1000, **params}).fit(X, y)
    mean = DummyRegressor().fit(X, y).predict(X)
    deviance = mean_poisson_deviance if params.get("loss") else mean_squared_error
    assert net.loss_ > (1 - 1e-6) * deviance(y, mean) / 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        jaxnn.MLPRegressor(**{**NET, "max_iter": 1000, "tol": 0.1}).fit(X, F)  # this one has learned
        for value in (0.0, 3.0):  # and here there was nothing to learn
            jaxnn.MLPRegressor(**NET, alpha=0.0).fit(X, np.full(50, value))


@pytest.mark.parametrize(
    ("task", "deviance"), [("squared_error", mean_squared_error), ("poisson", mean_poisson_deviance)]
)
def test_the_loss_of_the_mean(task: str, deviance: Any) -> None:
    weight = RNG.uniform(0, 2, 50)
    y = np.stack([np.exp(F), 1e3 * np.exp(-F), np.floor(np.exp(F))], axis=1)
    mean = np.asarray(DummyRegressor().fit(X, y, weight).predict(X))
    each = [deviance(a, b, sample_weight=weight) / 2 for a, b in zip(y.T, mean.T, strict=True)]
    assert constant_loss(task, Batch(X, y, weight)) == pytest.approx(sum(each))
    assert constant_loss("multiclass", Batch(X, np.zeros(50), weight)) == np.inf


def test_the_spread_is_a_power_of_two_from_one() -> None:
    weight = np.ones(50)
    for scale, expected in ((0.0, 1.0), (1e-6, 1.0), (1.0, 1.0), (1000 / np.std(F), 1024.0)):
        assert spread("squared_error", Batch(X, scale * F[:, None] + 1e6, weight)) == expected
    assert spread("poisson", Batch(X, 1e6 * np.exp(F)[:, None], weight)) == 1.0
