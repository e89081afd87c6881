"""Pascal VOC's XML: pixels from 1, both ends in the box; what is wrong refused by file and object."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from jaxnn import data
from jaxnn.commands import main
from jaxnn.data.readers import layouts
from jaxnn.errors import InputError

RNG = np.random.default_rng(0)
H, W = 20, 30


def load(*args: Any, **kwargs: Any) -> Any:
    return data.load(*args, **kwargs)


def whole(root: Path, **kwargs: Any) -> Any:
    return load(root, validation_fraction=0, test_fraction=0, **kwargs)


def item(name: str, *corners: Any, difficult: int = 0) -> str:
    box = "".join(f"<{k}>{v}</{k}>" for k, v in zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True))
    inner = "<part><name>head</name><bndbox><xmin>1</xmin></bndbox></part>"
    return f"<object><name>{name}</name><difficult>{difficult}</difficult>{inner}<bndbox>{box}</bndbox></object>"


def xml(*objects: str, height: Any = H, width: Any = W) -> str:
    size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
    return f"<?xml version='1.0'?><annotation><filename>other.jpg</filename>{size}{''.join(objects)}</annotation>"


def fill(root: Path, n: int = 6) -> None:
    """n images of a cat; the second has a dog too, and the third nothing."""
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    for i in range(n):
        Image.fromarray(RNG.integers(0, 256, (H, W, 3), np.uint8)).save(root / "JPEGImages" / f"{i:02}.png")
        objects = [item("cat", 1 + i, 1, 10, 20), item("dog", 5, 5, 30, 9, difficult=1)][: (1, 2, 0, 1, 1, 1)[i % 6]]
        (root / "Annotations" / f"{i:02}.xml").write_text(xml(*objects))


def refused(root: Path, **kwargs: Any) -> str:
    with pytest.raises(InputError) as caught:
        whole(root, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_pixels_are_numbered_from_1_and_both_ends_are_in(tmp_path):
    fill(tmp_path)
    loaded = whole(tmp_path)
    assert (loaded.task, loaded.classes) == ("detection", ("cat", "dog"))
    np.testing.assert_array_equal(loaded.train.y[0], [[0, 0, 0, 10, 20], [-1, 0, 0, 0, 0]])
    np.testing.assert_array_equal(loaded.train.y[1], [[0, 1, 0, 10, 20], [1, 4, 4, 30, 9]])
    assert (loaded.train.y[2, :, 0] == -1).all()
    assert f"{tmp_path}/Annotations: 1 of 6 images have no boxes" in loaded.notes
    assert f"{tmp_path}/Annotations: 1 boxes are difficult, and learned as the others" in loaded.notes


def test_lists_say_the_parts(tmp_path):
    fill(tmp_path)
    main_folder = tmp_path / "ImageSets" / "Main"
    (main_folder / "train.txt").write_text("00\n01  1\n")
    (main_folder / "val.txt").write_text("02\n05\n")
    (main_folder / "trainval.txt").write_text("00\n01\n02\n05\n")
    loaded = load(tmp_path, test_fraction=0)
    assert [len(part.x) for part in loaded.splits[:2]] == [2, 2]
    alone = layouts.labelled(main_folder / "val.txt", None, task="detection", classes=loaded.classes, shape=(H, W, 3))
    np.testing.assert_array_equal(alone.train.x, loaded.splits[1].x)  # a part by its list, as `evaluate` takes it
    (main_folder / "train.txt").unlink()
    (main_folder / "test.txt").write_text("03\n")
    loaded = load(tmp_path, validation_fraction=0)
    assert (len(loaded.train.x), len(loaded.test.x)) == (4, 1)
    (main_folder / "test.txt").write_text("03\n05\n")
    assert f"{main_folder}/test.txt:2=05: is in {main_folder}/trainval.txt already" in refused(tmp_path)
    (main_folder / "test.txt").write_text("09\n")
    assert f"{main_folder}/test.txt=09: no such file in {tmp_path}/JPEGImages" in refused(tmp_path)
    (main_folder / "test.txt").write_text("\n")
    assert "test.txt: is empty" in refused(tmp_path)


def test_classes_txt_says_the_numbers(tmp_path):
    fill(tmp_path)
    (tmp_path / "classes.txt").write_text("dog\ncow\ncat\n")
    loaded = whole(tmp_path)
    assert loaded.classes == ("dog", "cow", "cat") and loaded.train.y[1, :, 0].tolist() == [2, 0]
    (tmp_path / "classes.txt").write_text("cat\n")
    rule = f"{tmp_path}/Annotations/01.xml: object 2, name=dog: not a class of {tmp_path}/classes.txt (cat); add it"
    assert refused(tmp_path).startswith(rule)
    (tmp_path / "classes.txt").write_text("dog\ncat\ndog\n")
    assert f"{tmp_path}/classes.txt: dog is the name of two classes" in refused(tmp_path)


def test_images_and_files_belong_together(tmp_path):
    fill(tmp_path)
    (tmp_path / "Annotations" / "01.xml").unlink()
    assert f"Annotations=01: no such file in {tmp_path}/Annotations; add it, or remove its partner" in refused(tmp_path)
    fill(tmp_path / "b")
    (tmp_path / "b" / "JPEGImages" / "01.png").unlink()
    assert f"Annotations=01: no such file in {tmp_path}/b/JPEGImages" in refused(tmp_path / "b")


WRONG = {
    "reversed": (xml(item("cat", 10, 1, 5, 20)), "object 1, xmin=10 ymin=1 xmax=5 ymax=20: width and height must be"),
    "the second": (xml(item("cat", 1, 1, 5, 20), item("a", 40, 1, 50, 5)), "object 2, xmin=40 ymin=1 xmax=50 ymax=5"),
    "stands out": (xml(item("cat", 1, 1, 35, 20)), "stands out of the image, 20x30, by more than 2 pixels"),
    "nan": (xml(item("cat", 1, "nan", 5, 20)), "object 1: bndbox/ymin=nan must be finite"),
    "word": (xml(item("cat", 1, "x", 5, 20)), "object 1: bndbox/ymin=x must be a number"),
    "empty": (xml(item("cat", 1, "", 5, 20)), "object 1: bndbox/ymin=missing must be a number"),
    "no box": (xml("<object><name>cat</name></object>"), "object 1: bndbox/xmin=missing must be a number"),
    "no name": (xml(item(" ", 1, 1, 5, 20)), "object 1 has no name"),
    "other size": (xml(height=30, width=30), "size=30x30: "),
    "huge size": (xml(height=1e300), "must be height and width in pixels"),
    "no xml": ("<annotation>", "is no XML in UTF-8"),
    "html": ("<html></html>", "=<html>: must be an <annotation>"),
    "doctype": ("<!DOCTYPE a [<!ENTITY b 'c'>]><annotation>&b;</annotation>", "has a DOCTYPE or entities"),
    "UTF-16": (xml().encode("utf-16"), "is no XML in UTF-8"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_refused_by_file_and_object(tmp_path, name, monkeypatch):
    text, rule = WRONG[name]
    fill(tmp_path / "set")
    (tmp_path / "set" / "Annotations" / "03.xml").write_bytes(text if isinstance(text, bytes) else text.encode())
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError) as caught:
        main.train(["--data.name", "set", "--workdir", "run"])
    assert str(caught.value).startswith("set/Annotations/03.xml") and rule in str(caught.value)
    assert "\n" not in str(caught.value) and caught.value.exit_code == 2
    assert sorted(tmp_path.rglob("*")) == before
