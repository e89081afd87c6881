"""jaxnn lr: the losses are those of runs, and the rate that is named trains as well as the best one."""

import dataclasses
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_train import here

from jaxnn import engine, recipe
from jaxnn.commands import arguments, main
from jaxnn.config import paths
from jaxnn.config.own import Own
from jaxnn.data import from_config
from jaxnn.devices import mesh
from jaxnn.errors import InputError
from jaxnn.sweep import rates
from jaxnn.training import plan

SHORT = ["iris_mlp", "--epochs", "4", "--eval-every", "1epoch"]


@pytest.mark.long
def test_each_loss_is_that_of_a_run_with_this_rate_and_the_grid_is_moved_to_the_best_one(tmp_path, capsys):
    assert main.command("lr")([*SHORT, "--seed", "3"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["steps"] == 28  # so few that the best rate of Adam is beyond the first grid
    assert len(told["rates"]) == len(told["losses"]) == 2 * rates.RATES
    apart = np.diff(np.log(told["rates"]))
    assert np.allclose(apart, apart[0]) and min(told["rates"]) < told["lr"] < max(told["rates"])
    command = f"jaxnn train iris_mlp --epochs 4 --eval-every 1epoch --seed 3 --optim.lr {told['lr']:g}"
    assert told["command"] == command
    rate = told["rates"][15]
    assert here(*SHORT, "--seed", "3", "--optim.lr", rate, "--workdir", tmp_path / "run") == 0
    *_, row, _ = map(json.loads, (tmp_path / "run" / "history.jsonl").read_text().splitlines())
    assert told["losses"][15] == pytest.approx(row["val/loss"], rel=1e-5)
    assert told["losses"][0] > 1.2 * row["val/loss"]


def test_no_rate_beside_those_that_diverge_is_taken_nor_the_end_of_a_plain():
    inf = np.inf
    assert rates.choose(np.array([2.3, 2.0, 1.0, 0.5, 0.4, inf, np.nan])) == 3
    assert rates.choose(np.array([2.3, 2.2, 0.1, 0.1, 0.1, 0.1, 0.1, 2.0])) == 4
    assert rates.choose(np.array([2.3, 1.5, 1.0, 0.6, 0.4])) == 4  # at the end: the grid is moved
    assert rates.choose(np.array([inf, 9.0, 2.0, 0.2, 3.0])) in (2, 3)


def of(*argv: object) -> tuple[Any, Any]:
    config = arguments.parse(list(map(str, argv)), paths.CONFIGS).flags.run
    return config, from_config(config.data, config.task.name)


@pytest.mark.parametrize(
    ("epochs", "batch", "steps", "rows"), [(3, 32, 123, 1294), (60, 32, 2009, 1294), (900, 1, 116460, 1294)]
)
def test_a_short_run_is_a_tenth_of_a_long_one(epochs, batch, steps, rows):
    short = rates.shortened(*of("digits_mlp", "--epochs", epochs, "--batch_size", batch))
    assert (short.plan.total, len(short.train.weight)) == (steps, 1294)


def test_of_an_epoch_of_many_steps_some_rows_are_taken():
    config, data = of("digits_mlp", "--epochs", 3, "--batch_size", 1)
    train = jax.tree.map(lambda a: np.concatenate([a, a]), data.train)  # 2,588 rows, of which 2,000 are taken
    short = rates.shortened(config, dataclasses.replace(data, train=train))
    assert short.plan.total == len(short.train.weight) == rates.STEPS
    assert np.bincount(short.train.y).min() > 0.9 * np.bincount(train.y).min() * 2000 / 2588


def refused(*argv: str) -> str:
    with pytest.raises(InputError) as caught:
        main.command("lr")(list(argv))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_has_no_rate_to_find_is_one_line():
    assert refused("digits_mlp", "--optim.lr", "0.1") == "--optim.lr: is what is looked for; leave it out"
    assert "for one run" in refused("digits_mlp", "--seeds", "3")
    assert "--optim.lrr: unknown flag" in refused("digits_mlp", "--optim.lrr", "1")
    assert "line search" in refused("breast_cancer_logistic")
    assert "begin anew" in refused("iris_mlp", "--init_from", "runs/other")
    assert "did you mean iris_mlp" in refused("iris_mpl")


def validation(config: Any, data: Any, values: Any, seeds: int) -> np.ndarray:
    """f[S]: the accuracy or R² of whole runs at each rate, the mean over the seeds."""
    known, steps = data.describe(), plan.plan(config, len(data.train.weight))
    model, task, example = recipe.network(config, known, mean=data.mean, std=data.std)

    def one(rate: Any, key: Any) -> Any:
        made = recipe.recipe(config, known, model, task, example, steps, traced={"lr": rate})
        _, history = engine.fit(
            key, model, task, made.tx, data.train, epochs=config.epochs, batch_size=steps.batch_size,
            validation=data.validation, alpha=made.alpha,
        )  # fmt: skip
        return history["val/r2" if data.classes is None else "val/accuracy"][-1]

    keys = jax.random.split(jax.random.key(100), seeds)
    run = jax.jit(lambda values: jax.lax.map(lambda rate: jax.lax.map(lambda key: one(rate, key), keys), values))
    return np.asarray(run(jnp.asarray(values, float))).mean(1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("argv", "seeds"),
    [
        (["digits_mlp"], 3), (["table"], 3), (["table", "--data.name", "breast_cancer"], 3),
        (["diabetes_regression"], 3),
        pytest.param(["mnist_mlp", "--epochs", "5"], 1, marks=pytest.mark.mnist),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_the_rate_that_is_named_is_within_a_hundredth_of_the_best_of_20(argv, seeds, request):
    folder = ["--data.dir", request.getfixturevalue("mnist_dir")] if argv[0].startswith("mnist") else []
    config, data = of(*argv, *folder)
    with mesh.use(1):
        curve = rates.find(config, data, Own())
        grid = rates.grid(config)
        every = validation(config, data, grid, seeds)
        (named,) = validation(config, data, [curve.best], seeds)
    assert named >= np.nanmax(every) - 0.01 * abs(np.nanmax(every)), (curve.best, named, every)
