"""Values that float32 cannot hold, and weights of classes in every form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.utils import compute_sample_weight

import jaxnn

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(50, 4))
Z = X @ RNG.normal(size=(4, 3))
CLASS = Z.argmax(1)
Y = np.array(["ant", "bee", "cat"])[CLASS]
NET: dict[str, Any] = {"hidden_layer_sizes": (5,), "batch_size": 16, "max_iter": 3, "random_state": 3}

# ---- what float32 cannot hold ----------------------------------------------------------------------------------------
X32 = X.astype(np.float32)
BIG = np.where((np.arange(50) == 7)[:, None] & (np.arange(4) == 2), -1e39, X)
BIG_Y = np.where(np.arange(50) == 5, 1e39, Z[:, 0])
SPARSE = np.where(np.abs(BIG) > 0.7, BIG, 0)

OVERFLOWS: list[tuple[str, Callable[[Any], Any], str]] = [
    ("predict", lambda e: e.fit(X32, Z[:, 0]).predict(BIG), r"X\[7, 2\]=-1e\+39"),
    ("csr", lambda e: e.fit(X32, Z[:, 0]).predict(sparse.csr_array(SPARSE)), r"X\[7, 2\]=-1e\+39"),
    ("csc", lambda e: e.fit(X32, Z[:, 0]).predict(sparse.csc_array(SPARSE)), r"X\[7, 2\]=-1e\+39"),
    ("partial_fit", lambda e: e.partial_fit(X32, Z[:, 0]).partial_fit(BIG, Z[:, 0]), r"X\[7, 2\]=-1e\+39"),
    ("warm_start", lambda e: e.set_params(warm_start=True).fit(X32, Z[:, 0]).fit(BIG, Z[:, 0]), r"X\[7, 2\]=-1e\+39"),
    ("y", lambda e: e.fit(X32, BIG_Y), r"y\[5\]=1e\+39"),
    ("outputs", lambda e: e.fit(X32, np.stack([Z[:, 0], BIG_Y], 1)), r"y\[5, 1\]=1e\+39"),
    ("partial y", lambda e: e.partial_fit(X32, BIG_Y), r"y\[5\]=1e\+39"),
    ("weight", lambda e: e.fit(X32, Z[:, 0], 1 + np.abs(BIG_Y)), r"sample_weight\[5\]=1e\+39"),
    ("X_val", lambda e: e.fit(X32, Z[:, 0], X_val=BIG, y_val=Z[:, 0]), r"X_val\[7, 2\]=-1e\+39"),
    ("y_val", lambda e: e.fit(X32, Z[:, 0], X_val=X, y_val=BIG_Y), r"y\[5\]=1e\+39"),
]


@pytest.mark.long
@pytest.mark.parametrize(("call", "place"), [o[1:] for o in OVERFLOWS], ids=[o[0] for o in OVERFLOWS])
def test_what_float32_cannot_hold_is_refused_by_its_place(call: Callable[[Any], Any], place: str) -> None:
    with pytest.raises(ValueError, match=place + r": does not fit float32 \(at most 3\.40282e\+38\)"):
        call(jaxnn.MLPRegressor(**NET))


def test_float64_holds_it() -> None:
    net = jaxnn.MLPRegressor(**NET, activation="identity").fit(X, Z[:, 0])
    w, v = net.coefs_
    expected = (BIG @ w + net.intercepts_[0]) @ v + net.intercepts_[1]
    np.testing.assert_allclose(net.predict(BIG), expected[:, 0], rtol=1e-12)


@pytest.mark.long
def test_outputs_that_are_nan_and_weights_that_vanish_are_refused() -> None:
    net = jaxnn.MLPRegressor(**NET, activation="identity").fit(X32, Z[:, 0])
    net.coefs_ = [np.array([[1e3, -1e3, 0, 0, 0]] * 4, np.float32), np.ones((5, 1), np.float32)]  # inf - inf
    with pytest.raises(ValueError, match=r"X\[1\]: the network's outputs are nan in float32"):
        net.predict([[1.0] * 4, [1e38] * 4])
    with pytest.raises(ValueError, match="sample_weight: all are 0 in float32"):
        jaxnn.MLPRegressor(**NET).fit(X32, Z[:, 0], np.full(50, 1e-60))


# ---- class weights ---------------------------------------------------------------------------------------------------
LISTED = {"ant": 2.0, "bee": 1.0, "cat": 0.5}
FORMS: list[tuple[str, Any, Any, Any]] = [  # name, y, class_weight, the dict that scikit-learn's function is given
    ("np.str_", Y, {np.str_("ant"): np.float32(2), np.str_("bee"): np.int64(3)}, None),
    ("np.int64", CLASS, {np.int64(0): 2.0, np.int8(1): 3, 2: 1}, None),
    ("float", CLASS, {0.0: 2.0, np.float64(1): 3}, None),
    ("bool for 0 and 1", CLASS % 2, {True: 2, False: 0.5}, None),
    ("0 and 1 for bool", CLASS > 0, {0: 2, 1: 0.5}, None),
    ("np.bool", CLASS > 0, {np.True_: 2}, None),
    ("object", Y.astype(object), {"ant": 2}, None),
    ("category", pandas.Series(Y).astype("category"), {"ant": 2}, None),
    ("list", Y, [2.0, 1.0, 0.5], LISTED),
    ("tuple", Y, (2, 1, 0.5), LISTED),
    ("array", Y, np.array([2, 1, 0.5], np.float32), LISTED),
    ("series", Y, pandas.Series([2, 1, 0.5], index=[5, 6, 7]), LISTED),
    ("two classes", CLASS > 0, [1, 3], {False: 1, True: 3}),
]


def weights(net: Any) -> np.ndarray:
    return np.concatenate([w.ravel() for w in net.coefs_])


@pytest.mark.long
@pytest.mark.parametrize(("y", "given", "oracle"), [f[1:] for f in FORMS], ids=[f[0] for f in FORMS])
def test_class_weights_in_every_form_are_sample_weights(y: Any, given: Any, oracle: Any) -> None:
    net: Any = jaxnn.MLPClassifier(**NET, class_weight=given)
    assert net.get_params()["class_weight"] is given
    new: Any = clone(net)
    by_hand = jaxnn.MLPClassifier(**NET).fit(X, y, compute_sample_weight(oracle or given, np.asarray(y)))
    np.testing.assert_array_equal(weights(new.fit(X, y)), weights(by_hand))
    if oracle:
        net.partial_fit(X, y, classes=np.unique(y))
        parts = jaxnn.MLPClassifier(**NET)
        parts.partial_fit(X, y, compute_sample_weight(oracle, np.asarray(y)), classes=np.unique(y))
        np.testing.assert_array_equal(weights(net), weights(parts))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([1, 2], r"class_weight of shape \(2,\): must hold one weight for each of the 3 classes.*'ant' 'bee' 'cat'"),
        ([[1, 2, 3]], r"class_weight of shape \(1, 3\)"),
        ([], r"class_weight of shape \(0,\)"),
        ([1, -1, 1], r"class_weight\[1\]=-1: must be finite and >= 0"),
        ([1, None, 1], r"class_weight\[1\]=None: must be finite"),
        (["a", "b", "c"], r"class_weight\[0\]='a': must be finite"),
        ({"ant": -1.0}, r"class_weight\['ant'\]=-1.0: must be finite and >= 0"),
        ({"ant": np.nan}, r"class_weight\['ant'\]=nan: must be finite"),
        ({"cat": np.inf}, r"class_weight\['cat'\]=inf: must be finite"),
        ({"cat": "2x"}, r"class_weight\['cat'\]='2x': must be finite"),
        ({1: 2.0}, r"class_weight has the classes \[1\], `self.classes_` has \['ant' 'bee' 'cat'\]"),
        ({"ant": 1.0, "dog": 2.0}, r"class_weight has the classes \['dog'\]"),
        (3, "The 'class_weight' parameter of MLPClassifier"),
    ],
)
def test_class_weights_that_are_none(given: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        jaxnn.MLPClassifier(**NET, class_weight=given).fit(X, Y)


def test_class_weights_of_many_labels_and_of_float32() -> None:
    for given in ([1, 2, 3], {0: 1.0}):
        with pytest.raises(ValueError, match="with several labels only 'balanced' can be used"):
            jaxnn.MLPClassifier(**NET, class_weight=given).fit(X, (Z > 0).astype(int))
    with pytest.raises(ValueError, match=r"sample_weight \* class_weight\[\d+\]=1e\+41: does not fit float32"):
        jaxnn.MLPClassifier(**NET, class_weight=[1e38, 1, 1]).fit(X32, Y, np.full(50, 1e3))
