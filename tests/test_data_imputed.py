"""Missing values that are filled; the oracle is scikit-learn's SimpleImputer, fitted on the training rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import jax
import numpy as np
import pandas as pd
import pytest
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import OneHotEncoder

import jaxnn
from jaxnn import data, recipe
from jaxnn.config.data import DataConfig
from jaxnn.config.model import ModelConfig
from jaxnn.config.settings import Config
from jaxnn.errors import InputError
from jaxnn.store import identity, weights

N = 120
WHOLE: dict[str, Any] = {"test_fraction": 0, "validation_fraction": 0}
NUMBERS, COLOURS = ["age", "count", "row"], ["blue", "green", "red"]


def people(seed: int = 0) -> pd.DataFrame:
    """`age` and `count` (whole numbers) and `colour` have holes; `row` is the number of the row."""
    rng = np.random.default_rng(seed)
    colour = rng.choice(COLOURS, N, p=[0.2, 0.5, 0.3]).astype(object)
    frame = pd.DataFrame({"age": rng.normal(40, 9, N), "count": rng.integers(0, 9, N).astype(float), "colour": colour})
    for column in frame:
        frame.loc[rng.random(N) < 0.2, column] = None
    return frame.assign(row=np.arange(N), y=rng.integers(0, 2, N))


def load(*args: Any, **kwargs: Any) -> Any:  # Any, since a test knows which parts there are
    return data.load(*args, **kwargs)


def refusal(*args: Any, **kwargs: Any) -> str:
    with pytest.raises(InputError) as caught:
        load(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def expected_x(frame: pd.DataFrame, train: list[int], nan: str) -> np.ndarray:
    """What scikit-learn makes of all rows of the frame, fitted on those of `train`."""
    numbers = SimpleImputer(strategy="mean" if nan == "mean" else "median").fit(frame[NUMBERS].iloc[train])
    filled: Any = numbers.transform(frame[NUMBERS])
    colour = frame[["colour"]].astype(object).where(frame[["colour"]].notna(), np.nan)
    one_hot: Any = OneHotEncoder(categories=cast(Any, [COLOURS]), sparse_output=False, handle_unknown="ignore")
    if nan == "category":
        coloured = one_hot.fit_transform(colour.fillna("?"))
        missing = frame[["age", "count", "colour"]].isna().to_numpy()
        columns = [filled[:, 0], missing[:, 0], filled[:, 1], missing[:, 1], *coloured.T, missing[:, 2], filled[:, 2]]
    else:
        texts = SimpleImputer(strategy="most_frequent").fit(colour.iloc[train])
        columns = [filled[:, 0], filled[:, 1], *one_hot.fit_transform(texts.transform(colour)).T, filled[:, 2]]
    return np.stack(columns, axis=1)


def as_run(loaded: Any, how: dict[str, Any], folder: Path) -> jaxnn.Run:
    """A run's folder, as it would be after training, with the weights of the start."""
    config, about = Config(data=DataConfig("a table", **how), model=ModelConfig(hidden=(4,))), loaded.describe()
    model, _, example = recipe.network(config, about, mean=loaded.mean, std=loaded.std)
    folder.mkdir()
    identity.write(folder, identity.describe(config, about, "cpu", source=None, own_model=False))
    weights.save(folder, model.init(jax.random.key(0), example), epochs=config.epochs)
    return jaxnn.load_run(folder)


@pytest.mark.parametrize("nan", ["mean", "median", "category"])
@pytest.mark.parametrize("kind", ["csv", "parquet", "frame"])
def test_holes_are_filled_by_the_training_split_alone_in_all_parts_and_by_the_run(tmp_path, nan, kind):
    frame, other = people(), people(1).assign(row=np.arange(1000, 1000 + N))
    source: Any = frame
    if kind != "frame":
        source = tmp_path / f"t.{kind}"
        frame.to_csv(source, index=False) if kind == "csv" else frame.to_parquet(source)
    loaded = load(source, nan=nan)
    row = loaded.features.index("row")
    found = {part: batch.x[:, row].astype(int).tolist() for part, batch in loaded.parts.items()}
    x = expected_x(frame, found["train"], nan)
    for part, batch in loaded.parts.items():
        np.testing.assert_allclose(batch.x, x[found[part]], rtol=1e-6)
    holes = frame.isna().sum()
    assert loaded.notes[-1].partition(": missing cells filled: ")[2].startswith(f"{holes['age']} of age with ")
    assert f"{holes['colour']} of colour with " in loaded.notes[-1]

    validated = load(source, nan=nan, validation=other, test_fraction=0)
    fitted_on = validated.train.x[:, row].astype(int).tolist()
    both = pd.concat([frame, other], ignore_index=True)
    np.testing.assert_allclose(validated.validation.x, expected_x(both, fitted_on, nan)[N:], rtol=1e-6)
    assert len(validated.notes) == 2 and validated.notes[1].startswith("table: missing cells filled: ")

    run = as_run(loaded, {"nan": nan}, tmp_path / "run")
    assert run.data["fill"] == loaded.fill
    np.testing.assert_array_equal(run.encode(source)[found["test"]], loaded.test.x)  # the same bits
    few = other[["colour", "row", "count", "age"]].head(7)
    np.testing.assert_allclose(run.encode(few), expected_x(both, found["train"], nan)[N : N + 7], rtol=1e-6)
    empty = few.assign(age=None, colour=None)
    stand = expected_x(pd.concat([frame, empty.assign(y=0)], ignore_index=True), found["train"], nan)[N:]
    np.testing.assert_allclose(run.encode(empty), stand, rtol=1e-6)
    assert run.predict(empty).shape == (7,)


def test_the_words_for_missing_are_filled_in_every_kind_of_column(tmp_path):
    frame = people()
    words = frame.astype(object)
    for column, word in (("age", "?"), ("count", ""), ("colour", " NA ")):
        words.loc[frame[column].isna(), column] = word
    words.to_csv(tmp_path / "t.csv", index=False)
    expected = load(frame, nan="median").train.x
    np.testing.assert_array_equal(load(tmp_path / "t.csv", nan="median").train.x, expected)
    texts = frame.assign(colour=words["colour"].astype(str))  # a frame says itself what is a text
    np.testing.assert_array_equal(load(texts, nan="median").train.x, expected)


def test_of_equally_frequent_texts_the_first_fills_as_in_scikit_learn():
    frame = pd.DataFrame({"c": ["b", "a", "b", "a", None, "c"] * 4, "y": [0, 1] * 12})
    theirs: Any = SimpleImputer(strategy="most_frequent").fit(frame[["c"]].astype(object).fillna(np.nan)).statistics_
    assert load(frame, nan="mean", **WHOLE).fill == {"c": theirs[0]} == {"c": "a"}


def test_a_hole_that_training_never_had_is_filled_too_and_has_no_category(tmp_path):
    whole = people().dropna().reset_index(drop=True)
    for nan, stand in (("mean", None), ("category", [0, 0, 0])):
        loaded = load(whole, nan=nan, **WHOLE)
        assert loaded.features == ("age", "count", *(f"colour={c}" for c in COLOURS), "row") and not loaded.notes
        run = as_run(loaded, {"nan": nan}, tmp_path / nan)
        x = run.encode(whole.head(2).assign(age=None, colour=None))
        middle = whole["age"].mean() if nan == "mean" else whole["age"].median()
        np.testing.assert_allclose(x[:, 0], middle, rtol=1e-6)
        most = whole["colour"].mode()[0]
        np.testing.assert_array_equal(x[:, 2:5], [stand or [float(c == most) for c in COLOURS]] * 2)


@pytest.mark.parametrize("nan", ["mean", "median"])
def test_seconds_since_1970_are_filled_as_exactly_as_they_are_kept(tmp_path, nan):
    rng = np.random.default_rng(0)
    seconds = 1.7e9 + np.arange(90.0)
    holes = rng.random(90) < 0.3
    frame = pd.DataFrame({"t": np.where(holes, np.nan, seconds), "y": np.arange(90) % 2})
    for name, given in (("f", frame), ("whole", frame.astype({"t": "Int64"}))):
        loaded = load(given, nan=nan, **WHOLE)
        assert loaded.offset is not None
        oracle = SimpleImputer(strategy=nan).fit_transform(frame[["t"]])
        np.testing.assert_allclose(loaded.train.x, oracle, rtol=1e-15)
        run = as_run(loaded, {"nan": nan, **WHOLE}, tmp_path / name)
        np.testing.assert_array_equal(run.encode(given), loaded.train.x)
        given.to_csv(tmp_path / "t.csv", index=False)
        np.testing.assert_array_equal(run.encode(tmp_path / "t.csv"), loaded.train.x)


def test_a_category_of_texts_that_are_missing_has_a_name_that_no_cell_can_have():
    frame = pd.DataFrame({"c": ["missing", None, "nil"] * 6, "c=missing": range(18), "y": [0, 1] * 9})
    assert "two columns become the same feature" in refusal(frame, nan="category")
    loaded = load(frame.rename(columns={"c=missing": "d"}), nan="category", **WHOLE)
    assert loaded.features == ("c=missing", "c=nil", "c=", "d")
    np.testing.assert_array_equal(loaded.train.x[:3, :3], [[1, 0, 0], [0, 0, 1], [0, 1, 0]])


def test_what_is_filled_is_a_pure_function_of_the_seed_and_the_data():
    first, again = (load(people(), nan="mean", split_seed=3) for _ in range(2))
    assert first.digest == again.digest and first.fill == again.fill
    assert first.fill != load(people(), nan="mean", split_seed=4).fill
    whole = people().dropna()
    digests = {load(whole, nan=nan).digest for nan in ("refuse", "drop", "mean", "median", "category")}
    assert len(digests) == 1


FRAME = people()[["age", "colour", "y"]]


@pytest.mark.parametrize(
    ("change", "how", "expected"),
    [
        (
            {},
            {},
            "table row 7, column age=None: missing value; fill it in, or add --data.nan drop, mean, median or cat",
        ),
        (
            {"age": np.nan},
            {"nan": "mean"},
            "table, column age=missing in each of the 86 training examples: nothing to f",
        ),
        ({"age": None}, {"nan": "median"}, "table, column age=missing in each of the 86 training examples: nothing to"),
        (
            {"colour": None},
            {"nan": "category"},
            "column colour=missing in each of the 86 training examples: nothing to",
        ),
        (
            {"colour": "?"},
            {"nan": "mean"},
            "column colour=missing in each of the 86 training examples: nothing to fill",
        ),
        ({"age": [None, np.inf] * (N // 2)}, {"nan": "mean"}, "table row 1, column age=inf: must be finite; repair it"),
        ({"age": np.inf}, {"nan": "mean"}, "table row 0, column age=inf: must be finite; repair it, leave the row out"),
        (
            {"y": [0, None] * (N // 2)},
            {"nan": "mean"},
            "table row 1, column y=None: missing value; --data.nan mean fills",
        ),
        (
            {"w": [1, None] * (N // 2)},
            {"nan": "median", "weight": "w", "target": "y"},
            "column w=None: missing value; --d",
        ),
        ({}, {"nan": "average"}, "--data.nan=average: unknown; "),
    ],
)
def test_what_cannot_be_filled_is_refused_in_one_line(change, how, expected):
    assert expected in refusal(FRAME.assign(**change), **how)


@pytest.mark.parametrize("nan", ["mean", "median", "category"])
def test_tables_alone_are_filled(tmp_path, nan):
    np.savez(tmp_path / "t.npz", x=np.eye(20), y=np.arange(20) % 2)
    for source in (tmp_path / "t.npz", "digits"):
        expected = f"--data.nan={nan}: is for table data, not "
        assert refusal(source, nan=nan).startswith(expected)


def test_a_run_that_dropped_rows_gives_an_answer_for_each_row_or_none(tmp_path):
    run = as_run(load(people(), nan="drop", **WHOLE), {"nan": "drop"}, tmp_path / "run")
    with pytest.raises(InputError, match="missing value"):
        run.encode(people())
    assert run.data["fill"] is None


@pytest.mark.parametrize(("target", "nan"), [(("p", "q"), "category"), (("wet", "cold"), "mean"), (("wet",), "median")])
def test_a_file_to_predict_or_evaluate_is_read_as_the_training_table_was(tmp_path, target, nan):
    rng = np.random.default_rng(0)
    frame = people().assign(id=rng.permutation(N), p=rng.normal(size=N), q=rng.normal(size=N), wet=rng.random(N) > 0.5)
    frame = frame.assign(cold=rng.integers(0, 2, N))
    left_out = tuple(name for name in ("p", "q", "wet", "cold", "y") if name not in target)
    how: dict[str, Any] = {"target": target, "drop": left_out, "nan": nan, "split": "time:id"}
    frame.to_csv(tmp_path / "t.csv", index=False)
    loaded = load(tmp_path / "t.csv", **how)
    run = as_run(loaded, how, tmp_path / "run")
    last: Any = frame[frame["id"] >= N - len(loaded.test.x)]
    last.to_csv(tmp_path / "last.csv", index=False)
    np.testing.assert_array_equal(run.encode(tmp_path / "last.csv"), loaded.test.x)
    answers, known = run.predict(str(tmp_path / "last.csv")), last[list(target)].to_numpy()
    metrics = run.evaluate(str(tmp_path / "last.csv"))
    if loaded.task == "regression":
        np.testing.assert_allclose(metrics["mse"], np.mean((answers - known) ** 2), rtol=1e-5)
    elif loaded.task == "multilabel":
        np.testing.assert_allclose(metrics["label_accuracy"], np.mean(answers == known), rtol=1e-6)
    else:
        np.testing.assert_allclose(metrics["accuracy"], np.mean(answers == known[:, 0].astype(str)), rtol=1e-6)
