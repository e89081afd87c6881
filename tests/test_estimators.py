"""MLPClassifier and MLPRegressor: what each parameter does, what scikit-learn's do not have, and bad input."""

from __future__ import annotations

import inspect
import pickle
import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import joblib
import numpy as np
import optax
import pandas
import pytest
import sklearn
from scipy import sparse, special
from sklearn import neural_network
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import compute_sample_weight
from sklearn.utils._param_validation import InvalidParameterError

import jaxnn
from jaxnn.config.names import ACTIVATIONS, OPTIMIZERS

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

# One shape for all, so that they share programs: what takes the time is compilation.
RNG = np.random.default_rng(0)
X = RNG.normal(size=(50, 4))
Z = X @ RNG.normal(size=(4, 3)) + 0.5 * RNG.normal(size=(50, 3))
Y = np.array(["ant", "bee", "cat"])[Z.argmax(1)]
WEIGHT = RNG.uniform(0.2, 3.0, 50)
NET: dict[str, Any] = {"hidden_layer_sizes": (5,), "batch_size": 16, "max_iter": 6, "random_state": 3, "tol": 0.0}
ADAM: dict[str, Any] = {"solver": "adam", "learning_rate_init": 0.02}
SGD: dict[str, Any] = {"solver": "sgd", "learning_rate_init": 0.1}
INVERSE: dict[str, Any] = {**SGD, "learning_rate": "invscaling"}
STOP: dict[str, Any] = {**ADAM, "early_stopping": True, "validation_fraction": 0.2}
CV: dict[str, Any] = {"cv": 2, "error_score": "raise"}
LBFGS: dict[str, Any] = {"solver": "lbfgs", "max_iter": 40, "tol": 1e-5}


def classifier(**params: Any) -> jaxnn.MLPClassifier:
    return jaxnn.MLPClassifier(**{**NET, **ADAM, **params})


def fitted(**params: Any) -> jaxnn.MLPClassifier:
    return classifier(**params).fit(X, Y)


def weights(estimator: Any) -> np.ndarray:
    return np.concatenate([w.ravel() for w in [*estimator.coefs_, *estimator.intercepts_]])


def same(a: Any, b: Any) -> bool:
    """Bit for bit."""
    return np.array_equal(weights(a), weights(b)) and a.loss_curve_ == b.loss_curve_ and a.n_iter_ == b.n_iter_


# ---- the signature, and what each parameter does ---------------------------------------------------------------------
@pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor"])
def test_the_signature_begins_with_scikit_learns(name: str) -> None:
    ours = list(inspect.signature(getattr(jaxnn, name)).parameters.values())
    theirs = list(inspect.signature(getattr(neural_network, name)).parameters.values())
    facts = lambda p: (p.name, p.kind, p.default)
    assert list(map(facts, ours[: len(theirs)])) == list(map(facts, theirs))
    assert all(p.kind is p.KEYWORD_ONLY for p in ours[len(theirs) :])
    extras = {p.name for p in ours[len(theirs) :]}
    assert extras == {"pieces", "dropout", "keep_state", "callback"} | ({"class_weight"} & {p.name for p in ours})


def differs(base: Any, changed: Any) -> bool:
    return base.coefs_[0].shape == changed.coefs_[0].shape and base.loss_curve_ != changed.loss_curve_


def shorter(base: Any, changed: Any) -> bool:
    """The same epochs, fewer of them."""
    n = changed.n_iter_
    return 0 < n < base.n_iter_ and changed.loss_curve_ == base.loss_curve_[:n]


# (parameter, another value, the settings it matters under, what it must do to the fit)
HONOURED: list[tuple[str, Any, dict[str, Any], Callable[[Any, Any], Any]]] = [
    ("hidden_layer_sizes", (3,), ADAM, lambda a, b: [w.shape for w in b.coefs_] == [(4, 3), (3, 3)]),
    ("hidden_layer_sizes", (5, 3), ADAM, lambda a, b: (a.n_layers_, b.n_layers_) == (3, 4)),
    ("activation", "tanh", ADAM, differs),
    ("solver", "sgd", ADAM, differs),
    ("alpha", 3.0, ADAM, lambda a, b: np.linalg.norm(b.coefs_[0]) < np.linalg.norm(a.coefs_[0])),
    ("batch_size", "auto", ADAM, lambda a, b: int(a._optimizer.step) == 6 * 4 and int(b._optimizer.step) == 6),
    ("learning_rate", "invscaling", SGD, differs),
    ("learning_rate", "adaptive", {**SGD, "tol": 1e9, "n_iter_no_change": 1}, lambda a, b: b.n_iter_ > a.n_iter_ == 3),
    ("learning_rate_init", 0.01, ADAM, differs),
    ("learning_rate_init", 0.01, SGD, differs),
    ("power_t", 0.1, INVERSE, differs),
    ("max_iter", 3, ADAM, shorter),
    ("max_iter", 3, LBFGS, shorter),
    ("shuffle", False, ADAM, differs),
    ("random_state", 4, ADAM, differs),
    ("tol", 1e9, {**ADAM, "n_iter_no_change": 2}, shorter),
    ("tol", 0.1, LBFGS, shorter),
    ("momentum", 0.5, SGD, differs),
    ("nesterovs_momentum", False, SGD, differs),
    (
        "early_stopping",
        True,
        {**STOP, "early_stopping": False},
        lambda a, b: (a.validation_scores_, b.t_) == (None, 6 * 40),
    ),
    ("validation_fraction", 0.3, STOP, lambda a, b: (a.t_, b.t_) == (6 * 40, 6 * 35)),
    ("beta_1", 0.5, ADAM, differs),
    ("beta_2", 0.9, ADAM, differs),
    ("epsilon", 0.1, ADAM, differs),
    ("n_iter_no_change", 1, {**ADAM, "tol": 1e9}, lambda a, b: b.n_iter_ == 3 and shorter(a, b)),
    ("n_iter_no_change", np.inf, {**ADAM, "tol": 1e9, "n_iter_no_change": 1}, lambda a, b: shorter(b, a)),
    ("max_fun", 5, LBFGS, shorter),
    ("class_weight", {"ant": 3.0, "bee": 1.0, "cat": 1.0}, ADAM, differs),
    ("pieces", 3, {**ADAM, "activation": "maxout"}, lambda a, b: b.coefs_[0].shape == (4, 15)),
    ("dropout", 0.5, ADAM, differs),
]

# (parameter, another value, settings under which it must change nothing at all)
WITHOUT_EFFECT: list[tuple[str, Any, dict[str, Any]]] = [
    ("learning_rate", "invscaling", ADAM),
    ("power_t", 0.1, SGD),
    ("momentum", 0.5, ADAM),
    ("nesterovs_momentum", False, ADAM),
    ("validation_fraction", 0.3, ADAM),
    ("beta_1", 0.5, SGD),
    ("beta_2", 0.9, SGD),
    ("epsilon", 0.1, SGD),
    ("max_fun", 5, ADAM),
    ("batch_size", 7, LBFGS),
    ("shuffle", False, LBFGS),
    ("learning_rate_init", 0.5, LBFGS),
    ("early_stopping", True, LBFGS),
    ("warm_start", True, ADAM),
    ("verbose", True, ADAM),
    ("keep_state", True, ADAM),
    ("callback", lambda told: None, ADAM),
]
ELSEWHERE = {"verbose", "warm_start", "keep_state", "callback"}  # tests of their own below
ELSEWHERE |= {"loss"}  # in test_estimators_parity.py


@pytest.mark.long
@pytest.mark.parametrize(("name", "value", "settings", "law"), HONOURED, ids=lambda v: v if isinstance(v, str) else "")
def test_each_parameter_does_its_work(name: str, value: Any, settings: dict[str, Any], law: Any) -> None:
    base, changed = fitted(**settings), fitted(**{**settings, name: value})
    assert law(base, changed)
    assert changed.get_params()[name] is value


@pytest.mark.parametrize(("name", "value", "settings"), WITHOUT_EFFECT, ids=lambda v: v if isinstance(v, str) else "")
def test_and_nothing_else(name: str, value: Any, settings: dict[str, Any]) -> None:
    assert same(fitted(**settings), fitted(**{**settings, name: value}))


def test_no_parameter_is_without_a_test() -> None:
    parameters = {*jaxnn.MLPClassifier().get_params(), *jaxnn.MLPRegressor().get_params()}
    assert parameters == ELSEWHERE | {name for name, *_ in HONOURED}


def test_verbose_prints_each_epoch_and_why_it_stops(capsys: pytest.CaptureFixture[str]) -> None:
    fitted(verbose=True, tol=1e9, n_iter_no_change=1)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in lines[:3]] == ["Iteration 1", "Iteration 2", "Iteration 3"]
    assert "did not improve more than tol=1000000000.000000 for 1 consecutive epochs. Stopping." in lines[3]
    fitted(verbose=False)
    assert capsys.readouterr().out == ""
    fitted(verbose=True, **LBFGS)
    assert capsys.readouterr().out.startswith("Iteration 1, loss = ")


# ---- the gradient ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("outputs", [4, *(pytest.param(k, marks=pytest.mark.slow) for k in (1, 2, 3, 5))])
def test_a_step_follows_the_gradient_of_the_loss_that_is_shown(outputs: int) -> None:
    """One step of plain SGD gives the gradient; `loss_` at weights moved by hand its finite difference."""
    y = np.random.default_rng(2).normal(size=(50, outputs)).squeeze()
    step: dict[str, Any] = {"solver": "sgd", "momentum": 0.0, "learning_rate_init": 1.0, "activation": "tanh"}
    net = jaxnn.MLPRegressor(**{**NET, **step, "alpha": 0.5, "batch_size": 50}).partial_fit(X, y)
    shapes = [w.shape for w in [*net.coefs_, *net.intercepts_]]

    def step_from(theta: np.ndarray) -> float:
        parts = np.split(theta, np.cumsum([np.prod(shape) for shape in shapes])[:-1])
        parts = [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]
        net.coefs_, net.intercepts_ = parts[:2], parts[2:]
        return net.partial_fit(X, y).loss_

    start = weights(net)
    step_from(start)
    gradient, h = start - weights(net), 1e-5
    for direction in np.random.default_rng(outputs).normal(size=(3, len(start))):
        slope = (step_from(start + h * direction) - step_from(start - h * direction)) / (2 * h)
        assert gradient @ direction / slope == pytest.approx(1.0, abs=1e-6)


# ---- class weights and validation data -------------------------------------------------------------------------------
@pytest.mark.parametrize("given", ["balanced", {"ant": 2.0, "bee": 0.5, "cat": 1.0}])
def test_class_weights_are_sample_weights(given: Any) -> None:
    by_hand = classifier().fit(X, Y, sample_weight=compute_sample_weight(given, Y))
    assert same(fitted(class_weight=given), by_hand)
    assert not same(by_hand, fitted())


@pytest.mark.long
def test_class_weights_of_two_classes() -> None:
    labels = np.where(Z[:, 0] > 0.5, "yes", "no")
    by_hand = classifier().fit(X, labels, sample_weight=compute_sample_weight("balanced", labels))
    assert same(classifier(class_weight="balanced").fit(X, labels), by_hand)


def test_class_weights_multiply_sample_weights() -> None:
    given = {"ant": 2.0, "bee": 0.5, "cat": 1.0}  # powers of two: the products are exact
    by_hand = classifier().fit(X, Y, sample_weight=WEIGHT * compute_sample_weight(given, Y))
    assert same(classifier(class_weight=given).fit(X, Y, sample_weight=WEIGHT), by_hand)
    parts = classifier(class_weight=given), classifier()
    parts[0].partial_fit(X, Y, classes=np.unique(Y))
    parts[1].partial_fit(X, Y, sample_weight=compute_sample_weight(given, Y), classes=np.unique(Y))
    assert same(*parts)


def test_validation_data_is_watched_and_changes_nothing() -> None:
    other, labels = X[:20] + 0.1, Y[:20]
    net = classifier(alpha=0.0).fit(X, Y, X_val=other, y_val=labels)
    assert same(net, fitted(alpha=0.0))
    assert len(net.validation_scores_) == len(net.validation_loss_curve_) == net.n_iter_
    assert net.validation_scores_[-1] == pytest.approx(net.score(other, labels))
    assert net.validation_loss_curve_[-1] == pytest.approx(log_loss(labels, net.predict_proba(other)))


def test_early_stopping_goes_by_the_validation_data() -> None:
    other, labels = X[:20] + 0.1, Y[:20]
    net = classifier(early_stopping=True, max_iter=30, n_iter_no_change=3).fit(X, Y, X_val=other, y_val=labels)
    assert net.t_ == net.n_iter_ * 50, "all rows of X are trained on"
    assert net.score(other, labels) == pytest.approx(net.best_validation_score_)
    assert net.best_validation_score_ == max(net.validation_scores_)
    assert net.stop_reason_ == "validation score did not improve" and net.n_iter_ < 30


def test_lbfgs_keeps_its_history() -> None:
    net = classifier(**LBFGS).fit(X, Y, X_val=X[:20], y_val=Y[:20])
    assert len(net.loss_curve_) == len(net.validation_scores_) == net.n_iter_ > 5
    assert (np.diff(net.loss_curve_) <= 0).all()
    assert net.loss_ == net.loss_curve_[-1]
    assert net.validation_scores_[-1] == pytest.approx(net.score(X[:20], Y[:20]))


# ---- networks --------------------------------------------------------------------------------------------------------
def test_dropout_is_noise_of_the_seed_and_only_while_training() -> None:
    net, again, other = fitted(dropout=0.5), fitted(dropout=0.5), fitted(dropout=0.5, random_state=4)
    assert same(net, again) and not same(net, other)
    np.testing.assert_array_equal(net.predict_proba(X), net.predict_proba(X))
    without = fitted()
    without.coefs_, without.intercepts_ = net.coefs_, net.intercepts_
    np.testing.assert_array_equal(net.predict_proba(X), without.predict_proba(X))


FORMULAS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "elu": lambda z: np.where(z > 0, z, np.expm1(z)),
    "leaky_relu": lambda z: np.where(z > 0, z, 0.1 * z),
    "sigmoid": special.expit,
    "silu": lambda z: z * special.expit(z),
    "softmax": lambda z: special.softmax(z, axis=-1),
    "softplus": lambda z: np.logaddexp(0, z),
    "maxout": lambda z: np.maximum(*np.split(z, 2, axis=-1)),
}


def by_hand(net: Any, rows: np.ndarray, *formulas: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    for w, b, formula in zip(net.coefs_, net.intercepts_, [*formulas, FORMULAS["softmax"]], strict=True):
        rows = formula(rows @ w + b)
    return rows


def test_activation_by_name() -> None:
    net = fitted(activation="maxout")
    np.testing.assert_allclose(net.predict_proba(X), by_hand(net, X, FORMULAS["maxout"]), rtol=1e-12)
    assert net.loss_curve_[-1] < net.loss_curve_[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation(name: str) -> None:
    net = fitted(activation=name)
    assert np.isfinite(net.loss_curve_).all()
    if name in FORMULAS:
        np.testing.assert_allclose(net.predict_proba(X), by_hand(net, X, FORMULAS[name]), rtol=1e-12)


def test_an_activation_for_each_layer() -> None:
    net = fitted(hidden_layer_sizes=(5, 3), activation=("tanh", "softplus"))
    np.testing.assert_allclose(net.predict_proba(X), by_hand(net, X, np.tanh, FORMULAS["softplus"]), rtol=1e-12)


def test_a_callable_activation() -> None:
    net = fitted(activation=jnp.sin)
    np.testing.assert_allclose(net.predict_proba(X), by_hand(net, X, np.sin), rtol=1e-12)


# ---- solvers ---------------------------------------------------------------------------------------------------------
def test_an_optax_object_is_optax_by_hand() -> None:
    tx = optax.sgd(0.2, momentum=0.9)
    net = fitted(solver=tx, alpha=0.0, batch_size=50, shuffle=False, activation="tanh")
    start = fitted(**{**SGD, "learning_rate_init": 1e-300}, max_iter=1)  # as it begins
    with jax.enable_x64(True), jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        one_hot = jnp.asarray(Y[:, None] == np.unique(Y), "float64")

        def loss(params: Any) -> jax.Array:
            (w, v), (b, c) = params
            return optax.softmax_cross_entropy(jnp.tanh(X @ w + b) @ v + c, one_hot).mean()

        def step(carry: Any, _: Any) -> Any:
            params, state = carry
            value, gradient = jax.value_and_grad(loss)(params)
            updates, state = tx.update(gradient, state, params)
            return (optax.apply_updates(params, updates), state), value

        params = start.coefs_, start.intercepts_
        run = jax.jit(lambda params: jax.lax.scan(step, (params, tx.init(params)), length=6))
        (params, _), losses = jax.device_get(run(jax.tree.map(jnp.asarray, params)))
    np.testing.assert_allclose(net.loss_curve_, losses, rtol=1e-12)
    for ours, theirs in zip([*net.coefs_, *net.intercepts_], jax.tree.leaves(params), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-13)


def test_an_optax_name_is_the_optax_function() -> None:
    assert same(fitted(solver="rmsprop", learning_rate_init=0.01), fitted(solver=optax.rmsprop(0.01)))


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(OPTIMIZERS) - {"lbfgs"}))
def test_every_optax_name_learns(name: str) -> None:
    net = fitted(solver=name, learning_rate_init=OPTIMIZERS[name], max_iter=20)
    assert net.loss_curve_[-1] < net.loss_curve_[0]


# ---- going on --------------------------------------------------------------------------------------------------------
GOING_ON: list[dict[str, Any]] = [
    {**SGD},
    {**ADAM},
    {**ADAM, "dropout": 0.5},
    {**STOP},
    {**SGD, "learning_rate": "adaptive"},
]


@pytest.mark.long
@pytest.mark.parametrize("params", GOING_ON, ids=["sgd", "adam", "dropout", "early_stopping", "adaptive"])
def test_two_and_two_epochs_are_four(params: dict[str, Any]) -> None:
    """Bit for bit, through a pickle too; scikit-learn's own reset stays the default."""
    change = {"tol": 0.5, "n_iter_no_change": 1} if params.get("learning_rate") else {}
    whole = fitted(**{**params, **change, "max_iter": 4})
    kept = fitted(**{**params, **change, "max_iter": 2, "warm_start": True, "keep_state": True})
    kept = pickle.loads(pickle.dumps(kept)).fit(X, Y)
    reset = fitted(**{**params, **change, "max_iter": 2, "warm_start": True}).fit(X, Y)
    np.testing.assert_array_equal(weights(kept), weights(whole))
    assert (kept.loss_curve_, kept.t_, kept.n_iter_) == (whole.loss_curve_, whole.t_, 2)
    assert (kept.validation_scores_, kept.best_loss_) == (whole.validation_scores_, whole.best_loss_)
    assert reset.loss_curve_ != whole.loss_curve_


@pytest.mark.parametrize("params", GOING_ON[:3], ids=["sgd", "adam", "dropout"])
def test_four_partial_fits_are_four_epochs(params: dict[str, Any]) -> None:
    whole, parts, reset = fitted(**params, max_iter=4), classifier(**params, keep_state=True), classifier(**params)
    for _ in range(4):
        parts.partial_fit(X, Y, classes=np.unique(Y))
        reset.partial_fit(X, Y, classes=np.unique(Y))
    np.testing.assert_array_equal(weights(parts), weights(whole))
    assert parts.loss_curve_ == whole.loss_curve_ != reset.loss_curve_


def test_lbfgs_goes_on() -> None:
    whole = fitted(**{**LBFGS, "max_iter": 6})
    kept = fitted(**{**LBFGS, "max_iter": 3}, warm_start=True, keep_state=True).fit(X, Y)
    np.testing.assert_array_equal(weights(kept), weights(whole))


# ---- stopping --------------------------------------------------------------------------------------------------------
def test_why_it_stopped() -> None:
    assert fitted().stop_reason_ == "max_iter"
    assert fitted(tol=1e9, n_iter_no_change=1).stop_reason_ == "training loss did not improve"
    assert fitted(**LBFGS, max_fun=5).stop_reason_ == "max_fun"
    assert fitted(**{**LBFGS, "tol": 0.1}).stop_reason_ == "gradient below tol"
    with pytest.warns(ConvergenceWarning, match="max_fun=5"):
        fitted(**LBFGS, max_fun=5)


def test_a_callback_is_told_each_epoch_and_can_stop() -> None:
    told: list[dict[str, float]] = []
    net = fitted(callback=lambda facts: told.append(facts) or facts["epoch"] == 3)
    assert (net.n_iter_, net.stop_reason_) == (3, "callback")
    assert [facts["epoch"] for facts in told] == [1, 2, 3]
    assert [facts["loss"] for facts in told] == net.loss_curve_
    assert same(net, fitted(max_iter=3))


@pytest.mark.parametrize("params", [ADAM, LBFGS], ids=["adam", "lbfgs"])
def test_an_interrupt_keeps_the_fit(params: dict[str, Any]) -> None:
    def interrupt(facts: dict[str, float]) -> None:
        if facts["epoch"] == 3:
            raise KeyboardInterrupt

    with pytest.warns(UserWarning, match="Training interrupted by user"):
        net = fitted(**{**params, "callback": interrupt})
    assert (net.n_iter_, net.stop_reason_) == (3, "interrupted")
    np.testing.assert_array_equal(weights(net), weights(fitted(**{**params, "max_iter": 3})))


DIVERGES: dict[str, Any] = {**NET, "solver": "sgd", "learning_rate_init": 3.0, "activation": "identity"}


def test_the_first_epoch_that_is_not_finite_is_the_last() -> None:
    net, before = jaxnn.MLPRegressor(**DIVERGES), jaxnn.MLPRegressor(**{**DIVERGES, "max_iter": 1})
    with pytest.raises(ValueError, match=r"Solver produced non-finite parameter weights.*epoch 2\b.*learning rate 3\b"):
        net.fit(X, Z[:, 0])
    assert net.n_iter_ == 2
    np.testing.assert_array_equal(weights(net), weights(before.fit(X, Z[:, 0])))


def test_with_early_stopping_the_best_weights_outlive_it() -> None:
    net: Any = jaxnn.MLPRegressor(**DIVERGES, early_stopping=True)
    with pytest.warns(ConvergenceWarning, match="best weights before that are kept"):
        net.fit(X, Z[:, 0], X_val=X, y_val=Z[:, 0])
    assert np.isnan(net.validation_scores_[-1]) and np.isfinite(weights(net)).all()
    assert net.score(X, Z[:, 0]) == pytest.approx(net.best_validation_score_)


# ---- compiled once ---------------------------------------------------------------------------------------------------
def compiled(caplog: pytest.LogCaptureFixture, run: Callable[[], Any]) -> list[str]:
    """The names of the programs that were compiled meanwhile."""
    caplog.clear()
    with jax.log_compiles(), caplog.at_level("WARNING"):
        run()
    return re.findall(r"Compiling jit\((\w+)\)", caplog.text)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
def test_a_search_over_numbers_compiles_once(caplog: pytest.LogCaptureFixture) -> None:
    grid = {"learning_rate_init": [0.01, 0.02, 0.03, 0.04, 0.05], "alpha": [0.0, 0.1]}
    search = GridSearchCV(classifier(hidden_layer_sizes=(6,)), grid, refit=False, **CV)
    assert compiled(caplog, lambda: search.fit(X, Y)).count("epoch") == 1

    def others() -> None:
        for rate in (0.1, 0.2):
            classifier(hidden_layer_sizes=(6,), learning_rate_init=rate, tol=rate, beta_1=rate).fit(X[:25], Y[:25])

    assert compiled(caplog, others) == []
    changed = lambda: classifier(hidden_layer_sizes=(7,)).fit(X[:25], Y[:25])
    assert compiled(caplog, changed).count("epoch") == 1, "it can see a compilation"


@pytest.mark.filterwarnings("ignore")
def test_all_steps_of_lbfgs_are_one_program(caplog: pytest.LogCaptureFixture) -> None:
    names = compiled(caplog, lambda: fitted(**LBFGS, hidden_layer_sizes=()))
    assert names.count("lbfgs_step") == 1


# ---- scikit-learn around it ------------------------------------------------------------------------------------------
def test_search_pipeline_and_scores() -> None:
    pipeline = make_pipeline(StandardScaler(), classifier(hidden_layer_sizes=(6,), max_iter=30))
    assert cross_val_score(pipeline, X, Y, **CV).min() > 0.5
    search: Any = GridSearchCV(pipeline, {"mlpclassifier__alpha": [0.0, 100.0]}, **CV).fit(X, Y)
    assert search.best_params_ == {"mlpclassifier__alpha": 0.0}
    assert search.score(X, Y) > 0.8


@pytest.mark.slow
def test_two_processes() -> None:
    grid = {"learning_rate_init": [0.01, 0.02]}
    one, two = (GridSearchCV(classifier(), grid, n_jobs=n, **CV).fit(X, Y) for n in (1, 2))
    np.testing.assert_array_equal(one.cv_results_["mean_test_score"], two.cv_results_["mean_test_score"])
    np.testing.assert_array_equal(weights(one.best_estimator_), weights(two.best_estimator_))


@pytest.mark.parametrize(
    "params", [{}, {"dropout": 0.5, "class_weight": "balanced"}, LBFGS], ids=["", "extras", "lbfgs"]
)
def test_copies(params: dict[str, Any], tmp_path: Any) -> None:
    net = fitted(**params)
    joblib.dump(net, tmp_path / "net")
    for copy in (pickle.loads(pickle.dumps(net)), joblib.load(tmp_path / "net")):
        assert same(copy, net)
        np.testing.assert_array_equal(copy.predict_proba(X), net.predict_proba(X))
    new: Any = clone(net)
    assert new.get_params() == net.get_params() and not hasattr(new, "coefs_")
    assert same(new.fit(X, Y), net)


def test_sample_weights_are_routed() -> None:
    with sklearn.config_context(enable_metadata_routing=True):
        net: Any = classifier(hidden_layer_sizes=(6,)).set_fit_request(sample_weight=True)
        pipeline = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), net).fit(
            X, Y, sample_weight=WEIGHT
        )
        scaled = pipeline[0].transform(X)
        assert same(pipeline[-1], classifier(hidden_layer_sizes=(6,)).fit(scaled, Y, sample_weight=WEIGHT))
        search = GridSearchCV(net.set_score_request(sample_weight=True), {"alpha": [0.1]}, **CV)
        alone = classifier(hidden_layer_sizes=(6,), alpha=0.1).fit(X, Y, WEIGHT)
        assert same(search.fit(X, Y, sample_weight=WEIGHT).best_estimator_, alone)


def test_pandas_and_feature_names() -> None:
    frame = pandas.DataFrame(X, columns=list("abcd"))
    net = classifier().fit(frame, pandas.Series(Y))
    assert list(net.feature_names_in_) == list("abcd")
    assert same(net, fitted())
    np.testing.assert_array_equal(net.predict(frame), fitted().predict(X))
    with pytest.raises(ValueError, match="feature names should match"):
        net.predict(frame.rename(columns={"a": "z"}))
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        net.predict(X)


def test_log_probabilities_are_finite_at_any_margin() -> None:
    net = fitted()
    net.coefs_ = [1e4 * w for w in net.coefs_]
    assert (net.predict_proba(X) == 0).any() and np.isfinite(net.predict_log_proba(X)).all()


# ---- bad input -------------------------------------------------------------------------------------------------------
NAN = np.where(np.arange(50)[:, None] == 7, np.nan, X)

# (what is wrong, the parameters, what is called, the exception, words of the message): scikit-learn says the same
WRONG: list[tuple[str, dict[str, Any], Callable[[Any], Any], type[Exception], str]] = [
    ("nan", {}, lambda e: e.fit(NAN, Y), ValueError, "Input X contains NaN"),
    ("nan in predict", {}, lambda e: e.fit(X, Y).predict(NAN), ValueError, "Input X contains NaN"),
    ("infinity", {}, lambda e: e.fit(np.full_like(X, np.inf), Y), ValueError, "Input X contains infinity"),
    ("lengths", {}, lambda e: e.fit(X, Y[:-1]), ValueError, "inconsistent numbers of samples"),
    ("features", {}, lambda e: e.fit(X, Y).predict(X[:, :3]), ValueError, "X has 3 features, but MLPClassifier is exp"),
    (
        "features",
        {},
        lambda e: e.partial_fit(X, Y, classes=np.unique(Y)).partial_fit(X[:, :3], Y),
        ValueError,
        "X has 3",
    ),
    ("one dimension", {}, lambda e: e.fit(X[:, 0], Y), ValueError, "Expected 2D array, got 1D array"),
    ("no rows", {}, lambda e: e.fit(X[:0], Y[:0]), ValueError, "Found array with 0 sample"),
    ("continuous labels", {}, lambda e: e.fit(X, Z[:, 0]), ValueError, "Unknown label type"),
    ("not fitted", {}, lambda e: e.predict(X), NotFittedError, "is not fitted yet"),
    ("not fitted", {}, lambda e: e.predict_proba(X), NotFittedError, "is not fitted yet"),
    ("no classes", {}, lambda e: e.partial_fit(X, Y), ValueError, "classes must be passed on the first call"),
    ("other classes", {}, lambda e: e.partial_fit(X, Y, classes=["ant", "bee"]), ValueError, "has classes not in"),
    ("weights", {}, lambda e: e.fit(X, Y, WEIGHT[:-1]), ValueError, r"sample_weight.shape == \(49,\)"),
    ("weights", {}, lambda e: e.fit(X, Y, np.where(WEIGHT > 2, np.nan, 1)), ValueError, "sample_weight contains NaN"),
    (
        "rows",
        {"early_stopping": True},
        lambda e: e.partial_fit(X, Y, classes=np.unique(Y)),
        ValueError,
        "early_stopping",
    ),
    (
        "solver",
        {"solver": "sdg"},
        lambda e: e.fit(X, Y),
        InvalidParameterError,
        "The 'solver' parameter .* must be a s",
    ),
    ("activation", {"activation": "rely"}, lambda e: e.fit(X, Y), InvalidParameterError, "The 'activation' parameter"),
    ("alpha", {"alpha": -1.0}, lambda e: e.fit(X, Y), InvalidParameterError, "The 'alpha' parameter"),
    ("momentum", {"momentum": 2}, lambda e: e.fit(X, Y), InvalidParameterError, "The 'momentum' parameter"),
    ("batch_size", {"batch_size": 0}, lambda e: e.fit(X, Y), InvalidParameterError, "The 'batch_size' parameter"),
    ("max_iter", {"max_iter": 0}, lambda e: e.fit(X, Y), InvalidParameterError, "The 'max_iter' parameter"),
    ("size", {"hidden_layer_sizes": (5, -1)}, lambda e: e.fit(X, Y), ValueError, "hidden_layer_sizes must be > 0, got"),
    ("lbfgs", {"solver": "lbfgs"}, lambda e: e.partial_fit, AttributeError, "has no attribute 'partial_fit'"),
    (
        "warm",
        {"warm_start": True},
        lambda e: e.fit(X, Y).fit(X, Y == "ant"),
        ValueError,
        "warm_start can only be used wh",
    ),
]


@pytest.mark.parametrize(("params", "call", "error", "words"), [w[1:] for w in WRONG], ids=[w[0] for w in WRONG])
def test_bad_input_as_scikit_learn_says_it(params: Any, call: Any, error: type[Exception], words: str) -> None:
    for kind in (neural_network.MLPClassifier, jaxnn.MLPClassifier):
        with pytest.raises(error, match=words) as info:
            call(kind(**{**NET, **params}))
        assert info.type is error


def test_a_solver_that_does_not_exist_lists_those_that_do() -> None:
    with pytest.raises(InvalidParameterError, match="adamw.*lbfgs.*sgd|sgd.*adam"):
        classifier(solver="sdg").fit(X, Y)


def test_validation_set_too_small() -> None:
    for kind in (neural_network.MLPRegressor, jaxnn.MLPRegressor):
        with pytest.raises(ValueError, match="The validation set is too small. Increase 'validation_fraction'"):
            kind(**NET, early_stopping=True).fit(X[:5], Z[:5, 0])
        with pytest.raises(ValueError, match="the resulting train set will be empty"):
            kind(**NET, early_stopping=True).fit(X[:1], Z[:1, 0])


def test_sparse_in_another_format_is_converted_as_scikit_learn_does() -> None:
    assert same(classifier().fit(sparse.coo_array(X), Y), classifier().fit(sparse.csr_array(X), Y))


# (what is wrong, parameters, what is called, words): there is nothing of the kind in scikit-learn
OURS: list[tuple[str, dict[str, Any], Callable[[Any], Any], str]] = [
    ("negative weights", {}, lambda e: e.fit(X, Y, -WEIGHT), "Negative values in data passed to `sample_weight`"),
    ("X_val alone", {}, lambda e: e.fit(X, Y, X_val=X), "X_val and y_val must be given together"),
    ("y_val alone", {}, lambda e: e.fit(X, Y, y_val=Y), "X_val and y_val must be given together"),
    ("X_val features", {}, lambda e: e.fit(X, Y, X_val=X[:, :3], y_val=Y), "X has 3 features"),
    ("X_val nan", {}, lambda e: e.fit(X, Y, X_val=NAN, y_val=Y), "Input X contains NaN"),
    ("y_val class", {}, lambda e: e.fit(X, Y, X_val=X[:2], y_val=["ant", "dog"]), "has classes not in"),
    ("activations", {"activation": ("relu", "tanh")}, lambda e: e.fit(X, Y), "one for each of the 1 hidden layers"),
    ("dropout", {"dropout": 0.5, "solver": "lbfgs"}, lambda e: e.fit(X, Y), "use sgd or adam"),
    ("dropout", {"dropout": 1.0}, lambda e: e.fit(X, Y), "The 'dropout' parameter"),
    ("pieces", {"pieces": 1}, lambda e: e.fit(X, Y), "The 'pieces' parameter"),
    ("class_weight", {"class_weight": "even"}, lambda e: e.fit(X, Y), "The 'class_weight' parameter"),
    ("class_weight", {"class_weight": {"dog": 2.0}}, lambda e: e.fit(X, Y), r"class_weight has the classes \['dog'\]"),
    ("solver", {"solver": 3}, lambda e: e.fit(X, Y), "The 'solver' parameter"),
    (
        "balanced",
        {"class_weight": "balanced"},
        lambda e: e.partial_fit(X, Y, classes=np.unique(Y)),
        "'balanced' needs all rows at once",
    ),
    (
        "net",
        {"warm_start": True},
        lambda e: e.fit(X, Y).set_params(hidden_layer_sizes=(4,)).fit(X, Y),
        r"hidden_layer_sizes=\[4\] needs",
    ),
]


@pytest.mark.parametrize(("params", "call", "words"), [w[1:] for w in OURS], ids=[w[0] for w in OURS])
def test_bad_input_of_our_own(params: dict[str, Any], call: Callable[[Any], Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call(classifier(**params))


def test_negative_counts_and_one_class() -> None:
    with pytest.raises(ValueError, match="poisson.*needs y >= 0"):
        jaxnn.MLPRegressor("poisson", **NET).fit(X, Z[:, 0])
    with pytest.warns(RuntimeWarning, match="one class only"):
        net = classifier().fit(X, ["ant"] * 50)
    assert set(net.predict(X)) == {"ant"}


def test_class_weights_of_classes_that_a_part_does_not_have() -> None:
    rows, small = np.flatnonzero(Y != "bee")[:25], {"hidden_layer_sizes": (6,)}
    ours, doubled = classifier(**small, class_weight={"bee": 5.0, "ant": 2.0}), classifier(**small)
    twice = np.where(Y[rows] == "ant", 2.0, 1.0)
    ours.partial_fit(X[rows], Y[rows], classes=["ant", "bee", "cat"])
    doubled.partial_fit(X[rows], Y[rows], sample_weight=twice, classes=["ant", "bee", "cat"])
    np.testing.assert_array_equal(ours.coefs_[0], doubled.coefs_[0])
    with pytest.raises(ValueError, match=r"class_weight has the classes \['dog'\]"):
        classifier(class_weight={"dog": 2.0}).fit(X, Y)


@pytest.mark.parametrize(("before", "after"), [("lbfgs", "adam"), ("adam", "sgd")])
def test_another_solver_begins_with_a_state_of_its_own(before: str, after: str) -> None:
    ours = fitted(solver=before, max_iter=2, keep_state=True)
    fresh = fitted(solver=after, max_iter=2)
    fresh.coefs_, fresh.intercepts_, fresh._optimizer = ours.coefs_, ours.intercepts_, None
    ours.set_params(solver=after, keep_state=False).partial_fit(X, Y)
    fresh.partial_fit(X, Y)
    np.testing.assert_array_equal(ours.coefs_[0], fresh.coefs_[0])
