"""Images as people have them: of any size, colour and depth, in folders within folders, or listed in a table."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.datasets import load_sample_image

import jaxnn
from jaxnn import data
from jaxnn.commands import main
from jaxnn.commands import predict as command
from jaxnn.config.data import DataConfig
from jaxnn.data.readers import decoding, image_file, image_form, kept_images
from jaxnn.errors import DataError, Error, InputError

ROOT = Path(__file__).parent.parent
RNG = np.random.default_rng(0)
WHOLE: dict[str, Any] = {"test_fraction": 0, "validation_fraction": 0}
FORM = image_form.Form((8, 8), "fit", None)


def load(*args: Any, **kwargs: Any) -> Any:  # Any, since a test knows which splits there are
    return data.load(*args, **kwargs)


def photo(height: int, width: int, flower: bool = False) -> Image.Image:
    """A random piece of one of two photographs."""
    whole = Image.fromarray(load_sample_image("flower.jpg" if flower else "china.jpg"))
    x, y = RNG.integers(0, 200, 2).tolist()
    return whole.resize((width, height), box=(x, y, x + 400, y + 200))


def photos(root: Path, n: int = 8) -> list[Path]:
    """JPEGs of different sizes, half of them in each of two classes."""
    paths = []
    for i in range(n):
        path = root / ("china", "flower")[i % 2] / f"{i:02}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        photo(*RNG.integers(20, 90, 2).tolist(), flower=i % 2 == 1).save(path)
        paths.append(path)
    return sorted(paths)


def as_formed(path: Path, form: image_form.Form = FORM) -> np.ndarray:
    return image_file.read(path, form)[0]


# ---- resizing --------------------------------------------------------------------------------------------------------


def weights(n: int, m: int, scale: float, move: float) -> np.ndarray:
    """[m, n]: how much each of n pixels has in each of m, by a triangle as wide as two pixels of the coarser side."""
    centre = (np.arange(m) + 0.5 - move) / scale
    w = np.maximum(0, 1 - np.abs(np.arange(n) + 0.5 - centre[:, None]) * min(scale, 1))
    return w / w.sum(1, keepdims=True)


def expected(x: np.ndarray, height: int, width: int, how: str) -> np.ndarray:
    """In floats, by two matrix products."""
    size, before = np.array([height, width]), np.array(x.shape[:2])
    scale, move, inner = size / before, np.zeros(2), size
    if how == "fill":
        scale[:] = scale.max()
        move = (size - scale * before) / 2
    if how == "fit":
        inner = np.maximum(1, np.round(scale.min() * before)).astype(int)
        scale = inner / before
    rows, columns = (weights(*each) for each in zip(before, inner, scale, move, strict=True))
    canvas, (top, left) = np.zeros((height, width, 3)), (size - inner) // 2
    canvas[top : top + inner[0], left : left + inner[1]] = np.einsum("ih,hwc,jw->ijc", rows, x.astype(float), columns)
    return canvas


@pytest.mark.parametrize("how", ["fit", "fill", "stretch"])
def test_resizing_is_antialiased_linear_interpolation(how, tmp_path):
    for (h, w), (height, width) in (
        ((60, 90), (16, 16)), ((91, 33), (12, 20)), ((7, 5), (16, 9)), ((40, 40), (8, 8)), ((1, 60), (8, 8)),
    ):  # fmt: skip
        pixels = np.asarray(photo(h, w))
        Image.fromarray(pixels).save(tmp_path / "a.png")
        found = as_formed(tmp_path / "a.png", image_form.Form((height, width), how, None))
        np.testing.assert_allclose(found, expected(pixels, height, width, how), atol=1.5, err_msg=f"{h}x{w}")
    same = image_form.Form((h, w), how, None)
    np.testing.assert_array_equal(as_formed(tmp_path / "a.png", same), pixels)  # of that size already


def test_fit_keeps_the_whole_picture_on_black_and_fill_has_no_ground(tmp_path):
    Image.new("RGB", (90, 30), (10, 200, 30)).save(tmp_path / "a.png")
    fit, fill = (as_formed(tmp_path / "a.png", image_form.Form((9, 9), how, None)) for how in ("fit", "fill"))
    assert (fit[3:6] == (10, 200, 30)).all() and not fit[:3].any() and not fit[6:].any()
    assert (fill == (10, 200, 30)).all()


def test_photos_are_turned_upright_before_they_are_resized(tmp_path):
    upright = photo(30, 60)
    tags = Image.Exif()
    tags[0x112] = 6
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=tags)
    upright.save(tmp_path / "upright.png")
    np.testing.assert_array_equal(as_formed(tmp_path / "turned.png"), as_formed(tmp_path / "upright.png"))


# ---- colour and depth ------------------------------------------------------------------------------------------------

KEPT = image_form.Form(None, "fit", "rgb")
GREY = image_form.Form(None, "fit", "grey")


def deep_grey(path: Path) -> np.ndarray:
    deep = RNG.integers(0, 2**16, (6, 5)).astype(np.uint16)
    Image.fromarray(deep).save(path.with_suffix(".png"))
    return np.repeat(deep[..., None] // 256, 3, 2)


def deep_tiff(path: Path) -> np.ndarray:
    deep = RNG.integers(0, 2**16, (6, 5)).astype(np.uint16)
    Image.fromarray(deep).save(path.with_suffix(".tif"))
    return np.repeat(deep[..., None] // 256, 3, 2)


def palette(path: Path) -> np.ndarray:
    colours, index = RNG.integers(0, 256, (7, 3)), RNG.integers(0, 7, (6, 5)).astype(np.uint8)
    image = Image.fromarray(index)
    image.putpalette(colours.ravel().tolist())
    image.save(path.with_suffix(".png"))
    return colours[index]


def clear_palette(path: Path) -> np.ndarray:
    """A palette whose colour 3 is transparent: white."""
    colours, index = RNG.integers(0, 256, (7, 3)), RNG.integers(0, 7, (6, 5)).astype(np.uint8)
    image = Image.fromarray(index)
    image.putpalette(colours.ravel().tolist())
    image.save(path.with_suffix(".gif"), transparency=3)
    return np.where(index[..., None] == 3, 255, colours[index])


def alpha(path: Path) -> np.ndarray:
    pixels = RNG.integers(0, 256, (6, 5, 4), np.uint8)
    Image.fromarray(pixels).save(path.with_suffix(".png"))
    share = pixels[..., 3:] / 255
    return np.round(pixels[..., :3] * share + 255 * (1 - share))


def grey_alpha(path: Path) -> np.ndarray:
    pixels = RNG.integers(0, 256, (6, 5, 2), np.uint8)
    Image.fromarray(pixels).save(path.with_suffix(".png"))
    share = pixels[..., 1:] / 255
    return np.repeat(np.round(pixels[..., :1] * share + 255 * (1 - share)), 3, 2)


def cmyk(path: Path) -> np.ndarray:
    ink = RNG.integers(0, 256, (6, 5, 4), np.uint8)
    Image.frombytes("CMYK", (5, 6), ink.tobytes()).save(path.with_suffix(".tif"))
    share = 1 - ink / 255
    return np.round(255 * share[..., :3] * share[..., 3:])


def cmyk_jpeg(path: Path) -> np.ndarray:
    photo(24, 32).convert("CMYK").save(path.with_suffix(".jpg"), quality=95)
    return np.asarray(Image.open(path.with_suffix(".jpg")).convert("RGB"))


def animated(path: Path) -> np.ndarray:
    frames = [Image.new("RGB", (5, 6), colour) for colour in ((250, 0, 20), (0, 99, 0), (0, 0, 250))]
    frames[0].save(path.with_suffix(".gif"), save_all=True, append_images=frames[1:])
    return np.broadcast_to(np.array([250, 0, 20]), (6, 5, 3))


def bits(path: Path) -> np.ndarray:
    on = RNG.integers(0, 2, (6, 5)).astype(bool)
    Image.fromarray(on).save(path.with_suffix(".png"))
    return np.repeat(255 * on[..., None], 3, 2)


KINDS: dict[Callable[[Path], np.ndarray], tuple[str, int]] = {  # what is told, and how far rounding may lead away
    deep_grey: ("of 16 bits a channel, of which the upper 8 are taken", 0), deep_tiff: ("of 16 bits a channel", 0),
    palette: ("", 0), clear_palette: ("with transparency, laid on white", 0), alpha: ("with transparency", 1),
    grey_alpha: ("with transparency", 1), cmyk: ("in CMYK, made RGB without their colour profile", 1),
    cmyk_jpeg: ("in CMYK", 0), animated: ("of several frames, of which the first is taken", 0), bits: ("", 0),
}  # fmt: skip


@pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__)
def test_every_kind_is_made_rgb_or_grey_as_documented(make, tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
    make(tmp_path / "a" / "x")
    pixels = make(tmp_path / "b" / "x")
    (path,) = (tmp_path / "b").iterdir()
    told, away = KINDS[make]
    found = as_formed(path, KEPT)
    assert np.abs(found.astype(int) - pixels).max() <= away
    grey = pixels @ [0.299, 0.587, 0.114]
    assert np.abs(as_formed(path, GREY)[..., 0] - grey).max() <= away + 1
    loaded = load(tmp_path, color="rgb", **WHOLE)
    np.testing.assert_array_equal(loaded.train.x[1], found)
    assert loaded.notes[:1] == () if not told else loaded.notes[0].startswith(f"{tmp_path}: 2 images {told}")
    if make not in (palette, clear_palette, alpha, grey_alpha, bits):
        with pytest.raises(InputError, match="add --data.color rgb"):  # nothing is done that was not asked for
            load(tmp_path)


def test_16_bits_of_colour_are_their_upper_8(tmp_path):
    from tests.test_data_folder import png  # a writer of its own: Pillow has none

    deep = RNG.integers(0, 2**16, (4, 5, 3))
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in deep)
    (tmp_path / "a.png").write_bytes(png(5, 4, 16, 2, rows))
    np.testing.assert_array_equal(as_formed(tmp_path / "a.png", KEPT), deep // 256)


def test_other_depths_are_refused_by_name(tmp_path):
    for i, dtype in enumerate((np.int32, np.float32, np.int16)):
        path = tmp_path / "cat" / f"{i}.tif"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.ones((4, 5), dtype)).save(path)
        with pytest.raises(InputError, match=rf"{i}.tif=[IF]: images must have 8 or 16 bits a channel"):
            as_formed(path, KEPT)


def test_channels_are_made_alike_grey_only_where_all_are(tmp_path):
    paths = photos(tmp_path)
    for path in paths:
        Image.open(path).convert("L").save(path)
    grey = load(tmp_path, image_size=8, **WHOLE)
    assert grey.shape == (8, 8, 1)
    photo(30, 40).save(paths[5])
    mixed = load(tmp_path, image_size=8, **WHOLE)
    assert mixed.shape == (8, 8, 3)
    np.testing.assert_array_equal(np.delete(mixed.train.x, 5, 0), np.delete(np.repeat(grey.train.x, 3, 3), 5, 0))
    assert load(tmp_path, image_size=8, color="grey", **WHOLE).shape == (8, 8, 1)
    assert load(tmp_path, image_size="6x8", color="rgb", **WHOLE).shape == (6, 8, 3)


def test_mixed_channels_of_one_size_name_the_cure(tmp_path):
    for i in range(8):
        path = tmp_path / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        photo(9, 7).convert("L" if i == 5 else "RGB").save(path)
    with pytest.raises(InputError, match=r"b/5.png=\(9, 7, 1\): .*\[H, W, C\]=\(9, 7, 3\).*; add --data.color rgb$"):
        load(tmp_path)
    assert load(tmp_path, color="rgb", **WHOLE).train.x.shape == (8, 9, 7, 3)


# ---- folders ---------------------------------------------------------------------------------------------------------


def test_mixed_sizes_are_refused_with_the_sizes_and_the_cure(tmp_path):
    for i, size in enumerate([(90, 70)] * 5 + [(80, 200), (30, 40), (90, 70)]):
        path = tmp_path / "ab"[i % 2] / f"{i}.jpg"
        path.parent.mkdir(exist_ok=True)
        photo(*size).save(path)
    with pytest.raises(InputError) as caught:
        load(tmp_path)
    said = (
        f"{tmp_path}/a/6.jpg=(30, 40, 3): all images must have one size and number of channels, [H, W, C]=(90, 70, 3) "
        f"as {tmp_path}/a/0.jpg; 3 sizes, HEIGHTxWIDTH, the commonest 90x70 (6 of 8 images), the smallest 30x40, "
        "the largest 80x200; add --data.image_size 64"
    )
    assert str(caught.value) == said
    with pytest.raises(InputError, match="add --data.image_size 64"):
        load(tmp_path, color="grey")


def test_the_images_are_those_of_a_plain_loop_in_the_order_of_their_files(tmp_path):
    paths = photos(tmp_path, 40)
    loop = [np.asarray(Image.open(path).resize((12, 10), Image.Resampling.BILINEAR)) for path in paths]
    loaded = load(tmp_path, image_size="10x12", resize="stretch", **WHOLE)
    np.testing.assert_array_equal(loaded.train.x, np.stack(loop))
    np.testing.assert_array_equal(loaded.train.y, [0] * 20 + [1] * 20)
    assert loaded.scale == 255 and loaded.train.x.dtype == np.uint8


def test_what_is_hidden_or_no_image_is_left_out_with_a_count(tmp_path):
    paths = photos(tmp_path)
    names = ("china/.DS_Store", "china/notes.txt", "flower/Thumbs.db", "flower/x.mp4", "README.md", ".git/x.jpg")
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("no image")
    loaded = load(tmp_path, image_size=8, **WHOLE)
    assert len(loaded.train.x) == len(paths)
    first = tmp_path / "china/.DS_Store"
    assert loaded.notes == (f"{tmp_path}: 4 files that are hidden or no images left out, the first is {first}",)
    (tmp_path / "china" / "IMG_1.HEIC").write_text("a photo of a phone")
    with pytest.raises(InputError, match="IMG_1.HEIC: HEIC cannot be read; convert such photos to JPEG or PNG"):
        load(tmp_path, image_size=8)


def test_images_in_deeper_folders_are_of_the_class_above(tmp_path):
    flat = load(photos(tmp_path / "flat")[0].parent.parent, image_size=8, **WHOLE)
    for i, path in enumerate(sorted((tmp_path / "flat").rglob("*.jpg"))):
        deep = tmp_path / "deep" / path.parent.name / ("2023", "2024/june")[i // 2 % 2] / path.name
        deep.parent.mkdir(parents=True, exist_ok=True)
        deep.write_bytes(path.read_bytes())
    loaded = load(tmp_path / "deep", image_size=8, **WHOLE)
    assert loaded.classes == flat.classes == ("china", "flower")
    assert np.bincount(loaded.train.y).tolist() == [4, 4]
    rows = lambda x: sorted(row.tobytes() for row in x)
    assert rows(loaded.train.x) == rows(flat.train.x)
    assert "8 images lie in folders below those of the classes, to which they belong" in loaded.notes[0]


def test_damage_is_counted_and_named_as_without_a_size(tmp_path):
    paths = photos(tmp_path)
    whole = load(tmp_path, image_size=8, **WHOLE).train.x
    for i in (1, 6):
        paths[i].write_bytes(paths[i].read_bytes()[:200])
    with pytest.raises(DataError, match=f"{paths[6]}: damaged image"):
        load(tmp_path, image_size=8, bad_records=1)
    loaded = load(tmp_path, image_size=8, bad_records=2, **WHOLE)
    np.testing.assert_array_equal(loaded.train.x, np.delete(whole, [1, 6], 0))
    assert loaded.notes == (f"{tmp_path}: 2 damaged images left out: {paths[1]}, {paths[6]}",)


# ---- paths in a table ------------------------------------------------------------------------------------------------


@pytest.fixture
def listed(tmp_path) -> tuple[Path, pd.DataFrame, np.ndarray]:
    """A table of 12 photos in its folder, and their pixels."""
    paths = photos(tmp_path / "pictures", 12)
    frame = pd.DataFrame({"file": [str(path.relative_to(tmp_path)) for path in paths]})
    frame["age"] = RNG.uniform(0, 9, 12).round(3)
    frame["patient"] = np.repeat([*"abcdef"], 2)
    frame["certain"] = RNG.integers(1, 5, 12)
    frame["kind"] = [path.parent.name for path in paths]
    frame.to_csv(tmp_path / "labels.csv", index=False)
    return tmp_path / "labels.csv", frame, np.stack([as_formed(path) for path in paths])


def test_a_table_of_paths_has_labels_amounts_weights_and_groups(listed, tmp_path):
    path, frame, pixels = listed
    loaded = load(path, images="file", image_size=8, weight="certain", **WHOLE)
    np.testing.assert_array_equal(loaded.train.x, pixels)
    assert loaded.classes == ("china", "flower") and loaded.scale == 255
    np.testing.assert_array_equal(np.array(loaded.classes)[loaded.train.y], frame["kind"])
    np.testing.assert_array_equal(loaded.train.weight, frame["certain"])
    one = load(path, images="file", image_size=8, target="age", **WHOLE)
    np.testing.assert_allclose(one.train.y[:, 0], frame["age"], rtol=1e-6)
    assert one.task == "regression" and one.targets == ("age",)
    two = load(path, images="file", image_size=8, target=("age", "certain"), task="regression", **WHOLE)
    np.testing.assert_allclose(two.train.y, frame[["age", "certain"]], rtol=1e-6)
    groups = load(path, images="file", image_size=8, split_by="patient", test_fraction=0.34, validation_fraction=0.2)
    held = {name: {row.tobytes() for row in getattr(groups, name).x} for name in ("train", "validation", "test")}
    assert sum(map(len, held.values())) == 12
    for i in range(0, 12, 2):  # both photos of a patient are in one part
        assert any({pixels[i].tobytes(), pixels[i + 1].tobytes()} <= rows for rows in held.values())


def test_a_table_of_paths_elsewhere_a_frame_and_a_validation_table(listed, tmp_path, monkeypatch):
    path, frame, pixels = listed
    (tmp_path / "tables").mkdir()
    frame.iloc[:8].to_parquet(tmp_path / "tables" / "train.parquet")
    frame.iloc[8:].to_parquet(tmp_path / "tables" / "val.parquet")
    given: dict[str, Any] = {"images": "file", "image_size": 8, "test_fraction": 0}
    other = {"validation": tmp_path / "tables" / "val.parquet"}
    loaded = load(tmp_path / "tables" / "train.parquet", dir=tmp_path, **other, **given)
    np.testing.assert_array_equal(np.concatenate([loaded.train.x, loaded.validation.x]), pixels)
    monkeypatch.chdir(tmp_path)
    np.testing.assert_array_equal(load(frame, images="file", image_size=8, **WHOLE).train.x, pixels)
    with pytest.raises(
        InputError, match=r"row 0, column file=pictures/\S+: no such file in \S+/tables; mend the path, or"
    ):
        load(tmp_path / "tables" / "train.parquet", **given)


def test_rows_of_a_table_that_miss_something_are_refused_or_dropped(listed, tmp_path):
    path, frame, pixels = listed
    holes = frame.assign(kind=frame["kind"].where(frame.index != 3), file=frame["file"].where(frame.index != 5))
    holes.to_csv(path, index=False)
    with pytest.raises(InputError, match="labels.csv line 5, column kind=: missing value"):
        load(path, images="file", image_size=8)
    loaded = load(path, images="file", image_size=8, nan="drop", split_by="patient", **WHOLE)
    np.testing.assert_array_equal(loaded.train.x, np.delete(pixels, [3, 5], 0))
    np.testing.assert_array_equal(np.array(loaded.classes)[loaded.train.y], frame["kind"].drop([3, 5]))
    (tmp_path / frame["file"][7]).write_bytes(b"no image")
    frame.to_csv(path, index=False)
    loaded = load(path, images="file", image_size=8, bad_records=1, weight="certain", **WHOLE)
    np.testing.assert_array_equal(loaded.train.x, np.delete(pixels, 7, 0))
    np.testing.assert_array_equal(loaded.train.weight, frame["certain"].drop(7))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"images": "fiel"}, "--data.images=fiel: unknown; did you mean file?"),
        ({"images": "age"}, "column age=.*: must be the path of an image; choose another column"),
        ({"images": "kind", "target": "age"}, r"line 2, column kind=china: no such file in"),
        ({"images": "file", "target": "file"}, "--data.images=file: is the target column too; choose another"),
        ({"images": "file", "drop": ("file",)}, "--data.drop=file: is the images column too"),
        ({"images": "file", "dir": "nowhere"}, "line 2, column file=pictures/.*: no such file in .*nowhere; mend"),
        ({"images": "file", "nan": "mean"}, "--data.nan=mean: is for table data, not table of images"),
        (
            {"image_size": 8},
            "--data.image_size=8: is for folder, table of images, coco, masks, voc, yolo data, not table",
        ),
        (
            {"color": "grey"},
            "--data.color=grey: is for folder, table of images, coco, masks, voc, yolo data, not table",
        ),
        ({"images": "file"}, "all images must have one size"),
    ],
)
def test_a_table_of_paths_is_refused_in_one_line(listed, given, message):
    with pytest.raises(InputError, match=message) as caught:
        load(listed[0], **given)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named_by_its_line(listed, tmp_path):
    path, frame, _ = listed
    (tmp_path / frame["file"][4]).unlink()
    with pytest.raises(
        InputError, match=rf"labels.csv line 6, column file={frame['file'][4]}: no such file in {tmp_path}"
    ):
        load(path, images="file", image_size=8)


# ---- what is decoded is kept -----------------------------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "jaxnn" / "images"


def kept(root: Path, **more: Any) -> Any:
    settings: dict[str, Any] = {"image_size": "8"} | WHOLE | more
    return data.from_config(DataConfig(str(root), **settings), keep=True)


def refuse(*_: object) -> Any:
    raise AssertionError("decoded again")


def test_the_second_time_nothing_is_decoded(cache, tmp_path, monkeypatch):
    paths = photos(tmp_path / "photos")
    paths[2].write_bytes(b"no image")
    first = kept(tmp_path / "photos", bad_records=1)
    (entry,) = cache.iterdir()
    monkeypatch.setattr(image_file, "decode", refuse)
    again = kept(tmp_path / "photos", bad_records=1)
    assert again.digest == first.digest and again.notes == first.notes and list(cache.iterdir()) == [entry]
    for more in ({"resize": "fill"}, {"image_size": "8x9"}, {"color": "grey"}):
        with pytest.raises(AssertionError, match="decoded again"):
            kept(tmp_path / "photos", bad_records=1, **more)
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(DataError, match=f"{paths[2]}: damaged"):  # kept, but refused all the same
        kept(tmp_path / "photos")


def test_a_changed_pixel_is_never_missed(cache, tmp_path):
    root = tmp_path / "photos"
    for i in range(8):
        path = root / "ab"[i % 2] / f"{i}.bmp"
        path.parent.mkdir(parents=True, exist_ok=True)
        photo(8, 8).save(path)
    first, about = kept(root), path.stat()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    again = kept(root)
    assert path.stat().st_mtime_ns == about.st_mtime_ns and path.stat().st_size == about.st_size
    assert (again.train.x != first.train.x).sum() == 1 and again.digest != first.digest
    assert again.digest == data.load(root, image_size=8, **WHOLE).digest


def test_what_was_kept_and_is_damaged_is_decoded_again_with_a_note(cache, tmp_path):
    root = photos(tmp_path / "photos")[0].parent.parent
    first = kept(root)
    (entry,) = cache.iterdir()
    good = entry.read_bytes()
    for at in (0, 35, 45, len(good) // 2, len(good) - 1):
        bad = bytearray(good)
        bad[at] ^= 1
        for content in (bytes(bad), good[:at]):
            entry.write_bytes(content)
            again = kept(root)
            assert again.digest == first.digest
            assert again.notes == (f"{entry}: decoded images that were kept are damaged; they are decoded again",)
            assert entry.read_bytes() == good and kept(root).notes == ()
    entry.unlink()
    entry.mkdir()
    assert "cannot be read" in kept(root).notes[0] and kept(root).digest == first.digest


def test_a_folder_that_cannot_be_written_costs_a_note_and_no_run(tmp_path, monkeypatch):
    root = photos(tmp_path / "photos")[0].parent.parent
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    loaded = kept(root)
    assert loaded.digest == data.load(root, image_size=8, **WHOLE).digest
    assert all(": decoded images" in f": {note}" and "file" in note for note in loaded.notes) and loaded.notes


def test_a_full_disk_leaves_no_half_entry(cache, tmp_path):
    root = photos(tmp_path / "photos")[0].parent.parent
    code = f"""
import resource, signal
from jaxnn.config import DataConfig
from jaxnn.data import from_config
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (999, 999))
print(*from_config(DataConfig({str(root)!r}, image_size="8"), keep=True).notes)"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert "decoded images are not kept ([Errno 27] File too large); mend the folder, or --no-cache" in done.stdout
    assert list(cache.iterdir()) == []


def test_two_at_once_keep_one_whole_entry(cache, tmp_path):
    root = photos(tmp_path / "photos", 24)[0].parent.parent
    code = f"""
from jaxnn.config import DataConfig
from jaxnn.data import from_config
for _ in range(5):
    found = from_config(DataConfig({str(root)!r}, image_size="8"), keep=True)
    print(found.digest, *found.notes)"""
    both = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT) for _ in "ab"]
    said = [process.communicate(timeout=120)[0].splitlines() for process in both]
    assert len({*said[0], *said[1]}) == 1 and len(said[0]) == len(said[1]) == 5
    (entry,) = cache.iterdir()
    content = entry.read_bytes()
    assert hashlib.sha256(content[32:]).digest() == content[:32]


def test_entries_that_were_not_used_for_longest_make_room(cache, tmp_path, monkeypatch):
    root = photos(tmp_path / "photos")[0].parent.parent
    for size in ("8", "9", "10"):
        kept(root, image_size=size)
    taken = {entry.name: entry.stat().st_size for entry in cache.iterdir()}
    for i, entry in enumerate(sorted(cache.iterdir(), key=lambda entry: entry.stat().st_size)):
        os.utime(entry, (i, i))
    kept(root, image_size="8")  # the smallest is used again: now the oldest is the middle one
    monkeypatch.setattr(kept_images, "MOST", sum(taken.values()) + 1)
    kept(root, image_size="7")
    sizes = sorted(entry.stat().st_size for entry in cache.iterdir())
    assert len(sizes) == 3 and sorted(taken.values())[1] not in sizes and sizes[1:] == sorted(taken.values())[::2]
    monkeypatch.setattr(kept_images, "MOST", 99)
    assert kept(root, image_size="11").notes == () and len(list(cache.iterdir())) == 3  # too large for all of it


def test_the_library_keeps_nothing(cache, tmp_path):
    data.load(photos(tmp_path / "photos")[0].parent.parent, image_size=8)
    assert not cache.exists()


# ---- threads and the bar ---------------------------------------------------------------------------------------------


def test_no_thread_and_no_filter_of_warnings_is_left_behind(tmp_path):
    import warnings

    paths = photos(tmp_path, 60)
    paths[3].write_bytes(b"no image")
    before = list(warnings.filters), threading.active_count()
    with pytest.raises(DataError) as caught:
        decoding.read(tmp_path, paths, FORM)
    assert (list(warnings.filters), threading.active_count()) == before and caught.traceback


def test_a_bar_is_shown_on_a_terminal_and_nothing_on_standard_output(tmp_path):
    photos(tmp_path)
    code = f"""
from pathlib import Path
from jaxnn.data.readers import decoding, image_form
decoding.PATIENCE = -1
files = sorted(Path({str(tmp_path)!r}).rglob("*.jpg"))
decoding.read("photos", files, image_form.Form((8, 8), "fit", None))"""
    ours, theirs = pty.openpty()
    env = os.environ | {"TERM": "xterm", "COLUMNS": "100"}
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=theirs, env=env, cwd=ROOT)
    os.close(theirs)
    shown = os.read(ours, 2**16).decode()
    assert done.returncode == 0 and done.stdout == b"" and "decoding images" in shown and "8/8" in shown


# ---- a run -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """Runs of `jaxnn train`: on a folder, and on a table of paths, in grey; their photos in `photos`."""
    folder = tmp_path_factory.mktemp("runs")
    photos(folder / "photos", 40)
    files = sorted((folder / "photos").rglob("*.jpg"))
    table = pd.DataFrame({"file": [path.relative_to(folder) for path in files], "side": np.arange(40) % 3})
    table.to_csv(folder / "labels.csv", index=False)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    tiny = ["--model.hidden", "4", "--epochs", "2", "--batch-size", "16", "--devices", "1", "--data.image-size", "6x9"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        argv = ["--data.name", str(folder / "photos"), *tiny, "--data.resize", "fill", "--workdir"]
        assert main.train([*argv, str(folder / "run")]) == 0
        assert len(list((folder / "cache" / "jaxnn" / "images").iterdir())) == 1
        assert main.train([*argv, str(folder / "again")]) == 0
        argv = ["--data.name", str(folder / "labels.csv"), "--data.images", "file", *tiny, "--data.color", "grey"]
        assert main.train([*argv, "--no-cache", "--workdir", str(folder / "listed")]) == 0
        assert len(list((folder / "cache" / "jaxnn" / "images").iterdir())) == 1
    for number, handler in handlers.items():
        signal.signal(number, handler)
    return folder


@pytest.mark.long
def test_the_run_that_read_the_cache_has_the_same_weights(runs):
    first, again = ((runs / name / "weights.safetensors").read_bytes() for name in ("run", "again"))
    assert first == again
    saved = json.loads((runs / "run" / "config.json").read_text())["config"]["data"]
    assert (saved["image_size"], saved["resize"], saved["color"]) == ("6x9", "fill", None)


@pytest.mark.long
def test_new_photos_of_any_size_and_kind_are_predicted_as_in_training(runs, tmp_path, capsys):
    run = jaxnn.load_run(runs / "run")
    form = image_form.Form((6, 9), "fill", "rgb")
    paths = photos(tmp_path / "new")
    photo(50, 20).convert("L").save(tmp_path / "new" / "china" / "grey.png")
    photo(6, 9).convert("RGBA").save(tmp_path / "new" / "flower" / "clear.png")
    files = sorted((tmp_path / "new").rglob("*.*"))
    x = np.stack([as_formed(path, form) for path in files])
    np.testing.assert_allclose(run.predict_proba(tmp_path / "new"), run.predict_proba(x), atol=1e-6)
    assert run.predict(files[3]).tolist() == run.predict(x[3:4]).tolist()
    y = np.array([path.parent.name for path in files])
    assert run.evaluate(tmp_path / "new")["accuracy"] == pytest.approx(np.mean(run.predict(x) == y))
    assert command.predict([str(runs / "run"), *map(str, paths[:2])]) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith(f"{paths[0]},")
    paths[1].write_bytes(b"no image")
    with pytest.raises(DataError, match=f"{paths[1]}: damaged"):
        run.predict(tmp_path / "new")


@pytest.mark.long
def test_a_run_on_a_table_of_paths_predicts_and_evaluates_others_and_folders(runs, tmp_path):
    run = jaxnn.load_run(runs / "listed")
    files = photos(tmp_path / "new")
    table = pd.DataFrame({"file": [path.relative_to(tmp_path) for path in files], "side": np.arange(8) % 3})
    table.to_csv(tmp_path / "labels.csv", index=False)
    table[["file"]].to_csv(tmp_path / "new.csv", index=False)
    x = np.stack([as_formed(path, image_form.Form((6, 9), "fit", "grey")) for path in files])
    assert x.shape == (8, 6, 9, 1)
    expected = run.predict_proba(x)
    for source in ("new.csv", "labels.csv", "new"):
        np.testing.assert_allclose(run.predict_proba(tmp_path / source), expected, atol=1e-6)
    accuracy = np.mean(run.predict(x) == np.arange(8) % 3)
    assert run.evaluate(tmp_path / "labels.csv")["accuracy"] == pytest.approx(accuracy)
    with pytest.raises(InputError, match="bad.csv: has no column file, which the network was trained on"):
        table[["side"]].to_csv(tmp_path / "bad.csv", index=False)
        run.predict(tmp_path / "bad.csv")


# ---- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["image_size", size], f"--data.image_size={size}: must be HEIGHTxWIDTH in pixels, or one number for both")
        for size in ("0", "64x", "x64", "-3", "big", "64x0", "1.5", "6_4", "64x64x3", "٣", "999999", "")
    ]
    + [
        (["resize", "fil"], "--data.resize=fil: unknown; did you mean fill? Choose from fill, fit, stretch"),
        (["resize", "fill"], "--data.resize=fill: says how images are resized; add --data.image_size"),
        (["color", "gray"], "--data.color=gray: unknown; did you mean grey? Choose from grey, rgb"),
        (
            ["image_size", "64"],
            "--data.image_size=64: is for folder, table of images, coco, masks, voc, yolo data, not bundled",
        ),
    ],
)
def test_a_flag_that_cannot_be_is_refused_and_nothing_written(given, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Error) as caught:
        main.train([f"--data.{given[0]}={given[1]}", "--workdir", "run"])
    assert str(caught.value).startswith(message) and caught.value.exit_code == 2 and not list(tmp_path.iterdir())


def test_sizes_have_one_spelling():
    for given in ("64", "064", "64x64", "64X64", 64):
        assert DataConfig("x", image_size=given).image_size == "64"  # pyright: ignore[reportArgumentType]
    assert DataConfig("x", image_size="048X64").image_size == "48x64"


def test_rows_without_a_path_are_told_of_beside_those_without_a_label(tmp_path):
    for i in range(20):
        Image.fromarray(np.full((8, 8, 3), i * 10, np.uint8)).save(tmp_path / f"{i}.png")
    cells = [("" if i == 3 else f"{i}.png", "" if i == 5 else "ab"[i % 2]) for i in range(20)]
    (tmp_path / "t.csv").write_text("file,y\n" + "".join(f"{path},{y}\n" for path, y in cells))
    loaded = jaxnn.data.load(tmp_path / "t.csv", images="file", nan="drop", validation_fraction=0, test_fraction=0)
    assert len(loaded.train.x) == 18
    notes = [note for note in loaded.notes if "1 of 20" in note]
    assert len(notes) == 2 and sum(note.endswith("(column file)") for note in notes) == 1


def test_a_grey_part_beside_one_in_colour_is_refused_with_the_cure(tmp_path):
    for part, shape in (("train", (8, 8)), ("test", (8, 8, 3))):
        for label in "ab":
            (tmp_path / part / label).mkdir(parents=True)
            for i in range(4):
                pixels = np.random.default_rng(i).integers(0, 255, shape, dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / part / label / f"{i}.png")
    with pytest.raises(InputError, match=r"the test images are in colour, and those of training not; add --data.color"):
        jaxnn.data.load(tmp_path, image_size=6)
    assert jaxnn.data.load(tmp_path, image_size=6, color="rgb").shapes["test"] == (8, 6, 6, 3)
