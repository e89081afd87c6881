"""Loss, link and metrics of each task fit together, and a config leads to the right ones."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit, softmax
from scipy.stats import norm
from sklearn import metrics as sk

from jaxnn.config.task import TaskConfig
from jaxnn.errors import InputError
from jaxnn.tasks import losses
from jaxnn.tasks import supervised as tasks
from jaxnn.tasks.metrics import measure
from jaxnn.tasks.regression import units


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
    "quantile": (
        tasks.regression("quantile", outputs=2, quantiles=(0.1, 0.5, 0.9)),
        normal(0, 12, 6),
        normal(1, 12, 2),
    ),
    "gaussian": (tasks.regression("gaussian", outputs=2), normal(0, 12, 4), normal(1, 12, 2)),
    "own": (tasks.multiclass(4, loss=lambda z, y: (z.max(-1) - y) ** 2), normal(0, 12, 4), LABELS),
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


@pytest.mark.long
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


@pytest.mark.long
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


MIDDLE = {
    "quantile": lambda p: p[..., 1],
    "gaussian": lambda p: p[..., 0],
}  # of what the link gives


@pytest.mark.parametrize("name", ["regression", "poisson", "quantile", "gaussian"])
def test_regression_reports_what_scikit_learn_does(name):
    task, outputs, y = CASES[name]
    prediction = MIDDLE.get(name, lambda p: p)(float64(task.link(outputs)))
    got = report(name)
    got.pop("pinball", None)
    assert got.pop("loss") == pytest.approx(np.average(task.loss(outputs, y), weights=WEIGHT), rel=1e-5)
    y, weight = float64(y), float64(WEIGHT)
    expected = {
        "mse": sk.mean_squared_error(y, prediction, sample_weight=weight),
        "mae": sk.mean_absolute_error(y, prediction, sample_weight=weight),
        "r2": sk.r2_score(y, prediction, sample_weight=weight),
    }
    assert got == pytest.approx(expected, rel=1e-5)


def test_quantiles_are_scored_as_scikit_learn_does_in_the_units_of_y():
    raw, y, weight = normal(0, 12, 4) * 20 + 100, normal(1, 12, 2) * 20 + 100, WEIGHT.at[:3].set(0)
    task = tasks.regression("quantile", outputs=2, quantiles=(0.1, 0.9), center=[100.0, 90.0], scale=[20.0, 10.0])
    got = jax.jit(lambda *rows: task.summary(measure(task, *rows)))(raw, y, weight)
    assert set(got) == {"loss", "pinball"} and task.minimized >= set(got)  # no median, no mse
    of = lambda k, q: sk.mean_pinball_loss(y[:, k], raw[:, 2 * k + (q == 0.9)], sample_weight=weight, alpha=q)
    each = np.array([[of(k, q) for q in (0.1, 0.9)] for k in range(2)])
    np.testing.assert_allclose(got["pinball"], each.mean(), rtol=1e-6)
    np.testing.assert_allclose(got["loss"], (each / [[20.0], [10.0]]).mean(), rtol=1e-6)


def test_the_gaussian_loss_is_scipys_density_in_units_of_the_deviation():
    raw, y = normal(0, 12, 4), normal(1, 12, 2) * 7 + 3
    task = tasks.regression("gaussian", outputs=2, center=[3.0, 3.0], scale=[7.0, 7.0])
    mean, deviation = np.moveaxis(float64(task.link(raw)), -1, 0)
    np.testing.assert_allclose(mean, raw[:, ::2])
    expected = -norm.logpdf(float64(y), mean, deviation) - np.log(7.0)  # a density per deviation
    np.testing.assert_allclose(task.loss(raw, y), expected.mean(axis=1), rtol=1e-6)


@pytest.mark.parametrize("loss", ["quantile", "gaussian", "squared"])
def test_outputs_in_units_of_the_amounts_cost_what_standardised_ones_do(loss):
    """The model of mean + std y, at the task that divides them again, whatever the unit."""
    raw, y, q = normal(0, 6, 4 if loss != "squared" else 2), normal(1, 6, 2), (0.2, 0.6)
    plain = tasks.regression(loss, outputs=2, quantiles=q)
    for center, scale in (([1.0, -2.0], [3.0, 4.0]), ([1e6, 0.0], [1e5, 1e-6])):
        mean, std, unit = units(loss, center, scale, q) or ((), (), ())
        moved = jnp.asarray(float64(mean) + float64(std) * float64(raw), float)
        task = tasks.regression(loss, outputs=2, quantiles=q, center=center, scale=unit)
        amounts = jnp.asarray(float64(center) + float64(scale) * float64(y), float)
        np.testing.assert_allclose(task.loss(moved, amounts), plain.loss(raw, y), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("given", "outputs", "shape"),
    [
        ({"loss": "gaussian"}, 2, (5,)),
        ({"loss": "gaussian", "outputs": 3}, 6, (5, 3)),
        ({"loss": "quantile"}, 1, (5,)),
        ({"loss": "quantile", "quantiles": (0.1, 0.9)}, 2, (5, 2)),
        ({"loss": "quantile", "outputs": 3}, 3, (5, 3)),
        ({"loss": "quantile", "outputs": 3, "quantiles": (0.1, 0.9)}, 6, (5, 3, 2)),
    ],
)
def test_answers_have_an_axis_for_several_amounts_and_one_for_several_quantiles(given, outputs, shape):
    task = tasks.regression(**given)
    answers = task.decide(np.asarray(task.link(normal(0, 5, outputs))))
    assert task.outputs == outputs and answers.shape == shape and isinstance(answers, np.ndarray)
    if given["loss"] == "quantile":
        np.testing.assert_array_equal(answers.ravel(), normal(0, 5, outputs).ravel())


OWN = {
    "binary": (tasks.binary, normal(0, 6, 1), LABELS[:6] % 2),
    "multiclass": (functools.partial(tasks.multiclass, 3), normal(0, 6, 3), LABELS[:6] % 3),
    "multilabel": (functools.partial(tasks.multilabel, 2), normal(0, 6, 2), jnp.stack([LABELS[:6] % 2] * 2, 1)),
    "regression": (lambda loss: tasks.regression(loss, outputs=2), normal(0, 6, 2), normal(1, 6, 2)),
}


@pytest.mark.long
@pytest.mark.parametrize("name", OWN)
def test_a_loss_of_ones_own_is_the_same_as_the_tasks(name):
    """The tasks' equations, given as one's own: any outputs and labels come to it as they come to them."""
    make, outputs, y = OWN[name]
    equations = {
        "binary": losses.binary_cross_entropy,
        "multiclass": losses.cross_entropy,
        "multilabel": lambda z, y: losses.binary_cross_entropy(z, y).sum(-1),
        "regression": losses.squared,
    }
    task, plain = make(loss=equations[name]), make(**({"loss": "squared"} if name == "regression" else {}))
    np.testing.assert_array_equal(task.loss(outputs, y), plain.loss(outputs, y))
    np.testing.assert_array_equal(jax.vmap(task.loss)(outputs, y), plain.loss(outputs, y))
    for bad, shape in (
        (lambda z, y: z.mean(), r"float32\[\]"),
        (lambda z, y: z, r"float32\[6"),
        (lambda z, y: 1.0, "float"),
    ):
        if name == "binary" and shape == r"float32\[6":
            continue  # one logit for each example is one number
        with pytest.raises(InputError, match=f"loss={shape}.*must be one number for each example, float.6"):
            make(loss=bad).loss(outputs, y)


def test_amounts_come_to_a_loss_of_ones_own_in_units_of_their_deviation():
    task = tasks.regression(
        lambda p, y: jnp.max((p - y) ** 4, axis=-1), outputs=2, center=[1.0, 2.0], scale=[10.0, 5.0]
    )
    raw, y = normal(0, 6, 2), normal(1, 6, 2)
    expected = ((float64(raw) - float64(y)) / [10.0, 5.0]) ** 4
    np.testing.assert_allclose(task.loss(raw, y), expected.max(1), rtol=1e-4)


def test_a_smoothed_loss_of_ones_own_is_refused():
    for make in (tasks.binary, functools.partial(tasks.multiclass, 3), functools.partial(tasks.multilabel, 3)):
        with pytest.raises(InputError, match="label_smoothing=0.1: is that of the cross-entropy"):
            make(loss=losses.cross_entropy, label_smoothing=0.1)


def test_one_target_may_come_without_its_axis():
    task, outputs, y = tasks.regression(), normal(0, 5, 1), normal(1, 5, 1)
    assert task.loss(outputs, y).tolist() == task.loss(outputs, y[:, 0]).tolist()
    with pytest.raises(InputError, match=r"y\[5\].*\[5, 2\]"):
        tasks.regression(outputs=2).loss(normal(0, 5, 2), y[:, 0])


@pytest.mark.long
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
        (TaskConfig(metrics=("macro_f1",)), "binary", "--task.metrics=macro_f1: unknown; Choose from auc, balanced_"),
        (
            TaskConfig(metrics=("auc",)),
            "multiclass",
            "--task.metrics=auc: unknown; Choose from balanced_",
        ),
        (TaskConfig(metrics=("top_3",)), "multiclass", "Choose from balanced_accuracy, macro_f1, top_1, top_2"),
        (TaskConfig(metrics=("auc",)), "regression", "--task.metrics=auc: this task is regression"),
        (TaskConfig(metrics=("auc",)), "multilabel", "--task.metrics=auc: this task is multilabel"),
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
