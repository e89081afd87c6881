"""What `load` promises for every source: types, splits, weights, statistics, the digest."""

from __future__ import annotations

import dataclasses
import inspect
import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn.datasets
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from jaxnn import data
from jaxnn.config.data import DataConfig
from jaxnn.config.task import TaskConfig
from jaxnn.data import assemble
from jaxnn.data.fitted import moments
from jaxnn.data.split import stratified
from jaxnn.errors import InputError
from jaxnn.types import Batch


def load(*args: Any, **kwargs: Any) -> Any:  # Any, since a test knows which splits there are
    return data.load(*args, **kwargs)


LOADERS = {
    "breast_cancer": sklearn.datasets.load_breast_cancer,
    "diabetes": lambda: sklearn.datasets.load_diabetes(scaled=False),
    "digits": sklearn.datasets.load_digits,
    "iris": sklearn.datasets.load_iris,
    "wine": sklearn.datasets.load_wine,
}
TASKS = {"breast_cancer": ("binary", 1), "diabetes": ("regression", 1), "digits": ("multiclass", 10)}


def rows(split: Batch) -> list[bytes]:
    flat = split.x.reshape(len(split.x), -1).astype(np.float64)
    return [np.append(x, y).tobytes() for x, y in zip(flat, split.y.reshape(len(flat), -1)[:, 0], strict=True)]


@pytest.mark.parametrize("name", LOADERS)
def test_bundled_data_are_all_of_scikit_learns_rows_unchanged(name):
    bunch, loaded = LOADERS[name](), load(name)
    whole = Batch(bunch.data.astype(np.float32), bunch.target.astype(np.float32), bunch.target)
    found = [row for split in loaded.splits for row in rows(split)]
    assert sorted(found) == sorted(rows(whole))
    assert (loaded.task, loaded.outputs) == TASKS.get(name, ("multiclass", 3))
    image = name == "digits"
    for split in loaded.splits:
        assert split.x.dtype == (np.uint8 if image else np.float32)
        assert split.y.dtype == (np.float32 if loaded.task == "regression" else np.int32)
        assert split.weight.dtype == np.float32 and (split.weight == 1).all()
    if image:
        assert loaded.shape == (8, 8, 1) and loaded.scale == 16 and loaded.train.x.max() == 16
    else:
        assert loaded.scale is None and loaded.features == tuple(bunch.feature_names)
    if loaded.task != "regression":
        assert list(loaded.classes) == bunch.target_names.tolist()


def test_importing_data_imports_no_heavy_library():
    heavy = "{'jax', 'sklearn', 'tensorflow', 'tensorflow_datasets', 'PIL'}"
    code = f"import sys, jaxnn.data; assert not {heavy} & set(sys.modules), {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


OTHER: dict[str, Any] = dict(
    dir="d", images="p", image_size="6x7", resize="fill", color="grey",
    target=("t", "u"), drop=("i",), weight="w", text=("a",), missing=("-",), delimiter=";", positive="p",
    class_weight=(1.0, 2.0, 3.0), validation="v", validation_fraction=0.3, test_fraction=0.4, split_seed=5,
    standardize=False, nan="drop", bad_records=6, max_boxes=7, allow_overlap=True, feed="stream", split_by="g",
)  # fmt: skip
BY_TIME = OTHER | {"split": "time:s", "split_by": None, "validation": None, "fold": None}


def arguments(config: DataConfig) -> dict[str, Any]:
    """The arguments of `load` besides the name and the task."""
    values = dataclasses.asdict(config)
    del values["name"], values["augment"]  # which is of the training
    return values


def test_arguments_of_load_are_the_fields_of_the_config(monkeypatch):
    config = DataConfig("iris", positive="setosa", split_seed=3)
    loaded = data.from_config(config, "binary")
    assert loaded.classes == ("not setosa", "setosa")
    assert loaded.digest == load("iris", positive="setosa", split_seed=3).digest
    parameters = inspect.signature(data.load).parameters
    defaults = {"name_or_path": inspect.Parameter.empty, "task": TaskConfig().name, **arguments(DataConfig())}
    assert {name: parameter.default for name, parameter in parameters.items()} == defaults
    seen: list[Any] = []
    monkeypatch.setattr(assemble, "from_config", lambda *told: seen.append(told))
    by_fold = DataConfig("wine", fold="2/3")
    for config in (DataConfig("wine"), by_fold, DataConfig("wine", **OTHER), DataConfig("wine", **BY_TIME)):
        load("wine", **arguments(config), task="multiclass")
        assert seen.pop() == (config, "multiclass")
    assert arguments(config) == BY_TIME
    assert all((OTHER | {"split": "time:s", "fold": "2/3"})[name] != defaults[name] for name in BY_TIME)


def test_description_survives_json():
    about = load("digits").describe()
    assert json.loads(json.dumps(about)) == about
    assert about["examples"] == {"train": 1294, "validation": 144, "test": 359}
    assert (about["shape"], about["outputs"], about["classes"]) == ([8, 8, 1], 10, list(range(10)))


def test_splits_depend_on_the_split_seed_only():
    first, again, other = (load("iris", split_seed=seed) for seed in (0, 0, 1))
    assert first.digest == again.digest != other.digest
    alone = load("iris", validation_fraction=0)
    assert alone.validation is None and rows(alone.test) == rows(first.test)
    assert load("iris", test_fraction=0).test is None


@given(
    st.lists(st.integers(2, 30), min_size=1, max_size=6),
    st.floats(0, 0.99),
    st.integers(0, 2**32 - 1),
)
@settings(deadline=None, max_examples=200)
def test_split_is_a_partition_and_keeps_each_class_share(counts, fraction, seed):
    groups = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    rest, part = stratified(np.random.default_rng(seed), groups, fraction)
    assert sorted([*rest, *part]) == list(range(len(groups)))
    assert (np.diff(rest) > 0).all() and (np.diff(part) > 0).all()
    taken = np.bincount(groups[part], minlength=len(counts))
    assert (np.abs(taken - np.array(counts) * fraction) <= 1).all()
    assert (taken < counts).all()
    room = all(count - count * fraction >= 1 for count in counts)
    assert len(part) == round(len(groups) * fraction) or not room


def test_each_example_is_as_likely_as_another_to_be_in_the_part():
    groups = np.array([0] * 10 + [1] * 20)
    draws = [stratified(np.random.default_rng(seed), groups, 0.3)[1] for seed in range(2000)]
    share = np.bincount(np.concatenate(draws), minlength=30) / 2000
    assert np.abs(share - 0.3).max() < 5 * np.sqrt(0.3 * 0.7 / 2000)


def test_statistics_come_from_the_training_examples_only():
    loaded = load("wine", standardize=True)
    x = loaded.train.x.astype(np.float64)
    np.testing.assert_allclose(loaded.mean, x.mean(0), rtol=1e-6)
    np.testing.assert_allclose(loaded.std, x.std(0), rtol=1e-6)
    assert loaded.mean.dtype == loaded.std.dtype == np.float32
    assert load("wine", standardize=False).mean is load("digits").mean is None
    assert load("wine").mean.tobytes() == loaded.mean.tobytes()  # of a table, where nothing is said


def test_deviation_of_a_constant_feature_is_one():
    x = np.column_stack([np.full(9000, 0.1), np.arange(9000)]).astype(np.float32)
    mean, std = moments(x)
    np.testing.assert_allclose(mean, [0.1, 4499.5], rtol=1e-6)
    np.testing.assert_allclose(std, [1, np.arange(9000).std()], rtol=1e-6)


def test_class_weights_reach_the_training_examples_only():
    plain, balanced = load("breast_cancer"), load("breast_cancer", class_weight="balanced")
    y, weight = balanced.train.y, balanced.train.weight
    for k in (0, 1):
        expected = len(y) / (2 * (y == k).sum())
        np.testing.assert_allclose(weight[y == k], expected, rtol=1e-6)
    np.testing.assert_allclose(weight.sum(), len(y), rtol=1e-5)
    assert (balanced.test.weight == 1).all() and (balanced.validation.weight == 1).all()
    assert (plain.train.x == balanced.train.x).all()
    given = load("breast_cancer", class_weight=(2.0, 0.5))
    np.testing.assert_array_equal(given.train.weight, np.where(y == 0, 2.0, 0.5))


def test_positive_makes_one_class_against_the_rest():
    ten, two = load("digits", test_fraction=0), load("digits", positive=3, test_fraction=0)
    assert (two.task, two.classes, two.outputs) == ("binary", ("not 3", "3"), 1)
    assert sum(split.y.sum() for split in two.splits if split) == sum((s.y == 3).sum() for s in ten.splits if s)
    swapped = load("breast_cancer", positive="malignant")
    assert swapped.classes == ("benign", "malignant")
    assert sum(split.y.sum() for split in swapped.splits if split) == 212


@pytest.mark.parametrize("part", ["train", "validation", "test"])
@pytest.mark.parametrize("field", ["x", "y", "weight"])
def test_one_flipped_byte_changes_the_digest(part, field):
    loaded = load("iris")
    split = getattr(loaded, part)
    array = getattr(split, field).copy()
    array.view(np.uint8).reshape(-1)[-1] ^= 1
    changed = dataclasses.replace(loaded, **{part: split._replace(**{field: array})})
    assert len(loaded.digest) == 64 and changed.digest != loaded.digest
    assert dataclasses.replace(loaded).digest == loaded.digest


def test_digest_tells_shapes_dtypes_splits_and_names_apart():
    loaded = load("iris")
    x = loaded.train.x
    others = [
        dataclasses.replace(loaded, train=loaded.train._replace(x=x.reshape(-1, 2, 2))),
        dataclasses.replace(loaded, train=loaded.train._replace(x=x.view(np.int32))),
        dataclasses.replace(loaded, validation=loaded.test, test=loaded.validation),
        dataclasses.replace(loaded, test=None),
        dataclasses.replace(loaded, validation=None, test=loaded.validation),
        dataclasses.replace(loaded, classes=("a", "b", "c")),
    ]
    assert len({loaded.digest, *(other.digest for other in others)}) == 7


def test_a_folder_named_as_a_bundled_set_is_named_as_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder, pixel in (("iris", 3), ("digits", 7)):
        for label in "ab":
            (tmp_path / folder / label).mkdir(parents=True)
            for i in range(4):
                Image.new("L", (2, 1), pixel + i).save(tmp_path / folder / label / f"{i}.png")
    whole = {"validation_fraction": 0, "test_fraction": 0, "allow_overlap": True}
    for name, shape in (("iris", (150, 4)), ("digits", (1797, 8, 8, 1))):
        loaded = load(name, **whole)
        said = f"the bundled set was read, not the folder ./{name}; for that, --data.name ./{name}"
        assert loaded.train.x.shape == shape and f"--data.name={name}: {said}" in loaded.notes
        for meant in (f"./{name}", tmp_path / name, Path(name)):
            loaded = load(meant, **whole)
            assert loaded.train.x.shape == (8, 1, 2, 1) and not any("bundled" in note for note in loaded.notes)
    assert not any("bundled" in note for note in data.load("wine").notes)


def test_a_folder_named_mnist_is_passed_over_aloud_unless_it_is_the_one_that_is_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("mnist", "files"):
        (tmp_path / folder).mkdir()
        for part in ("train", "t10k"):
            x = np.random.default_rng(len(part)).integers(0, 256, (20, 4, 4), np.uint8)
            y = np.arange(20, dtype=np.uint8) % 2
            for kind, array in (("images-idx3", x), ("labels-idx1", y)):
                head = struct.pack(f">{1 + array.ndim}I", 0x800 + array.ndim, *array.shape)
                (tmp_path / folder / f"{part}-{kind}-ubyte").write_bytes(head + array.tobytes())
    assert not data.load("mnist", dir="mnist").notes and not data.load("mnist", dir=tmp_path / "mnist").notes
    said = "the set in files was read, not the folder ./mnist; for that, --data.name ./mnist"
    assert data.load("mnist", dir="files").notes == (f"--data.name=mnist: {said}",)
    assert not data.load("./mnist").notes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name_or_path": "digit"}, "--data.name=digit: unknown; did you mean digits?"),
        ({"name_or_path": "no/such.csv"}, "--data.name=no/such.csv: no such file or folder"),
        ({"name_or_path": __file__}, ".tab, .tsv, .txt, .arrow, .feather, .parquet, .npz, .json)"),
        ({"name_or_path": "mnist"}, "--data.dir=None: mnist needs the folder"),
        ({"name_or_path": "mnist", "dir": "no/such"}, "no/such: No such file or directory; check the path"),
        ({"dir": "x"}, "--data.dir=x: is for mnist, tfds, table of images, coco data, not bundled"),
        ({"target": "y"}, "--data.target=y: is for table data, not bundled"),
        ({"weight": "w"}, "--data.weight=w: is for table, npz data, not bundled"),
        ({"validation": "x.csv"}, "--data.validation=x.csv: is for table, npz, idx, mnist, folder, coco"),
        ({"validation_fraction": 1.0}, "--data.validation_fraction=1.0: must be in [0, 1)"),
        ({"test_fraction": float("nan")}, "--data.test_fraction=nan: must be in [0, 1)"),
        ({"validation_fraction": 1e-6}, "leaves 0 of 120 examples for validation and 120 for training"),
        ({"split_seed": -1}, "--data.split_seed=-1: must be >= 0"),
        ({"class_weight": "balance"}, "did you mean balanced?"),
        ({"class_weight": (1.0, 2.0)}, "--data.class_weight=(1.0, 2.0): must be 3 numbers, one a class"),
        ({"class_weight": (0.0, 0.0, 0.0)}, "must be 3 numbers, one a class, not all 0"),
        ({"class_weight": (1.0, 2.0, float("inf"))}, "--data.class_weight=inf: must be finite and >= 0"),
        ({"name_or_path": "diabetes", "class_weight": "balanced"}, "regression has no classes"),
        ({"name_or_path": "diabetes", "positive": "3"}, "--data.positive=3: the labels are not classes"),
        ({"positive": "setsa"}, "--data.positive=setsa: unknown; did you mean setosa?"),
        ({"positive": "setosa", "task": "multiclass"}, "makes a binary task; leave out --task.name multiclass"),
        ({"task": "binary"}, "the labels have 3 classes (setosa, versicolor, virginica); choose one with"),
        ({"task": "regression"}, "--task.name=regression: the labels are classes"),
        ({"task": "multilabel"}, "--task.name=multilabel: the labels are classes"),
        ({"task": "multi"}, "--task.name=multi: unknown"),
    ],
)  # fmt: skip
def test_load_refuses(arguments, message):
    with pytest.raises(InputError) as caught:
        load(**{"name_or_path": "iris"} | arguments)
    assert message in str(caught.value) and "\n" not in str(caught.value)
