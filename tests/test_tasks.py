"""Loss, link and metrics of each task fit together, and a config leads to the right ones."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn import metrics as sk

from jaxnn.config.task import TaskConfig
from jaxnn.errors import InputError
from jaxnn.tasks import supervised as tasks
from jaxnn.tasks.metrics import measure


def float64(values):
    return np.asarray(values, np.float64)


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), float)  # float64 where x64 is on


def integers(seed, below, *shape):
    return jnp.asarray(np.random.default_rng(seed).integers(below, size=shape), int)


WEIGHT = jnp.abs(normal(9, 12))
LABELS = integers(1, 4, 12)
CASES = {
    "binary": (tasks.binary(), normal(0, 12, 1), LABELS % 2),
    "multiclass": (tasks.multiclass(4), normal(0, 12, 4), LABELS),
    "multilabel": (tasks.multilabel(3), normal(0, 12, 3), jnp.stack([LABELS == k for k in range(3)], axis=1)),
    "regression": (tasks.regression(outputs=2), normal(0, 12, 2), normal(1, 12, 2)),
    "poisson": (tasks.regression("poisson", outputs=2), normal(0, 12, 2), jnp.abs(normal(1, 12, 2))),
}
each_task = pytest.mark.parametrize("name", CASES)


@functools.cache
def measured(name):
    """The sums and their summary, compiled."""
    task, outputs, y = CASES[name]

    def both(outputs, y, weight):
        sums = measure(task, outputs, y, weight)
        return sums, task.summary(sums)

    return jax.jit(both)(outputs, y, WEIGHT)


def report(name):
    return {key: float(value) for key, value in measured(name)[1].items()}


@each_task
def test_the_reported_loss_is_the_weighted_mean_of_the_loss(name):
    task, outputs, y = CASES[name]
    loss = task.loss(outputs, y)
    assert loss.shape == (12,) and task.outputs == outputs.shape[-1]
    np.testing.assert_allclose(report(name)["loss"], np.average(loss, weights=WEIGHT), rtol=1e-6)
    np.testing.assert_allclose(measured(name)[0]["weight"], WEIGHT.sum(), rtol=1e-6)


@each_task
def test_leading_axes_are_free(name):
    task, outputs, y = CASES[name]
    both = lambda outputs, y: (task.loss(outputs, y), task.link(outputs))
    whole, each = jax.jit(lambda outputs, y: (both(outputs, y), jax.vmap(both)(outputs, y)))(outputs, y)
    np.testing.assert_allclose(whole[0], each[0], rtol=1e-5)
    np.testing.assert_allclose(whole[1], each[1], rtol=1e-6)


@each_task
def test_padding_changes_no_sum_even_if_it_is_nan(name):
    task, outputs, y = CASES[name]
    padded = jnp.concatenate([outputs, jnp.full_like(outputs[:2], jnp.nan)])
    rows, weight = jnp.concatenate([y, y[:2]]), jnp.concatenate([WEIGHT, jnp.zeros(2)])
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6),
        measured(name)[0],
        jax.jit(functools.partial(measure, task))(padded, rows, weight),
    )


def test_links_give_probabilities():
    links = {name: task.link(outputs) for name, (task, outputs, _) in CASES.items()}
    raw = {name: float64(outputs) for name, (_, outputs, _) in CASES.items()}
    np.testing.assert_allclose(links["binary"], expit(raw["binary"][:, 0]), rtol=1e-5)
    np.testing.assert_allclose(links["multiclass"], softmax(raw["multiclass"], axis=1), rtol=1e-5)
    np.testing.assert_allclose(links["multilabel"], expit(raw["multilabel"]), rtol=1e-5)
    np.testing.assert_array_equal(links["regression"], CASES["regression"][1])
    np.testing.assert_allclose(links["poisson"], np.exp(raw["poisson"]), rtol=1e-5)


def test_binary_reports_what_scikit_learn_does():
    _, outputs, y = CASES["binary"]
    precision, recall, f1, _ = sk.precision_recall_fscore_support(
        y, outputs[:, 0] > 0, average="binary", sample_weight=WEIGHT
    )
    expected = {
        "loss": sk.log_loss(y, expit(float64(outputs[:, 0])), sample_weight=WEIGHT),
        "accuracy": sk.accuracy_score(y, outputs[:, 0] > 0, sample_weight=WEIGHT),
        "precision": precision,
        "recall": recall,
        "f1": f1,
    }
    assert report("binary") == pytest.approx(expected, rel=1e-5)


def test_a_classifier_that_never_says_yes_has_precision_zero():
    task = tasks.binary()
    got = task.summary(measure(task, jnp.full((4, 1), -1.0), jnp.array([0, 1, 0, 0]), jnp.ones(4)))
    assert got["precision"] == got["recall"] == got["f1"] == 0 and got["accuracy"] == 0.75


def test_multiclass_reports_what_scikit_learn_does():
    _, outputs, y = CASES["multiclass"]
    expected = {
        "loss": sk.log_loss(y, softmax(float64(outputs), axis=1), sample_weight=WEIGHT, labels=range(4)),
        "accuracy": sk.accuracy_score(y, outputs.argmax(1), sample_weight=WEIGHT),
    }
    assert report("multiclass") == pytest.approx(expected, rel=1e-5)


def test_multilabel_reports_what_scikit_learn_does():
    _, outputs, y = CASES["multilabel"]
    p, y = expit(float64(outputs)), np.asarray(y)
    likelihood = np.log(np.where(y, p, 1 - p)).sum(axis=1)
    expected = {
        "loss": -np.average(likelihood, weights=WEIGHT),
        "accuracy": sk.accuracy_score(y, p > 0.5, sample_weight=WEIGHT),
        "label_accuracy": 1 - sk.hamming_loss(y, p > 0.5, sample_weight=WEIGHT),
    }
    assert report("multilabel") == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", ["regression", "poisson"])
def test_regression_reports_what_scikit_learn_does(name):
    task, outputs, y = CASES[name]
    prediction = float64(task.link(outputs))
    got = report(name)
    assert got.pop("loss") == pytest.approx(np.average(task.loss(outputs, y), weights=WEIGHT), rel=1e-5)
    y, weight = float64(y), float64(WEIGHT)
    expected = {
        "mse": sk.mean_squared_error(y, prediction, sample_weight=weight),
        "mae": sk.mean_absolute_error(y, prediction, sample_weight=weight),
        "r2": sk.r2_score(y, prediction, sample_weight=weight),
    }
    assert got == pytest.approx(expected, rel=1e-5)


def test_one_target_may_come_without_its_axis():
    task, outputs, y = tasks.regression(), normal(0, 5, 1), normal(1, 5, 1)
    assert task.loss(outputs, y).tolist() == task.loss(outputs, y[:, 0]).tolist()
    with pytest.raises(InputError, match=r"y\[5\].*\[5, 2\]"):
        tasks.regression(outputs=2).loss(normal(0, 5, 2), y[:, 0])


def test_summaries_work_inside_jit():
    for name, (task, outputs, y) in CASES.items():
        expected = task.summary(measure(task, outputs, y, WEIGHT))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), measured(name)[1], expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("name, outputs", [("binary", 1), ("multiclass", 4), ("multilabel", 3)])
def test_a_config_leads_to_its_task(name, outputs, smoothing):
    task = tasks.build(TaskConfig(label_smoothing=smoothing), name, outputs)
    _, logits, y = CASES[name]
    direct = {"binary": tasks.binary, "multiclass": tasks.multiclass, "multilabel": tasks.multilabel}[name]
    direct = direct(*([outputs] if outputs > 1 else []), label_smoothing=smoothing)
    assert (task.name, task.outputs) == (direct.name, direct.outputs) == (name, outputs)
    assert task.loss(logits, y).tolist() == direct.loss(logits, y).tolist()
    assert (task.loss(logits, y) != CASES[name][0].loss(logits, y)).any() == (smoothing > 0)


@pytest.mark.parametrize("loss", ["auto", "squared", "absolute", "huber", "poisson"])
def test_a_config_leads_to_its_regression_loss(loss):
    z, y = normal(0, 3, 2), jnp.abs(normal(1, 3, 2))
    task = tasks.build(TaskConfig(loss=loss), "regression", 2, center=1.0)
    error = float64(z) - float64(y)
    expected = {
        "squared": error**2,
        "absolute": abs(error),
        "huber": np.where(abs(error) < 1, error**2 / 2, abs(error) - 0.5),
        "poisson": np.exp(float64(z)) - float64(y * z),
    }["squared" if loss == "auto" else loss]
    np.testing.assert_allclose(task.loss(z, y), expected.mean(axis=1), rtol=1e-5)
    assert task.metrics(z, y, jnp.ones(3))["y"] == pytest.approx((float64(y) - 1).sum(axis=0), rel=1e-5)


def test_two_classes_can_be_learned_with_two_outputs():
    task = tasks.build(TaskConfig(name="multiclass"), "binary", 1)
    assert (task.name, task.outputs) == ("multiclass", 2)


@pytest.mark.parametrize(
    "config, name, words",
    [
        (TaskConfig(loss="poisson"), "multiclass", "--task.loss=poisson: is for regression"),
        (TaskConfig(loss="squared"), "binary", "--task.loss=squared: is for regression"),
        (TaskConfig(loss="cross_entropy"), "regression", "--task.loss=cross_entropy: is for classes"),
        (TaskConfig(label_smoothing=0.1), "regression", "--task.label_smoothing=0.1: is for classes"),
        (TaskConfig(name="regression"), "multiclass", "--task.name=regression: the labels of this data are multiclass"),
        (TaskConfig(name="binary"), "multiclass", "--task.name=binary: the labels"),
        (TaskConfig(), "multiclas", "did you mean multiclass"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(config, name, words):
    with pytest.raises(InputError) as error:
        tasks.build(config, name, 3)
    assert words in str(error.value) and "; " in str(error.value) and "\n" not in str(error.value)


@each_task
def test_a_model_with_another_number_of_outputs_is_refused(name):
    task, outputs, y = CASES[name]
    wide = jnp.concatenate([outputs, outputs], axis=-1)
    for call in (lambda: task.loss(wide, y), lambda: task.link(wide), lambda: measure(task, wide, y, WEIGHT)):
        with pytest.raises(InputError, match=f"the last axis must be {task.outputs}"):
            call()


def test_impossible_sizes_are_refused():
    for make in (lambda: tasks.multiclass(1), lambda: tasks.multilabel(0), lambda: tasks.regression(outputs=0)):
        with pytest.raises(InputError, match="must be >="):
            make()
    with pytest.raises(InputError, match="did you mean huber"):
        tasks.regression("hubr")
