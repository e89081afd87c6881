"""Several columns to predict, and columns that are left out; the oracles are pandas and scikit-learn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd
import pytest
from sklearn.preprocessing import StandardScaler

import jaxnn
from jaxnn import data, recipe
from jaxnn.commands import arguments as cli
from jaxnn.config.data import DataConfig
from jaxnn.config.model import ModelConfig
from jaxnn.config.settings import Config
from jaxnn.config.values import from_dict, to_dict
from jaxnn.errors import InputError
from jaxnn.store import identity, weights

RNG = np.random.default_rng(0)
N = 60
FRAME = pd.DataFrame(
    {
        "id": np.arange(N),
        "a": RNG.normal(size=N),
        "price": RNG.normal(100, 30, N),
        "weight": RNG.normal(0, 1e-3, N),
        "wet": RNG.integers(0, 2, N),
        "cold": RNG.random(N) > 0.5,
        "kind": np.array(["x", "y", "z"])[np.arange(N) % 3],
    }
)
WHOLE: dict[str, Any] = {"test_fraction": 0, "validation_fraction": 0}


@pytest.fixture
def table(tmp_path) -> Path:
    FRAME.to_csv(tmp_path / "t.csv", index=False)
    return tmp_path / "t.csv"


def load(*args: Any, **kwargs: Any) -> Any:  # Any, since a test knows which parts there are
    return data.load(*args, **kwargs)


def refusal(source: Any, **kwargs: Any) -> str:
    with pytest.raises(InputError) as caught:
        load(source, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_columns_of_numbers_are_amounts_each_in_its_own_unit(table):
    loaded = load(table, target=("weight", "price"), drop=("id", "kind", "cold"), **WHOLE)
    assert (loaded.task, loaded.outputs, loaded.classes) == ("regression", 2, None)
    assert loaded.targets == ("weight", "price") and loaded.features == ("a", "wet")
    expected = FRAME[["weight", "price"]]
    np.testing.assert_array_equal(loaded.train.y, expected.to_numpy(np.float32))
    scaler: Any = StandardScaler().fit(expected)
    np.testing.assert_allclose(loaded.center, scaler.mean_, rtol=1e-5)
    np.testing.assert_allclose(loaded.spread, scaler.scale_, rtol=1e-5)
    assert loaded.describe()["targets"] == ["weight", "price"]


@pytest.mark.parametrize("kind", ["csv", "frame", "validation"])
def test_columns_of_truth_values_are_labels_named_by_the_columns(table, tmp_path, kind):
    assert FRAME["cold"].dtype == bool  # True and False in the file
    expected = FRAME[["cold", "wet"]].to_numpy(np.float32)
    how: dict[str, Any] = {"target": ["cold", "wet"], "drop": ["kind", "id"]}
    if kind == "validation":
        FRAME.drop(columns="id").iloc[::-1].to_csv(tmp_path / "v.csv", index=False)  # `drop` need not be there
        how |= {"validation": tmp_path / "v.csv", "allow_overlap": True}
    loaded = load(FRAME if kind == "frame" else table, **how, **WHOLE)
    assert (loaded.task, loaded.outputs, loaded.classes) == ("multilabel", 2, ("cold", "wet"))
    np.testing.assert_array_equal(loaded.train.y, expected)
    if loaded.validation:
        np.testing.assert_array_equal(loaded.validation.y, expected[::-1])


def test_labels_of_which_one_is_true_in_each_row_are_no_classes_unless_that_is_said():
    frame = pd.DataFrame({"a": RNG.normal(size=12), "p": np.arange(12) % 2, "q": 1 - np.arange(12) % 2})
    assert load(frame, target=("p", "q"), **WHOLE).task == "multilabel"
    loaded = load(frame, target=("p", "q"), task="multiclass", **WHOLE)
    assert loaded.classes == ("p", "q") and loaded.train.y.tolist() == (1 - frame["p"]).tolist()
    assert load(frame, target=("p", "q"), task="regression", **WHOLE).spread == [0.5, 0.5]


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        (
            {"target": ("wet", "price")},
            "--data.target=wet price: wet is 0 and 1 alone, price is not; say --task.name reg",
        ),
        ({"target": ("price", "kind")}, "--data.target=price kind: column kind holds texts (x, y, z); several targets"),
        ({"target": ("price", "wieght")}, "--data.target=wieght: unknown; did you mean weight?"),
        ({"target": ("price", "price")}, "--data.target=price price: names a column twice; leave one out"),
        ({"target": ()}, "--data.target=: must be a column, or several"),
        ({"target": ("price", "a"), "weight": "a"}, "--data.weight=a: is the target column too; choose another"),
        ({"target": ("price", "a"), "drop": "a"}, "--data.drop=a: is the target column too; choose another"),
        ({"drop": ["kind"]}, "--data.drop=kind: is the target column too; say another with --data.target"),
        ({"drop": ["kin"]}, "--data.drop=kin: unknown; did you mean kind?"),
        ({"weight": "wet", "drop": "wet"}, "--data.drop=wet: is the weight column too; choose another"),
        ({"drop": ["id", "a", "price", "weight", "wet", "cold"]}, "no column is left to learn from; add features"),
        ({"target": ("price", "a"), "positive": "x"}, "--data.positive=x: the labels are not classes (regression)"),
        ({"target": ("wet", "cold"), "class_weight": [1, 2]}, "--data.class_weight=(1.0, 2.0): multilabel has no cla"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line(table, how, expected):
    assert expected in refusal(table, **how)


def test_a_hole_in_one_of_the_targets_is_refused_or_drops_the_row():
    frame = FRAME[["a", "price", "weight"]].copy()
    frame.loc[7, "price"] = np.nan
    how: dict[str, Any] = {"target": ("price", "weight")}
    assert refusal(frame, **how).startswith(
        "table row 7, column price=None: missing value; fill it in, or add --data.n"
    )
    assert "--data.nan mean fills features, no target (--data.target)" in refusal(frame, **how, nan="mean")
    assert len(load(frame, **how, nan="drop", **WHOLE).train.y) == N - 1


def test_the_target_of_old_configs_still_loads():
    for target in (None, "y"):
        old = to_dict(Config(data=DataConfig(target=target)))
        del old["data"]["drop"], old["data"]["split"], old["data"]["split_by"]
        assert old["data"]["target"] == target
        assert from_dict(old, Config) == Config(data=DataConfig(target=target))
    assert DataConfig(target=("y",)) == DataConfig(target="y")
    assert from_dict({"target": ["y", "z"]}, DataConfig).target == ("y", "z")
    argv = ["table", "--data.target", "y", "z", "--data.drop", "id", "k", "--data.split", "time:t"]
    parsed = cli.parse(argv, Path(__file__).parent.parent / "configs").flags.run.data
    assert (parsed.target, parsed.drop, parsed.time_column) == (("y", "z"), ("id", "k"), "t")


def test_a_run_of_two_targets_answers_in_their_units_without_the_columns_that_were_dropped(table, tmp_path):
    how = DataConfig(str(table), target=("price", "weight"), drop=("id", "kind", "cold"))
    config, loaded = Config(data=how, model=ModelConfig(hidden=(4,))), data.from_config(how)
    about = loaded.describe()
    model, _, example = recipe.network(config, about, mean=loaded.mean, std=loaded.std)
    (tmp_path / "run").mkdir()
    own = {"source": None, "own_model": False}
    identity.write(tmp_path / "run", identity.describe(config, about, "cpu", **own))
    weights.save(tmp_path / "run", model.init(jax.random.key(0), example), epochs=config.epochs)
    run = jaxnn.load_run(tmp_path / "run")
    assert run.config.data.target == ("price", "weight") and run.data["targets"] == ["price", "weight"]
    answers = run.predict(FRAME[["wet", "a"]])
    assert answers.shape == (N, 2) and np.ptp(answers[:, 0]) > 100 * np.ptp(answers[:, 1]) > 0
    assert (np.abs(answers - loaded.center) < 20 * np.array(loaded.spread)).all()
