"""Metrics that are asked for, against scikit-learn: with weights and ties, in blocks, on devices; and one's own."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn import metrics as sk

import jaxnn
from jaxnn import engine
from jaxnn.errors import InputError
from jaxnn.tasks.metrics import measure
from jaxnn.training.programs import metric_names

N = 300
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 5)).astype(np.float32)
WEIGHT = RNG.uniform(0.5, 2, N).astype(np.float32) * (RNG.uniform(size=N) > 0.2)  # a fifth weighs nothing
Y2, Y5 = (X[:, 0] + RNG.normal(size=N) > 0.3).astype(np.int32), RNG.integers(5, size=N).astype(np.int32)
HERE = WEIGHT > 0
NUMBER: Any = lambda z, y, w: w.sum()
NO_TX = optax.identity()
IDENTITY = jaxnn.Model(lambda key, x: {}, lambda params, x, key=None: x)

BINARY = jaxnn.binary(
    metrics={"auc": jaxnn.auc(), "balanced_accuracy": jaxnn.balanced_accuracy(binary=True)},
)
MULTICLASS = jaxnn.multiclass(
    5,
    metrics={
        "macro_f1": jaxnn.macro_f1(),
        "balanced_accuracy": jaxnn.balanced_accuracy(),
        "top_1": jaxnn.top_k(1),
        "top_2": jaxnn.top_k(2),
        "top_4": jaxnn.top_k(4),
    },
)


@functools.cache
def evaluated(task: jaxnn.Task):
    def of(outputs, y, weight, batch_size):
        data = jaxnn.Batch(jnp.asarray(outputs), jnp.asarray(y), jnp.asarray(weight))
        return task.summary(engine.evaluate(jaxnn.Recipe(IDENTITY, task, NO_TX), {}, data, batch_size=batch_size))

    return jax.jit(of, static_argnums=3)


def expected_of(task, logits, y, weight):
    """By scikit-learn, of the rows that weigh something."""
    here = weight > 0
    logits, y, given = logits[here].astype(np.float64), y[here], {"sample_weight": weight[here].astype(np.float64)}
    if task is BINARY:
        balanced = sk.balanced_accuracy_score(y, logits[:, 0] > 0, **given)
        return {"auc": sk.roc_auc_score(y, logits[:, 0], **given), "balanced_accuracy": balanced}
    answers = logits.argmax(1)
    tops = {f"top_{k}": sk.top_k_accuracy_score(y, logits, k=k, labels=range(5), **given) for k in (2, 4)}
    return tops | {
        "macro_f1": sk.f1_score(y, answers, average="macro", **given),
        "balanced_accuracy": sk.balanced_accuracy_score(y, answers, **given),
        "top_1": sk.accuracy_score(y, answers, **given),
    }


@pytest.mark.long
@pytest.mark.parametrize("batch_size", [64, 1024])
@pytest.mark.parametrize("task", [BINARY, MULTICLASS], ids=["binary", "multiclass"])
def test_they_are_scikit_learns_in_blocks_of_any_size(task, batch_size):
    logits = X[:, : task.outputs] + (0 if task is BINARY else np.eye(5, dtype=np.float32)[Y5])
    y = Y2 if task is BINARY else Y5
    got = evaluated(task)(logits, y, WEIGHT, batch_size)
    for name, value in expected_of(task, logits, y, WEIGHT).items():
        assert got[name] == pytest.approx(value, abs=1e-6), name


def test_auc_counts_half_of_every_tie_and_is_exact_for_many_rows():
    few = RNG.integers(4, size=(5_000, 1)).astype(np.float32)
    y = (RNG.uniform(size=5_000) < 0.2 + 0.1 * few[:, 0]).astype(np.int32)
    for weight in (np.ones(5_000, np.float32), RNG.exponential(size=5_000).astype(np.float32)):
        for logits in (few, (few + RNG.normal(size=few.shape)).astype(np.float32)):
            got = evaluated(BINARY)(logits, y, weight, 1024)["auc"]
            assert got == pytest.approx(sk.roc_auc_score(y, logits[:, 0], sample_weight=weight), abs=1e-6)


def test_auc_is_of_the_logits_where_probabilities_have_become_1():
    logits, y = jnp.array([[40.0], [30.0], [20.0]]), jnp.array([1, 0, 0])
    assert BINARY.link(logits).tolist() == [1.0, 1.0, 1.0]
    assert evaluated(BINARY)(logits, y, jnp.ones(3), 2)["auc"] == 1


def test_auc_of_one_class_is_nan_and_nan_is_never_in_order():
    auc = lambda logits, y: float(evaluated(BINARY)(jnp.array(logits)[:, None], jnp.array(y), jnp.ones(4), 1024)["auc"])
    assert np.isnan(auc([1.0, 2.0, 3.0, 4.0], [1, 1, 1, 1]))
    assert auc([jnp.nan] * 4, [0, 1, 0, 1]) == 0 and auc([jnp.nan, 2.0, 1.0, 3.0], [0, 1, 0, 1]) == 0.5


def test_classes_that_are_not_there_are_left_out_as_in_scikit_learn():
    logits, y = np.eye(5, dtype=np.float32)[[0, 1, 1, 2, 0]], np.array([0, 1, 0, 2, 0], np.int32)
    got, one = evaluated(MULTICLASS)(logits, y, np.ones(5, np.float32), 1024), np.ones(5)
    assert got["macro_f1"] == pytest.approx(sk.f1_score(y, logits.argmax(1), average="macro", sample_weight=one))
    assert got["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(y, logits.argmax(1)))


def test_of_equal_logits_the_first_counts_and_nan_and_labels_out_of_range_are_wrong():
    logits = np.array([[1, 1, 1, 0, 0]] * 3 + [[np.nan, 9, 0, 0, 0], [1, 2, 3, 4, 5], [1, 2, 3, 4, 5]], np.float32)
    y = np.array([0, 1, 2, 1, -1, 5], np.int32)
    got = evaluated(MULTICLASS)(logits, y, np.ones(6, np.float32), 1024)
    assert [round(float(got[f"top_{k}"]) * 6) for k in (1, 2, 4)] == [1, 2, 3]
    assert got["top_1"] == got["accuracy"]


def test_soft_labels_are_those_of_their_largest_share():
    logits, soft = X + np.eye(5, dtype=np.float32)[Y5], np.eye(5, dtype=np.float32)[Y5] * 0.9 + 0.02
    hard, same = (evaluated(MULTICLASS)(logits, y, WEIGHT, 1024) for y in (Y5, soft))
    assert all(hard[name] == same[name] for name in hard if name != "loss")


@functools.cache
def measured(task: jaxnn.Task):
    return jax.jit(functools.partial(measure, task))


@pytest.mark.parametrize("task", [BINARY, MULTICLASS], ids=["binary", "multiclass"])
def test_rows_that_weigh_nothing_add_nothing_and_the_sums_of_parts_add_up(task):
    """But for those of a whole split, whose sums are of pairs of rows."""
    logits, y, first = jnp.asarray(X[:, : task.outputs]), Y2 if task is BINARY else Y5, np.arange(N) < 90
    whole, one, other = (measured(task)(logits, y, w) for w in (WEIGHT, WEIGHT * first, WEIGHT * ~first))
    for name in whole.keys() - {"auc.ordered", "auc.pairs"}:
        np.testing.assert_allclose(whole[name], one[name] + other[name], rtol=1e-5)
    poisoned = jnp.where(HERE[:, None], logits, jnp.nan), np.where(HERE, y, 99)
    got = measured(task)(*poisoned, WEIGHT)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), whole, got)


def test_over_several_devices_they_are_the_same():
    logits, evaluate = X[:, :1], evaluated(BINARY)
    with jaxnn.devices.use(2):
        recipe = jaxnn.Recipe(IDENTITY, BINARY, NO_TX)
        data = jaxnn.devices.replicate(jaxnn.Batch(logits, Y2, WEIGHT))
        split = jax.jit(lambda data: BINARY.summary(engine.evaluate(recipe, {}, data, batch_size=64, multiple=2)))(data)
    assert split["auc"] == pytest.approx(float(evaluate(logits, Y2, WEIGHT, 64)["auc"]), abs=1e-6)


def spread() -> jaxnn.Metric:
    """The greatest logit of a split: no sum, so of a whole one."""
    return jaxnn.Metric(lambda z, y, w: {"max": z.max()}, lambda sums: sums["max"], whole=True)


@pytest.mark.long
def test_a_metric_of_whole_splits_is_none_of_training():
    task = jaxnn.multiclass(5, metrics={"greatest": spread(), "top_2": jaxnn.top_k(2)})
    model, data = jaxnn.linear(5), jaxnn.Batch(jnp.asarray(X), jnp.asarray(Y5), jnp.asarray(WEIGHT))
    _, history = jaxnn.fit(
        jax.random.key(0), model, task, optax.sgd(0.1), data, epochs=1, batch_size=100, validation=data
    )
    named = [name for name in history if "/" in name]
    assert "val/greatest" in named and "train/greatest" not in named and "train/top_2" in named
    params = jax.eval_shape(lambda: model.init(jax.random.key(0), data.x[0]))
    assert set(metric_names(jaxnn.Recipe(model, task, NO_TX), params, data, True)) == set(named)


def test_own_metrics_come_beside_those_of_every_task_and_say_their_direction():
    square = jaxnn.Metric(
        lambda z, y, w: {"z2": jaxnn.metrics.weighted_sum((z**2).sum(-1) if z.ndim > 1 else z**2, w), "n": w.sum()},
        lambda sums: sums["z2"] / sums["n"],
        minimized=True,
    )
    makes = {
        "binary": (functools.partial(jaxnn.binary), Y2, 1),
        "regression": (functools.partial(jaxnn.regression, outputs=2), X[:, :2], 2),
    }
    for name, (make, y, width) in makes.items():
        plain, task = make(), make(metrics={"square": square})
        rows = (X[:, :width], y, WEIGHT, 1024)
        before, after = evaluated(plain)(*rows), evaluated(task)(*rows)
        assert after.pop("square") == pytest.approx(np.average((X[:, :width] ** 2).sum(1), weights=WEIGHT), rel=1e-5)
        assert before == after, name
        assert task.minimized == plain.minimized | {"square"} and make(metrics={}).metrics is not None


@pytest.mark.parametrize(
    ("metrics", "words"),
    [
        ({"accuracy": jaxnn.top_k(1)}, "metrics=accuracy: is what a multiclass task measures already"),
        ({"mine": lambda z, y, w: 1.0}, "metrics=mine: is a function; write jaxnn.Metric"),
        ({"my metric": jaxnn.top_k(1)}, "metrics='my metric': must be a name of letters"),
        ({"mine": jaxnn.Metric(NUMBER, lambda sums: 0.0)}, "metrics=mine: its sums are a "),
        ({"mine": jaxnn.Metric(lambda z, y, w: {"n": w}, lambda s: s["n"])}, "metrics=mine: its value has the shape"),
    ],
)
def test_what_is_no_metric_is_refused(metrics, words):
    with pytest.raises(InputError, match=words):
        evaluated(jaxnn.multiclass(5, metrics=metrics))(X, Y5, WEIGHT, 1024)
    with pytest.raises(InputError, match="top_k=0: must be >= 1"):
        jaxnn.top_k(0)
