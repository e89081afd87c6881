"""Images beside masks: numbers are read as they stand, and what could lose or change a class is refused by file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from jaxnn import data
from jaxnn.commands import main
from jaxnn.data.readers import layouts
from jaxnn.errors import DataError, InputError

RNG = np.random.default_rng(0)
SHAPE = (6, 8)
Pixels = np.ndarray


def load(*args: Any, **kwargs: Any) -> Any:
    return data.load(*args, **kwargs)


def picture(path: Path, pixels: Pixels, palette: Pixels | None = None, **kwargs: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels)
    if palette is not None:
        image.putpalette(palette.astype(np.uint8).tobytes())
    image.save(path, **kwargs)
    return path


def fill(root: Path, n: int = 8, k: int = 3, images: str = "images", masks: str = "masks") -> tuple[Pixels, Pixels]:
    """n images of random pixels and their masks of k classes and 255."""
    x, y = RNG.integers(0, 256, (n, *SHAPE, 3), np.uint8), RNG.integers(0, k, (n, *SHAPE), np.uint8)
    y[:, 0, 0], y[:, 0, 1] = 255, k - 1
    for i in range(n):
        picture(root / images / f"{i:02}.png", x[i])
        picture(root / masks / f"{i:02}.png", y[i])
    return x, y


def whole(root: Path, **kwargs: Any) -> Any:
    return load(root, validation_fraction=0, test_fraction=0, **kwargs)


def refused(root: Path, **kwargs: Any) -> str:
    with pytest.raises(InputError) as caught:
        whole(root, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_masks_of_grey_are_the_numbers_of_the_classes(tmp_path):
    x, y = fill(tmp_path)
    loaded = whole(tmp_path)
    np.testing.assert_array_equal(loaded.train.x, x)
    np.testing.assert_array_equal(loaded.train.y, y)
    assert (loaded.task, loaded.classes, loaded.train.y.dtype) == ("segmentation", (0, 1, 2), np.uint8)


@pytest.mark.parametrize("suffix", [".png", ".gif", ".bmp", ".tif"])
def test_a_palette_says_nothing(tmp_path, suffix):
    """The numbers of a palette, whatever its colours are: two classes may even have the same one."""
    _, y = fill(tmp_path)
    for i, mask in enumerate(y):
        (tmp_path / "masks" / f"{i:02}.png").unlink()
        picture(tmp_path / "masks" / f"{i:02}{suffix}", mask, RNG.integers(0, 256, (256, 3)), optimize=False)
    np.testing.assert_array_equal(whole(tmp_path).train.y, y)


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("palette", [True, False])
def test_masks_of_few_bits_are_not_stretched(tmp_path, bits, palette):
    _, y = fill(tmp_path, k=2)
    y[y == 255] = 1
    for i, mask in enumerate(y):
        path = tmp_path / "masks" / f"{i:02}.png"
        if palette:
            picture(path, mask, RNG.integers(0, 256, (2**bits, 3)), bits=bits)
        else:
            path.write_bytes(grey(mask, bits))
    np.testing.assert_array_equal(whole(tmp_path).train.y, y)


def grey(mask: Pixels, bits: int) -> bytes:
    """A PNG of that many bits a pixel, which Pillow does not write."""
    import struct
    import zlib

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    spread = (mask[..., None] >> np.arange(bits - 1, -1, -1)) & 1
    rows = b"".join(b"\0" + np.packbits(row.reshape(-1).astype(np.uint8)).tobytes() for row in spread)
    header = struct.pack(">2I5B", mask.shape[1], mask.shape[0], bits, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("images", "masks"), [("{}/images", "{}/masks"), ("images/{}", "masks/{}")])
def test_parts_in_both_layouts(tmp_path, images, masks):
    made = {part: fill(tmp_path, 4, images=images.format(part), masks=masks.format(part)) for part in ("train", "val")}
    loaded = load(tmp_path, test_fraction=0)
    np.testing.assert_array_equal(loaded.train.y, made["train"][1])
    np.testing.assert_array_equal(loaded.validation.x, made["val"][0])
    np.testing.assert_array_equal(loaded.validation.y, made["val"][1])


def test_sub_folders_pair_by_the_whole_path(tmp_path):
    _, first = fill(tmp_path, 3, images="images/a", masks="masks/a")
    _, second = fill(tmp_path, 3, images="images/b", masks="masks/b")
    np.testing.assert_array_equal(whole(tmp_path).train.y, np.concatenate([first, second]))


def test_colours_are_looked_up_in_the_table(tmp_path):
    _, y = fill(tmp_path)
    table = np.array([[0, 0, 0], [255, 0, 0], [0, 200, 255]], np.uint8)
    y[y == 255] = 0
    for i, mask in enumerate(y):
        picture(tmp_path / "masks" / f"{i:02}.png", table[mask])
    assert refused(tmp_path).startswith(f"{tmp_path}/masks/00.png=RGB: the colours of a mask must be in a table; save")
    (tmp_path / "classes.txt").write_text("nothing 0 0 0\nred car 255 0 0\nsky 0 200 255\n")
    loaded = whole(tmp_path)
    np.testing.assert_array_equal(loaded.train.y, y)
    assert loaded.classes == ("nothing", "red car", "sky")
    picture(tmp_path / "masks" / "03.png", np.where(y[3][..., None] == 9, 0, table[y[3]]) + np.uint8(1))
    assert f"{tmp_path}/masks/03.png[0,0]=" in refused(tmp_path) and "a colour that" in refused(tmp_path)


def test_a_palette_must_have_the_colours_of_the_table(tmp_path):
    table = np.zeros((256, 3), int)
    table[1:3] = [255, 0, 0], [0, 200, 255]
    _, y = fill(tmp_path)
    (tmp_path / "classes.txt").write_text("nothing 0 0 0\nred car 255 0 0\nsky 0 200 255\n")
    for i in range(8):
        picture(tmp_path / "masks" / f"{i:02}.png", y[i], table)
    np.testing.assert_array_equal(whole(tmp_path).train.y, y)
    picture(
        tmp_path / "masks" / "03.png", y[3], table[[0, 2, 1, *range(3, 256)]]
    )  # as if the colours had been numbered anew
    rule = f"{tmp_path}/masks/03.png: the palette has 0 200 255 for class 1, and {tmp_path}/classes.txt another colour"
    assert refused(tmp_path).startswith(rule)
    (tmp_path / "classes.txt").write_text("nothing\nred car\nsky\n")
    np.testing.assert_array_equal(whole(tmp_path).train.y, y)


def test_masks_are_resized_to_the_nearest_and_padding_is_ignored(tmp_path):
    _, y = fill(tmp_path)
    y = whole(tmp_path, image_size="16x16", resize="fit").train.y
    assert y.shape == (8, 16, 16) and (y[:, :2] == 255).all() and (y[:, 14:] == 255).all()
    assert set(np.unique(y[:, 2:14])) <= {0, 1, 2, 255}
    double = whole(tmp_path, image_size="12x16", resize="stretch").train.y
    np.testing.assert_array_equal(double[:, ::2, ::2], whole(tmp_path).train.y)


def test_a_class_that_there_is_not_is_named_with_its_pixel(tmp_path):
    _, y = fill(tmp_path)
    (tmp_path / "classes.txt").write_text("a\nb\nc\n")
    assert whole(tmp_path).classes == ("a", "b", "c")
    y[2, 3, 4] = 7
    path = picture(tmp_path / "masks" / "02.png", y[2])
    said = refused(tmp_path)
    assert said == f"{path}[3,4]=7: classes must be < 3, or 255 (ignored); repair it, or add the class"


def test_a_class_beyond_those_of_training_is_refused_in_another_part(tmp_path):
    fill(tmp_path, images="images/train", masks="masks/train", k=3)
    fill(tmp_path, images="images/val", masks="masks/val", k=4)
    assert f"{tmp_path}/masks/val/00.png[0,1]=3: classes must be < 3" in refused(tmp_path)


def test_a_mask_of_0_and_255_is_refused_since_255_is_ignored(tmp_path):
    _, y = fill(tmp_path)
    for i, mask in enumerate(y):
        picture(tmp_path / "masks" / f"{i:02}.png", np.where(mask == 0, 0, 255).astype(np.uint8))
    assert "=0: the only class of the training masks beside 255, which is ignored" in refused(tmp_path)


def test_what_is_no_mask_is_refused_by_its_file(tmp_path):
    _, y = fill(tmp_path)
    path = tmp_path / "masks" / "01.png"

    def again(pixels: Pixels, name: str = "01.png", **kwargs: Any) -> str:
        picture(tmp_path / "masks" / name, pixels, **kwargs)
        return refused(tmp_path)

    rule = f"{path}=5x8: {tmp_path}/images/01.png is 6x8 (HEIGHTxWIDTH); a mask must have the size of its image"
    assert again(y[1][:5]).startswith(rule)
    assert f"{path}=LA: a mask must be grey or have a palette" in again(np.stack([y[1]] * 2, -1))
    assert f"{path}=I;16: a mask must be grey or have a palette" in again(y[1].astype(np.uint16))
    assert f"{path}=JPEG: a mask must be BMP, GIF, PNG, TIFF" in again(y[1], format="JPEG")
    path.unlink()
    assert f"{tmp_path}/masks/01.jpg: a mask must be .bmp, .gif" in again(y[1], "01.jpg")
    (tmp_path / "masks" / "01.jpg").unlink()
    path.write_bytes(picture(tmp_path / "a.png", y[1]).read_bytes()[:-20])
    with pytest.raises(DataError, match=f"{path}: damaged image"):
        whole(tmp_path)


def test_each_file_must_have_its_partner(tmp_path):
    fill(tmp_path)
    (tmp_path / "masks" / "03.png").rename(tmp_path / "03.png")
    assert refused(tmp_path).startswith(f"{tmp_path}/images/03.png: has no mask in {tmp_path}/masks, 03.*; add it")
    (tmp_path / "03.png").rename(tmp_path / "masks" / "03.png")
    (tmp_path / "images" / "05.png").unlink()
    assert refused(tmp_path).startswith(f"{tmp_path}/masks/05.png: has no image in {tmp_path}/images, 05.*; add it")
    picture(tmp_path / "images" / "05.jpg", np.zeros((*SHAPE, 3), np.uint8))
    picture(tmp_path / "images" / "05.png", np.zeros((*SHAPE, 3), np.uint8))
    assert refused(tmp_path).startswith(f"{tmp_path}/images/05.png: has the stem of {tmp_path}/images/05.jpg")


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("a\nb\na\n", "classes.txt:3=a: the name of two classes"),
        ("a 0 0 0\nb\n", "1 of 2 classes have a colour"),
        ("a 0 0 0\nb 0 0 300\n", "classes.txt:2=b 0 0 300: r g b must be 0 to 255"),
        ("a 0 0 0\nb 0 0 0\n", "two classes have the same colour"),
        ("a\n", "classes.txt=1 classes: must be 2 to 255"),
        ("a\n\nb\nc\n", "classes.txt:2: an empty line before a class"),
        ("\na\nb\nc\n", "classes.txt:1: an empty line before a class"),
        (b"\xff\xfe\xff", "must be text in UTF-8"),
    ],
)
def test_a_list_of_classes_that_is_none(tmp_path, text, rule):
    fill(tmp_path)
    (tmp_path / "classes.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    assert rule in refused(tmp_path)


def test_a_photo_that_exif_turns_has_its_mask_upright(tmp_path):
    x, y = fill(tmp_path, k=2)
    for i in range(8):
        (tmp_path / "images" / f"{i:02}.png").unlink()
        image = Image.fromarray(np.rot90(x[i]))  # stored turned, and 6 says how it is turned back
        image.getexif()[0x112] = 6
        image.save(tmp_path / "images" / f"{i:02}.tif", exif=image.getexif())
    loaded = whole(tmp_path)
    np.testing.assert_array_equal(loaded.train.x, x)
    np.testing.assert_array_equal(loaded.train.y, y)
    picture(tmp_path / "masks" / "00.png", np.rot90(y[0]).copy())
    assert "00.png=8x6" in refused(tmp_path)


def test_a_damaged_image_is_left_out_with_its_mask(tmp_path):
    x, y = fill(tmp_path)
    (tmp_path / "images" / "02.png").write_bytes(b"no image")
    with pytest.raises(DataError):
        whole(tmp_path)
    loaded = whole(tmp_path, bad_records=1)
    np.testing.assert_array_equal(loaded.train.y, np.delete(y, 2, 0))
    np.testing.assert_array_equal(loaded.train.x, np.delete(x, 2, 0))


def test_other_options_and_tasks(tmp_path):
    fill(tmp_path)
    assert refused(tmp_path, task="detection") == f"--task.name=detection: {tmp_path} has masks; use segmentation"
    assert "--data.max_boxes=5: is for coco, voc, yolo data, not masks" in refused(tmp_path, max_boxes=5)
    assert "--data.target=a: is for table data" in refused(tmp_path, target="a")
    fill(tmp_path / "other")
    loaded = load(tmp_path, validation=tmp_path / "other", test_fraction=0)
    assert len(loaded.train.y) == len(loaded.validation.y) == 8
    # Folders of images are classes where these are asked for.
    by_class = load(tmp_path, task="multiclass", color="rgb")
    assert by_class.classes == ("images", "masks", "other")


def test_the_classes_of_a_network_are_found_by_name(tmp_path):
    _, y = fill(tmp_path)
    (tmp_path / "classes.txt").write_text("sky\ncar\nroad\n")
    known: dict[str, Any] = {"task": "segmentation", "classes": ("road", "sky", "tree", "car"), "shape": (*SHAPE, 3)}
    found = layouts.labelled(tmp_path, None, **known).train.y
    np.testing.assert_array_equal(found, np.array([1, 3, 0, *range(3, 256)])[y])
    with pytest.raises(InputError, match=r"images=car: not a class of the training examples \(road, sky\)"):
        layouts.labelled(tmp_path, None, **{**known, **{"classes": ("road", "sky")}})
    (tmp_path / "classes.txt").unlink()
    np.testing.assert_array_equal(layouts.labelled(tmp_path, None, **known).train.y, y)  # numbers are as in training


def test_a_refusal_is_one_line_and_nothing_is_written(tmp_path, monkeypatch):
    fill(tmp_path / "set")
    (tmp_path / "set" / "masks" / "03.png").unlink()
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match=r"^set/images/03.png: has no mask in set/masks") as caught:
        main.train(["--data.name", "set", "--workdir", "run"])
    assert caught.value.exit_code == 2 and sorted(tmp_path.rglob("*")) == before
