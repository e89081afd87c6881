"""Sums against scikit-learn; that they add up; that padding and NaN never help a model."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import metrics as sk

from jaxnn.errors import InputError
from jaxnn.tasks import metrics


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), float)  # float64 where x64 is on


def integers(seed, below, *shape):
    return jnp.asarray(np.random.default_rng(seed).integers(below, size=shape), int)


WEIGHT = jnp.abs(normal(9, 12))
CASES = {
    metrics.multiclass_sums: (normal(0, 12, 4), integers(1, 4, 12)),
    metrics.binary_sums: (normal(0, 12), integers(1, 2, 12)),
    metrics.multilabel_sums: (normal(0, 12, 2), integers(1, 2, 12, 2)),
    metrics.regression_sums: (normal(0, 12, 3), normal(1, 12, 3)),
}
each_kind = pytest.mark.parametrize("sums", CASES)


def test_accuracy_is_scikit_learns():
    logits, y = CASES[metrics.multiclass_sums]
    correct = metrics.multiclass_sums(logits, y, WEIGHT)["correct"] / WEIGHT.sum()
    np.testing.assert_allclose(correct, sk.accuracy_score(y, logits.argmax(1), sample_weight=WEIGHT), rtol=1e-6)
    soft = jax.nn.one_hot(y, 4) * 0.8 + 0.05
    assert metrics.multiclass_sums(logits, soft, WEIGHT) == metrics.multiclass_sums(logits, y, WEIGHT)


def test_the_confusion_matrix_is_scikit_learns():
    logits, y = CASES[metrics.binary_sums]
    sums = metrics.binary_sums(logits, y, WEIGHT)
    expected = sk.confusion_matrix(y, logits > 0, sample_weight=WEIGHT).ravel()
    np.testing.assert_allclose([sums[name] for name in ("tn", "fp", "fn", "tp")], expected, rtol=1e-6)
    np.testing.assert_allclose(sums["correct"], sums["tp"] + sums["tn"], rtol=1e-6)


def test_multilabel_sums_are_scikit_learns():
    logits, y = CASES[metrics.multilabel_sums]
    sums = metrics.multilabel_sums(logits, y, WEIGHT)
    exact = sk.accuracy_score(y, logits > 0, sample_weight=WEIGHT)
    single = 1 - sk.hamming_loss(y, logits > 0, sample_weight=WEIGHT)
    got = [sums["correct"] / WEIGHT.sum(), sums["labels_correct"] / WEIGHT.sum()]
    np.testing.assert_allclose(got, [exact, single], rtol=1e-6)


def r2_of(sums, weight):
    return metrics.r_squared(sums["squared_error"], sums["y"], sums["y_squared"], weight, sums["y_within"])


@pytest.mark.parametrize("offset, center", [(0.0, 0.0), (1e4, 1e4 + 0.5), (1e4, 0.0), (-3e4, 20.0)])
def test_regression_sums_are_scikit_learns_wherever_y_lies(offset, center):
    prediction, y = (leaf + offset for leaf in CASES[metrics.regression_sums])
    sums = metrics.regression_sums(prediction, y, WEIGHT, center)
    total = WEIGHT.sum()
    np.testing.assert_allclose(
        sums["squared_error"] / total,
        sk.mean_squared_error(y, prediction, sample_weight=WEIGHT, multioutput="raw_values"),
        rtol=1e-5,
    )
    np.testing.assert_allclose(
        sums["absolute_error"] / total,
        sk.mean_absolute_error(y, prediction, sample_weight=WEIGHT, multioutput="raw_values"),
        rtol=1e-5,
    )
    expected = sk.r2_score(np.float64(y), np.float64(prediction), sample_weight=np.float64(WEIGHT))
    np.testing.assert_allclose(r2_of(sums, total), expected, rtol=1e-5)


@pytest.mark.long
@pytest.mark.parametrize("prediction, score", [(0.3, 1.0), (0.4, 0.0)])
def test_r_squared_of_a_constant_is_one_or_zero_as_in_scikit_learn(prediction, score):
    y = jnp.full((7, 1), 0.3)  # not exact, so that its spread is not quite 0 in float32
    sums = metrics.regression_sums(jnp.full((7, 1), prediction), y, jnp.ones(7))
    assert r2_of(sums, jnp.array(7.0)) == score == sk.r2_score(np.full(7, 0.5), np.full(7, 0.2 + prediction))


@pytest.mark.long
@each_kind
def test_sums_add_up_over_batches_and_leading_axes_are_free(sums):
    outputs, y = CASES[sums]

    def whole_of(*rows):  # what is between the rows of two parts is within those of both
        found = sums(*rows)
        within = found.pop("y_within", None)
        return found if within is None else found | {"y_squared": found["y_squared"] + within}

    whole = whole_of(outputs, y, WEIGHT)
    parts = [whole_of(outputs[rows], y[rows], WEIGHT[rows]) for rows in (slice(0, 5), slice(5, 12))]
    jax.tree.map(lambda a, b, c: np.testing.assert_allclose(a, b + c, rtol=1e-6), whole, *parts)
    folded = whole_of(outputs.reshape(3, 4, *outputs.shape[1:]), y.reshape(3, 4, *y.shape[1:]), WEIGHT.reshape(3, 4))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), whole, folded)
    assert all(value.dtype == jnp.float32 for value in whole.values())


@each_kind
def test_a_row_of_weight_zero_adds_nothing_even_if_it_is_nan(sums):
    outputs, y = CASES[sums]
    weight = WEIGHT.at[3].set(0)
    without = sums(outputs, y, weight)
    poisoned = y.at[3].set(jnp.nan) if jnp.issubdtype(y.dtype, jnp.floating) else y.at[3].set(99)
    assert jax.tree.all(jax.tree.map(jnp.array_equal, without, sums(outputs.at[3].set(jnp.nan), poisoned, weight)))


@pytest.mark.parametrize("sums", [metrics.multiclass_sums, metrics.binary_sums, metrics.multilabel_sums])
def test_a_prediction_of_nan_is_wrong_whatever_the_label(sums):
    outputs, y = CASES[sums]
    for labels in (y, 1 - y if sums is not metrics.multiclass_sums else jnp.zeros_like(y)):
        got = sums(jnp.full_like(outputs, jnp.nan), labels, jnp.ones(12))
        assert got["correct"] == 0 and got.get("tp", 0) == got.get("tn", 0) == got.get("labels_correct", 0) == 0


def test_one_nan_logit_spoils_its_row_only():
    logits = jnp.array([[jnp.nan, 1.0, 5.0], [0.0, 1.0, 5.0]])
    assert metrics.multiclass_sums(logits, jnp.array([2, 2]), jnp.ones(2))["correct"] == 1


def test_a_label_out_of_range_is_never_correct():
    sums = metrics.multiclass_sums(jnp.array([[5.0, 0.0]] * 3), jnp.array([-1, 2, 0]), jnp.ones(3))
    assert sums["correct"] == 1


@pytest.mark.parametrize("shape", [(), (11,), (12, 1), (1,)])
def test_a_weight_of_another_shape_is_refused(shape):
    with pytest.raises(InputError, match=r"weight\["):
        metrics.weighted_sum(jnp.ones(12), jnp.ones(shape))


def test_shapes_never_broadcast():
    for sums in (metrics.binary_sums, metrics.multilabel_sums, metrics.regression_sums):
        with pytest.raises(InputError, match=r"y\[4\].*\[4, 1\]"):
            sums(jnp.zeros((4, 1)), jnp.zeros(4), jnp.ones(4))
