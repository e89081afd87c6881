"""Keras' models on jaxnn's engine: against NumPy, against themselves cut and copied, and what is refused."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import jaxnn
from jaxnn import keras
from jaxnn.commands import main
from jaxnn.errors import InputError, NumericsError
from jaxnn.keras import Input, Model, Sequential, callbacks, layers, models, optimizers
from jaxnn.keras.layers import Dense

RNG = np.random.default_rng(0)
X = RNG.normal(size=(96, 6)).astype(np.float32)
LABELS = (X[:, :3].argmax(1)).astype(np.int64)
ONE_HOT = np.eye(3, dtype=np.float32)[LABELS]


@pytest.fixture(autouse=True)
def _anew():
    keras.backend.clear_session()
    keras.utils.set_random_seed(0)


def small(*more, last="softmax"):
    return Sequential([Input((6,)), Dense(5, activation="tanh"), *more, Dense(3, activation=last)])


def compiled(model=None, optimizer: Any = "adam", loss: Any = "sparse_categorical_crossentropy", **given):
    model = model or small()
    model.compile(optimizer=optimizer, loss=loss, metrics=given.pop("metrics", ["accuracy"]), **given)
    return model


def same(model, other):
    return all((a == b).all() for a, b in zip(model.get_weights(), other.get_weights(), strict=True))


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@pytest.mark.long
def test_the_lines_of_the_lecture():
    model = Sequential()
    model.add(Dense(50, activation="relu", input_dim=6))
    model.add(Dense(50, activation="relu"))
    model.add(Dense(3, activation="softmax"))
    model.compile(loss="categorical_crossentropy", optimizer=optimizers.SGD(learning_rate=0.5), metrics=["accuracy"])
    history = model.fit(X, ONE_HOT, epochs=60, batch_size=40, verbose=0)
    assert history.history["accuracy"][-1] > 0.97 and list(history.history) == ["accuracy", "loss"]
    assert model.predict(X, verbose=0).argmax(1).tolist() == model.predict(X, verbose=0).argmax(-1).tolist()
    loss, accuracy = model.evaluate(X, ONE_HOT, verbose=0)
    assert accuracy == pytest.approx((model.predict(X, verbose=0).argmax(1) == LABELS).mean())
    p = model.predict(X, verbose=0)[np.arange(len(X)), LABELS]
    assert loss == pytest.approx(-np.log(p).mean(), rel=1e-5)


@pytest.mark.long
@pytest.mark.mnist
def test_the_lines_of_the_lecture_learn_mnist(mnist_dir):
    (x, y), (x_test, y_test) = keras.datasets.mnist.load_data(path=mnist_dir)
    model = Sequential()
    model.add(Dense(50, activation="relu"))
    model.add(Dense(50, activation="relu"))
    model.add(Dense(10, activation="softmax"))
    model.compile(loss="categorical_crossentropy", optimizer="adam", metrics=["accuracy"])
    model.fit(x.reshape(-1, 784) / 255, keras.utils.to_categorical(y), epochs=8, batch_size=64, verbose=0)
    assert model.evaluate(x_test.reshape(-1, 784) / 255, keras.utils.to_categorical(y_test), verbose=0)[1] >= 0.97


@pytest.mark.long
def test_a_step_in_numpy_with_weights_a_penalty_and_a_class_weight():
    """Keras divides the weighted losses by the number of rows, not by the sum of the weights."""
    model = Sequential([Input((6,)), Dense(3, activation="softmax", kernel_regularizer=keras.regularizers.L2(0.1))])
    model.compile(optimizers.SGD(0.5), "sparse_categorical_crossentropy")
    w, b = model.get_weights()
    weight = RNG.uniform(0, 2, len(X)).astype(np.float32)
    factors = {0: 1.0, 1: 2.0, 2: 0.5}
    each = weight * np.array([factors[k] for k in LABELS])
    history = model.fit(X, LABELS, batch_size=len(X), sample_weight=weight, class_weight=factors, verbose=0)
    p = softmax(X @ w + b)
    loss = (each * -np.log(p[np.arange(len(X)), LABELS])).sum() / len(X) + 0.1 * (w**2).sum()
    slope = each[:, None] * (p - ONE_HOT) / len(X)
    assert history.history["loss"][0] == pytest.approx(loss, rel=1e-5)
    np.testing.assert_allclose(model.get_weights()[0], w - 0.5 * (X.T @ slope + 0.2 * w), atol=1e-6)
    np.testing.assert_allclose(model.get_weights()[1], b - 0.5 * slope.sum(0), atol=1e-6)


def test_a_penalty_on_activations_is_a_mean_over_the_rows():
    model = Sequential([Input((6,)), Dense(4, activity_regularizer=keras.regularizers.L1(0.3)), Dense(1)])
    model.compile("sgd", "mse")
    y = X[:, :1]
    hidden = X @ model.layers[0].kernel + model.layers[0].bias
    outputs = model.predict(X, verbose=0)
    expected = ((outputs - y) ** 2).mean() + 0.3 * np.abs(hidden).sum() / len(X)
    assert model.evaluate(X, y, verbose=0) == pytest.approx(expected, rel=1e-5)


def test_rows_in_their_order_in_numpy():
    """shuffle=False: batches of 40, 40 and 16 rows, epoch after epoch."""
    model = Sequential([Input((6,)), Dense(1)])
    model.compile(optimizers.SGD(0.1), "mse")
    w, b = model.get_weights()
    y = X[:, :1] - 2
    losses = []
    for _ in range(2):
        total = 0.0
        for start in range(0, 96, 40):
            x, t = X[start : start + 40], y[start : start + 40]
            error = x @ w + b - t
            total += (error**2).sum()
            w, b = w - 0.1 * 2 * x.T @ error / len(x), b - 0.1 * 2 * error.mean(0)
        losses.append(total / 96)
    history = model.fit(X, y, batch_size=40, epochs=2, shuffle=False, verbose=0)
    np.testing.assert_allclose(history.history["loss"], losses, rtol=1e-5)
    np.testing.assert_allclose(model.get_weights()[0], w, atol=1e-5)


@pytest.mark.long
@pytest.mark.parametrize("loss", ["categorical_crossentropy", "sparse_categorical_crossentropy", "binary_crossentropy"])
def test_a_network_that_begins_confidently_wrong_learns(loss):
    """At a gap of 25 between two logits, float32 probabilities of 1 and 1e-11 have lost what the gradient needs."""
    binary = loss == "binary_crossentropy"
    model = Sequential([Input((2,)), Dense(1 if binary else 2, activation="sigmoid" if binary else "softmax")])
    model.compile(optimizers.SGD(1.0), loss)
    x, y = np.ones((8, 2), np.float32), np.zeros(8, int)
    gap = np.full((2, 1), 12.5) if binary else np.array([[-6.25, 6.25], [-6.25, 6.25]])
    model.set_weights([gap, np.zeros(gap.shape[1])])
    history = model.fit(
        x, np.eye(2)[y] if loss == "categorical_crossentropy" else y, epochs=20, batch_size=8, verbose=0
    )
    assert history.history["loss"][0] == pytest.approx(25, rel=1e-5) and history.history["loss"][-1] < 0.1
    assert model.predict(x[:1], verbose=0).max() <= 1


@pytest.mark.long
def test_two_fits_are_one_longer_one_bit_for_bit():
    once, twice = compiled(), compiled()
    twice.set_weights(once.get_weights())
    twice._draws = once._draws
    longer = once.fit(X, LABELS, epochs=4, batch_size=40, verbose=0).history["loss"]
    parts = [twice.fit(X, LABELS, epochs=2, batch_size=40, verbose=0).history["loss"] for _ in range(2)]
    assert longer == sum(parts, []) and same(once, twice)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "given"), [("SGD", {}), ("SGD", {"momentum": 0.9, "nesterov": True}), ("RMSprop", {}), ("Adam", {})]
)
def test_twenty_steps_of_fit_are_those_of_keras(keras_itself, name, given):
    """A penalty, batch statistics, sample weights, a metric: the same losses, the same weights."""

    def model(keras):
        made = keras.Sequential(
            [
                keras.layers.Input((6,)),
                keras.layers.Dense(8, activation="tanh", kernel_regularizer=keras.regularizers.L2(0.01)),
                keras.layers.BatchNormalization(),
                keras.layers.Dense(3, activation="softmax"),
            ]
        )
        optimizer = getattr(keras.optimizers, name)(learning_rate=0.001 if name == "Adam" else 0.01, **given)
        made.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
        return made

    ours, other = model(keras), model(keras_itself)
    ours.set_weights(other.get_weights())
    weight = RNG.uniform(0.5, 2, len(X)).astype(np.float32)
    fit = {"epochs": 20, "batch_size": 96, "verbose": 0, "sample_weight": weight}
    found, expected = (each.fit(X, LABELS, **fit).history for each in (ours, other))
    np.testing.assert_allclose(found["loss"], expected["loss"], rtol=1e-6)
    np.testing.assert_allclose(found["accuracy"], expected["accuracy"], rtol=1e-6)
    for a, b in zip(ours.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5 if name == "Adam" else 2e-6)
    np.testing.assert_allclose(ours.evaluate(X, LABELS, verbose=0), other.evaluate(X, LABELS, verbose=0), rtol=1e-4)


class Looks(callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.seen = []

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append((batch, logs["loss"]))


@pytest.mark.long
def test_a_callback_that_looks_at_each_batch_changes_no_bit():
    plain, looked, looks = compiled(small(layers.Dropout(0.3))), compiled(small(layers.Dropout(0.3))), Looks()
    looked.set_weights(plain.get_weights())
    looked._draws = plain._draws
    losses = plain.fit(X, LABELS, epochs=2, batch_size=40, verbose=0).history["loss"]
    looked.fit(X, LABELS, epochs=2, batch_size=40, verbose=0, callbacks=looks)
    assert same(plain, looked) and [batch for batch, _ in looks.seen] == [0, 1, 2] * 2
    assert [looks.seen[2][1], looks.seen[5][1]] == losses


class Turns(callbacks.Callback):
    """Another rate, and other weights, in the middle of an epoch."""

    def on_train_batch_end(self, batch, logs=None):
        if batch == 0:
            self.model.optimizer.learning_rate = 0.0
            self.model.set_weights([np.ones_like(each) for each in self.model.get_weights()])


@pytest.mark.long
def test_what_a_batch_hook_sets_holds_from_the_next_step_on():
    model = compiled(optimizer=optimizers.SGD(0.5))
    model.fit(X, LABELS, batch_size=40, verbose=0, callbacks=[Turns()])
    assert all((each == 1).all() for each in model.get_weights())


def batches(rows=(40, 40, 16), forever=True):
    while True:
        start = 0
        for n in rows:
            yield X[start : start + n], LABELS[start : start + n]
            start += n
        if not forever:
            return


class Sized(keras.utils.PyDataset):
    def __len__(self):
        return 3

    def __getitem__(self, i):
        return X[i * 40 : i * 40 + 40], LABELS[i * 40 : i * 40 + 40]


@pytest.mark.slow
@pytest.mark.parametrize("source", ["generator", "list of batches", "sized"])
def test_batches_of_a_generator_are_those_rows(source):
    arrays, streamed = compiled(), compiled()
    streamed.set_weights(arrays.get_weights())
    expected = arrays.fit(X, LABELS, epochs=2, batch_size=40, shuffle=False, verbose=0).history
    given = {"generator": batches(), "list of batches": iter([*batches(forever=False)] * 2), "sized": Sized()}[source]
    steps = None if source == "sized" else 3
    found = streamed.fit(
        given, epochs=2, steps_per_epoch=steps, shuffle=False, verbose=0, validation_data=Sized()
    ).history
    np.testing.assert_allclose(found["loss"], expected["loss"], rtol=1e-5)
    for a, b in zip(arrays.get_weights(), streamed.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    assert found["val_loss"][-1] == pytest.approx(streamed.evaluate(X, LABELS, verbose=0)[0], rel=1e-5)


@pytest.mark.long
def test_one_batch_is_one_step():
    model, other = compiled(), compiled()
    other.set_weights(model.get_weights())
    before = model.evaluate(X, LABELS, verbose=0)
    np.testing.assert_allclose(model.train_on_batch(X, LABELS), before, rtol=1e-5)
    other.fit(X, LABELS, batch_size=96, shuffle=False, verbose=0)
    for a, b in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    np.testing.assert_allclose(model.test_on_batch(X, LABELS), model.evaluate(X, LABELS, verbose=0))


@pytest.mark.slow
def test_branches_inputs_and_a_layer_that_is_shared():
    a, b = Input((6,), name="a"), Input((6,), name="b")
    shared = Dense(4, activation="tanh")
    joined = layers.Concatenate()([shared(a), shared(b), layers.Add()([a, b])])
    model = Model([a, b], Dense(3, activation="softmax")(joined))
    w, c, v, d = model.get_weights()
    hidden = lambda x: np.tanh(x @ w + c)
    expected = softmax(np.concatenate([hidden(X), hidden(-X), X - X], 1) @ v + d)
    np.testing.assert_allclose(model.predict([X, -X], verbose=0), expected, atol=1e-6)
    np.testing.assert_allclose(model.predict({"a": X, "b": -X}, verbose=0), expected, atol=1e-6)
    assert compiled(model).fit([X, -X], LABELS, epochs=60, batch_size=40, verbose=0).history["accuracy"][-1] > 0.6
    between = Model(model.input, shared.output)
    np.testing.assert_allclose(between.predict([X, X], verbose=0), np.tanh(X @ shared.kernel + shared.bias), atol=1e-6)


@pytest.mark.long
def test_a_model_is_a_layer_of_another_and_a_frozen_one_stays():
    base = Sequential([Input((6,)), Dense(5, activation="tanh"), layers.BatchNormalization()])
    base.trainable = False
    before = base.get_weights()
    model = compiled(Sequential([base, Dense(3, activation="softmax")]))
    head = model.layers[1].get_weights()
    model.fit(X, LABELS, epochs=2, batch_size=40, verbose=0)
    assert all((a == b).all() for a, b in zip(before, base.get_weights(), strict=True))
    assert not (head[0] == model.layers[1].kernel).all()
    probabilities = Sequential([compiled(small(last="linear"), loss="mse", metrics=[]), layers.Softmax()])
    np.testing.assert_allclose(probabilities.predict(X, verbose=0).sum(1), 1, rtol=1e-5)


@pytest.mark.long
@pytest.mark.parametrize("how", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model)), "file", "folder"])
def test_a_copy_predicts_the_same_and_trains_on_the_same(how, tmp_path):
    model = compiled(small(layers.Dropout(0.2), layers.BatchNormalization()))
    model.fit(X, LABELS, epochs=2, batch_size=40, verbose=0)
    if isinstance(how, str):
        path = tmp_path / ("model.keras" if how == "file" else "model")
        model.save(path)
        again = models.load_model(path)
    else:
        again = how(model)
    assert (again.predict(X, verbose=0) == model.predict(X, verbose=0)).all()
    histories = [each.fit(X, LABELS, epochs=2, batch_size=40, verbose=0).history for each in (model, again)]
    assert histories[0] == histories[1] and same(model, again)


def test_weights_alone_and_files_that_are_none(tmp_path):
    model, other = compiled(), compiled()
    model.save_weights(tmp_path / "model.weights.h5")
    other.load_weights(tmp_path / "model.weights.h5")
    assert same(model, other) and [path.name for path in tmp_path.iterdir()] == ["model.weights.h5"]
    (tmp_path / "real.keras").write_bytes(b"PK\x03\x04 and more")
    (tmp_path / "real.h5").write_bytes(b"\x89HDF\r\n\x1a\n and more")
    (tmp_path / "text.keras").write_text("no model")
    damaged = bytearray((tmp_path / "model.weights.h5").read_bytes())
    damaged[-1] ^= 1
    (tmp_path / "damaged.keras").write_bytes(damaged)
    for name, words in [
        ("real.keras", "is a .keras file of Keras, which is not read; make the network with jaxnn.keras"),
        ("real.h5", "is an HDF5 file of Keras, which is not read"),
        ("text.keras", "is no file that save wrote"),
        ("damaged.keras", "is not what was saved; bring it back from a copy"),
        ("none.keras", "cannot be read \\(No such file"),
        ("model.weights.h5", "has weights alone; build the model, and call its load_weights"),
    ]:
        with pytest.raises(InputError, match=words):
            models.load_model(tmp_path / name)
    with pytest.raises(InputError, match="has 4 arrays, and the model 2; is it from another model"):
        Sequential([Input((6,)), Dense(4)]).load_weights(tmp_path / "model.weights.h5")


def fourth(y_true, y_pred):
    return jnp.mean((y_true - y_pred) ** 4, axis=-1)


@pytest.mark.long
def test_functions_of_ones_own_are_saved_by_name(tmp_path):
    model = compiled(Sequential([Input((6,)), Dense(1)]), "sgd", fourth, metrics=[fourth])
    model.fit(X, X[:, :1], verbose=0)
    model.save(tmp_path / "model.keras")
    with pytest.raises(InputError, match="fourth: a function of one's own; give custom_objects={'fourth': fourth}"):
        models.load_model(tmp_path / "model.keras")
    again = models.load_model(tmp_path / "model.keras", custom_objects={"fourth": fourth})
    expected = ((model.predict(X, verbose=0) - X[:, :1]) ** 4).mean()
    assert again.evaluate(X, X[:, :1], verbose=0) == pytest.approx([expected, expected], rel=1e-5)
    assert models.load_model(tmp_path / "model.keras", compile=False).loss is None


@pytest.mark.long
def test_a_trained_model_is_a_run(tmp_path, capsys):
    model = compiled(loss="categorical_crossentropy")
    model.fit(X, ONE_HOT, epochs=3, batch_size=40, verbose=0)
    model.as_run(tmp_path / "run")
    run = jaxnn.load_run(tmp_path / "run")
    np.testing.assert_allclose(run.predict_proba(X), model.predict(X, verbose=0), atol=1e-6)
    assert run.predict(X).tolist() == model.predict(X, verbose=0).argmax(1).tolist()
    np.savez(tmp_path / "rows.npz", x=X, y=LABELS)
    with pytest.raises(SystemExit) as end:
        main.main(["evaluate", str(tmp_path / "run"), str(tmp_path / "rows.npz")])
    assert end.value.code == 0
    loss, accuracy = model.evaluate(X, ONE_HOT, verbose=0)
    assert run.evaluate(tmp_path / "rows.npz")["loss"] == pytest.approx(loss, rel=1e-5)
    assert f"{accuracy:.4f}"[:5] in capsys.readouterr().out
    with pytest.raises(InputError, match="is there already; name another"):
        model.as_run(tmp_path / "run")


@pytest.mark.long
def test_the_recipe_is_jaxnns():
    model = compiled(loss="categorical_crossentropy")
    recipe, key = model.to_recipe(), jaxnn.engine.fit
    assert recipe.task.shape == (3,) and callable(key)
    batch = jaxnn.Batch(X, ONE_HOT, np.ones(96, np.float32))
    loss, *_ = jaxnn.engine.gradient(recipe, model.drawn(), batch, None)
    assert float(loss) == pytest.approx(model.evaluate(X, ONE_HOT, verbose=0)[0], rel=1e-5)


def test_columns_of_several_types_are_numbers():
    model, mixed = small(), X.astype(object)
    mixed[:, 0] = X[:, 0] > 0
    expected = model.predict(np.concatenate([X[:, :1] > 0, X[:, 1:]], 1), verbose=0)
    assert (model.predict(mixed, verbose=0) == expected).all()


def test_labels_that_are_texts():
    names = np.array(["cat", "dog", "ape"])[LABELS]
    model = compiled()
    with pytest.raises(InputError, match="the model does not know the classes; call fit first"):
        model.evaluate(X[:1], names[:1], verbose=0)
    model.fit(X, names, epochs=2, batch_size=40, verbose=0)
    assert model.classes == ("ape", "cat", "dog")
    order = [("ape", "cat", "dog").index(name) for name in names]
    assert model.evaluate(X, names, verbose=0) == model.evaluate(X, order, verbose=0)
    with pytest.raises(InputError, match="y='cow': no example of training had this label; known are ape, cat, dog"):
        model.evaluate(X[:1], np.array(["cow"]), verbose=0)


def test_summary_is_the_table_of_keras(capsys):
    small().summary()
    text = capsys.readouterr().out
    for words in ('Model: "sequential"', "Layer (type)", "dense (Dense)", "(None, 5)", "Total params: 53 (212.00 B)"):
        assert words in text
    with pytest.raises(InputError, match="This model has not yet been built. Build the model first by calling `build"):
        Sequential([Dense(3)]).summary()


def test_a_loss_that_is_not_finite_ends_with_the_weights_from_before():
    model = compiled(Sequential([Input((6,)), Dense(1)]), optimizers.SGD(1e30), "mse", metrics=[])
    with pytest.raises(NumericsError, match="not finite; lower learning_rate="):
        model.fit(X, X[:, 0], epochs=20, verbose=0)
    assert all(np.isfinite(each).all() for each in model.get_weights())
    model.fit(X, X[:, 0], epochs=20, verbose=0, callbacks=callbacks.TerminateOnNaN())
    assert model.stop_training and np.isnan(model.history.history["loss"][-1])


REFUSED = [
    (
        lambda: compiled(small(layers.Lambda(lambda x: x))).fit(
            X, LABELS, verbose=0, callbacks=[callbacks.ModelCheckpoint("never.keras")]
        ),
        "Lambda",
    ),
    (lambda: Sequential([Input((6,)), layers.Conv2D(3, 3)]), "Conv2D input \\(6,\\): must be images"),
    (lambda: Sequential([Dense(3, input_shape=(6,), input_dim=6)]), "input_shape and input_dim: give one of them"),
    (lambda: Sequential([Input((6,)), Dense(3, input_shape=(5,))]), "input_shape=\\(5,\\), and the input is \\(6,\\)"),
    (lambda: Dense(3, unitz=3), "Dense unitz=: unknown argument; did you mean units?"),
    (lambda: Sequential([Dense(3)]).get_weights(), "This model has not yet been built"),
    (lambda: compiled(optimizer="adamm"), "adamm.*did you mean [Aa]dam"),
    (lambda: compiled(loss="categorical_crosentropy"), "did you mean categorical_crossentropy"),
    (lambda: compiled(metrics=["acuracy"]), "did you mean accuracy"),
    (lambda: small().compile("adam", "mse", metric=["mae"]), "metric.*did you mean metrics"),
    (lambda: small().fit(X, LABELS), "You must call `compile\\(\\)`"),
    (lambda: compiled().fit(X, ONE_HOT, verbose=0), "categorical_crossentropy"),
    (lambda: compiled(loss="categorical_crossentropy").fit(X, LABELS), "to_categorical\\(y, 3\\)"),
    (lambda: compiled().fit(X, LABELS + 1), "y=3: must be a class number, 0 to 2"),
    (lambda: compiled().fit(X, LABELS - 1), "y=-1: must be a class number"),
    (lambda: compiled().fit(X[:, :5], LABELS), "x.shape|shape=\\(96, 5\\): must be \\(n, 6\\)"),
    (lambda: compiled().fit(X[:90], LABELS), "x=90 rows, y=96"),
    (lambda: compiled().fit(verbose=0), "x=None: must be arrays, or batches"),
    (lambda: compiled().fit(np.full((96, 6), None), LABELS), "array of object: must be numbers"),
    (lambda: compiled().fit(np.where(X > 2, np.nan, X), LABELS), "must be finite"),
    (lambda: compiled().fit(iter([]), steps_per_epoch=3, verbose=0), "gave no batch"),
    (lambda: compiled().fit(X, LABELS, batch_size=32, steps_per_epoch=4), "the data have 3 batches of 32"),
    (lambda: compiled().fit(X, LABELS, epoch=3), "epoch: unknown; did you mean epochs"),
    (lambda: compiled().fit(X, LABELS, epochs=0), "epochs=0: must be a number >= 1"),
    (lambda: compiled().fit(X, LABELS, validation_split=1.5), "validation_split=1.5: must be in"),
    (lambda: compiled().fit(X, LABELS, class_weight={0: 1.0}), "has no weight for class 1"),
    (lambda: compiled().fit(X, LABELS, sample_weight=np.ones(5)), "must be \\(96,\\)"),
    (lambda: Model(Input((3,)), Dense(2)(Input((3,)))), "none of inputs="),
    (lambda: small(Dense(3, name="dense")).summary(), "all layer names should be unique"),
]


@pytest.mark.parametrize(("what", "words"), REFUSED, ids=[words for _, words in REFUSED])
def test_refused_in_one_line(what, words):
    with pytest.raises(ValueError, match=words) as refusal:
        what()
    assert "\n" not in str(refusal.value)


def weights(model):
    return [each.copy() for each in model.get_weights()]


def test_a_model_that_is_not_trainable_keeps_its_weights():
    model = small(layers.BatchNormalization())
    model.trainable = False
    before = weights(compiled(model, "sgd"))
    model.fit(X, LABELS, verbose=0)
    assert all((a == b).all() for a, b in zip(before, model.get_weights(), strict=True))


@pytest.mark.long
def test_penalties_are_of_what_is_trained_and_of_what_predict_gives():
    penalty = keras.regularizers.L2(0.5)
    frozen = compiled(small(Dense(4, kernel_regularizer=penalty, trainable=False)), "sgd")
    p = frozen.predict(X, verbose=0)
    expected = -np.log(p[np.arange(len(X)), LABELS]).mean()
    assert frozen.evaluate(X, LABELS, verbose=0)[0] == pytest.approx(expected, rel=1e-5)
    last = Sequential([Input((6,)), Dense(3, activation="softmax", activity_regularizer=penalty)])
    p = compiled(last, "sgd").predict(X, verbose=0)
    expected = -np.log(p[np.arange(len(X)), LABELS]).mean() + 0.5 * (p**2).sum(1).mean()
    assert last.evaluate(X, LABELS, verbose=0)[0] == pytest.approx(expected, rel=1e-5)


def test_validation_is_after_the_epochs_that_validation_freq_divides():
    seen = []
    told = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append((epoch, "val_loss" in logs)))
    given: Any = {"validation_data": (X, LABELS), "validation_freq": 2, "callbacks": [told], "verbose": 0}
    compiled().fit(X, LABELS, epochs=4, initial_epoch=1, **given)
    assert seen == [(1, True), (2, False), (3, True)]


@pytest.mark.long
def test_steps_are_as_many_batches_of_arrays():
    model = compiled()
    expected = model.evaluate(X[:20], LABELS[:20], verbose=0)
    np.testing.assert_allclose(model.evaluate(X, LABELS, batch_size=10, steps=2, verbose=0), expected, rtol=1e-6)
    assert len(model.predict(X, batch_size=10, steps=2, verbose=0)) == 20
    told = model.fit(X, LABELS, batch_size=10, validation_data=(X, LABELS), validation_steps=2, verbose=0)
    expected = model.evaluate(X[:20], LABELS[:20], verbose=0)[0]
    assert told.history["val_loss"] == [pytest.approx(expected, rel=1e-6)]


class Seen(Sized):
    def __init__(self):
        self.seen = []

    def __getitem__(self, i):
        self.seen.append(i)
        return super().__getitem__(i)


class Again:
    def __iter__(self):
        return batches(forever=False)


@pytest.mark.slow
def test_numbered_batches_are_shuffled_and_steps_go_on_from_where_they_were():
    both = Seen()
    compiled().fit(both, epochs=4, verbose=0)
    epochs = [both.seen[i : i + 3] for i in range(0, 12, 3)]
    assert all(sorted(each) == [0, 1, 2] for each in epochs) and len(set(map(tuple, epochs))) > 1
    twice = Seen()
    model = compiled()
    model.fit(twice, epochs=2, verbose=0)
    first = list(twice.seen)
    model.fit(twice, epochs=2, verbose=0)
    assert twice.seen[:6] == first and len(twice.seen) == 12
    part = Seen()
    compiled().fit(part, epochs=3, steps_per_epoch=2, shuffle=False, verbose=0)
    assert part.seen == [0, 1, 2, 0, 1, 2]
    assert len(compiled().fit(Again(), epochs=3, verbose=0).history["loss"]) == 3


def test_class_weights_of_negative_classes():
    y, given = np.where(LABELS > 0, 1, -1), {-1: 5.0, 1: 2.0}
    model = Sequential([Input((6,)), Dense(1)])
    model.compile("sgd", "hinge")
    score = model.predict(X, verbose=0)[:, 0]
    expected = (np.maximum(1 - y * score, 0) * np.where(y < 0, 5.0, 2.0)).mean()
    found = model.train_on_batch(X, y, class_weight=given)
    assert found == pytest.approx(expected, rel=1e-5)


def test_a_copy_before_the_first_weights_are_drawn():
    assert copy.deepcopy(small()).predict(X, verbose=0).shape == (96, 3)


def nested(layer):
    return Sequential([Input((6,)), Sequential([Input((6,)), layer])])


def called_twice():
    layer, x, y = Dense(6), Input((6,)), Input((6,))
    return Model(y, layer(Model(x, layer(x))(y)))


def changed():
    model = compiled()
    model.fit(X, LABELS, verbose=0)
    model.layers[0].trainable = False
    return model


IMAGES = Sequential([Input((2, 3, 1)), layers.Conv2D(3, 1, activation="softmax")])
HALF: Any = 1.5
WORDS = np.array(["a", "b", "c"])[LABELS]


@pytest.mark.parametrize("action, wanted", [
    (lambda: compiled(loss=keras.losses.MeanSquaredError(reduction="sum")), "reduction=sum"),
    (lambda: compiled(nested(Dense(3, activity_regularizer="l2"))).fit(X, LABELS), "activity_regularizer"),
    (lambda: compiled(called_twice(), loss="mse").fit(X, X), "is called by several models"),
    (lambda: changed().fit(X, LABELS), "trainable= was changed"),
    (lambda: compiled().fit(batches(), sample_weight=np.ones(96), steps_per_epoch=1), "fit sample_weight="),
    (lambda: compiled().evaluate(Sized(), sample_weight=np.ones(96)), "evaluate y=, sample_weight="),
    (lambda: compiled().fit(iter([(X, WORDS)]), verbose=0), "batches of texts"),
    (lambda: compiled().fit(Sized(), steps_per_epoch=HALF), "steps_per_epoch=1.5"),
    (lambda: compiled().fit(X, LABELS, validation_data=(X, LABELS), validation_steps=-1), "validation_steps=-1"),
    (lambda: compiled().fit(X, LABELS, verbose="loud"), "verbose=loud"),
    (lambda: compiled().fit(X, LABELS, class_weight={"a": 1.0}), "class_weight="),
    (lambda: compiled(IMAGES).fit(np.ones((5, 2, 3, 1)), np.ones((5, 2, 3)), class_weight={1: 2.0}), "class_weight="),
    (lambda: compiled().predict([]), "has no rows"),
    (lambda: compiled(IMAGES).as_run("images"), "a run has one axis"),
    (lambda: compiled(nested(Dense(3, activation="softmax"))).as_run("nested"), "gives logits"),
])  # fmt: skip
def test_what_would_go_wrong_without_a_word_is_refused(action, wanted, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=wanted):
        action()
    assert not list(tmp_path.iterdir())


def test_one_batch_that_is_not_finite():
    model = Sequential([Input((6,)), Dense(1)])
    model.compile(optimizers.SGD(1e30), "mse")
    with pytest.raises(NumericsError, match="step=0: .*is not finite"):
        model.train_on_batch(X * 1e15, LABELS)


def test_metrics_by_the_name_of_the_output():
    assert compiled(metrics={"dense_1": ["mse", "mae"]}).metrics_names == ["loss", "mse", "mae"]
    assert compiled(metrics={"dense_1": "mse", "other": "mae"}).metrics_names == ["loss", "mse", "mae"]


def test_a_model_with_a_schedule_is_loaded_and_goes_on(tmp_path):
    model = compiled(optimizer=optimizers.SGD(optimizers.schedules.ExponentialDecay(0.5, 1, 0.5)))
    model.fit(X, LABELS, verbose=0)
    model.save(tmp_path / "model.keras")
    again = models.load_model(tmp_path / "model.keras")
    assert float(again.optimizer.learning_rate) == float(model.optimizer.learning_rate) == 0.0625
    for each in (model, again):
        each.fit(X, LABELS, verbose=0)
    assert same(model, again)
