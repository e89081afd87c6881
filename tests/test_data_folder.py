"""Folders of images: what is kept as it is, what is refused, and which file is to blame."""

from __future__ import annotations

import struct
import unicodedata
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from jaxnn import data
from jaxnn.errors import DataError, InputError


def load(*args: Any, **kwargs: Any) -> Any:  # Any, since a test knows which splits there are
    return data.load(*args, **kwargs)


RNG = np.random.default_rng(0)


def fill(root: Path, shape: tuple[int, ...] = (4, 5, 3), n: int = 6, suffix: str = ".png") -> np.ndarray:
    """n images of random pixels in each of two classes; their pixels in order."""
    pixels = RNG.integers(0, 256, (2 * n, *shape), np.uint8)
    for i, image in enumerate(pixels):
        path = root / ("cat" if i < n else "dog") / f"{i:02d}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return pixels


def png(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">2I5B", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 2), (4, 5, 3), (4, 5, 4)], ids=["grey", "grey+alpha", "RGB", "RGBA"])
def test_pixels_and_channels_are_kept_as_stored(tmp_path, shape):
    pixels = fill(tmp_path, shape)
    loaded = load(tmp_path, validation_fraction=0, test_fraction=0)
    np.testing.assert_array_equal(loaded.train.x, pixels.reshape(12, 4, 5, -1))
    np.testing.assert_array_equal(loaded.train.y, [0] * 6 + [1] * 6)
    assert loaded.train.x.dtype == np.uint8 and loaded.scale == 255
    assert (loaded.task, loaded.classes) == ("binary", ("cat", "dog"))


def test_train_and_test_folders_on_top_are_splits(tmp_path):
    train, test = fill(tmp_path / "train"), fill(tmp_path / "test", n=2)
    loaded = load(tmp_path, validation_fraction=0)
    np.testing.assert_array_equal(loaded.train.x, train)
    np.testing.assert_array_equal(loaded.test.x, test)


def test_a_validation_folder_is_accepted_and_must_know_the_classes(tmp_path):
    fill(tmp_path / "a")
    part = fill(tmp_path / "b", n=1)
    loaded = load(tmp_path / "a", validation=tmp_path / "b")
    np.testing.assert_array_equal(loaded.validation.x, part)
    (tmp_path / "b" / "cat").rename(tmp_path / "b" / "cow")
    with pytest.raises(InputError, match=r"/b/cow: not a class of the training examples \(cat, dog\); rename it"):
        load(tmp_path / "a", validation=tmp_path / "b")


PARTS = [
    {"train": "train", "validation": name, "test": "test"}
    for name in ("val", "valid", "validation", "Val", "VALIDATION")
] + [{"train": "Train", "validation": "val"}, {"train": "train", "test": "Test"}, {"train": "train"}]


@pytest.mark.parametrize("named", PARTS, ids=lambda named: "+".join(named.values()))
def test_folders_named_as_parts_are_the_splits(named, tmp_path):
    sizes = {"train": 20, "validation": 3, "test": 2}
    pixels = {part: fill(tmp_path / folder, n=sizes[part]) for part, folder in named.items()}
    loaded = load(tmp_path, validation_fraction=0.1, test_fraction=0.2)
    for part in ("validation", "test"):
        split = getattr(loaded, part)
        if part in named:
            np.testing.assert_array_equal(split.x, pixels[part])
            np.testing.assert_array_equal(split.y, np.repeat([0, 1], sizes[part]))
    left = 40 if "test" in named else 32  # of those of train, and then a tenth for validation
    assert len(loaded.train.x) == (left if "validation" in named else round(0.9 * left))
    assert loaded.classes == ("cat", "dog")


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (["train", "val", "valid"], "both val and valid hold the validation images; keep one"),
        (["train", "test", "validation", "valid"], "both valid and validation hold the validation images"),
        (["train", "Train"], "both Train and train hold the train images"),
        (["val", "test"], "has the parts test, val and no train; add it"),
        (["test"], "has the parts test and no train; add it"),
        (["train", "test", "sorted"], "/sorted: stands beside the parts test, train; move it away"),
        (["train", "sorted"], "/sorted: stands beside the parts train; move it away"),
    ],
)
def test_folders_that_are_not_clearly_parts_are_refused(folders, message, tmp_path):
    for folder in folders:
        fill(tmp_path / folder)
    with pytest.raises(InputError, match=message):
        load(tmp_path)


def test_a_class_may_have_the_name_of_a_part_but_all_of_them_do_not(tmp_path):
    for classes, name in ((("train", "bus"), ""), (("test", "control"), ""), (("test", "val"), "and no train")):
        root = tmp_path / classes[0] / classes[1]
        fill(root)
        for old, new in zip(("cat", "dog"), classes, strict=True):
            (root / old).rename(root / new)
        if name:
            with pytest.raises(InputError, match=name):
                load(root)
        else:
            assert load(root).classes == tuple(sorted(classes))


def test_images_beside_the_parts_are_not_passed_over(tmp_path):
    fill(tmp_path / "train")
    fill(tmp_path / "test")
    (tmp_path / "more.PNG").write_bytes(b"")
    with pytest.raises(InputError, match="more.PNG: stands beside the classes"):
        load(tmp_path)


def test_validation_is_given_once(tmp_path):
    for folder in ("a/train", "a/val", "b", "c/train", "c/test"):
        fill(tmp_path / folder)
    with pytest.raises(InputError, match="--data.validation=.*/b: .*/a/val is a validation set too; leave out one"):
        load(tmp_path / "a", validation=tmp_path / "b")
    for folder, part in (("a", "validation"), ("c", "test")):
        with pytest.raises(
            InputError, match=f"--data.validation=.*/{folder}: has a {part} part too; give a set in one"
        ):
            load(tmp_path / "b", validation=tmp_path / folder)


@pytest.mark.parametrize("part", ["val", "test", "--data.validation"])
def test_every_part_has_every_class_and_no_other(part, tmp_path):
    fill(tmp_path / "train")
    other = tmp_path / part if part[0] != "-" else tmp_path / "other"
    fill(other)
    given = {} if part[0] != "-" else {"validation": other}
    root = tmp_path / "train" if given else tmp_path
    (other / "dog").rename(tmp_path / ".dog")
    with pytest.raises(
        InputError, match=f"{other}/dog: no such folder; the .* images must have all classes of .*train"
    ):
        load(root, **given)
    fill(other)
    (other / "dog").rename(other / "eel")
    with pytest.raises(InputError, match=rf"{other}/eel: not a class of the training examples \(cat, dog\)"):
        load(root, **given)


def test_damaged_images_of_all_parts_are_counted_together(tmp_path):
    for part in ("train", "val", "test"):
        fill(tmp_path / part)
        (tmp_path / part / "cat" / "00.png").write_bytes(b"no image")
    with pytest.raises(DataError, match="00.png: damaged image"):
        load(tmp_path, bad_records=2)
    loaded = load(tmp_path, bad_records=3)
    assert loaded.notes[0].startswith(f"{tmp_path}: 3 damaged images left out: {tmp_path}/train/cat/00.png")
    assert loaded.shapes == {part: (11, 4, 5, 3) for part in ("train", "validation", "test")}


def test_names_that_only_unicode_tells_apart_are_one_class(tmp_path):
    composed, decomposed = (unicodedata.normalize(form, "Café") for form in ("NFC", "NFD"))
    assert composed != decomposed
    fill(tmp_path, n=3)
    for i, name in enumerate((composed, decomposed)):
        (tmp_path / ("cat", "dog")[i]).rename(tmp_path / name)
    fill(tmp_path, n=3)
    loaded = load(tmp_path, test_fraction=0, validation_fraction=0)
    assert loaded.classes == (composed, "cat", "dog") and np.bincount(loaded.train.y).tolist() == [6, 3, 3]
    said = f"{tmp_path}: the folders named {composed} are one class, though Unicode writes them differently"
    assert loaded.notes == (said,)
    fill(tmp_path / "x" / "train")
    fill(tmp_path / "x" / "test")
    for part, name in (("train", composed), ("test", decomposed)):
        (tmp_path / "x" / part / "cat").rename(tmp_path / "x" / part / name)
    assert load(tmp_path / "x").classes == (composed, "dog")


def test_palettes_are_looked_up_and_black_and_white_becomes_0_and_255(tmp_path):
    for i in range(6):
        image = Image.new("P", (2, 1))
        image.putpalette([10, 20, 30, 40, 50, 60])
        image.putpixel((1, 0), 1)
        path = tmp_path / "palette" / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)
        path = tmp_path / "bits" / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.array([[True, False]])).save(path)
    expected = {"palette": [[[10, 20, 30], [40, 50, 60]]], "bits": [[[255], [0]]]}
    for folder, pixels in expected.items():
        loaded = load(tmp_path / folder, validation_fraction=0, test_fraction=0)
        assert loaded.train.x.tolist() == [pixels] * 6


def test_hidden_files_and_a_readme_are_no_images(tmp_path):
    pixels = fill(tmp_path)
    junk = ("README.txt", ".DS_Store", "._cat", "desktop.ini", "__MACOSX/cat/._00.png", "__MACOSX/._cat")
    inside = ("cat/.DS_Store", "cat/Thumbs.db", "cat/._00.png", "cat/Desktop.ini", "dog/__MACOSX/x.png")
    for name in junk + inside:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("not an image")
    assert len(load(tmp_path, validation_fraction=0, test_fraction=0).train.x) == len(pixels)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("cat/z.HEIC", b"", "HEIC cannot be read; convert such photos to JPEG or PNG"),
        ("cat/z/1.heic", b"", "cat/z/1.heic: heic cannot be read"),
        ("z.png", b"", "stands beside the classes"),
        ("cat/z.png", png(4, 4, 8, 2, (b"\0" + bytes(12)) * 4), "=(4, 4, 3): all images must have one size"),
        ("cat/z.png", png(5, 4, 8, 0, (b"\0" + bytes(5)) * 4), "=(4, 5, 1): all images must have one size"),
        ("cat/z.png", png(5, 4, 16, 2, (b"\0" + bytes(30)) * 4), "=16-bit: images must have 8 bits a channel"),
        ("cat/z.png", png(5, 4, 16, 0, (b"\0" + bytes(10)) * 4), "=16-bit: images must have 8 bits a channel"),
        ("cat/z.png", png(5, 4, 16, 6, (b"\0" + bytes(40)) * 4), "=16-bit: images must have 8 bits a channel"),
        ("cat/z.png", png(40000, 40000, 8, 2, b""), "too many pixels, at most"),
        ("cat/z.png", png(10000, 10000, 8, 2, b""), "too many pixels, at most"),
    ],
)
def test_folder_refuses_by_name(tmp_path, name, content, message):
    fill(tmp_path)
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        load(tmp_path)
    assert message in str(caught.value) and str(path.relative_to(tmp_path).parts[0]) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_mixed_sizes_name_both_files_and_shapes(tmp_path):
    fill(tmp_path)
    Image.new("RGB", (9, 8)).save(tmp_path / "dog" / "zz.png")
    with pytest.raises(InputError) as caught:
        load(tmp_path)
    for part in ("dog/zz.png=(8, 9, 3)", "[H, W, C]=(4, 5, 3)", "cat/00.png"):
        assert part in str(caught.value)


def test_other_modes_and_several_frames_are_refused(tmp_path):
    fill(tmp_path)
    extra = tmp_path / "dog" / "zz.tiff"
    Image.new("CMYK", (5, 4)).save(extra)
    with pytest.raises(InputError, match="zz.tiff=CMYK: must be grey, RGB or RGBA"):
        load(tmp_path)
    frames = [Image.new("L", (5, 4), value) for value in (0, 255)]
    frames[0].save(extra, save_all=True, append_images=frames[1:])
    with pytest.raises(InputError, match="zz.tiff=2 frames: must be one image"):
        load(tmp_path)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".gif", ".ppm", ".tif", ".webp"])
def test_a_damaged_image_is_a_data_error_that_names_the_file(tmp_path, suffix):
    fill(tmp_path, (32, 32, 3), suffix=suffix)
    path = tmp_path / "dog" / f"07{suffix}"
    good = path.read_bytes()
    for content in (b"", b"not an image", good[:20], good[: len(good) // 2]):
        path.write_bytes(content)
        with pytest.raises(DataError) as caught:
            load(tmp_path)
        assert str(path) in str(caught.value) and caught.value.exit_code == 3 and "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_not_called_damaged(tmp_path):
    fill(tmp_path)
    (tmp_path / "dog" / "zz.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(InputError, match="zz.png: No such file or directory"):
        load(tmp_path)


def test_empty_folders_are_refused(tmp_path):
    with pytest.raises(InputError, match="=0 images: must hold one folder of images for each class"):
        load(tmp_path)
    fill(tmp_path)
    (tmp_path / "eel").mkdir()
    with pytest.raises(InputError, match="eel=0 images: must hold at least one"):
        load(tmp_path)
