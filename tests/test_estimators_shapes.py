"""Rows in any number: few programs, and the numbers of scikit-learn."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest
from scipy import sparse
from sklearn import neural_network

import jaxnn
from jaxnn.estimators.rows import few_sizes

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning", "ignore:Got `batch_size`")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(400, 4))
Y = (X[:, 0] + X[:, 1] > 0).astype(int)
SIZES = [1, 399, *RNG.integers(1, 400, 28).tolist()]


@pytest.fixture
def compiled(caplog: pytest.LogCaptureFixture) -> Callable[[Callable[[], Any]], list[str]]:
    def names(run: Callable[[], Any]) -> list[str]:
        caplog.clear()
        with jax.log_compiles(), caplog.at_level("WARNING"):
            run()
        return re.findall(r"Compiling jit\((\w+)\)", caplog.text)

    return names


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
def test_parts_of_any_size_are_few_programs_and_scikit_learns_epochs(compiled: Any) -> None:
    """Steps of 16, 128 and 200 rows serve them all, and sparse rows too; a row of padding moves nothing."""
    params: dict[str, Any] = {"hidden_layer_sizes": (9,), "random_state": 0, "learning_rate_init": 0.01}
    ours, theirs = jaxnn.MLPClassifier(**params), neural_network.MLPClassifier(**params)
    thin = jaxnn.MLPClassifier(**params)

    def run() -> None:
        for n in SIZES:
            ours.partial_fit(X[:n], Y[:n], classes=[0, 1])

    assert compiled(run).count("epoch") == 3
    for n in SIZES:
        theirs.partial_fit(X[:n], Y[:n], classes=[0, 1])
    for a, b in zip([*ours.coefs_, *ours.intercepts_], [*theirs.coefs_, *theirs.intercepts_], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-10)
    assert (ours.t_, int(ours._optimizer.step)) == (sum(SIZES), sum(-(-n // 200) for n in SIZES))

    def run_thin() -> None:
        for n in SIZES:
            thin.partial_fit(sparse.csr_array(X[:n]), Y[:n], classes=[0, 1])

    assert compiled(run_thin) == []
    np.testing.assert_array_equal(thin.coefs_[0], ours.coefs_[0])


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
def test_validation_of_any_size_is_few_programs(compiled: Any) -> None:
    def run() -> None:
        for n in SIZES:
            net = jaxnn.MLPClassifier((9,), batch_size=16, max_iter=1, random_state=0, early_stopping=True)
            net.fit(X[:32], Y[:32], X_val=X[:n], y_val=Y[:n])
            assert net.validation_scores_ == [net.score(X[:n], Y[:n])]

    names = compiled(run)
    assert names.count("raw") <= 3 and names.count("judge") <= 4


@pytest.mark.long
def test_four_epochs_of_wide_batches_are_four_partial_fits() -> None:
    """Bit for bit, in a single step and in two: fit takes the rows from where they are, partial_fit brings them."""
    for n in (70, 390):
        params: dict[str, Any] = {"hidden_layer_sizes": (9,), "random_state": 0, "keep_state": True}
        whole, parts = jaxnn.MLPClassifier(**params, max_iter=4).fit(X[:n], Y[:n]), jaxnn.MLPClassifier(**params)
        for _ in range(4):
            parts.partial_fit(X[:n], Y[:n], classes=[0, 1])
        for a, b in zip(whole.coefs_, parts.coefs_, strict=True):
            np.testing.assert_array_equal(a, b)
        assert whole.loss_curve_ == parts.loss_curve_


def test_sizes() -> None:
    found = [few_sizes(n) for n in range(1, 5000)]
    assert all(n <= size < 8 * n or size == 16 for n, size in enumerate(found, 1))
    assert all(size <= 1.25 * n for n, size in enumerate(found, 1) if n > 1024)
    assert len(set(found)) < 16 and sorted(found) == found
