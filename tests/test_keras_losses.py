"""Losses and metrics of the Keras face: closed forms in NumPy, and Keras 3 itself where there is one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, precision_score, r2_score, recall_score, roc_auc_score

from jaxnn.errors import InputError
from jaxnn.keras import losses, metrics

RNG = np.random.default_rng(0)
B, K = 64, 5


def softmax(z):
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return (e / e.sum(axis=-1, keepdims=True)).astype(np.float32)


LOGITS = RNG.normal(size=(B, K)).astype(np.float32)
PROBS = softmax(LOGITS)
LABELS = RNG.integers(0, K, B)
HOT = np.eye(K, dtype=np.float32)[LABELS]
REAL = RNG.normal(size=(B, K)).astype(np.float32)
BITS = RNG.integers(0, 2, (B, K)).astype(np.float32)
RATES = RNG.uniform(0.01, 0.99, (B, K)).astype(np.float32)
WEIGHT = RNG.uniform(0, 2, B).astype(np.float32)
FIRST = (np.arange(B) < 50).astype(np.float32)
COUNTS = RNG.poisson(2.0, (B, K)).astype(np.float32)

LOSSES = {  # class, arguments, y_true, y_pred
    "mse": ("MeanSquaredError", {}, REAL, LOGITS),
    "mae": ("MeanAbsoluteError", {}, REAL, LOGITS),
    "mape": ("MeanAbsolutePercentageError", {}, REAL, LOGITS),
    "msle": ("MeanSquaredLogarithmicError", {}, COUNTS, RATES),
    "cosine": ("CosineSimilarity", {}, REAL, LOGITS),
    "huber": ("Huber", {"delta": 0.7}, REAL, LOGITS),
    "logcosh": ("LogCosh", {}, REAL, LOGITS),
    "poisson": ("Poisson", {}, COUNTS, RATES),
    "kld": ("KLDivergence", {}, softmax(REAL), PROBS),
    "hinge": ("Hinge", {}, BITS, LOGITS),
    "squared_hinge": ("SquaredHinge", {}, 2 * BITS - 1, LOGITS),
    "categorical_hinge": ("CategoricalHinge", {}, HOT, LOGITS),
    "bce": ("BinaryCrossentropy", {}, BITS, RATES),
    "bce_logits": ("BinaryCrossentropy", {"from_logits": True}, BITS, LOGITS),
    "bce_smooth": ("BinaryCrossentropy", {"label_smoothing": 0.2}, BITS, RATES),
    "focal": ("BinaryFocalCrossentropy", {"apply_class_balancing": True}, BITS, RATES),
    "focal_logits": ("BinaryFocalCrossentropy", {"gamma": 3.0, "from_logits": True}, BITS, LOGITS),
    "cce": ("CategoricalCrossentropy", {}, HOT, PROBS),
    "cce_soft": ("CategoricalCrossentropy", {}, softmax(REAL), 3 * PROBS),
    "cce_logits": ("CategoricalCrossentropy", {"from_logits": True, "label_smoothing": 0.1}, HOT, LOGITS),
    "cce_smooth": ("CategoricalCrossentropy", {"label_smoothing": 0.1}, HOT, PROBS),
    "scce": ("SparseCategoricalCrossentropy", {}, LABELS, PROBS),
    "scce_column": ("SparseCategoricalCrossentropy", {}, LABELS[:, None], PROBS),
    "scce_logits": ("SparseCategoricalCrossentropy", {"from_logits": True}, LABELS.astype(np.float32), LOGITS),
    "column": ("MeanSquaredError", {}, REAL[:, 0], LOGITS[:, :1]),
    "images": ("SparseCategoricalCrossentropy", {}, LABELS.reshape(4, 4, 4), PROBS.reshape(4, 4, 4, K)),
    "sum": ("MeanSquaredError", {"reduction": "sum"}, REAL, LOGITS),
    "by_weight": ("MeanSquaredError", {"reduction": "mean_with_sample_weight"}, REAL, LOGITS),
    "each": ("MeanSquaredError", {"reduction": None}, REAL, LOGITS),
}
METRICS = {
    "accuracy": ("Accuracy", {}, LABELS, np.where(WEIGHT > 0.5, LABELS, 0)),
    "binary": ("BinaryAccuracy", {"threshold": 0.4}, BITS, RATES),
    "categorical": ("CategoricalAccuracy", {}, HOT, PROBS),
    "sparse": ("SparseCategoricalAccuracy", {}, LABELS, PROBS),
    "sparse_column": ("SparseCategoricalAccuracy", {}, LABELS[:, None], PROBS),
    "top": ("TopKCategoricalAccuracy", {"k": 2}, HOT, PROBS),
    "sparse_top": ("SparseTopKCategoricalAccuracy", {"k": 3}, LABELS, PROBS),
    "mse": ("MeanSquaredError", {}, REAL, LOGITS),
    "mae": ("MeanAbsoluteError", {}, REAL, LOGITS),
    "rmse": ("RootMeanSquaredError", {}, REAL, LOGITS),
    "mape": ("MeanAbsolutePercentageError", {}, REAL, LOGITS),
    "msle": ("MeanSquaredLogarithmicError", {}, COUNTS, RATES),
    "logcosh": ("LogCoshError", {}, REAL, LOGITS),
    "cosine": ("CosineSimilarity", {}, REAL, LOGITS),
    "poisson": ("Poisson", {}, COUNTS, RATES),
    "kld": ("KLDivergence", {}, softmax(REAL), PROBS),
    "hinge": ("Hinge", {}, BITS, LOGITS),
    "bce": ("BinaryCrossentropy", {"label_smoothing": 0.1}, BITS, RATES),
    "cce": ("CategoricalCrossentropy", {}, HOT, PROBS),
    "scce": ("SparseCategoricalCrossentropy", {"from_logits": True}, LABELS, LOGITS),
    "r2": ("R2Score", {}, REAL + LOGITS, LOGITS),
    "precision": ("Precision", {}, BITS, RATES),
    "precisions": ("Precision", {"thresholds": [0.7, 0.2]}, BITS, RATES),
    "precision_top": ("Precision", {"top_k": 2}, BITS, RATES),
    "recall": ("Recall", {}, BITS, RATES),
    "recall_class": ("Recall", {"class_id": 1, "thresholds": 0.3}, BITS, RATES),
    "tp": ("TruePositives", {}, BITS, RATES),
    "fp": ("FalsePositives", {"thresholds": [0.1, 0.5, 0.6]}, BITS, RATES),
    "tn": ("TrueNegatives", {}, BITS, RATES),
    "fn": ("FalseNegatives", {}, BITS, RATES),
    "auc": ("AUC", {}, BITS[:, 0], RATES[:, 0]),
    "auc_pr": ("AUC", {"curve": "PR"}, BITS, RATES),
    "auc_minoring": ("AUC", {"curve": "PR", "summation_method": "minoring", "num_thresholds": 50}, BITS, RATES),
    "auc_majoring": ("AUC", {"summation_method": "majoring", "thresholds": [0.1, 0.5, 0.9]}, BITS, RATES),
    "auc_labels": ("AUC", {"multi_label": True}, BITS, RATES),
    "auc_logits": ("AUC", {"from_logits": True}, BITS[:, :1], LOGITS[:, :1]),
    "f1": ("F1Score", {}, HOT, PROBS),
    "f1_macro": ("F1Score", {"average": "macro", "threshold": 0.3}, BITS, RATES),
    "f1_weighted": ("F1Score", {"average": "weighted"}, HOT, PROBS),
    "fbeta_micro": ("FBetaScore", {"average": "micro", "beta": 2.0, "threshold": 0.5}, BITS, RATES),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_that_of_keras(keras_itself, name):
    kind, arguments, y_true, y_pred = LOSSES[name]
    theirs, ours = (getattr(module, kind)(**arguments) for module in (keras_itself.losses, losses))
    assert ours.name == theirs.name
    for weight in (None, WEIGHT.reshape(y_true.shape) if name == "images" else WEIGHT):
        expected = np.asarray(theirs(y_true, y_pred, sample_weight=weight))
        np.testing.assert_allclose(ours(y_true, y_pred, sample_weight=weight), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", METRICS)
def test_a_metric_is_that_of_keras_over_two_batches(keras_itself, name):
    kind, arguments, y_true, y_pred = METRICS[name]
    keras_itself.utils.clear_session()
    theirs, ours = (getattr(module, kind)(**arguments) for module in (keras_itself.metrics, metrics))
    assert ours.name == theirs.name
    for weight in (None, WEIGHT):
        for rows in (slice(0, 32), slice(32, B)):
            given = None if weight is None else weight[rows]
            ours.update_state(y_true[rows], y_pred[rows], sample_weight=given)
            if given is not None and isinstance(arguments.get("thresholds"), list) and kind != "AUC":
                given = np.broadcast_to(given[:, None], (32, K))  # Keras tiles [B] wrongly over several thresholds
            theirs.update_state(y_true[rows], y_pred[rows], sample_weight=given)
        np.testing.assert_allclose(ours.result(), np.asarray(theirs.result()), rtol=1e-6, atol=1e-6)
        theirs.reset_state()
        ours.reset_state()


def cross_entropy(p, hot):
    return -(hot * np.log(np.clip(p / p.sum(axis=-1, keepdims=True), 1e-7, 1 - 1e-7))).sum(axis=-1)


CLOSED = {
    "mse": ((REAL - LOGITS) ** 2).mean(-1),
    "mae": np.abs(REAL - LOGITS).mean(-1),
    "mape": 100 * np.abs((REAL - LOGITS) / REAL).mean(-1),
    "msle": ((np.log1p(COUNTS) - np.log1p(RATES)) ** 2).mean(-1),
    "cosine": -(REAL * LOGITS).sum(-1) / np.linalg.norm(REAL, axis=-1) / np.linalg.norm(LOGITS, axis=-1),
    "logcosh": np.log(np.cosh((REAL - LOGITS).astype(float))).mean(-1),
    "poisson": (RATES - COUNTS * np.log(RATES)).mean(-1),
    "kld": (softmax(REAL) * np.log(softmax(REAL) / PROBS)).sum(-1),
    "hinge": np.maximum(1 - (2 * BITS - 1) * LOGITS, 0).mean(-1),
    "squared_hinge": (np.maximum(1 - (2 * BITS - 1) * LOGITS, 0) ** 2).mean(-1),
    "bce": -(BITS * np.log(RATES) + (1 - BITS) * np.log(1 - RATES)).mean(-1),
    "bce_logits": (np.log1p(np.exp(LOGITS)) - BITS * LOGITS).mean(-1),
    "cce": cross_entropy(PROBS, HOT),
    "cce_soft": cross_entropy(PROBS, softmax(REAL)),
    "cce_logits": cross_entropy(PROBS, 0.9 * HOT + 0.1 / K),
    "scce_column": cross_entropy(PROBS, HOT),
    "scce_logits": cross_entropy(PROBS, HOT),
}


@pytest.mark.long
@pytest.mark.parametrize("name", CLOSED)
def test_a_loss_is_its_closed_form(name):
    kind, arguments, y_true, y_pred = LOSSES[name]
    loss = getattr(losses, kind)(**arguments)
    np.testing.assert_allclose(loss.call(y_true, y_pred), CLOSED[name], rtol=1e-5, atol=1e-6)
    expected = (CLOSED[name] * WEIGHT).sum() / B  # divided by the rows, not by their weight
    np.testing.assert_allclose(loss(y_true, y_pred, sample_weight=WEIGHT[:, None]), expected, rtol=1e-5)


@pytest.mark.parametrize("name", ["cce", "cce_smooth", "scce_column", "bce", "bce_smooth"])
def test_the_loss_of_logits_is_that_of_their_probabilities_and_never_clipped(name):
    kind, arguments, y_true, _ = LOSSES[name]
    loss = getattr(losses, kind)(**arguments)
    p = {"softmax": PROBS, "sigmoid": 1 / (1 + np.exp(-LOGITS))}[loss.final]
    np.testing.assert_allclose(loss.on_logits(y_true, LOGITS), loss.call(y_true, p), rtol=1e-4)
    slope = jax.grad(lambda z: loss.on_logits(y_true, z).sum())(jnp.array(1000 * LOGITS))
    assert jnp.isfinite(slope).all() and (jnp.abs(slope).max(axis=-1) > 0.1 / K).any()
    assert getattr(losses, kind)(**arguments | {"from_logits": True}).final is None


@pytest.mark.slow
def test_metrics_are_those_of_scikit_learn():
    def measured(kind, y_true, y_pred, **arguments):
        metric = getattr(metrics, kind)(**arguments)
        for rows in (slice(0, 32), slice(32, B)):
            metric.update_state(y_true[rows], y_pred[rows])
        return metric.result()

    y, p, label = BITS[:, 0], RATES[:, 0], PROBS.argmax(-1)
    expected = {
        "Precision": precision_score(y, p > 0.5), "Recall": recall_score(y, p > 0.5),
        "TruePositives": (y * (p > 0.5)).sum(), "FalsePositives": ((1 - y) * (p > 0.5)).sum(),
        "TrueNegatives": ((1 - y) * (p <= 0.5)).sum(), "FalseNegatives": (y * (p <= 0.5)).sum(),
        "BinaryAccuracy": (y == (p > 0.5)).mean(), "RootMeanSquaredError": np.sqrt(((y - p) ** 2).mean()),
    }  # fmt: skip
    for kind, value in expected.items():
        assert measured(kind, y, p) == pytest.approx(value, abs=1e-6), kind
    assert measured("AUC", y, p, num_thresholds=20001) == pytest.approx(roc_auc_score(y, p), abs=2e-3)
    area = average_precision_score(y, p)  # by steps, not interpolated
    assert measured("AUC", y, p, curve="PR", num_thresholds=20001) == pytest.approx(area, abs=0.02)
    assert measured("SparseCategoricalAccuracy", LABELS, PROBS) == pytest.approx((label == LABELS).mean(), abs=1e-6)
    assert measured("F1Score", HOT, PROBS, average="macro") == pytest.approx(
        f1_score(LABELS, label, average="macro"), abs=1e-5
    )
    assert measured("R2Score", REAL + LOGITS, LOGITS) == pytest.approx(r2_score(REAL + LOGITS, LOGITS), abs=1e-5)
    ranks = (PROBS > PROBS[np.arange(B), LABELS][:, None]).sum(-1)
    assert measured("TopKCategoricalAccuracy", HOT, PROBS, k=2) == pytest.approx((ranks < 2).mean(), abs=1e-6)


def test_sums_add_up_compiled_and_a_row_of_weight_0_is_none():
    for kind, y_true, y_pred in (("AUC", BITS, RATES), ("R2Score", REAL, LOGITS), ("F1Score", HOT, PROBS)):
        metric = getattr(metrics, kind)()
        whole = jax.jit(metric.sums)(y_true, y_pred, jnp.ones(B))
        padded = np.where(np.arange(B)[:, None] < 50, y_pred, np.nan)
        parts = [
            jax.jit(metric.sums)(y_true, array, weight) for array, weight in ((padded, FIRST), (y_pred, 1 - FIRST))
        ]
        if kind != "R2Score":  # whose spread within and between batches is summed
            jax.tree.map(lambda a, b, c: np.testing.assert_allclose(a, b + c, rtol=1e-5), whole, *parts)
        assert np.isfinite(metric.value(parts[0])).all(), kind


@pytest.mark.long
def test_accuracy_is_chosen_by_the_shapes_and_keeps_its_name():
    for y_true, y_pred, expected in (
        (LABELS, PROBS, PROBS.argmax(-1) == LABELS), (LABELS[:, None], PROBS, PROBS.argmax(-1) == LABELS),
        (HOT, PROBS, PROBS.argmax(-1) == LABELS), (BITS[:, 0], RATES[:, :1], (RATES[:, 0] > 0.5) == BITS[:, 0]),
    ):  # fmt: skip
        metric = metrics.get("acc")
        assert metric(y_true, y_pred) == pytest.approx(expected.mean())
        assert metric.name == "acc" and metric.minimized is False


def test_names_classes_functions_and_objects_are_found_and_saved():
    for module in (losses, metrics):
        own, function = module.MeanSquaredError, losses.mean_squared_error
        for spec in ("mse", "MSE", "mean_squared_error", "MeanSquaredError", own, own(), function):
            found = module.get(spec)
            assert isinstance(found, module.MeanSquaredError), spec
            assert module.get(module.serialize(found)).name == found.name
    smooth = losses.CategoricalCrossentropy(False, 0.1, name="mine")
    again = losses.get(losses.serialize(smooth))
    assert again.name == "mine" and again.get_config() == smooth.get_config()
    assert losses.Huber(0.5).arguments == {"delta": 0.5}
    for metric in (
        metrics.AUC(curve="PR"),
        metrics.Precision([0.2, 0.8]),
        metrics.F1Score("macro"),
        metrics.TopKCategoricalAccuracy(3),
    ):
        assert metrics.get(metrics.serialize(metric)).get_config() == metric.get_config()

    def furthest(y_true, y_pred):
        return jnp.max(jnp.abs(y_true - y_pred), axis=-1)

    assert losses.get(furthest).name == metrics.get(furthest).name == "furthest"
    assert float(metrics.get(furthest)(REAL, LOGITS)) == pytest.approx(np.abs(REAL - LOGITS).max(-1).mean(), rel=1e-5)
    assert metrics.get(losses.Huber()).minimized and metrics.get(furthest).minimized is None
    for module in (losses, metrics):
        saved = module.serialize(module.get(furthest))
        assert module.get(saved, {"furthest": furthest}).name == "furthest"
        with pytest.raises(InputError, match="furthest: a function of one's own; give custom_objects"):
            module.get(saved)
        assert module.get(module.serialize(losses.Huber(0.5))).name == "huber_loss"


@pytest.mark.parametrize(
    ("refused", "words"),
    [
        (lambda: losses.get("categorical_crosentropy"), "did you mean categorical_crossentropy"),
        (lambda: losses.get(3), "a int is no loss"),
        (lambda: losses.BinaryCrossentropy(from_logit=True), "did you mean from_logits"),
        (lambda: losses.MeanSquaredError(reduction="avg"), "reduction=avg"),
        (lambda: losses.SparseCategoricalCrossentropy(ignore_class=0), "unknown argument"),
        (lambda: losses.CategoricalCrossentropy(label_smoothing=1.5)(HOT, PROBS), "label_smoothing=1.5"),
        (lambda: losses.categorical_crossentropy(LABELS, PROBS), "one-hot labels .64, 5.; for integers use sparse_"),
        (lambda: losses.CategoricalCrossentropy().on_logits(LABELS[:, None], LOGITS), "takes one-hot labels"),
        (lambda: losses.sparse_categorical_crossentropy(HOT, PROBS), "for one-hot labels use categorical_crossentropy"),
        (lambda: losses.categorical_crossentropy(HOT[:, :1], PROBS[:, :1]), "use binary_crossentropy"),
        (lambda: losses.mean_squared_error(REAL[:, :2], LOGITS), "does not fit"),
        (lambda: losses.MeanSquaredError()(REAL, LOGITS, sample_weight=WEIGHT[:K]), "one number for each row"),
        (lambda: losses.MeanSquaredError(dtype="float16"), "computed in float32"),
        (lambda: metrics.get("accurracy"), "did you mean accuracy"),
        (lambda: metrics.get(None), "no metric"),
        (lambda: metrics.AUC(curve="RCO"), "did you mean ROC"),
        (lambda: metrics.Precision(thresholds=1.5), "thresholds=1.5"),
        (lambda: metrics.BinaryAccuracy(treshold=0.3), "did you mean threshold"),
        (lambda: metrics.TopKCategoricalAccuracy(k=0)(HOT, PROBS), "k=0"),
        (lambda: metrics.Metric()(REAL, LOGITS), "has no sums"),
    ],
)  # fmt: skip
def test_what_cannot_be_measured_is_refused(refused, words):
    with pytest.raises(InputError, match=words):
        refused()


@pytest.mark.long
def test_labels_that_are_none_become_nan_and_a_nan_is_never_right():
    assert np.isnan(losses.sparse_categorical_crossentropy([K], PROBS[:1])).all()
    assert np.isnan(losses.sparse_categorical_crossentropy([0.5], PROBS[:1])).all()
    assert np.isnan(losses.binary_crossentropy([[2.0]], [[0.5]])).all()
    nan = np.full((1, K), np.nan, np.float32)
    assert not metrics.sparse_categorical_accuracy([0], nan) and not metrics.categorical_accuracy(HOT[:1], nan)
    assert not metrics.binary_accuracy([[0.0]], [[np.nan]])
    assert metrics.TruePositives()([1.0, 1.0], [0.5, 0.6]) == 1  # the answer is yes above the threshold, not at it
