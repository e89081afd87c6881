"""`jaxnn predict` and `jaxnn evaluate`: files of new examples, and the predictions that are written of them."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import jaxnn
from jaxnn import data, recipe
from jaxnn.commands import main
from jaxnn.commands import predict as command
from jaxnn.config.data import DataConfig
from jaxnn.config.settings import Config
from jaxnn.config.task import TaskConfig
from jaxnn.data import grid, incoming
from jaxnn.data.readers import delimited
from jaxnn.errors import DataError, Error, InputError, NumericsError
from jaxnn.store import identity, weights

RNG = np.random.default_rng(0)
ROOT = Path(__file__).parent.parent


def people(n: int) -> pd.DataFrame:
    colour = np.array(["red", "green", "light blue"])[RNG.integers(0, 3, n)]
    frame = pd.DataFrame({"age": RNG.uniform(20, 80, n), "colour": colour, "income": RNG.uniform(0, 9e4, n)})
    frame["weight"] = RNG.integers(1, 4, n)
    return frame.assign(kind=np.where(frame["age"] > 50, "old, and wise", 'the "young"'))


PEOPLE, NEW = people(120), people(40)


def as_run(folder: Path, source: Any, kind: str = "mlp", task: str = "auto", **options: Any) -> Path:
    """A run's folder, as it would be after training, with the parameters of the start."""
    config = Config(model=jaxnn.ModelConfig(kind=kind, hidden=(5,)), data=DataConfig(str(source), **options))
    if task != "auto":
        config = Config(model=config.model, data=config.data, task=TaskConfig(name=task))
    given = {"source": source} if not isinstance(source, str | Path) else {}
    loaded = data.from_config(config.data, task, **given)
    model, _, example = recipe.network(config, loaded.describe(), mean=loaded.mean, std=loaded.std)
    folder.mkdir(parents=True)
    about = identity.describe(config, loaded.describe(), "cpu", source="mine", own_model=False, source_digest=None)
    identity.write(folder, about)
    weights.save(folder, model.init(jax.random.key(0), example), epochs=config.epochs)
    return folder


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> SimpleNamespace:
    """A real run on a table with texts and weights, and files of new rows."""
    folder = tmp_path_factory.mktemp("table")
    PEOPLE.to_csv(folder / "people.csv", index=False)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    flags = ["--data.weight", "weight", "--model.hidden", "6", "--epochs", "2", "--batch-size", "64", "--devices", "1"]
    argv = ["--data.name", str(folder / "people.csv"), *flags, "--data.validation-fraction", "0"]
    assert main.train([*argv, "--workdir", str(folder / "run")]) == 0
    for number, handler in handlers.items():
        signal.signal(number, handler)
    features = NEW.drop(columns="kind")
    features.to_csv(folder / "new.csv", index=False)
    features.to_parquet(folder / "new.parquet")
    features.to_feather(folder / "new.feather")
    features[features.columns[::-1]].to_csv(folder / "turned.tsv", index=False, sep="\t")
    NEW.to_csv(folder / "labelled.csv", index=False)
    return SimpleNamespace(folder=folder, run=folder / "run", loaded=jaxnn.load_run(folder / "run"))


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> SimpleNamespace:
    """Folders of images: one of training with a sub-folder a class, and a run on it."""
    folder = tmp_path_factory.mktemp("photos")
    for name in ("cat", "dog"):
        (folder / "train" / name).mkdir(parents=True)
        for i in range(12):
            Image.fromarray(RNG.integers(0, 256, (6, 5, 3), np.uint8)).save(folder / "train" / name / f"{i:02}.png")
    run = as_run(folder / "run", folder / "train")
    return SimpleNamespace(folder=folder, train=folder / "train", run=run, loaded=jaxnn.load_run(run))


def predicted(capsysbinary: Any, *argv: object) -> pd.DataFrame:
    """What `jaxnn predict` writes to standard output, all cells as texts."""
    assert command.predict([*map(str, argv)]) == 0
    return pd.read_csv(io.BytesIO(capsysbinary.readouterr().out), dtype=str, keep_default_na=False)


def refused(*argv: object, by: Any = command.predict) -> str:
    with pytest.raises(Error) as caught:
        by([*map(str, argv)])
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.long
def test_predictions_of_a_new_csv_are_those_of_scikit_learns_pipeline_and_numpy(table, capsysbinary):
    run = table.loaded
    train = data.from_config(run.config.data).train
    ages = PEOPLE["age"].to_numpy(np.float32)
    rows = PEOPLE[np.isin(ages, train.x[:, list(run.data["features"]).index("age")])]
    assert len(rows) == len(train.x) == 96
    onehot = make_pipeline(OneHotEncoder(sparse_output=False), StandardScaler())
    columns = ColumnTransformer([("numbers", StandardScaler(), ["age", "income"]), ("texts", onehot, ["colour"])])
    columns.fit(rows)
    found = ["age", "income", *(f"colour={c}" for c in sorted(set(rows["colour"])))]
    x = columns.transform(NEW)[:, [found.index(name) for name in run.data["features"]]]
    layers = [run.params[name] for name in sorted(run.params) if name.startswith("dense")]
    hidden = np.maximum(x @ np.asarray(layers[0]["w"]).T + layers[0]["b"], 0)
    p = 1 / (1 + np.exp(-(hidden @ np.asarray(layers[1]["w"]).T + layers[1]["b"])[:, 0]))

    cells = predicted(capsysbinary, table.run, table.folder / "new.csv", "--proba")
    assert list(cells) == ["kind", "P(old, and wise)", 'P(the "young")']
    np.testing.assert_allclose(cells['P(the "young")'].astype(float), p, atol=1e-5)
    np.testing.assert_allclose(cells["P(old, and wise)"].astype(float), 1 - p, atol=1e-5)
    assert cells["kind"].tolist() == np.where(p > 0.5, 'the "young"', "old, and wise").tolist()


@pytest.mark.long
def test_csv_parquet_feather_a_frame_and_standard_input_give_the_same(table, capsysbinary, monkeypatch):
    frame = NEW.drop(columns="kind")
    p, answers = table.loaded.predict_proba(frame), table.loaded.predict(frame)
    for name in ("new.csv", "new.parquet", "new.feather", "turned.tsv", "labelled.csv"):
        np.testing.assert_allclose(table.loaded.predict_proba(table.folder / name), p, rtol=1e-6)
        assert table.loaded.predict(str(table.folder / name)).tolist() == answers.tolist()
    given = (table.folder / "new.csv").read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
    piped = predicted(capsysbinary, table.run, "-", "--proba")
    pd.testing.assert_frame_equal(piped, predicted(capsysbinary, table.run, table.folder / "new.csv", "--proba"))
    assert piped["kind"].tolist() == answers.tolist()


@pytest.mark.long
def test_all_formats_of_output_hold_the_same_numbers(table, capsysbinary, tmp_path):
    for name in ("p.csv", "p.jsonl", "p.parquet"):
        argv = [table.run, table.folder / "new.csv", "--proba", "--output", tmp_path / name]
        assert command.predict([*map(str, argv)]) == 0
        assert capsysbinary.readouterr().out == b""
    read = [pd.read_csv(tmp_path / "p.csv"), pd.read_json(tmp_path / "p.jsonl", lines=True)]
    read.append(pd.read_parquet(tmp_path / "p.parquet"))
    lines = (tmp_path / "p.jsonl").read_text().splitlines()
    assert [json.loads(line)["kind"] for line in lines] == read[0]["kind"].tolist()
    p = table.loaded.predict_proba(table.folder / "new.csv")
    for frame in read:
        assert frame["kind"].tolist() == table.loaded.predict(table.folder / "new.csv").tolist()
        np.testing.assert_array_equal(frame.iloc[:, 1:].to_numpy(np.float32), p)  # float32 comes back exactly
    assert sorted(os.listdir(tmp_path)) == ["p.csv", "p.jsonl", "p.parquet"]


@pytest.mark.long
def test_a_part_at_a_time_gives_what_the_whole_gives_and_the_same_places(table, photos, monkeypatch, tmp_path):
    names = [table.folder / name for name in ("new.csv", "new.parquet", "new.feather")]
    whole, images = [table.loaded.predict_proba(name) for name in names], photos.loaded.predict_proba(photos.train)
    monkeypatch.setattr(grid, "ROWS", 7)
    monkeypatch.setattr(incoming, "MAX_IMAGES", 5)
    monkeypatch.setattr(delimited, "CHUNK", 300)
    assert len(list(table.loaded.outputs_of(names[:1]))) > 5
    for name, expected in zip(names, whole, strict=True):
        np.testing.assert_allclose(table.loaded.predict_proba(name), expected, rtol=1e-6)
    np.testing.assert_allclose(photos.loaded.predict_proba(photos.train), images, rtol=1e-6)
    odd = NEW.assign(colour=np.where(np.arange(40) == 33, "pink", NEW["colour"]))
    odd.to_csv(tmp_path / "odd.csv", index=False)
    odd.to_parquet(tmp_path / "odd.parquet")
    assert "odd.csv line 35, column colour=pink: not one of" in refused(table.run, tmp_path / "odd.csv")
    assert "odd.parquet row 33, column colour=pink: not one of" in refused(table.run, tmp_path / "odd.parquet")


@pytest.mark.long
@pytest.mark.parametrize("n", [1, 129])
def test_the_rows_of_the_output_are_those_of_the_input(table, capsysbinary, tmp_path, n):
    rows = NEW.sample(n, replace=True, random_state=n)
    rows.to_csv(tmp_path / "rows.csv", index=False)
    cells = predicted(capsysbinary, table.run, tmp_path / "rows.csv")
    assert cells["kind"].tolist() == table.loaded.predict(rows).tolist() and len(cells) == n


@pytest.mark.long
@pytest.mark.parametrize(
    "labels, written",
    [
        (["yes", "no"], ["yes", "no"]), ([7, 9], ["7", "9"]), ([True, False], ["true", "false"]),
        (["01", "1"], ["01", "1"]), ([-1, 1], ["-1", "1"]), (["a", "b", 'c"'], ["a", "b", 'c"']),
    ],
)  # fmt: skip
def test_labels_are_as_they_were_written(labels, written, tmp_path, capsysbinary):
    frame = pd.DataFrame({"x": RNG.normal(size=60), "z": RNG.normal(size=60), "y": np.resize(labels, 60)})
    run = as_run(tmp_path / "run", frame, validation_fraction=0, test_fraction=0)
    frame.to_parquet(tmp_path / "t.parquet")
    cells = predicted(capsysbinary, run, tmp_path / "t.parquet", "--proba")
    assert set(cells["y"]) <= set(written) and sorted(cells)[:-1] == sorted(f"P({label})" for label in labels)
    argv = [run, tmp_path / "t.parquet", "--output", tmp_path / "p.parquet"]
    assert command.predict([*map(str, argv)]) == 0
    back = pd.read_parquet(tmp_path / "p.parquet")["y"]
    assert set(back.tolist()) <= set(labels) and {type(v) for v in back.tolist()} == {type(labels[0])}
    assert jaxnn.load_run(run).evaluate(frame) == jaxnn.load_run(run).evaluate(tmp_path / "t.parquet")
    assert jaxnn.load_run(run).evaluate(frame)["accuracy"] == pytest.approx((back == frame["y"]).mean(), abs=1e-6)


@pytest.mark.long
def test_amounts_one_or_several_have_columns_of_their_own(tmp_path, capsysbinary):
    x = RNG.normal(size=(40, 3))
    np.savez(tmp_path / "one.npz", x=x, y=x @ [1.5, 2, 3])
    np.savez(tmp_path / "two.npz", x=x, y=x @ RNG.normal(size=(3, 2)))
    pd.DataFrame(x, columns=[*"abc"]).assign(price=x @ [1.5, 2, 3]).to_csv(tmp_path / "t.csv", index=False)
    np.savez(tmp_path / "x.npz", x=x)
    for name, new, expected in (
        ("one.npz", "x.npz", ["prediction"]),
        ("two.npz", "two.npz", ["prediction_0", "prediction_1"]),
        ("t.csv", "t.csv", ["price"]),
    ):
        run = as_run(tmp_path / "runs" / name, tmp_path / name, test_fraction=0, validation_fraction=0)
        cells = predicted(capsysbinary, run, tmp_path / new)
        answers = jaxnn.load_run(run).predict(x)
        assert list(cells) == expected
        np.testing.assert_allclose(cells.to_numpy(float), answers.reshape(40, -1), rtol=1e-5)
        assert "--proba: a regression has no probabilities" in refused(run, tmp_path / new, "--proba")
        y = np.load(tmp_path / name)["y"] if name != "t.csv" else x @ [1.5, 2, 3]
        metrics = jaxnn.load_run(run).evaluate(tmp_path / name)
        assert metrics["mse"] == pytest.approx(np.mean((answers - y) ** 2), rel=1e-4)


def test_several_labels_have_a_column_each(tmp_path, capsysbinary):
    x = RNG.normal(size=(40, 3))
    np.savez(tmp_path / "t.npz", x=x, y=np.stack([x[:, 0] > 0, x[:, 1] > 0], 1).astype(int))
    run = as_run(tmp_path / "run", tmp_path / "t.npz", test_fraction=0, validation_fraction=0)
    cells = predicted(capsysbinary, run, tmp_path / "t.npz", "--proba")
    assert list(cells) == ["prediction_0", "prediction_1", "P(0)", "P(1)"]
    p = jaxnn.load_run(run).predict_proba(x)
    assert (cells.iloc[:, :2].to_numpy() == (p > 0.5).astype(int).astype(str)).all()
    metrics, y = jaxnn.load_run(run).evaluate(tmp_path / "t.npz"), np.load(tmp_path / "t.npz")["y"]
    assert metrics["label_accuracy"] == pytest.approx(((p > 0.5) == y).mean(), abs=1e-6)


def test_images_from_files_are_the_arrays(photos, capsysbinary):
    files = sorted(photos.train.rglob("*.png"))
    x = np.stack([np.asarray(Image.open(path)) for path in files])
    (photos.train / "README.txt").write_text("what these are")
    p = photos.loaded.predict_proba(x)
    np.testing.assert_array_equal(photos.loaded.predict_proba(photos.train), p)
    cells = predicted(capsysbinary, photos.run, photos.train, "--proba")
    assert list(cells) == ["file", "prediction", "P(cat)", "P(dog)"]
    assert cells["file"].tolist() == list(map(str, files))
    np.testing.assert_array_equal(cells["P(cat)"].to_numpy(np.float32), p[:, 0])
    assert cells["prediction"].tolist() == photos.loaded.predict(x).tolist()
    assert photos.loaded.predict(files[3]).tolist() == photos.loaded.predict(x[3:4]).tolist()
    some = predicted(capsysbinary, photos.run, files[7], files[1])
    assert some["file"].tolist() == [str(files[7]), str(files[1])]
    assert some["prediction"].tolist() == photos.loaded.predict(x[[7, 1]]).tolist()
    flat = predicted(capsysbinary, photos.run, photos.train / "cat")
    assert flat["file"].tolist() == list(map(str, files[:12]))
    (photos.train / "README.txt").unlink()


def test_a_dark_image_is_an_image_of_bytes(photos, tmp_path):
    Image.fromarray(np.ones((6, 5, 3), np.uint8)).save(tmp_path / "dark.png")
    assert len(photos.loaded.predict(tmp_path / "dark.png")) == 1


@pytest.mark.long
def test_evaluate_gives_what_the_test_row_of_the_run_has(table, tmp_path, capsys):
    rows = [json.loads(line) for line in (table.run / "history.jsonl").read_text().splitlines()]
    expected = {name.removeprefix("test/"): v for name, v in rows[-1].items() if name.startswith("test/")}
    test = data.from_config(table.loaded.config.data).test
    assert test is not None
    at = list(table.loaded.data["features"]).index("age")
    tested = PEOPLE[np.isin(PEOPLE["age"].to_numpy(np.float32), test.x[:, at])]
    tested.to_csv(tmp_path / "test.csv", index=False)
    for source in (tested, tmp_path / "test.csv"):
        assert table.loaded.evaluate(source) == pytest.approx(expected, rel=1e-6)
    argv = [str(table.run), str(tmp_path / "test.csv"), "--output", str(tmp_path / "m.json")]
    assert command.evaluate(argv) == 0
    assert json.loads((tmp_path / "m.json").read_text()) == pytest.approx(expected, rel=1e-6)
    assert json.loads(capsys.readouterr().out) == json.loads((tmp_path / "m.json").read_text())
    right = table.loaded.predict(tested) == tested["kind"]
    assert expected["accuracy"] == pytest.approx(np.average(right, weights=tested["weight"]), abs=1e-6)


def test_evaluate_reads_folders_of_images_and_archives(photos, tmp_path):
    files = sorted(photos.train.rglob("*.png"))
    x = np.stack([np.asarray(Image.open(path)) for path in files])
    labels = np.array([path.parent.name for path in files])
    np.savez(tmp_path / "t.npz", x=x, y=labels)
    metrics = photos.loaded.evaluate(photos.train)
    assert metrics == photos.loaded.evaluate(tmp_path / "t.npz")
    assert metrics["accuracy"] == pytest.approx((photos.loaded.predict(x) == labels).mean(), abs=1e-6)


def test_one_label_against_the_rest_is_evaluated_so(tmp_path):
    frame = pd.DataFrame({"x": RNG.normal(size=60), "y": np.resize([3, 4, 5], 60)})
    for name, given, positive in (("int", frame, "4"), ("text", frame.replace({"y": {3: "a", 4: "b", 5: "c"}}), "b")):
        options: dict[str, Any] = {"test_fraction": 0, "validation_fraction": 0, "positive": positive}
        run = jaxnn.load_run(as_run(tmp_path / name, given, **options))
        assert run.data["classes"] == [f"not {positive}", positive]
        right = (run.predict(given) == positive) == (frame["y"] == 4)
        assert run.evaluate(given)["accuracy"] == pytest.approx(right.mean(), abs=1e-6)
        given.assign(y=3.5 if name == "int" else "d").to_csv(tmp_path / "other.csv", index=False)
        with pytest.raises(InputError, match="not a class of the training|not one of the training file"):
            run.evaluate(tmp_path / "other.csv")


def test_one_label_against_the_rest_is_found_however_it_is_written(tmp_path):
    """2 as 2.0; an accented letter in Unicode's other form."""
    accented = chr(233), "e" + chr(769)
    written = (
        (("0", "1", "2"), ("0.0", "1.0", "2.0"), "2"),
        (("b", "c", accented[0]), ("b", "c", accented[1]), accented[0]),
    )
    for k, (first, second, positive) in enumerate(written):
        paths = tmp_path / f"first{k}.csv", tmp_path / f"second{k}.csv"
        for path, labels in zip(paths, (first, second), strict=True):
            frame = pd.DataFrame({"x": np.linspace(-2, 2, 60), "y": np.resize(labels, 60)})
            frame.to_csv(path, index=False)
        whole: dict[str, Any] = {"test_fraction": 0, "validation_fraction": 0}
        one = jaxnn.load_run(as_run(tmp_path / f"one{k}", paths[0], positive=positive, **whole))
        two = jaxnn.load_run(as_run(tmp_path / f"two{k}", paths[1], positive=positive, **whole))
        expected = one.evaluate(paths[0])
        assert one.evaluate(paths[1]) == two.evaluate(paths[0]) == two.evaluate(paths[1]) == expected
        assert expected["loss"] != one.evaluate(pd.read_csv(paths[0]).iloc[:50])["loss"]


def test_what_rows_of_one_class_do_not_have_is_nan(tmp_path, capsys):
    frame = pd.DataFrame({"x": np.linspace(-2, 2, 40), "y": np.resize(["no", "yes"], 40)})
    run = as_run(tmp_path / "run", frame, test_fraction=0)
    about = json.loads((run / "config.json").read_text())
    about["config"]["task"]["metrics"] = ["auc"]
    (run / "config.json").write_text(json.dumps(about))
    frame[frame["y"] == "yes"].to_csv(tmp_path / "yes.csv", index=False)
    assert command.evaluate([str(run), str(tmp_path / "yes.csv"), "--output", str(tmp_path / "m.json")]) == 0
    assert json.loads(capsys.readouterr().out)["auc"] is None
    metrics = json.loads((tmp_path / "m.json").read_text())
    assert metrics["auc"] is None and metrics["loss"] > 0
    with pytest.raises(InputError, match="source=ndarray: must be a path or a data frame"):
        jaxnn.load_run(run).evaluate(np.zeros((2, 1)))


def test_a_bundled_set_has_names_of_columns_and_no_target(tmp_path, capsysbinary):
    run = as_run(tmp_path / "run", "iris")
    loaded = data.load("iris")
    frame = pd.DataFrame(loaded.train.x, columns=loaded.features)
    assert loaded.classes
    frame = frame.assign(species=np.array(loaded.classes)[loaded.train.y])
    frame[frame.columns[::-1]].to_csv(tmp_path / "t.csv", index=False)
    cells = predicted(capsysbinary, run, tmp_path / "t.csv")
    assert cells["prediction"].tolist() == jaxnn.load_run(run).predict(loaded.train.x).tolist()
    frame.to_csv(tmp_path / "last.csv", index=False)
    found = jaxnn.load_run(run).evaluate(tmp_path / "last.csv")["accuracy"]
    assert found == pytest.approx((cells["prediction"] == frame["species"]).mean(), abs=1e-6)


@pytest.mark.long
def test_an_unknown_category_is_refused_or_none(table, tmp_path, capsysbinary):
    odd = NEW.head(3).assign(colour=["red", "pink", "green"])
    odd.to_csv(tmp_path / "odd.csv", index=False)
    message = refused(table.run, tmp_path / "odd.csv")
    assert "line 3, column colour=pink: not one of the training file (green, light blue, red)" in message
    assert message.endswith("repair it, or add --unknown ignore")
    x = table.loaded.encode(odd.drop(index=1))
    ignored = table.loaded.encode(tmp_path / "odd.csv", unknown="ignore")
    zeros = [name.startswith("colour=") for name in table.loaded.data["features"]]
    np.testing.assert_allclose(ignored[[0, 2]], x, rtol=1e-6)
    assert ignored[1, zeros].tolist() == [0, 0, 0] and not ignored[1, ~np.array(zeros)].any() == 0
    cells = predicted(capsysbinary, table.run, tmp_path / "odd.csv", "--unknown", "ignore")
    assert cells["kind"].tolist() == table.loaded.predict(ignored).tolist()
    alien = odd.assign(kind="???")  # a label is never ignored
    with pytest.raises(InputError, match=r"row 0, column kind=\?\?\?: not one of"):
        table.loaded.evaluate(alien, "ignore")


@pytest.mark.long
def test_columns_that_are_not_looked_at_are_named_on_stderr(table, tmp_path, capsys):
    NEW.assign(b=1, a="x").to_csv(tmp_path / "more.csv", index=False)
    assert command.predict([str(table.run), str(tmp_path / "more.csv")]) == 0
    assert capsys.readouterr().err == (
        f"note: {tmp_path}/more.csv: not looked at, as the network was trained without: a, b\n"
    )


@pytest.mark.long
@pytest.mark.parametrize(
    "content, message",
    [
        (b"age,income\n1,2\n", "bad.csv: has no column colour, which the network was trained on; rename or add it"),
        (b"x,y\na,2\n", "bad.csv: has no column age, colour, income, which"),
        (b"", "bad.csv=empty: the first line must name the columns; check the file"),
        (b"age,colour,income\n", "bad.csv=0 examples: must hold at least one row below the header"),
        (b"age,colour,income\n3,red,4\n5,red\n", "bad.csv line 3=2 cells: the header has 3; repair it"),
        (b"age,colour,income\n3,red,\n", "line 2, column income=: missing value; fill it in, or leave the row out"),
        (b"age,colour,income\n3,red,inf\n", "column income=inf: must be finite; repair it, or leave the row out"),
        (b"age,colour,income\n3,red,4\nold,red,4\n", "bad.csv line 3, column age=old: must be a number; repair it"),
        (b"\xff\xfe\x00", "must be UTF-8 text"),
    ],
)
def test_a_bad_table_is_one_line_and_nothing_is_written(table, tmp_path, content, message, capsysbinary, monkeypatch):
    (tmp_path / "bad.csv").write_bytes(content)
    for flags in ([], ["--output", tmp_path / "p.csv"]):
        assert message in refused(table.run, tmp_path / "bad.csv", *flags)
    assert capsysbinary.readouterr().out == b"" and os.listdir(tmp_path) == ["bad.csv"]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert message.replace("bad.csv", "standard input") in refused(table.run, "-")


@pytest.mark.long
def test_bad_rows_late_in_a_file_leave_no_output(table, tmp_path, monkeypatch, capsysbinary):
    monkeypatch.setattr(grid, "ROWS", 7)
    late = NEW.assign(income=np.where(np.arange(40) == 39, np.nan, NEW["income"]))
    late.to_parquet(tmp_path / "late.parquet")
    (tmp_path / "p.csv").write_text("before")
    argv = [table.run, tmp_path / "late.parquet"]
    assert "row 39, column income=None: missing value" in refused(*argv)
    assert "row 39" in refused(*argv, "--output", tmp_path / "p.csv", "--force")
    assert capsysbinary.readouterr().out == b"" and (tmp_path / "p.csv").read_text() == "before"
    assert sorted(os.listdir(tmp_path)) == ["late.parquet", "p.csv"]


def test_a_bad_image_is_named(photos, tmp_path, capsysbinary):
    def saved(name: str, array: np.ndarray) -> Path:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).save(tmp_path / name)
        return tmp_path / name

    good = saved("a.png", np.zeros((6, 5, 3), np.uint8))
    grey, large = saved("grey.png", np.zeros((6, 5), np.uint8)), saved("large.png", np.zeros((9, 5, 3), np.uint8))
    rule = "the network was trained on images [H, W, C]=(6, 5, 3)"
    assert refused(photos.run, good, grey) == f"{grey}=(6, 5, 1): {rule}; convert it"
    assert refused(photos.run, tmp_path) == f"{grey}=(6, 5, 1): {rule}; convert it"
    assert refused(photos.run, large) == f"{large}=(9, 5, 3): {rule}; resize it"
    (tmp_path / "cut.png").write_bytes(good.read_bytes()[:-20])
    with pytest.raises(DataError, match="cut.png: damaged image"):
        command.predict([str(photos.run), str(tmp_path / "cut.png")])
    (tmp_path / "none").mkdir()
    assert "none=0 images: must hold at least one (.bmp, " in refused(photos.run, tmp_path / "none")
    assert capsysbinary.readouterr().out == b""
    saved("classes/zebra/a.png", np.zeros((6, 5, 3), np.uint8))
    message = refused(photos.run, tmp_path / "classes", by=command.evaluate)
    assert message.endswith("classes/zebra: not a class of the training examples (cat, dog); rename it, or remove it")


@pytest.mark.long
def test_a_file_of_another_kind_is_refused(table, photos, tmp_path):
    (tmp_path / "t.txt2").write_text("x")
    np.savez(tmp_path / "y.npz", y=np.zeros(3))
    image, rows = photos.train / "cat" / "00.png", table.folder / "new.csv"
    assert "was trained on images, (6, 5, 3); give images or a .npz with x" in refused(photos.run, rows)
    assert "on rows of age, colour, income; give a table with these columns" in refused(table.run, image)
    assert "on rows of age, colour, income; give a table" in refused(table.run, photos.train)
    assert "t.txt2: must be a folder of images, or a file (.csv, " in refused(table.run, tmp_path / "t.txt2")
    assert "none.csv: no such file or folder; check the path" in refused(table.run, tmp_path / "none.csv")
    assert "y.npz=y: must hold x; save it so" in refused(table.run, tmp_path / "y.npz")
    assert f"{rows}: is one of several, which may only be image files" in refused(photos.run, image, rows)
    assert "-: standard input is one of several sources; give it alone" in refused(photos.run, "-", image)


@pytest.mark.long
def test_a_folder_that_is_no_finished_run_is_refused(table, tmp_path):
    new = table.folder / "new.csv"
    (tmp_path / "empty").mkdir()
    for name in ("empty", "none"):
        message = f"folder={tmp_path / name}: is no run's folder (has no config.json); name the --workdir of a run"
        assert refused(tmp_path / name, new) == message
    run = as_run(tmp_path / "run", PEOPLE)
    made = weights.read(run)
    weights.save(run, made.leaves, weights.STOPPED, 10)
    assert "the run was stopped before the end" in refused(run, new)
    assert command.predict([str(run), str(new), "--partial", "--output", str(tmp_path / "so_far.csv")]) == 0
    weights.save(run, made.leaves, weights.FAILED)
    assert "ended with a number that is not finite" in refused(run, new)
    (run / "weights.safetensors").unlink()
    assert "has no weights" in refused(run, new)


@pytest.mark.long
def test_flags_and_outputs_are_checked_first(table, tmp_path, capsys):
    (tmp_path / "p.csv").write_text("mine")
    new = [table.run, table.folder / "new.csv"]
    for argv, message in (
        (["--outptu", "x.csv"], "--outptu: unknown flag; did you mean --output?"),
        (["-o", "x.csv"], "-o: unknown flag; see --help"),
        (["--proba", "--proba"], "--proba: given twice; keep one"),
        (["--proba=yes"], "--proba=yes: is a switch, which takes no value; write --proba alone"),
        (["--output"], "--output: needs a value; see --help"),
        (["--output", "--force"], "--output: needs a value; see --help"),
        (["--unknown", "ignroe"], "--unknown=ignroe: unknown; did you mean ignore? Choose from ignore, refuse"),
        (["--output", "p.xlsx"], "--output=p.xlsx: must end with .csv or .jsonl or .parquet; rename it"),
        (["--output", tmp_path / "no" / "p.csv"], f"{tmp_path / 'no'} is no folder; make it, or name another"),
        (["--output", tmp_path / "p.csv"], "is there already; name another file, or add --force to replace it"),
        (["--config", "x.py"], "--config=x.py: the run brought nothing of its own; leave it out"),
    ):
        assert message in refused(*new, *argv)
    assert "predict: needs RUN and SOURCE" in refused()
    assert "needs RUN and one LABELLED" in refused(*new, "more.csv", by=command.evaluate)
    assert "must end with .json; rename it" in refused(*new, "--output", "m.csv", by=command.evaluate)
    assert (tmp_path / "p.csv").read_text() == "mine"
    assert command.predict([*map(str, new), "--output", str(tmp_path / "p.csv"), "--force"]) == 0
    assert len((tmp_path / "p.csv").read_text().splitlines()) == 41 and os.listdir(tmp_path) == ["p.csv"]
    for by in (command.predict, command.evaluate):
        assert by(["--help"]) == 0 and capsys.readouterr().out.startswith("usage: jaxnn ")


@pytest.mark.long
def test_labels_that_are_no_classes_are_refused_by_place(table, tmp_path):
    NEW.assign(kind=["x"] * 40).to_csv(tmp_path / "t.csv", index=False)
    message = refused(table.run, tmp_path / "t.csv", by=command.evaluate)
    assert 't.csv line 2, column kind=x: not one of the training file (old, and wise, the "young")' in message
    message = refused(table.run, table.folder / "new.csv", by=command.evaluate)
    assert "has no column kind, which the network was trained on; rename or add it" in message
    frame = pd.DataFrame({"x": RNG.normal(size=60), "y": np.resize([3, 4], 60)})
    run = jaxnn.load_run(as_run(tmp_path / "run", frame))
    with pytest.raises(InputError, match=r"row 1, column y=5: not a class of the training examples \(3, 4\)"):
        run.evaluate(frame.assign(y=np.where(frame.index == 1, 5, frame["y"])))
    broken = jax.tree.map(lambda a: np.full_like(a, np.nan), run.params)
    with pytest.raises(NumericsError, match="loss=nan: must be finite"):
        run._replace(params=broken).evaluate(frame)


OWN = "import jaxnn\nconfig = jaxnn.Config()\nmodel = lambda outputs: jaxnn.linear(outputs)\n"


def test_a_model_of_its_own_comes_from_the_config_file_of_the_run(tmp_path, capsysbinary):
    frame = pd.DataFrame({"x": RNG.normal(size=60), "y": np.resize([3, 4], 60)})
    frame.to_csv(tmp_path / "t.csv", index=False)
    run = as_run(tmp_path / "run", tmp_path / "t.csv", kind="linear")
    expected = jaxnn.load_run(run).predict(frame)
    (tmp_path / "mine.py").write_text(OWN)
    saved = json.loads((run / "config.json").read_text())
    digest = hashlib.sha256(OWN.encode()).hexdigest()
    (run / "config.json").write_text(json.dumps(saved | {"own_model": True, "source_digest": digest}))
    argv = [run, tmp_path / "t.csv"]
    assert refused(*argv) == f"run={run}: its config file brought a model; add --config mine.py, that file"
    cells = predicted(capsysbinary, *argv, "--config", tmp_path / "mine.py")
    assert cells["y"].tolist() == expected.astype(str).tolist()
    (tmp_path / "other.py").write_text(OWN + "\n")
    assert f"is not the file that the run was trained with (SHA-256 {digest[:12]}...); name that file" in refused(
        *argv, "--config", tmp_path / "other.py"
    )
    assert "--config=none.py: no such file; check the path" in refused(*argv, "--config", "none.py")


@pytest.mark.long
def test_a_reader_that_leaves_is_no_error(table, tmp_path):
    pd.concat([NEW] * 500).to_csv(tmp_path / "long.csv", index=False)
    line = f"{sys.executable} -m jaxnn predict {table.run} {tmp_path / 'long.csv'} --proba | head -n 2"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "-o", "pipefail", "-c", line], capture_output=True, text=True, env=env, timeout=300)
    assert (done.returncode, done.stderr) == (0, "") and len(done.stdout.splitlines()) == 2
