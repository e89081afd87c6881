"""Who is who at prediction: columns by name, categories of training, images of the same range; and whose weights."""

from __future__ import annotations

import json
from typing import Any

import jax
import numpy as np
import pandas as pd
import polars
import pytest
import safetensors.numpy

import jaxnn
from jaxnn import data, recipe
from jaxnn.commands import arguments
from jaxnn.config import paths
from jaxnn.config.data import DataConfig
from jaxnn.config.settings import Config
from jaxnn.errors import InputError, NumericsError
from jaxnn.store import identity, weights

RNG = np.random.default_rng(0)


def load(*args: Any, **kwargs: Any) -> Any:  # Any, since a test knows which splits there are
    return data.load(*args, **kwargs)


def as_run(loaded: Any, config: Config, folder: Any, answer: Any) -> jaxnn.Run:
    """A run's folder, as it would be after training, with parameters that `answer` makes of those at the start."""
    about = loaded.describe()
    model, task, example = recipe.network(config, about, mean=loaded.mean, std=loaded.std)
    folder.mkdir()
    versions = {"source": None, "own_model": False}
    identity.write(folder, identity.describe(config, about, "cpu", **versions))
    weights.save(folder, answer(model.init(jax.random.key(0), example)), epochs=config.epochs)
    return jaxnn.load_run(folder)


def linear(w: Any, b: Any = 0.0) -> Any:
    """Parameters of a linear network of standardised inputs that compute w x + b of the raw ones."""

    def parameters(params: Any) -> Any:
        stats = params.get("input_stats", {"mean": np.zeros(len(w)), "std": np.ones(len(w))})
        scaled = np.asarray(w) * np.asarray(stats["std"])
        bias = b + np.dot(w, stats["mean"])
        layer = {"w": scaled[None].astype(np.float32), "b": np.array([bias], np.float32)}
        return params | {"dense_0": layer}

    return parameters


def config(**values: Any) -> Config:
    return Config(model=jaxnn.ModelConfig(kind="linear"), data=DataConfig("a table", **values))


@pytest.fixture(scope="module")
def people() -> pd.DataFrame:
    n = 60
    colour = np.array(["red", "green", "blue"])[np.arange(n) % 3]
    frame = pd.DataFrame({"age": RNG.uniform(20, 80, n), "colour": colour, "income": RNG.uniform(0, 9e4, n)})
    return frame.assign(label=np.where(frame["age"] > 50, "old", "young"))


@pytest.fixture(scope="module")
def run(people, tmp_path_factory) -> jaxnn.Run:
    loaded = load(people, test_fraction=0, validation_fraction=0)
    assert loaded.features == ("age", "colour=blue", "colour=green", "colour=red", "income")
    return as_run(loaded, config(), tmp_path_factory.mktemp("run") / "run", linear([-1.0, 0, 0, 0, 0], 50.0))


def test_columns_are_found_by_name_in_whatever_order_and_kind_of_frame_they_come(run, people, tmp_path):
    assert run.predict(run.encode(people)).tolist() == people["label"].tolist()
    shuffled = people[["income", "label", "colour", "age"]]
    for frame in (people, shuffled, shuffled.drop(columns="label"), polars.DataFrame(shuffled.to_dict("list"))):
        assert run.predict(frame).tolist() == people["label"].tolist()
        assert run.predict_proba(frame).shape == (60, 2)
    shuffled.to_csv(tmp_path / "new.csv", index=False)
    shuffled.to_parquet(tmp_path / "new.parquet")
    for name in ("new.csv", "new.parquet"):
        np.testing.assert_allclose(run.encode(tmp_path / name), run.encode(people), rtol=1e-6)
    few = people[people["colour"] == "green"].head(2)
    np.testing.assert_array_equal(run.encode(few)[:, 1:4], [[0, 1, 0]] * 2)  # categories of training, not of these rows


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda f: f.rename(columns={"age": "Age"}), "has no column age, which the network was trained on"),
        (lambda f: f.drop(columns="colour"), "has no column colour"),
        (
            lambda f: f.assign(colour="pink"),
            "row 0, column colour=pink: not one of the training file (blue, green, red)",
        ),
        (lambda f: f.assign(age=None), "row 0, column age=None: missing value"),
        (lambda f: f.assign(age="old"), "row 0, column age=old: must be a number"),
        (lambda f: f.assign(colour=1.5), "column colour=1.5: a number, in the training table a text"),
        (lambda f: f.assign(age=np.inf), "row 0, column age=inf: must be finite"),
    ],
)
def test_a_frame_that_does_not_fit_is_refused(run, people, change, message):
    with pytest.raises(InputError) as caught:
        run.predict(change(people))
    assert message in str(caught.value)


def test_an_answer_that_is_no_number_is_refused(run):
    x = np.zeros((3, 5), np.float32)
    x[1] = 3.4e38
    opposed = {"dense_0": {"w": np.array([[9e9, -9e9, 0, 0, 0]], np.float32), "b": np.zeros(1, np.float32)}}
    with pytest.raises(NumericsError, match=r"x\[1\]: the network answers"):
        run._replace(params=run.params | opposed).predict(x)
    with pytest.raises(InputError, match=r"x\[0, 0\]=1e\+39: is no float32"):
        run.predict(np.full((1, 5), 1e39))


def test_seconds_since_1970_keep_their_differences(tmp_path):
    seconds = 1_700_000_000 + np.arange(0, 90, 0.25)
    frame = pd.DataFrame({"t": seconds, "whole": (seconds * 4).astype(np.int64), "y": np.arange(360) // 180})
    loaded = load(frame, test_fraction=0, validation_fraction=0)
    train = loaded.parts["train"].x
    assert (
        loaded.train.x.dtype == np.float64
        and len(np.unique(loaded.train.x[:, 0])) == len(np.unique(train[:, 0])) == 360
    )
    scaled = (train.astype(float) - loaded.mean) / loaded.std
    exact = frame[["t", "whole"]].to_numpy(np.float64)
    np.testing.assert_allclose(scaled, (exact - exact.mean(0)) / exact.std(0), atol=1e-6)
    run = as_run(
        loaded,
        config(),
        tmp_path / "run",
        lambda params: params | {"dense_0": {"w": np.array([[1, 0]], np.float32), "b": np.zeros(1, np.float32)}},
    )
    assert (run.predict(exact) == frame["y"]).mean() == (run.predict(frame) == frame["y"]).mean() == 1
    with pytest.raises(InputError, match="x=float32: loses the differences"):
        run.predict(exact.astype(np.float32))
    with pytest.raises(InputError, match="t=1700000045.* ± 25.8: float32 would lose its differences; standardise"):
        load(frame, standardize=False)


def picture(top: float, dtype: Any) -> np.ndarray:
    x = RNG.integers(0, 256, (40, 4, 4, 1)) / 255 * top
    x[0, 0, 0] = top
    return np.round(x).astype(dtype) if top > 1 or np.dtype(dtype).kind != "f" else x.astype(dtype)


def test_differences_of_small_numbers_are_kept_too(tmp_path):
    x = 1e-3 + 1e-12 * np.arange(40)  # its mean is no whole number but 0
    np.savez(tmp_path / "t.npz", x=np.column_stack([x, np.full(40, 0.1)]), y=np.arange(40) // 20)
    frame = pd.DataFrame({"x": x, "constant": 0.1, "y": np.arange(40) // 20})
    for table in (tmp_path / "t.npz", frame):
        loaded = load(table, test_fraction=0, validation_fraction=0)
        assert len(np.unique(loaded.parts["train"].x[:, 0])) == 40 and loaded.offset[1] == 0
        np.testing.assert_allclose(loaded.std[0], x.std(), rtol=1e-4)


@pytest.mark.parametrize("kind", [np.float64, np.int64])
def test_seconds_that_are_one_number_in_float32_are_still_told_apart(kind, tmp_path):
    seconds = (1_700_000_000 + np.arange(30)).astype(kind)  # float32 has 1,699,999,999.. to 1,700,000,063 as one
    assert len(np.unique(seconds.astype(np.float32))) == 1
    frame = pd.DataFrame({"t": seconds, "y": np.arange(30) // 15})
    np.savez(tmp_path / "t.npz", x=seconds[:, None], y=frame["y"])
    for table in (frame, tmp_path / "t.npz"):
        loaded = load(table, test_fraction=0, validation_fraction=0)
        np.testing.assert_array_equal(loaded.parts["train"].x[:, 0] + loaded.offset[0], seconds)
    amounts = pd.DataFrame({"x": np.arange(30.0), "y": seconds + 0.25})
    with pytest.raises(InputError, match="amounts to predict=1700000014.75 ± 8.66: float32 would lose"):
        load(amounts, task="regression")


@pytest.mark.parametrize(
    "top, dtype, kept, scale",
    [
        (255, np.uint8, np.uint8, 255), (255, np.float64, np.uint8, 255), (255, np.int64, np.uint8, 255),
        (1, np.float32, np.float32, None), (16, np.float32, np.float32, None), (65535, np.uint16, np.float32, 65535),
        (4095, np.uint16, np.float32, 4095), (1, np.uint8, np.uint8, 1),
    ],
)  # fmt: skip
def test_images_mean_the_same_whatever_dtype_they_come_in(tmp_path, top, dtype, kept, scale):
    x = picture(top, dtype)
    np.savez(tmp_path / "t.npz", x=x, y=np.arange(40) % 2)
    loaded = load(tmp_path / "t.npz", test_fraction=0, validation_fraction=0)
    assert (loaded.train.x.dtype, loaded.scale) == (kept, scale) and (loaded.train.x == x).all()
    example = jax.ShapeDtypeStruct(loaded.shape, kept)
    model = jaxnn.adopt(jaxnn.chain(jaxnn.identity), example, scale=loaded.scale)
    np.testing.assert_allclose(model.apply({}, loaded.train.x), x / (scale or 1), rtol=1e-6)
    run = as_run(loaded, config(), tmp_path / "run", lambda params: params)
    assert len(run.predict(x)) == 40
    other = {1: x * 255, 255: (x > 127).astype(dtype)}.get(top)
    if other is not None:
        with pytest.raises(InputError, match="the network was trained on images of 0 to"):
            run.predict(np.clip(other, 0, 255).astype(other.dtype if kept != np.uint8 else np.uint8))


def test_weights_of_a_run_that_was_stopped_or_failed_are_not_those_of_a_trained_network(run, tmp_path):
    loaded = load("iris")
    made = as_run(loaded, Config(data=DataConfig("iris"), epochs=7), tmp_path / "run", lambda params: params)
    for ending, epochs, message in (
        ("stopped", 7, "was stopped before the end of its 7 epochs"),
        ("finished", 5, "was stopped before the end of its 7 epochs"),  # finished once, and then made longer
        ("failed", "", "ended with a number that is not finite"),
    ):
        weights.save(tmp_path / "run", made.params, ending, epochs)
        with pytest.raises(InputError, match=message):
            jaxnn.load_run(tmp_path / "run")
        if ending == "failed":
            with pytest.raises(InputError, match=message):
                jaxnn.load_run(tmp_path / "run", partial=True)
        else:
            assert len(jaxnn.load_run(tmp_path / "run", partial=True).predict(loaded.test.x)) == 30
    content = safetensors.numpy.load_file(tmp_path / "run" / "weights.safetensors")
    assert sorted(content) == sorted(jaxnn.tree.by_name(made.params))


def test_the_default_config_is_that_of_the_kind_of_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("rows.npz", x=np.zeros((9, 3)), y=np.arange(9))
    np.savez("images.npz", x_train=np.zeros((9, 3, 3, 1)), y_train=np.arange(9))
    (tmp_path / "t.tsv").write_text("a\ty\n1\t2\n")
    names = {"rows.npz": "table", "images.npz": "digits_mlp", "t.tsv": "table", "iris": "table", "digits": "digits_mlp"}
    for name, expected in {**names, "no.csv": "digits_mlp"}.items():
        assert arguments.parse(["--data.name", name], paths.CONFIGS).source == expected
    assert arguments.parse(["iris_mlp", "--data.name", "rows.npz"], paths.CONFIGS).source == "iris_mlp"
    for flags, expected in (([], None), (["--data.standardize"], True), (["--data.no-standardize"], False)):
        assert arguments.parse(flags, paths.CONFIGS).flags.run.data.standardize is expected


@pytest.mark.parametrize(
    "given, expected",
    [
        ({0: 1.0, 1: 9.0}, [1, 9]), ({1: np.int64(9)}, [1, 9]), ([1, np.float32(9)], [1, 9]),
        (np.array([2, 3]), [2, 3]), ({np.str_("0"): 4}, [4, 1]), ("balanced", [1, 1]),
    ],
)  # fmt: skip
def test_class_weights_by_label_and_in_order(tmp_path, given, expected):
    np.savez(tmp_path / "t.npz", x=RNG.normal(size=(20, 2)), y=np.arange(20) % 2)
    loaded = load(tmp_path / "t.npz", class_weight=given, test_fraction=0, validation_fraction=0)
    np.testing.assert_array_equal(loaded.train.weight, np.array(expected)[loaded.train.y])
    words = [given] if isinstance(given, str) else None
    if isinstance(given, dict):
        words = [f"{label}={weight}" for label, weight in given.items()]
    if words:
        flags = ["--data.name", str(tmp_path / "t.npz"), "--data.class-weight", *words]
        config = arguments.parse(flags, paths.CONFIGS).flags.run.data
        found = data.from_config(config)
        np.testing.assert_array_equal(found.train.weight, np.array(expected)[found.train.y])
        assert json.loads(json.dumps(config.class_weight)) in (list(config.class_weight or ()), "balanced")


@pytest.mark.parametrize(
    "given, message",
    [
        ({"2": 1.0}, "--data.class_weight=2: unknown; Choose from 0, 1"),
        ({0: -1.0}, "must be finite and >= 0"),
        (("0=1", "2.0"), "must be numbers in the order of the classes"),
        (("0=1", "0=2"), "must be all by label, each once, or all in order"),
        (("0=x",), "must be numbers in the order of the classes"),
        ([1.0, 2.0, 3.0], "must be 2 numbers"),
    ],
)
def test_class_weights_that_fit_no_class_are_refused(tmp_path, given, message):
    np.savez(tmp_path / "t.npz", x=RNG.normal(size=(20, 2)), y=np.arange(20) % 2)
    with pytest.raises(InputError) as caught:
        load(tmp_path / "t.npz", class_weight=given)
    assert message in str(caught.value)
