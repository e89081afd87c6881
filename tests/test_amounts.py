"""Amounts to predict in any unit: the run, its metrics and its answers are those in every other unit."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score

import jaxnn
from jaxnn import engine, recipe
from jaxnn.config.optim import OptimConfig
from jaxnn.config.settings import Config
from jaxnn.config.task import TaskConfig
from jaxnn.data import fitted
from jaxnn.report import diagnosis
from jaxnn.types import Batch

ROOT = Path(__file__).parent.parent
RNG = np.random.default_rng(0)
N = 96
X = RNG.normal(size=(N, 3)).astype(np.float32)
Y = X @ [1.0, -2.0, 0.5] + 0.1 * RNG.normal(size=N)


def trained(y: np.ndarray, optim: str, loss: str = "auto") -> tuple[Any, Any, Batch]:
    """A network trained on y as `train.py` does it: its recipe, its parameters, and the rows."""
    y = y[:, None].astype(np.float32)
    center, spread = fitted.amounts(y)
    about = {"task": "regression", "outputs": 1, "shape": [3], "dtype": "float32", "scale": None, "center": center}
    config = Config(
        model=jaxnn.ModelConfig(hidden=(8,), activation=("tanh",)),
        batch_size="full" if optim == "lbfgs" else 16,
        task=TaskConfig(loss=loss),
        optim=OptimConfig(name=optim, lr=None if optim == "lbfgs" else 0.05),
    )
    model, task, example = recipe.network(config, about | {"spread": spread})
    tx = jaxnn.optimizer(config.optim, steps_per_epoch=6, total_steps=180)
    rows = Batch(jnp.asarray(X), jnp.asarray(y), jnp.ones(N))
    size = N if optim == "lbfgs" else 16
    state, _ = jaxnn.fit(jax.random.key(0), model, task, tx, rows, epochs=30, batch_size=size)
    return jaxnn.Recipe(model, task, tx), state.params, rows


UNITS = ((1.0, 0.0), (1e9, 0.0), (1e-6, 0.0), (1e3, 1e5))


@pytest.mark.parametrize(
    "optim, units",
    [("sgd", UNITS[:3]), ("lbfgs", UNITS[:2])]
    + [pytest.param(optim, UNITS, marks=pytest.mark.slow) for optim in ("sgd", "adam", "lbfgs")],
)
def test_an_amount_is_learned_as_well_in_every_unit(optim, units):
    expected = None
    for scale, offset in units:
        made, params, rows = trained(Y * scale + offset, optim)
        answers = np.asarray(made.task.link(made.model.apply(params, rows.x)), np.float64)
        score = r2_score(rows.y, answers)
        expected = score if expected is None else expected
        assert score > 0.9 and abs(score - expected) < 5e-3
        assert sorted(params["target_stats"]) == ["mean", "std"]  # kept with the weights: any program can undo them
        np.testing.assert_allclose(params["target_stats"]["mean"], rows.y.mean(), rtol=1e-6, atol=scale * 1e-6)
        summary = made.task.summary(jax.jit(functools.partial(engine.evaluate, made, batch_size=40))(params, rows))
        np.testing.assert_allclose(summary["r2"], score, rtol=1e-4)
        np.testing.assert_allclose(summary["mse"], mean_squared_error(rows.y, answers), rtol=1e-3)
        np.testing.assert_allclose(summary["mae"], mean_absolute_error(rows.y, answers), rtol=1e-3)


@pytest.mark.parametrize(
    "loss", ["poisson", *(pytest.param(loss, marks=pytest.mark.slow) for loss in ("absolute", "huber"))]
)
def test_every_loss_is_one_of_standardised_amounts(loss):
    y = np.exp(Y / 2)
    scores = []
    for scale in (1.0, 1e6):
        made, params, rows = trained(y * scale, "adam", loss)
        scores.append(r2_score(rows.y, made.task.link(made.model.apply(params, rows.x))))
    assert min(scores) > 0.8 and max(scores) - min(scores) < 5e-3


@pytest.mark.parametrize("offset", [0.0, 1e3, -1e4])
def test_r2_of_rows_far_from_those_of_training_is_scikit_learns(offset):
    task = jaxnn.regression(center=3.0)
    model = jaxnn.Model(lambda key, x: {}, lambda params, x, key=None: x[..., :1])
    x = RNG.normal(size=(3000, 2)).astype(np.float32)
    y = (0.5 * RNG.normal(size=(3000, 1)) + offset).astype(np.float32)
    weight = RNG.integers(0, 3, 3000).astype(np.float32)
    made = jaxnn.Recipe(model, task, tx=optax.sgd(0.1))
    sums = jax.jit(functools.partial(engine.evaluate, made))({}, Batch(*map(jnp.asarray, (x, y, weight))))
    expected = r2_score(y.astype(np.float64), x[:, :1].astype(np.float64), sample_weight=weight)
    np.testing.assert_allclose(task.summary(sums)["r2"], expected, rtol=2e-5)
    alone = task.metrics(jnp.asarray(x[:, :1]), jnp.asarray(y), jnp.asarray(weight))  # about 3, from which y is far
    np.testing.assert_allclose(task.summary(alone)["r2"], expected, rtol=1e-3)


def test_the_mean_of_two_million_amounts():
    y = np.float32(1e4) + RNG.normal(size=(2_000_000, 1)).astype(np.float32)
    (mean,), (deviation,) = fitted.amounts(y)
    np.testing.assert_allclose([mean, deviation], [y.mean(dtype=np.float64), y.std(dtype=np.float64)], rtol=1e-12)


@pytest.mark.parametrize(
    "name, y, scores, told",
    [
        ("val/accuracy", np.array([0, 1, 1, 1]), [0.5, 0.75, 0.75], True),
        ("val/accuracy", np.array([0, 1, 1, 1]), [0.5, 1.0, 0.75], False),
        ("val/accuracy", np.array([[0, 1], [1, 1], [0, 1], [0, 1]]), [0.75, 0.5], True),
        ("val/r2", np.zeros((4, 1)), [-3.0, -0.1], True),
        ("val/r2", np.zeros((4, 1)), [0.5, -0.1], True),
        ("val/r2", np.zeros((4, 1)), [0.5, 0.1], False),
        ("val/r2", np.zeros((4, 1)), [None, 0.1], False),
    ],
)
def test_a_run_that_never_beats_one_answer_is_told_of(name, y, scores, told):
    part = Batch(np.zeros((4, 2)), y, np.ones(4))
    rows = [{name: score} for score in scores]
    assert len(diagnosis.never_better({"train": part, "val": part}, rows)) == told


@pytest.mark.long
def test_a_table_of_one_s_own_is_standardised_and_a_hopeless_one_says_so(tmp_path):
    rng = np.random.default_rng(0)  # its own: of other noise a line may come out better than the mean by chance
    income, noise = rng.uniform(2e4, 2e5, 200), rng.normal(size=200)
    for name, y in (("good", 3 * income + 7e5), ("bad", noise)):
        table = np.column_stack([income.round(2), y.round(4)]).tolist()
        (tmp_path / f"{name}.csv").write_text("income,price\n" + "".join(f"{a},{b}\n" for a, b in table))
        argv = [sys.executable, ROOT / "train.py", "--data.name", f"{name}.csv", "--epochs", "20", "--workdir", name]
        done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "features and amounts to predict standardised" in done.stdout.splitlines()[0]
        last = json.loads((tmp_path / name / "history.jsonl").read_text().splitlines()[-1])
        if name == "good":
            assert last["test/r2"] > 0.99 and "no better" not in done.stderr
            run = jaxnn.load_run(tmp_path / "good")
            answers = run.predict(np.array([[5e4], [1e5]]))
            np.testing.assert_allclose(answers, [8.5e5, 1e6], rtol=0.02)
        else:
            assert "warning: val/r2=" in done.stderr
