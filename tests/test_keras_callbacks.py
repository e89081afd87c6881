"""Callbacks of the Keras face, driven by logs: what they do and say, and that Keras 3's do and say the same."""

import csv
import os
import warnings
from typing import Any

import numpy as np
import pytest

from jaxnn.errors import InputError
from jaxnn.keras import callbacks, layers, metrics, optimizers
from jaxnn.keras.callbacks import CallbackList, History, ProgbarLogger, progress
from jaxnn.keras.models import Sequential

LOSSES = [1.0, 0.8, 0.81, 0.7, 0.7001, 0.75, 0.9, 0.6, 0.65, 0.66, 0.67, 0.68]


class Model:
    """What callbacks use of a model: its weights are the number of the epoch."""

    def get_config(self):
        return {}

    def __init__(self, rate=0.5):
        self.stop_training, self.weights, self.saved = False, [np.zeros(1)], []
        self.optimizer = optimizers.SGD(rate)
        self.metrics = [metrics.get("accuracy"), metrics.get("mse")]

    def get_weights(self):
        return [w.copy() for w in self.weights]

    def set_weights(self, weights):
        self.weights = weights

    def save(self, path, overwrite=True):
        self.saved.append(("model", path))

    def save_weights(self, path, overwrite=True):
        self.saved.append(("weights", path))


def run(given, losses=LOSSES, name="val_loss", model=None, told: Any = CallbackList, batches=0):
    """`fit` but for the training: the logs of each epoch are given. The model, its history and the epochs run."""
    model = model or Model()
    history = History()
    if told is CallbackList:
        told = CallbackList([given, history], model=model, params={"epochs": len(losses), "steps": 4, "verbose": 1})
    else:
        told = told([*given], model=model, epochs=len(losses), steps=4, verbose=1)
    told.on_train_begin()
    for epoch, loss in enumerate(losses):
        told.on_epoch_begin(epoch)
        for batch in range(batches):
            told.on_train_batch_begin(batch)
            told.on_train_batch_end(batch, {"loss": loss})
        model.weights = [np.full(1, epoch)]
        told.on_epoch_end(epoch, {"loss": 2 * loss, name: np.float32(loss)})
        if model.stop_training:
            break
    told.on_train_end()
    return model, history.history, epoch


MONITORS = {
    "stop": ("EarlyStopping", {"patience": 2, "verbose": 1}),
    "stop_at_once": ("EarlyStopping", {"verbose": 1, "restore_best_weights": True}),
    "restore": ("EarlyStopping", {"patience": 3, "restore_best_weights": True, "verbose": 1}),
    "never": ("EarlyStopping", {"patience": 9, "restore_best_weights": True, "verbose": 1}),
    "baseline": ("EarlyStopping", {"patience": 2, "baseline": 0.75, "verbose": 1}),
    "late": ("EarlyStopping", {"patience": 1, "start_from_epoch": 5, "verbose": 1}),
    "delta": ("EarlyStopping", {"patience": 3, "min_delta": 0.15, "verbose": 1}),
    "max": ("EarlyStopping", {"patience": 2, "mode": "max", "verbose": 1}),
    "plateau": ("ReduceLROnPlateau", {"patience": 2, "factor": 0.5, "verbose": 1}),
    "cooldown": ("ReduceLROnPlateau", {"patience": 1, "factor": 0.5, "cooldown": 2, "min_lr": 0.2, "verbose": 1}),
    "best": ("ModelCheckpoint", {"filepath": "{epoch:02d}-{val_loss:.2f}.keras", "save_best_only": True, "verbose": 1}),
    "each": ("ModelCheckpoint", {"filepath": "w{epoch}.weights.h5", "save_weights_only": True, "verbose": 1}),
    "often": ("ModelCheckpoint", {"filepath": "{batch}-{loss:.1f}.keras", "save_freq": 3}),
    "threshold": ("ModelCheckpoint", {"filepath": "m.keras", "save_best_only": True, "initial_value_threshold": 0.75}),
    "schedule": ("LearningRateScheduler", {"schedule": lambda epoch, rate: rate * 0.5, "verbose": 1}),
    "schedule_of_one": ("LearningRateScheduler", {"schedule": lambda epoch: 0.5**epoch}),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", MONITORS)
def test_a_callback_does_and_says_what_that_of_keras_does(name, capsys, tmp_path, monkeypatch):
    os.environ["KERAS_BACKEND"] = "jax"
    theirs = pytest.importorskip("keras").callbacks
    monkeypatch.chdir(tmp_path)
    kind, arguments = MONITORS[name]
    found = []
    for module in (callbacks, theirs):
        model, _, last = run(
            [getattr(module, kind)(**arguments)],
            told=CallbackList if module is callbacks else theirs.CallbackList,
            batches=4 if name == "often" else 0,
        )
        said = capsys.readouterr().out
        found.append((last, model.get_weights()[0].item(), float(model.optimizer.learning_rate), model.saved, said))
    assert found[0] == found[1]


def test_early_stopping_stops_restores_and_says_so(capsys):
    stop = callbacks.EarlyStopping(patience=3, restore_best_weights=True, verbose=1)
    model, history, last = run([stop])
    assert last == 6 and model.weights[0].item() == 3 and stop.stopped_epoch == 6
    assert history["val_loss"] == [np.float32(x) for x in LOSSES[:7]]
    said = "Epoch 7: early stopping\nRestoring model weights from the end of the best epoch: 4.\n"
    assert capsys.readouterr().out == said
    model, _, last = run([callbacks.EarlyStopping(patience=3, restore_best_weights=True)], LOSSES[:5])
    assert last == 4 and model.weights[0].item() == 3 and not model.stop_training


def test_more_is_better_for_a_metric_that_says_so():
    rising = [1 - x for x in LOSSES]
    assert run([callbacks.EarlyStopping("val_accuracy", patience=3)], rising, "val_accuracy")[2] == 6
    assert run([callbacks.EarlyStopping("val_mse", patience=3)], LOSSES, "val_mse")[2] == 6
    with pytest.raises(InputError, match="val_mine: it is not known whether .* pass mode='max'"):
        run([callbacks.EarlyStopping("val_mine")], LOSSES, "val_mine")


def test_an_unknown_metric_is_a_warning_with_the_nearest_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = (
        r"metric `val_acc` which is not available. Available metrics are: loss,val_accuracy; did you mean val_accuracy"
    )
    with pytest.warns(UserWarning, match="Early stopping conditioned on " + words):
        run([callbacks.EarlyStopping("val_acc")], LOSSES[:1], "val_accuracy")
    with pytest.warns(UserWarning, match="Learning rate reduction is conditioned on metric `val_acc`"):
        run([callbacks.ReduceLROnPlateau("val_acc")], LOSSES[:1], "val_accuracy")
    with pytest.warns(UserWarning, match="Can save best model only with val_acc available"):
        model, _, _ = run([callbacks.ModelCheckpoint("a.keras", "val_acc", save_best_only=True)], LOSSES[:1])
    assert model.saved == [("model", "a.keras")]
    with pytest.warns(UserWarning, match="EarlyStopping mode 'minimum' is unknown, fallback to auto mode"):
        callbacks.EarlyStopping(mode="minimum")


def test_the_rate_is_lowered_on_a_plateau_and_set_by_a_schedule_and_both_are_in_the_history():
    model, history, _ = run([callbacks.ReduceLROnPlateau(patience=2, factor=0.1, min_lr=0.01)])
    # The rate of each epoch: it is lowered after 4 and 5 (no better than 0.7 by 1e-4), and after 8 and 9.
    assert history["learning_rate"] == pytest.approx([0.5] * 6 + [0.05] * 4 + [0.01] * 2)
    assert float(model.optimizer.learning_rate) == pytest.approx(0.01)
    _, history, _ = run([callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.5)], LOSSES[:3])
    assert history["learning_rate"] == [0.25, 0.125, 0.0625]


def test_checkpoints_are_written_where_the_path_says(tmp_path):
    pattern = str(tmp_path / "of" / "{epoch:02d}-{val_loss:.2f}.keras")
    model, _, _ = run([callbacks.ModelCheckpoint(pattern, save_best_only=True)])
    kept = ["01-1.00", "02-0.80", "04-0.70", "08-0.60"]
    assert [path for _, path in model.saved] == [str(tmp_path / "of" / f"{name}.keras") for name in kept]
    assert (tmp_path / "of").is_dir()
    often = callbacks.ModelCheckpoint(str(tmp_path / "w{batch}"), save_weights_only=True, save_freq=2)
    model, _, _ = run([often], LOSSES[:2], batches=5)
    assert model.saved == [("weights", str(tmp_path / f"w{batch}")) for batch in (2, 4, 1, 3, 5)]


def test_a_table_has_a_row_an_epoch_and_can_be_gone_on_with(tmp_path):
    path = tmp_path / "log.csv"
    run([callbacks.CSVLogger(path)], LOSSES[:2])
    run([callbacks.CSVLogger(path, append=True)], LOSSES[2:3])
    with open(path) as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["0", "1", "0"]
    assert [float(row["val_loss"]) for row in rows] == pytest.approx(LOSSES[:3])
    run([callbacks.CSVLogger(path, separator=";")], LOSSES[:1], name="accuracy")
    assert path.read_text().splitlines()[0] == "epoch;accuracy;loss;val_accuracy;val_loss"
    assert path.read_text().splitlines()[1].endswith("NA;NA")
    with pytest.raises(InputError, match="CSVLogger filename=.*make its folder first"):
        run([callbacks.CSVLogger(tmp_path / "none" / "log.csv")])


def test_hooks_are_called_in_order_with_logs_of_numbers_and_batches_only_where_asked():
    called = []

    class Mine(callbacks.Callback):
        def __init__(self):  # without super().__init__(), as many do
            self.seen = []

        def on_epoch_begin(self, epoch, logs=None):
            called.append(f"begin {epoch} of {(self.params or {})['epochs']}")

        def on_epoch_end(self, epoch, logs=None):
            called.append(f"end {epoch} {list(logs)} {type(logs['val_loss']).__name__}")
            logs["mine"] = 1.0

    _, history, _ = run([[Mine()], callbacks.LambdaCallback(on_train_end=lambda logs: called.append("over"))], [0.5])
    assert called == ["begin 0 of 1", "end 0 ['loss', 'val_loss'] float", "over"] and history["mine"] == [1.0]

    batch = callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: called.append((batch, logs["loss"])))
    old = type("Old", (callbacks.Callback,), {"on_batch_end": lambda self, batch, logs=None: called.append(batch)})()
    assert not CallbackList([Mine(), callbacks.EarlyStopping(), callbacks.TerminateOnNaN(), ProgbarLogger()]).batches
    assert not CallbackList(callbacks.ModelCheckpoint("a.keras")).batches
    for by_batch in (batch, old, callbacks.ModelCheckpoint("a.keras", save_freq=3)):
        assert CallbackList([by_batch]).batches
    called.clear()
    run([batch, old], [0.5], batches=2)
    assert called == [(0, 0.5), 0, (1, 0.5), 1]


def test_the_lines_are_those_of_keras(capsys):
    logger = ProgbarLogger()
    for verbose, epochs in ((1, 2), (2, 1), (0, 2)):
        told = CallbackList([logger], model=Model(), params={"epochs": epochs, "steps": 10, "verbose": verbose})
        told.on_train_begin()
        told.on_epoch_begin(0)
        told.on_test_begin()
        told.on_test_end({"loss": 0.3})
        told.on_epoch_end(0, {"val_loss": 0.25, "loss": 0.0001, "accuracy": np.float32(0.5)})
        told.on_train_end()
        lines = capsys.readouterr().out.splitlines()
        ends = "- accuracy: 0.5000 - loss: 1.0000e-04 - val_loss: 0.2500"
        bar = "10/10 ━━━━━━━━━━━━━━━━━━━━ 0s"
        assert [line.split("s/step")[-1].strip() for line in lines] == {1: ["Epoch 1/2", ends], 2: [ends], 0: []}[
            verbose
        ]
        assert not verbose or lines[-1].startswith(bar if verbose == 1 else "10/10 - 0s -")
    told.set_params({"epochs": 1, "steps": 3, "verbose": 1})
    told.on_test_begin()
    told.on_test_end({"loss": 0.5})
    told.on_predict_begin()
    told.on_predict_end()
    evaluated, predicted = capsys.readouterr().out.splitlines()
    assert evaluated.endswith("- loss: 0.5000") and predicted.startswith("3/3 ━━") and predicted.endswith("s/step")


def test_the_bar_is_the_last_line_of_that_of_keras(capsys):
    os.environ["KERAS_BACKEND"] = "jax"
    progbar = pytest.importorskip("keras.src.utils.progbar")
    logs = {"accuracy": 0.91234, "loss": 0.0002}
    for verbose in (1, 2):
        bar = progbar.Progbar(target=1875, verbose=verbose, stateless_metrics=set())
        bar._start -= 3.2
        bar.update(1875, list(logs.items()), finalize=True)
        said = capsys.readouterr().out.strip("\n\r\b")
        colour = verbose == 1
        assert progress.line(1875, 3.2, logs, verbose, colour) == said


def test_a_loss_that_is_not_finite_ends_the_training_where_asked(capsys):
    model = Model()
    CallbackList([callbacks.TerminateOnNaN()], model=model).not_finite(7, {"loss": float("nan")})
    assert model.stop_training and capsys.readouterr().out == "Batch 7: Invalid loss, terminating training\n"


@pytest.fixture
def net():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 4)).astype(np.float32)
    model = Sequential([layers.Dense(2, activation="softmax", input_shape=(4,))])
    model.compile(optimizers.SGD(0.5), "sparse_categorical_crossentropy", metrics=["acc"])
    return model, x, (x[:, 0] > 0).astype(int)


def test_a_model_is_stopped_restored_and_its_rate_set(net, tmp_path):
    model, x, y = net
    rates = callbacks.LearningRateScheduler(lambda epoch, rate: 0.0 if epoch > 1 else rate)  # nothing moves after 2
    stop = callbacks.EarlyStopping("val_acc", patience=3, restore_best_weights=True, mode="auto")
    seen = []
    keep = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(model.get_weights()))
    table = callbacks.CSVLogger(tmp_path / "log.csv")
    told = model.fit(x, y, epochs=9, verbose=0, validation_split=0.2, callbacks=[rates, stop, keep, table])
    assert told.history["learning_rate"] == [0.5, 0.5, *[0.0] * (len(seen) - 2)] and 4 <= len(seen) < 9
    best = int(np.argmax(told.history["val_acc"]))
    for one, other in zip(model.get_weights(), seen[best], strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(seen[2][0], seen[3][0])
    assert len((tmp_path / "log.csv").read_text().splitlines()) == len(seen) + 1


def test_a_batch_hook_sees_each_step_and_a_schedule_the_steps_taken(net):
    model, x, y = net
    rate = optimizers.schedules.InverseTimeDecay(0.5, 1, 1.0)
    model.compile(optimizers.SGD(rate), "sparse_categorical_crossentropy")
    seen = []
    step = callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: seen.append((batch, float(model.optimizer.learning_rate)))
    )
    model.fit(x, y, epochs=2, batch_size=30, verbose=0, callbacks=step)
    assert seen == [(0, 0.25), (1, pytest.approx(0.5 / 3)), (0, 0.125), (1, pytest.approx(0.1))]


def test_tensorboard_writes_scalars_or_says_what_it_needs(tmp_path):
    try:
        import tensorboardX  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError:
        with pytest.raises(InputError, match="needs the package tensorboardX; pip install .*CSVLogger"):
            callbacks.TensorBoard(log_dir=tmp_path)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run([callbacks.TensorBoard(tmp_path, histogram_freq=1)], LOSSES[:2])
    assert {path.name for path in tmp_path.iterdir()} == {"train", "validation"}


def make(kind: Any, *arguments):
    return kind(*arguments)


@pytest.mark.parametrize(
    ("refused", "words"),
    [
        (lambda: CallbackList([3]), "callbacks=int: is no callback"),
        (lambda: CallbackList(callbacks.EarlyStopping), "callbacks=EarlyStopping: is no callback"),
        (lambda: callbacks.LambdaCallback(on_epoch_ends=print), "did you mean on_epoch_end"),
        (lambda: callbacks.EarlyStopping(patience=-1), "patience=-1"),
        (lambda: callbacks.EarlyStopping(min_delta=float("nan")), "min_delta=nan"),
        (lambda: callbacks.ReduceLROnPlateau(factor=1.0), "factor=1.0"),
        (lambda: callbacks.ReduceLROnPlateau(factor=float("nan")), "factor=nan"),
        (lambda: callbacks.ReduceLROnPlateau(min_lr=-1), "min_lr=-1"),
        (lambda: callbacks.ReduceLROnPlateau(minlr=1), "minlr=1: unknown argument"),
        (lambda: callbacks.ModelCheckpoint("a{epoch"), "filepath=a{epoch: "),
        (lambda: callbacks.ModelCheckpoint("a", save_freq=0), "save_freq=0"),
        (lambda: run([callbacks.ModelCheckpoint("{val_los}.keras")]), "there is no val_los; did you mean val_loss"),
        (lambda: make(callbacks.LearningRateScheduler, 0.1), "must be a function"),
        (
            lambda: run([make(callbacks.LearningRateScheduler, lambda epoch: None)]),
            "The output should be a float",
        ),
        (lambda: run([callbacks.LearningRateScheduler(lambda epoch: -1.0)]), "learning_rate=-1.0"),
        (lambda: run([callbacks.LearningRateScheduler(lambda epoch: float("nan"))]), "learning_rate=nan"),
        (lambda: callbacks.TensorBoard(logdir="x"), "did you mean log_dir"),
    ],
)
def test_what_no_callback_can_be_is_refused(refused, words):
    with pytest.raises(InputError, match=words):
        refused()
