"""IDX files: the real MNIST where it is there, small files made here, and damage of every kind."""

from __future__ import annotations

import gzip
import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxnn import data
from jaxnn.data import check
from jaxnn.data.readers import idx
from jaxnn.errors import InputError


def load(*args: Any, **kwargs: Any) -> Any:  # Any, since a test knows which splits there are
    return data.load(*args, **kwargs)


RNG = np.random.default_rng(0)
MORE = RNG.integers(0, 256, (28, 5, 4), np.uint8)
IMAGES = MORE[:20]
LABELS = np.arange(20, dtype=np.uint8) % 4


def encode(array: np.ndarray) -> bytes:
    return struct.pack(f">{1 + array.ndim}I", 0x800 + array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def folder(tmp_path) -> Path:
    for part, rows in (("train", slice(20)), ("t10k", slice(20, 28))):
        (tmp_path / f"{part}-images-idx3-ubyte").write_bytes(encode(MORE[rows]))
        (tmp_path / f"{part}-labels-idx1-ubyte.gz").write_bytes(
            gzip.compress(encode(np.arange(28, dtype=np.uint8)[rows] % 4))
        )
    return tmp_path


@pytest.mark.mnist
def test_first_twenty_labels_of_mnist_are_the_lectures(mnist_dir):
    loaded = load("mnist", dir=mnist_dir, validation_fraction=0)
    assert loaded.train.y[:20].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4, 3, 5, 3, 6, 1, 7, 2, 8, 6, 9]
    assert loaded.shapes == {"train": (60000, 28, 28, 1), "test": (10000, 28, 28, 1)}
    assert (loaded.task, loaded.classes, loaded.scale) == ("multiclass", tuple(range(10)), 255)
    # the sum of all pixels, from the means that are known for MNIST (0.1307 and 0.1325)
    assert abs(loaded.train.x.mean() / 255 - 0.1307) < 1e-4 and abs(loaded.test.x.mean() / 255 - 0.1325) < 1e-4


@pytest.mark.mnist
def test_validation_part_of_mnist_is_stratified(mnist_dir):
    loaded = load(mnist_dir)
    train, part, test = (np.bincount(split.y) for split in loaded.splits)
    assert (len(loaded.train.y), len(loaded.validation.y), len(loaded.test.y)) == (54000, 6000, 10000)
    assert (np.abs(part - (train + part) * 0.1) <= 1).all()


def test_images_and_labels_are_read_packed_or_not(folder):
    loaded = load(folder, validation_fraction=0)
    np.testing.assert_array_equal(loaded.train.x, IMAGES[..., None])
    np.testing.assert_array_equal(loaded.train.y, LABELS)
    np.testing.assert_array_equal(loaded.test.x, MORE[20:, :, :, None])
    assert loaded.train.x.dtype == np.uint8 and loaded.scale == 255


def test_other_spellings_of_the_names_are_found(folder):
    before = load(folder).digest
    for path in list(folder.iterdir()):
        path.rename(folder / f"emnist-letters-{path.name}".replace("-idx", ".idx").replace("t10k", "test"))
    assert load("mnist", dir=folder).digest == before


def test_a_packed_twin_of_the_same_file_is_no_conflict(folder):
    before = load(folder).digest
    (folder / "train-images-idx3-ubyte.gz").write_bytes(b"never read")
    assert load(folder).digest == before


def test_without_a_test_file_the_test_part_is_split_off(folder):
    (folder / "t10k-images-idx3-ubyte").unlink()
    assert load(folder).shapes["test"] == (4, 5, 4, 1)


TRAIN = "train-images-idx3-ubyte"
BODY = encode(IMAGES)


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "=0 bytes: expected 16 or more"),
        (BODY[:15], "=15 bytes: expected 16 or more"),
        (BODY[:-1], "=415 bytes: expected 416"),
        (BODY + b"\0", "=417 or more bytes: expected 416"),
        (BODY[:16], "=16 bytes: expected 416"),
        (encode(LABELS) + bytes(99), "=0x00000801: must begin with 0x00000803"),
        (b"\0\0\x0d\x03" + BODY[4:], "=0x00000d03: must begin with 0x00000803"),
        (encode(IMAGES[:0]), "=(0, 5, 4): no size may be 0"),
        (struct.pack(">4I", 0x803, 2**32 - 1, 2**32 - 1, 2**32 - 1), "bytes: at most 4294967296 bytes unpacked"),
        (struct.pack(">4I", 0x803, 2**12, 2**10, 2**10) + b"x", "=17 bytes: expected 4294967312"),
        (encode(IMAGES[:19]), "x=(19, 5, 4, 1), y=(20,): must have the same length"),
    ],
)
def test_idx_refuses_by_file_with_expected_and_found(folder, pack, content, message):
    (folder / TRAIN).write_bytes(pack(content))
    with pytest.raises(InputError) as caught:
        load(folder)
    assert message in str(caught.value)
    assert str(folder / TRAIN) in str(caught.value) or message.startswith("x=")


def test_a_compressed_file_that_ends_early_or_is_damaged_is_refused(folder):
    packed = gzip.compress(BODY)
    flipped = bytearray(packed)
    flipped[-6] ^= 1  # in the checksum: all bytes are there and one of them is a lie
    for content, message in (
        (packed[:100], r"\d+ bytes: expected 416"),
        (packed[:5], "=0 bytes: expected 16 or more"),
        (packed[:-8], "not readable as gzip"),
        (bytes(flipped), "not readable as gzip"),
        (b"\x1f\x8b" + bytes(50), "not readable as gzip"),
    ):
        (folder / TRAIN).write_bytes(content)
        with pytest.raises(InputError, match=f"{TRAIN}.*{message}"):
            load(folder)


@given(st.binary(max_size=40), st.booleans())
@settings(deadline=None, max_examples=200)
def test_any_header_gives_the_array_it_says_or_a_refusal(tmp_path_factory, content, valid):
    path = tmp_path_factory.getbasetemp() / "fuzz-images-idx3-ubyte"
    content = b"\0\0\x08\x03" + content if valid else content
    path.write_bytes(content)
    try:
        array = idx.read_array(path, 3)
    except InputError:
        return
    assert encode(array) == content


def test_a_header_that_promises_too_much_is_refused_before_it_is_read(folder, monkeypatch):
    monkeypatch.setattr(check, "MAX_BYTES", 399)
    with pytest.raises(InputError, match="=400 bytes: at most 399 bytes unpacked"):
        load(folder)


def test_missing_companions_are_named(folder):
    (folder / "train-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(InputError, match="train-labels-idx1-ubyte: no such file, nor with .gz"):
        load(folder)
    (folder / TRAIN).unlink()
    with pytest.raises(InputError, match="has no train-images-idx3-ubyte"):
        load("mnist", dir=folder)


def test_two_sets_in_one_folder_are_refused(folder):
    (folder / f"other-{TRAIN}").write_bytes(BODY)
    with pytest.raises(InputError, match="both .* hold the train images; keep one"):
        load(folder)


def test_a_validation_set_is_a_folder_without_a_test_part(folder, tmp_path_factory):
    with pytest.raises(InputError, match="has a test part of its own"):
        load(folder, validation=folder)
    other = tmp_path_factory.mktemp("other")
    for name in (TRAIN, "train-labels-idx1-ubyte.gz"):
        (other / name).write_bytes((folder / name).read_bytes())
    assert load(folder, validation=other, allow_overlap=True).shapes["validation"] == (20, 5, 4, 1)


def test_gzip_is_read_as_the_standard_library_reads_it(tmp_path, monkeypatch):
    monkeypatch.setattr(idx, "PIECE", 7)
    one, two = gzip.compress(b"first" * 50), gzip.compress(b"second" * 50)
    for packed in (one, one + two, one + bytes(20), one + bytes(9) + two, gzip.compress(b"")):
        stream, found = idx.Inflated(io.BytesIO(packed)), b""
        while piece := stream.read1(11):
            assert len(piece) <= 11
            found += piece
        assert found == gzip.decompress(packed)
    for damaged in (one[:-1], one + b"rubbish", one[:-8] + b"12345678", two[:20]):
        stream = idx.Inflated(io.BytesIO(damaged))
        with pytest.raises((EOFError, zlib.error)):
            while stream.read1(1000):
                pass
