"""Arrays: which task their labels mean, and every number that is refused rather than damaged."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jaxnn import data
from jaxnn.data import check
from jaxnn.errors import InputError


def load(*args: Any, **kwargs: Any) -> Any:  # Any, since a test knows which splits there are
    return data.load(*args, **kwargs)


X = np.arange(60, dtype=np.float64).reshape(20, 3)
THREE = np.arange(20) % 3
ONE_HOT = np.eye(3)[THREE]


@pytest.fixture
def save(tmp_path):
    def save(name: str = "data.npz", **arrays) -> Path:
        np.savez(tmp_path / name, **arrays)
        return tmp_path / name

    return save


def whole(loaded: data.Dataset) -> np.ndarray:
    """All of y, in the order of the only feature that counts upwards."""
    splits = [split for split in loaded.splits if split]
    order = np.argsort(np.concatenate([split.x[:, 0] for split in splits]))
    return np.concatenate([split.y for split in splits])[order]


@pytest.mark.parametrize(
    ("y", "task", "expected", "classes", "indices"),
    [
        (THREE, "auto", "multiclass", (0, 1, 2), THREE),
        (THREE + 5, "auto", "multiclass", (5, 6, 7), THREE),
        (THREE.astype(np.uint8), "auto", "multiclass", (0, 1, 2), THREE),
        (THREE.astype(float), "auto", "multiclass", (0, 1, 2), THREE),
        (THREE % 2, "auto", "binary", (0, 1), THREE % 2),
        (THREE % 2, "multiclass", "multiclass", (0, 1), THREE % 2),
        (THREE % 2 == 1, "auto", "binary", (False, True), THREE % 2),
        (THREE % 2 * 2 - 1, "auto", "binary", (-1, 1), THREE % 2),
        (np.array(["c", "a", "b"])[THREE], "auto", "multiclass", ("a", "b", "c"), np.array([2, 0, 1])[THREE]),
        (ONE_HOT, "auto", "multiclass", (0, 1, 2), THREE),
        (ONE_HOT.astype(bool), "auto", "multiclass", (0, 1, 2), THREE),
        (ONE_HOT, "multilabel", "multilabel", (0, 1, 2), ONE_HOT),
        (1 - ONE_HOT, "auto", "multilabel", (0, 1, 2), 1 - ONE_HOT),
        (ONE_HOT * 2, "auto", "regression", None, ONE_HOT * 2),
        (THREE + 0.5, "auto", "regression", None, THREE[:, None] + 0.5),
        (THREE[:, None] + 0.5, "auto", "regression", None, THREE[:, None] + 0.5),
        (THREE, "regression", "regression", None, THREE[:, None]),
    ],
)
def test_labels_become_the_task_that_is_documented(save, y, task, expected, classes, indices):
    loaded = load(save(x=X, y=y), task=task)
    assert (loaded.task, loaded.classes) == (expected, classes)
    assert [type(label) for label in loaded.classes or ()] == [type(label) for label in classes or ()]
    found = whole(loaded)
    assert found.dtype == (np.int32 if expected in ("binary", "multiclass") else np.float32)
    np.testing.assert_array_equal(found, indices)


def test_one_hot_and_text_labels_give_the_same_numbers_as_indices(save):
    numbers = load(save(x=X, y=THREE))
    for y in (ONE_HOT, np.array(["x", "y", "z"])[THREE]):
        other = load(save(x=X, y=y))
        for split, same in zip(numbers.splits, other.splits, strict=True):
            assert all((a == b).all() and a.dtype == b.dtype for a, b in zip(split, same, strict=True))


def test_given_test_set_and_weights_are_kept(save):
    weight = np.linspace(0, 1, 20)
    loaded = load(
        save(x_train=X, y_train=THREE, w_train=weight, x_test=X[:4] + 100, y_test=THREE[:4], w_test=weight[:4]),
        weight="w", validation_fraction=0,
    )  # fmt: skip
    np.testing.assert_array_equal(loaded.test.x, X[:4] + 100)
    np.testing.assert_array_equal(loaded.train.weight, weight.astype(np.float32))
    np.testing.assert_array_equal(loaded.test.weight, weight[:4].astype(np.float32))


def test_given_validation_set_replaces_the_split(save):
    other = save("other.npz", x=X[:5] + 100, y=THREE[:5])
    loaded = load(save(x=X, y=THREE), validation=other, test_fraction=0)
    assert len(loaded.train.x) == 20 and loaded.test is None
    np.testing.assert_array_equal(loaded.validation.x, X[:5] + 100)
    np.testing.assert_array_equal(loaded.validation.y, THREE[:5])


@pytest.mark.parametrize(
    ("x", "shape", "dtype", "scale"),
    [
        (np.zeros((20, 4, 5), np.uint8), (4, 5, 1), np.uint8, 255),
        (np.zeros((20, 4, 5, 3), np.uint8), (4, 5, 3), np.uint8, 255),
        (np.zeros((20, 6), np.uint8), (6,), np.float32, None),
        (np.zeros((20, 4, 5, 3)), (4, 5, 3), np.float32, None),
        (np.zeros((20, 4, 5), np.float16), (4, 5), np.float32, None),
        (np.zeros((20, 2), bool), (2,), np.float32, None),
        (np.full((20, 2), 2**24), (2,), np.float32, None),
        (np.full((20, 2), 0.1), (2,), np.float32, None),
    ],
)
def test_images_stay_bytes_and_the_rest_becomes_float32(save, x, shape, dtype, scale):
    loaded = load(save(x=x, y=THREE))
    assert (loaded.shape, loaded.train.x.dtype, loaded.scale) == (shape, dtype, scale)
    assert loaded.train.x.flat[0] == dtype(x.flat[0])


def changed(array: np.ndarray, index, value) -> np.ndarray:
    array = array.copy()
    array[index] = value
    return array


@pytest.mark.parametrize(
    ("arrays", "task", "message"),
    [
        ({"x": changed(X, (3, 2), np.nan)}, "auto", "x[3,2]=nan: must be finite"),
        ({"x": changed(X, (3, 2), -np.inf)}, "auto", "x[3,2]=-inf: must be finite"),
        ({"x": changed(X, (3, 2), 1e300)}, "auto", "x[3,2]=1e+300: does not fit float32 (at most 3.402823e+38)"),
        ({"x": changed(X.astype(int), (3, 2), 2**24 + 1)}, "auto", "x[3,2]=16777217: float32 would change"),
        ({"x": changed(X.astype(int), (3, 2), -(2**60) - 1)}, "auto", "x[3,2]=-1152921504606846977: float32 would"),
        ({"x": X.astype(np.uint64) + 2**63}, "auto", "x[0,0]=9223372036854775808: float32 would change"),
        ({"x": X.astype(complex)}, "auto", "x=complex128: must hold real numbers"),
        ({"x": X.astype(str)}, "auto", "must hold real numbers"),
        ({"x": X[:, 0]}, "auto", "x=(20,): must be [n, features] or [n, H, W, C]"),
        ({"x": X[:, :0]}, "auto", "x=(20, 0): must be [n, features]"),
        ({"x": np.array(3.0)}, "auto", "x=(), y=(20,): must have the same length"),
        ({"x": X[:0], "y": THREE[:0]}, "auto", "x=0 examples: must hold at least one"),
        ({"x": X[:19]}, "auto", "x=(19, 3), y=(20,): must have the same length"),
        ({"x": np.zeros((20, 3, 8, 8), np.uint8)}, "auto", "x=(20, 3, 8, 8): channels must come last, [n, H, W, C]"),
        ({"y": THREE[:, None]}, "auto", "y=(20, 1): classes must be [n]; pass y[:, 0]"),
        ({"y": THREE[:, None]}, "multiclass", "y=(20, 1): classes must be [n]; pass y[:, 0]"),
        ({"y": ONE_HOT[..., None]}, "auto", "y=(20, 3, 1): must be [n] or [n, K]; masks"),
        ({"y": changed(THREE * 1.0, 7, np.nan)}, "auto", "labels[7]=nan: must be finite"),
        ({"y": changed(THREE * 1.0, 7, 1.7)}, "multiclass", "labels[7]=1.7: a class must be a whole number or text"),
        ({"y": changed(THREE * 1.0, 7, 1e17)}, "auto", "labels[7]=1e+17: too large for a whole number"),
        ({"y": changed(THREE, 7, -1)}, "auto", "labels[7]=-1: must be >= 0"),
        ({"y": THREE + 1j}, "auto", "y=complex128: labels must be text, truth values or numbers"),
        ({"y": THREE * 0 + 4}, "auto", "labels=4: the only class of 20 training examples"),
        (
            {"y": changed(THREE, 7, 9)},
            "auto",
            "class 9=1 example: a stratified split needs 2 or more; add some, or leave it out, or add --task.name regr",
        ),
        ({"y": ONE_HOT + 1}, "multilabel", "labels[0,0]=2.0: must be 0 or 1 (multilabel)"),
        ({"y": THREE}, "multilabel", "--task.name=multilabel: y has the shape (20,)"),
        ({"y": changed(ONE_HOT, (7, slice(None)), 0)}, "multiclass", "labels[7]=[0. 0. 0.]: must be one-hot"),
        ({"y": np.array(["a", "b"])[THREE % 2]}, "regression", "--task.name=regression: the labels are text"),
        ({"y": changed(THREE * 1.5, 7, 1e39)}, "auto", "y[7]=1e+39: does not fit float32"),
        ({"x": np.zeros((300, 1)), "y": np.arange(300)}, "auto", "the 300 different whole numbers in y may be"),
        ({"weight": THREE[:5]}, "auto", "weight=(5,): must have the shape (20,)"),
        ({"weight": changed(np.ones(20), 7, -1)}, "auto", "weight[7]=-1.0: must be >= 0"),
        ({"weight": changed(np.ones(20), 7, np.nan)}, "auto", "weight[7]=nan: must be finite"),
        ({"weight": np.zeros(20)}, "auto", "weight=0 everywhere"),
        ({"X": X}, "auto", "X, x, y: must hold x, y or x_train, y_train, x_test, y_test"),
        ({"x": np.array([[1, 2], [3]], object), "y": THREE[:2]}, "auto", "not a readable .npz of plain arrays"),
        ({"y": np.array([None] * 20)}, "auto", "not a readable .npz of plain arrays"),
    ],
)  # fmt: skip
def test_npz_refuses(save, arrays, task, message):
    with pytest.raises(InputError) as caught:
        load(save(**{"x": X, "y": THREE} | arrays), task=task)
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x_test": X[:4, :2]}, "test x=float64(4, 2): examples must be as the training examples, float64(20, 3)"),
        ({"x_test": changed(X[:4], (1, 1), np.nan)}, "test x[1,1]=nan: must be finite"),
        ({"y_test": np.array([0, 1, 3, 2])}, "test labels[2]=3: not a class of the training examples (0, 1, 2)"),
        ({"y_test": np.array([0, 1, 2.5, 2])}, "test labels[2]=2.5: a class must be a whole number"),
        ({"y_test": np.array(list("abca"))}, "test labels=<U1: must be of the same kind"),
        ({"x_test": X[:0], "y_test": THREE[:0]}, "test x=0 examples: must hold at least one"),
    ],
)
def test_a_test_set_must_agree_with_the_training_set(save, arrays, message):
    good = {"x_train": X, "y_train": THREE, "x_test": X[:4], "y_test": THREE[:4]}
    with pytest.raises(InputError) as caught:
        load(save(**good | arrays))
    assert message in str(caught.value)


def test_missing_half_of_a_pair_is_refused(save):
    with pytest.raises(InputError, match="must hold x, y or"):
        load(save(x_train=X, y_train=THREE, x_test=X))


def test_damaged_archives_are_refused_by_name(save, tmp_path):
    path = save(x=X, y=THREE)
    good = path.read_bytes()
    rng = np.random.default_rng(0)
    damaged = [b"", b"PK", good[: len(good) // 2], good[:-30], np.lib.format.magic(1, 0) + good]
    damaged += [bytes(changed(np.frombuffer(good, np.uint8), rng.integers(len(good), size=4), 255)) for _ in range(100)]
    refused = 0
    for content in damaged:
        path.write_bytes(content)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                load(path)
            except InputError as error:
                refused += 1
                assert str(path) in str(error) or "x" in str(error)
    assert refused > 50


def test_an_archive_that_unpacks_to_too_much_is_refused_before_it_is_unpacked(save, monkeypatch):
    monkeypatch.setattr(check, "MAX_BYTES", 500)
    with pytest.raises(InputError, match="at most 500 bytes unpacked"):
        load(save(x=X, y=THREE))
