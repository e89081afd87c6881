"""YOLO's text files: centres and sizes as fractions, classes from 0, and each wrong line refused by its number."""

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
H, W = 20, 40
NAMES = ("cat", "dog", "bird")


def load(*args: Any, **kwargs: Any) -> Any:
    return data.load(*args, **kwargs)


def whole(root: Path, **kwargs: Any) -> Any:
    return load(root, validation_fraction=0, test_fraction=0, **kwargs)


def fill(
    root: Path, n: int = 3, images: str = "images", labels: str = "labels", names: str | None = "classes.txt"
) -> None:
    """n images, number i of which has i boxes: classes 0, 1, ..., and the last one of the set has no label file."""
    for i in range(n + 1):
        path = root / images / f"{i:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(RNG.integers(0, 256, (H, W, 3), np.uint8)).save(path)
        text = root / labels / f"{i:02}.txt"
        text.parent.mkdir(parents=True, exist_ok=True)
        if i < n:
            text.write_text("".join(f"{j} 0.5 0.25 0.{j + 1} 0.5\n" for j in range(i)))
    if names:
        (root / names).write_text("\n".join(NAMES) + "\n")


def refused(root: Path, **kwargs: Any) -> str:
    with pytest.raises(InputError) as caught:
        whole(root, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_fractions_become_pixels(tmp_path):
    fill(tmp_path)
    loaded = whole(tmp_path)
    assert (loaded.task, loaded.classes) == ("detection", NAMES)
    expected = np.full((4, 2, 5), [-1, 0, 0, 0, 0], np.float32)
    expected[1, 0] = expected[2, 0] = [0, 18, 0, 22, 10]
    expected[2, 1] = [1, 16, 0, 24, 10]
    np.testing.assert_allclose(loaded.train.y, expected, atol=1e-6)
    note = f"{tmp_path}/images: 2 of 4 images have no boxes, 1 of them no label file"
    assert note in loaded.notes
    assert f"{tmp_path}/images: no training example has the class bird" in loaded.notes


@pytest.mark.parametrize(("images", "labels"), [("{}/images", "{}/labels"), ("images/{}", "labels/{}")])
@pytest.mark.parametrize("names", ["classes.txt", "data.yaml"])
def test_parts_in_both_layouts(tmp_path, images, labels, names):
    for part, n in (("train", 3), ("valid", 2), ("test", 4)):
        fill(tmp_path, n, images.format(part), labels.format(part), None)
    text = "\n".join(NAMES) if names == "classes.txt" else f"train: x\nnc: 3\nnames: {list(NAMES)}\n"
    (tmp_path / names).write_text(text)
    loaded = load(tmp_path)
    assert [len(part.x) for part in loaded.splits] == [4, 3, 5]
    assert all(part.y.shape[1:] == (3, 5) for part in loaded.splits)
    one = tmp_path / images.format("test").removesuffix("/images")
    np.testing.assert_array_equal(whole(one).train.y, loaded.test.y)  # a part by its own folder, the names above it


@pytest.mark.parametrize(
    "text",
    [
        "names: [cat, dog, bird]",
        "names:\n- cat\n- dog\n- bird\n",
        "path: ../x  # root\nnames:\n  0: cat\n  1: dog\n  2: bird\ndownload: |\n  a: b",
        "names: {0: cat, 1: 'dog', 2: \"bird\"}",
    ],
)
def test_names_of_data_yaml(tmp_path, text):
    fill(tmp_path, names=None)
    (tmp_path / "data.yaml").write_text(text)
    assert whole(tmp_path).classes == NAMES


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("names: {1: cat, 2: dog}", "data.yaml: names must be a list of texts, or a mapping from 0, 1, 2, ... to them"),
        ("names: cat", "names must be a list of texts"),
        ("names: []", "names must be a list of texts"),
        ("names: [cat, cat]", "data.yaml: cat is the name of two classes"),
        ("nc: 3", "data.yaml: has no `names`"),
        ("[", "data.yaml: is no YAML"),
        ("names: !!python/object/apply:os.getcwd []", "data.yaml: is no YAML"),
        (None, "has no names of the classes; add classes.txt, a name a line, or data.yaml"),
    ],
)
def test_names_that_are_none(tmp_path, text, rule):
    fill(tmp_path, names=None)
    if text is not None:
        (tmp_path / "data.yaml").write_text(text)
    assert rule in refused(tmp_path)


def test_an_empty_line_would_shift_the_numbers_of_the_classes(tmp_path):
    fill(tmp_path)
    (tmp_path / "classes.txt").write_text("cat\n\ndog\nbird\n\n")
    assert f"{tmp_path}/classes.txt:2: an empty line before a class" in refused(tmp_path)


def test_two_lists_of_names_must_agree(tmp_path):
    fill(tmp_path)
    (tmp_path / "labels" / "classes.txt").write_text("\n".join(NAMES))  # as some tools write it, among the labels
    assert whole(tmp_path).classes == NAMES
    (tmp_path / "labels" / "classes.txt").write_text("cat\ndog\n")
    assert "labels/classes.txt: has other classes than" in refused(tmp_path)


LINES = {
    "four": ("1 0.5 0.5 0.1", "must be the 5 numbers class cx cy w h, not 4; repair the line"),
    "six": ("1 0.5 0.5 0.1 0.1 0.9", "must be the 5 numbers class cx cy w h, not 6; repair the line"),
    "outline": ("1 0.1 0.1 0.2 0.2 0.3 0.1", "looks like an outline: must be the 5 numbers class cx cy w h, not 7"),
    "word": ("cat 0.5 0.5 0.1 0.1", "must be the 5 numbers class cx cy w h; repair the line"),
    "nan": ("1 nan 0.5 0.1 0.1", "must be finite"),
    "from 1": ("3 0.5 0.5 0.1 0.1", "classes are numbered from 0, so 0 to 2 for the 3 names of "),
    "negative class": ("-1 0.5 0.5 0.1 0.1", "classes are numbered from 0"),
    "fraction of a class": ("1.5 0.5 0.5 0.1 0.1", "classes are numbered from 0"),
    "pixels": ("1 20 10 8 8", "cx cy w h must be in [0, 1], fractions of the width and height"),
    "negative": ("1 -0.1 0.5 0.1 0.1", "cx cy w h must be in [0, 1]"),
    "no width": ("1 0.5 0.5 0 0.1", "w and h must be > 0"),
    "stands out": ("1 0.9 0.5 0.4 0.1", "stands out of the image, 20x40, by more than 2 pixels"),
}


@pytest.mark.parametrize("name", LINES)
def test_a_wrong_line_is_refused_by_its_number(tmp_path, name, monkeypatch):
    line, rule = LINES[name]
    fill(tmp_path / "set")
    (tmp_path / "set" / "labels" / "02.txt").write_text(f"0 0.5 0.5 0.1 0.1\n\n{line}\n")
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError) as caught:
        main.train(["--data.name", "set", "--workdir", "run"])
    assert str(caught.value).startswith(f"set/labels/02.txt:3={line}: {rule}") and "\n" not in str(caught.value)
    assert caught.value.exit_code == 2 and sorted(tmp_path.rglob("*")) == before


def test_lines_at_the_edge_are_cut_there(tmp_path):
    fill(tmp_path)
    (tmp_path / "labels" / "00.txt").write_text("2 0.9999 0.5 1.0005 1 \n")
    assert "stands out of the image" in refused(tmp_path)
    (tmp_path / "labels" / "00.txt").write_text("2 0.51 0.5 1.0005 1\r\n")
    loaded = whole(tmp_path)
    np.testing.assert_allclose(loaded.train.y[0, 0], [2, 0.39, 0, 40, 20], atol=1e-5)
    assert (
        f"{tmp_path}/labels: 1 boxes that stand out of their images by up to 2 pixels, cut at the edge" in loaded.notes
    )


def test_labels_and_images_belong_together(tmp_path):
    fill(tmp_path)
    (tmp_path / "images" / "01.png").rename(tmp_path / "01.png")
    assert refused(tmp_path).startswith(f"{tmp_path}/labels/01.txt: has no image in {tmp_path}/images, 01.*; add it")
    (tmp_path / "01.png").rename(tmp_path / "images" / "01.png")
    for path in (tmp_path / "labels").iterdir():
        path.unlink()
    assert refused(tmp_path).startswith(f"{tmp_path}/labels=0 labels: must hold a text for each image")
    (tmp_path / "labels" / "00.txt").touch()
    assert "=0 boxes: the training images must have at least one" in refused(tmp_path)


def test_more_boxes_than_are_allowed(tmp_path):
    fill(tmp_path)
    rule = f"{tmp_path}/images/02.png=2 boxes: more than --data.max_boxes 1; add --data.max_boxes 2"
    assert refused(tmp_path, max_boxes=1) == rule


def test_boxes_are_no_masks(tmp_path):
    fill(tmp_path)
    assert refused(tmp_path, task="segmentation") == f"--task.name=segmentation: {tmp_path} has boxes; use detection"
    fill(tmp_path / "two" / "train")
    fill(tmp_path / "two" / "val")
    with pytest.raises(InputError, match="has the parts train, validation; name one of them"):
        layouts.labelled(tmp_path / "two", None, task="detection", classes=NAMES, shape=(H, W, 3))


def test_a_part_without_its_labels(tmp_path):
    fill(tmp_path, images="images/train", labels="labels/train")
    (tmp_path / "images" / "val").mkdir()
    assert refused(tmp_path).startswith(f"{tmp_path}/labels/val: no such folder; add it, or remove")
    (tmp_path / "images" / "val").rmdir()
    (tmp_path / "images" / "train").rename(tmp_path / "images" / "test")
    (tmp_path / "labels" / "train").rename(tmp_path / "labels" / "test")
    assert refused(tmp_path).startswith(f"{tmp_path}: has test and no train; add it")
