"""tensorflow-datasets without TensorFlow or a network: our digits, other builders, and what is not prepared."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds

from jaxnn import data
from jaxnn.errors import DataError, InputError


def load(*args: Any, **kwargs: Any) -> Any:  # Any, since a test knows which splits there are
    return data.load(*args, **kwargs)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A folder with our digits prepared in it."""
    root = tmp_path_factory.mktemp("tfds")
    load("tfds:digits", dir=root)
    return root


def prepare(root: Path, label: tfds.features.FeatureConnector, labels: list, splits=("train", "test"), **info) -> str:
    """A tiny data set called pairs: x = [i, -i]."""

    class Pairs(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        name = "pairs"
        VERSION = tfds.core.Version("2.1.0")

        def _info(self):
            features = {"x": tfds.features.Tensor(shape=(2,), dtype=np.float64), "y": label}
            options = {"supervised_keys": ("x", "y"), "disable_shuffling": True} | info
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features), **options)

        def _split_generators(self, dl_manager):
            return {split: self._generate_examples() for split in splits}

        def _generate_examples(self):
            for i, y in enumerate(labels):
                yield i, {"x": np.array([i, -i], np.float64), "y": y}

    tfds.disable_progress_bar()
    Pairs(data_dir=root).download_and_prepare(file_format="array_record")
    return "tfds:pairs"


def test_our_builder_gives_the_bundled_digits_bit_for_bit(root):
    assert load("tfds:digits", dir=root).digest == load("digits").digest
    assert list(root.glob("digits/1.0.0/*.array_record*"))
    assert load("tfds:digits:1.0.0", dir=root).scale == 16
    assert "tensorflow" not in sys.modules


def test_the_default_folder_is_tensorflow_datasets_own(root, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(root))
    with pytest.raises(InputError, match=f"not prepared in {root};"):
        load("tfds:absent")


def test_mocked_data_flow_through_the_same_reader(root):
    with tfds.testing.mock_data(num_examples=60, data_dir=str(root)):
        loaded = load("tfds:digits", dir=root)
    assert loaded.shapes == {"train": (43, 8, 8, 1), "validation": (5, 8, 8, 1), "test": (12, 8, 8, 1)}
    assert loaded.task == "multiclass" and loaded.train.x.max() > 16


def test_named_classes_and_splits_of_any_builder(tmp_path):
    labels = [i % 2 for i in range(10)]
    name = prepare(tmp_path, tfds.features.ClassLabel(names=["zero", "alpha"]), labels, ("train", "validation", "test"))
    loaded = load(name, dir=tmp_path, allow_overlap=True)
    assert (loaded.task, loaded.classes, loaded.scale) == ("binary", ("zero", "alpha"), None)
    for split in loaded.splits:
        np.testing.assert_array_equal(split.x, np.outer(np.arange(10), [1, -1]).astype(np.float32))
        np.testing.assert_array_equal(split.y, labels)


def test_a_number_as_label_is_regression(tmp_path):
    name = prepare(tmp_path, tfds.features.Scalar(dtype=np.float32), [i / 4 for i in range(10)])
    loaded = load(name, dir=tmp_path, validation_fraction=0, allow_overlap=True)
    assert loaded.task == "regression"
    np.testing.assert_array_equal(loaded.train.y[:, 0], np.arange(10) / 4)


def test_a_label_that_is_hidden_in_the_test_split_is_refused(tmp_path):
    name = prepare(tmp_path, tfds.features.Scalar(dtype=np.int64), [0, 1, 0, 1, -1])
    with pytest.raises(InputError, match=r"labels\[4\]=-1: must be >= 0"):
        load(name, dir=tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tfds:mnist", "--data.name=tfds:mnist: not prepared in .*; run tfds.builder"),
        ("tfds:digits:9.9.9", "not prepared in"),
        ("tfds:../x", "must be tfds:NAME"),
        ("tfds:", "must be tfds:NAME"),
    ],
)
def test_what_is_not_prepared_is_refused_without_asking_the_network(root, name, message, monkeypatch):
    monkeypatch.setattr(tfds, "builder", None)  # the way to the network
    with pytest.raises(InputError, match=message):
        load(name, dir=root)


def test_other_file_formats_and_other_shapes_of_data_are_refused(tmp_path):
    cases = {
        "no-train": ({"splits": ("test",)}, "has no train split, only test"),
        "no-keys": ({"supervised_keys": None}, "supervised keys are None, not"),
    }
    for folder, (options, message) in cases.items():
        name = prepare(tmp_path / folder, tfds.features.ClassLabel(num_classes=2), [0, 1], **options)
        with pytest.raises(InputError, match=message):
            load(name, dir=tmp_path / folder)

    name = prepare(tmp_path, tfds.features.ClassLabel(num_classes=2), [0, 1] * 5)
    info = tmp_path / "pairs" / "2.1.0" / "dataset_info.json"
    good = info.read_text()
    info.write_text(good.replace('"array_record"', '"tfrecord"'))
    with pytest.raises(InputError, match="not prepared as array_record"):
        load(name, dir=tmp_path)
    info.write_text(good)
    (tmp_path / "pairs" / "2.2.0").mkdir()
    for file in ("features.json", "dataset_info.json"):
        (tmp_path / "pairs" / "2.2.0" / file).write_bytes((info.parent / file).read_bytes())
    with pytest.raises(InputError, match=r"there are several \(pairs/2.1.0, pairs/2.2.0\)"):
        load(name, dir=tmp_path)
    assert load(f"{name}:2.1.0", dir=tmp_path, allow_overlap=True).task == "binary"


def test_damaged_records_are_a_data_error(tmp_path):
    name = prepare(tmp_path, tfds.features.ClassLabel(num_classes=2), [0, 1] * 5)
    (record,) = tmp_path.glob("pairs/2.1.0/*train.array_record*")
    record.write_bytes(record.read_bytes()[:100])
    with pytest.raises(DataError, match="damaged train split"):
        load(name, dir=tmp_path)
