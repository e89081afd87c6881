"""A loss, metrics, an optimizer and a schedule of a config file: the run, what comes after it, and refusals."""

import json
import runpy
import shlex
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
import pytest
import safetensors.numpy

import jaxnn
from jaxnn import data
from jaxnn.commands import arguments, main, predict
from jaxnn.config import paths
from jaxnn.config.settings import Config
from jaxnn.config.values import from_dict
from jaxnn.errors import InputError
from jaxnn.report import screen

HEAD = """
from jaxnn.config import *
import jax, jaxnn, optax
import jax.numpy as jnp
config = Config(name="own", epochs=4, batch_size="full", data=DataConfig(name="iris"),
                model=ModelConfig(kind="linear"), optim=OptimConfig(lr=0.05),
                checkpoint=CheckpointConfig(every="1epoch", keep=9))
"""
FOUR = (
    HEAD
    + """
def loss(logits, y):
    return 2.5 * jaxnn.cross_entropy(logits, y)

def _sums(logits, y, weight):
    return {"error": jaxnn.metrics.weighted_sum(jnp.abs(logits.argmax(-1) - y), weight), "n": weight.sum()}

metrics = {"distance": jaxnn.Metric(_sums, lambda sums: sums["error"] / sums["n"], minimized=True)}

def optimizer(learning_rate):
    return optax.chain(optax.clip(0.5), optax.lion(learning_rate, b1=0.8))

def schedule(learning_rate, total_steps):
    return optax.linear_schedule(learning_rate, learning_rate / 10, total_steps)
"""
)


def here(*argv: object) -> int:
    return main.train([*map(str, argv), "--devices", "1"])


def weights(folder: Path) -> bytes:
    return (folder / "weights.safetensors").read_bytes()


def rows(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    (folder / "own.py").write_text(FOUR)
    assert here(folder / "own.py", "--workdir", folder / "run") == 0
    return folder


def cut(finished: Path, folder: Path, text: str = FOUR) -> list[object]:
    """What goes on with the run as it was after two of its four steps, by a file of functions."""
    shutil.copytree(finished / "run", folder / "run")
    for step in (3, 4):
        shutil.rmtree(folder / "run" / "checkpoints" / f"{step:09}")
    (folder / "run" / "weights.safetensors").unlink()
    (folder / "own.py").write_text(text)
    return [folder / "own.py", "--workdir", folder / "run"]


@pytest.mark.long
def test_a_run_takes_all_four_and_says_so(finished):
    *history, last = rows(finished / "run")
    assert [row["lr"] for row in history] == pytest.approx([0.05, 0.03875, 0.0275, 0.01625])
    assert {"train/distance", "val/distance"} <= history[-1].keys() and last["test/distance"] >= 0
    about = json.loads((finished / "run" / "config.json").read_text())
    assert about["own"] == ["loss", "metrics", "optimizer", "schedule"] and not about["own_model"]
    assert about["source"] == "own" and len(about["program"]) == len(about["source_digest"]) == 64
    functions = runpy.run_path(str(finished / "own.py"))
    run, given = jaxnn.load_run(finished / "run"), data.load("iris")  # needs none of them to predict
    assert given.test is not None
    accuracy = np.average(
        run.predict(given.test.x) == np.asarray(given.classes)[given.test.y], weights=given.test.weight
    )
    assert accuracy == pytest.approx(last["test/accuracy"], abs=1e-6)
    logits = run.model.apply(run.params, given.test.x)
    expected = functions["loss"](logits, given.test.y).mean()
    assert last["test/loss"] == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.long
def test_it_is_the_pure_function_of_the_same_four(finished):
    given, functions = data.load("iris"), runpy.run_path(str(finished / "own.py"))
    config = from_dict(json.loads((finished / "run" / "config.json").read_text())["config"], Config)
    model = jaxnn.build(config.model, jax.ShapeDtypeStruct((4,), "float32"), 3, mean=given.mean, std=given.std)
    task = jaxnn.multiclass(3, loss=functions["loss"], metrics=functions["metrics"])
    own = {"own": functions["optimizer"], "own_schedule": functions["schedule"]}
    tx = jaxnn.optimizer(config.optim, steps_per_epoch=1, total_steps=4, **own)
    n = len(given.train.weight)
    state, history = jaxnn.fit(
        jax.random.key(0), model, task, tx, given.train, epochs=4, batch_size=n, validation=given.validation
    )
    saved = safetensors.numpy.load_file(finished / "run" / "weights.safetensors")
    for name, leaf in jaxnn.tree.by_name(state.params).items():
        np.testing.assert_array_equal(saved[name], leaf)
    *by_row, _ = rows(finished / "run")
    assert history["val/distance"].tolist() == [row["val/distance"] for row in by_row]


WHOLE = "the loss and metrics and optimizer and schedule's program: "
OTHERS = [
    (("2.5", "2.0"), WHOLE),
    (("abs(", "square("), WHOLE),
    (("b1=0.8", "b1=0.7"), WHOLE),
    (("/ 10, t", "/ 9, t"), WHOLE),
    (("def schedule", "def _schedule"), WHOLE),
    ((FOUR[len(HEAD) :], ""), "config: own -> None"),
]


@pytest.mark.parametrize(("change", "words"), OTHERS, ids=[change[0][:9] for change, _ in OTHERS])
def test_it_does_not_go_on_with_other_functions(change, words, finished, tmp_path):
    with pytest.raises(InputError, match=words):
        here(*cut(finished, tmp_path, FOUR.replace(*change)))


def test_it_goes_on_bit_for_bit_with_the_same_functions(finished, tmp_path, capsys):
    again = cut(finished, tmp_path, FOUR.replace("def loss", "# a comment changes nothing\ndef loss"))
    assert here(*again) == 0 and "resumed at step 2" in capsys.readouterr().out
    assert weights(tmp_path / "run") == weights(finished / "run")


def test_it_is_not_made_longer_since_its_schedule_may_depend_on_that(finished, tmp_path):
    with pytest.raises(
        InputError, match="--epochs=5: the run was to have 4, and the schedule of the config file depends"
    ):
        here(*cut(finished, tmp_path), "--epochs", 5)


def test_it_is_replayed_shown_and_tried_with_its_file(finished, tmp_path, capsys):
    replay = ["--config", finished / "run" / "config.json", "--workdir", tmp_path / "again"]
    with pytest.raises(InputError, match="name it: train.py own.py"):
        here(*replay)
    (tmp_path / "own.py").write_text(FOUR.replace("def loss", "def _loss"))
    rest = "metrics and optimizer and schedule"
    with pytest.raises(InputError, match=f"brings {rest}, and the run had loss and {rest}; name the file as it was"):
        here(tmp_path / "own.py", *replay)
    assert here(finished / "own.py", *replay, "--dry-run") == 0
    assert here(finished / "own.py", *replay, "--print-config") == 0
    assert '"lr": 0.05' in capsys.readouterr().out and not (tmp_path / "again").exists()
    assert here(finished / "own.py", *replay) == 0
    assert "the file has changed" not in capsys.readouterr().err
    assert weights(tmp_path / "again") == weights(finished / "run")
    (tmp_path / "own.py").write_text(FOUR.replace("2.5", "2.0"))
    assert here(tmp_path / "own.py", *replay, "--dry-run") == 0
    assert "own.py: the file has changed since the run; its functions may differ" in capsys.readouterr().err


@pytest.mark.parametrize("named", ["digits_own", "digits-own", "FOLDER/own.py"])
def test_a_stopped_run_goes_on_by_the_command_that_is_printed(named, finished, capsys):
    named = named.replace("FOLDER", str(finished))
    request = arguments.parse([named], paths.CONFIGS)
    screen.next_steps(screen.Screen(width=200), finished / "run", request, data.load("iris"), finished=False)
    word, program, train, *argv = shlex.split(capsys.readouterr().out)
    assert (word, program, train) == ("resume", "jaxnn", "train")
    file = named if named.endswith(".py") else "digits_own"
    assert argv == [file, "--config", f"{finished}/run/config.json", "--workdir", f"{finished}/run"]
    if named.endswith(".py"):
        again = arguments.parse(argv, paths.CONFIGS)
        assert again.brought.names() == request.brought.names() and again.source_digest == request.source_digest


def test_a_schedule_may_begin_and_end_with_a_rate_of_0():
    warm = lambda lr, steps: optax.warmup_cosine_decay_schedule(0.0, lr, 3, steps)
    tx = jaxnn.optimizer(jaxnn.OptimConfig(lr=0.5), steps_per_epoch=1, total_steps=10, own_schedule=warm)
    theta, state = jnp.ones(2), tx.init(jnp.ones(2))
    for step in range(10):
        updates, state = tx.update(theta, state, theta)
        np.testing.assert_allclose(np.asarray(updates), -np.asarray(warm(0.5, 10)(step)), rtol=1e-6)


METRIC = 'metrics = {"mine": jaxnn.Metric(lambda z, y, w: %s, lambda sums: sums["n"])}'
REFUSED = [
    ("def loss(z, y): return jaxnn.cross_entropy(z, y).mean()", (), "loss=float32[]: must be one number for each exa"),
    ("import numpy as np\ndef loss(z, y): return np.abs(z).sum(-1)", (), "loss=loss: can't be traced by JAX; use jnp"),
    ("def loss(z, y): return z", (), "loss=float32[8,3]: must be one number for each example, float[8]; take no mean"),
    (
        "def loss(z, y): return z[:, 0]",
        ("--task.loss", "cross_entropy"),
        "--task.loss=cross_entropy: the config file br",
    ),
    (
        "def loss(z, y): return z[:, 0]",
        ("--task.label-smoothing", 0.1),
        "label_smoothing=0.1: is that of the cross-entr",
    ),
    (
        METRIC % '{"n": (z.argmax(-1) == y).mean()}',
        (),
        "metrics=mine: the sums n of two halves of the rows do not add up",
    ),
    (METRIC % '{"n": (w * z[:, 0]).sum() / w.sum()}', (), "metrics=mine: the sums n of two halves of the rows do not"),
    (METRIC % "w.sum()", (), "metrics=mine: its sums are a "),
    (METRIC % '{"n": w}', (), "metrics=mine: "),
    ("metrics = {'mine': 3}", (), "metrics=mine: is a int; write jaxnn.Metric(sums, value)"),
    ("metrics = {'accuracy': jaxnn.top_k(1)}", (), "metrics=accuracy: is what a multiclass task measures already"),
    (
        "metrics = {'top_2': jaxnn.top_k(2)}",
        ("--task.metrics", "top_2"),
        "--task.metrics=top_2: the config file brings",
    ),
    ("def optimizer(lr): return lr", (), "optimizer: gives a "),
    ("optimizer = optax.adam", ("--optim.name", "adam"), "--optim.name=adam: "),
    (
        "optimizer = optax.adam",
        ("--optim.b1", 0.5),
        "--optim.b1=0.5: the config file brings its optimizer; leave it out",
    ),
    ("def schedule(lr, n): return lr", (), "schedule: gives a float, must give a function of the step; return lambda"),
    ("def schedule(lr, n): return lambda t: 0 * t", (), "schedule at step 2=0: must be finite and > 0"),
    ("def schedule(lr, n): return lambda t: lr / (3 - t)", (), "schedule at step 3="),
    ("def schedule(lr, n): return lambda t: jnp.ones(2)", (), "schedule at step 0=[1. 1.]: must be one number"),
    (
        "def schedule(lr, n): return lambda t: lr if t < 2 else lr / 2",
        (),
        "schedule: depends on the step as a Python n",
    ),
    (
        "schedule = optax.cosine_decay_schedule",
        ("--optim.warmup", "1"),
        "--optim.warmup=1: the config file brings its s",
    ),
    ("schedule = optax.cosine_decay_schedule", ("--optim.name", "lbfgs"), "--optim."),
]


@pytest.mark.parametrize(("text", "flags", "words"), REFUSED, ids=[f"{text[:40]}{flags}" for text, flags, _ in REFUSED])
def test_what_does_not_fit_is_refused_before_anything_is_written(text, flags, words, tmp_path):
    (tmp_path / "own.py").write_text(HEAD + text)
    with pytest.raises(InputError) as refusal:
        here(tmp_path / "own.py", *flags, "--workdir", tmp_path / "run")
    assert str(refusal.value).startswith(words) and "\n" not in str(refusal.value)
    assert not (tmp_path / "run").exists()


def test_an_optimizer_of_ones_own_needs_its_rate(tmp_path):
    (tmp_path / "own.py").write_text(HEAD.replace("lr=0.05", "") + "optimizer = optax.adam")
    with pytest.raises(InputError, match="--optim.lr=None: an optimizer of one's own has no default"):
        here(tmp_path / "own.py", "--dry-run")


@pytest.mark.long
def test_metrics_that_are_asked_for_are_in_the_history_and_change_no_weights(tmp_path):
    argv = ["--data.name", "breast_cancer", "--model.kind", "linear", "--batch-size", "full", "--epochs", 2]
    argv += ["--data.test-fraction", 0]
    asked = ["--task.metrics", "auc", "balanced_accuracy", "--checkpoint.best", "val/auc"]
    assert here(*argv, "--workdir", tmp_path / "plain") == 0
    assert here(*argv, *asked, "--workdir", tmp_path / "asked") == 0
    assert weights(tmp_path / "plain") == weights(tmp_path / "asked")
    row = rows(tmp_path / "asked")[1]
    assert {"val/auc", "val/balanced_accuracy", "train/balanced_accuracy"} <= row.keys() and "train/auc" not in row
    with pytest.raises(InputError, match="checkpoint.best=train/auc: unknown"):
        here(*argv, *asked[:-1], "train/auc", "--workdir", tmp_path / "none")


@pytest.mark.long
@pytest.mark.parametrize("loss", ["gaussian", "quantile"])
def test_deviations_and_quantiles_of_amounts(loss, tmp_path):
    """Of two groups, the mean and deviation, or the quantiles, of each: what NumPy says of its rows."""
    rng, side = np.random.default_rng(0), np.repeat([-1.0, 1.0], 500)
    y = 1e4 + 100 * side + rng.normal(size=1000) * np.where(side > 0, 300.0, 50.0)
    np.savez(tmp_path / "spread.npz", x=side[:, None], y=y)
    argv = ["--data.name", tmp_path / "spread.npz", "--data.validation-fraction", 0, "--data.test-fraction", 0]
    argv += ["--model.kind", "linear", "--optim.name", "adam", "--optim.lr", 0.05, "--optim.alpha", 0]
    quantiles = ["--task.quantiles", 0.25, 0.5, 0.75] * (loss == "quantile")
    argv += ["--epochs", 100, "--batch-size", 250, "--workdir", tmp_path / "run"]
    assert here(*argv, "--task.loss", loss, *quantiles) == 0
    run, both = jaxnn.load_run(tmp_path / "run"), np.array([[-1.0], [1.0]], np.float32)
    groups = y[:500], y[500:]
    if loss == "gaussian":
        found = np.asarray(run.outputs(run.params, both))[:, 0]  # [n, 2], mean and deviation
        np.testing.assert_allclose(run.predict(both), found[:, 0])
        expected = [[group.mean(), group.std()] for group in groups]
    else:
        found, expected = run.predict(both), [np.quantile(group, [0.25, 0.5, 0.75]) for group in groups]
    np.testing.assert_allclose(found, expected, atol=10)
    np.savez(tmp_path / "both.npz", x=both)
    argv = [tmp_path / "run", tmp_path / "both.npz", "--output", tmp_path / "p.csv"]
    assert predict.predict(list(map(str, argv))) == 0
    ends = ["", "_std"] if loss == "gaussian" else ["_q0.25", "_q0.5", "_q0.75"]
    written = pd.read_csv(tmp_path / "p.csv")
    assert list(written) == [f"prediction{end}" for end in ends]
    np.testing.assert_allclose(written, found, rtol=1e-6)
    assert {"train/mse", "train/r2"} <= rows(tmp_path / "run")[0].keys()


def test_the_rate_of_any_optimizer_that_keeps_it():
    params = {"w": np.ones(2, np.float32)}
    inject = optax.inject_hyperparams(optax.adam)
    kept = {
        "in a chain": optax.chain(optax.clip(1.0), inject(learning_rate=0.25)),
        "of a schedule": inject(learning_rate=lambda t: 0.25),
        "of groups": optax.partition(
            {"a": inject(learning_rate=0.25), "b": optax.sgd(0.1)}, lambda p: jax.tree.map(lambda _: "a", p)
        ),
    }
    for name, tx in kept.items():
        assert jaxnn.learning_rate(tx.init(params)) == 0.25, name
    assert jaxnn.learning_rate(optax.lbfgs().init(params)) == 1.0
    assert np.isnan(jaxnn.learning_rate(optax.sgd(0.1).init(params)))
