"""COCO's JSON: boxes and outlines as pycocotools has them, and what is wrong refused by file and id."""

from __future__ import annotations

import copy
import json
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from jaxnn import data
from jaxnn.commands import main
from jaxnn.data.readers import layouts, outlines
from jaxnn.errors import DataError, InputError

RNG = np.random.default_rng(0)
H, W = 20, 30


def load(*args: Any, **kwargs: Any) -> Any:
    return data.load(*args, **kwargs)


def whole(root: Path, **kwargs: Any) -> Any:
    return load(root, validation_fraction=0, test_fraction=0, **kwargs)


def made(root: Path, n: int = 4, images: str = "") -> dict[str, Any]:
    """n images, the first of which has two boxes, the others one, and the last one none; ids have gaps."""
    found: dict[str, Any] = {"images": [], "annotations": [], "categories": [{"id": 7, "name": "dog"}]}
    found["categories"].insert(0, {"id": 9, "name": "cat", "supercategory": "animal"})
    for i in range(n):
        path = root / images / f"{i:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(RNG.integers(0, 256, (H, W, 3), np.uint8)).save(path)
        found["images"].append({"id": 100 + 3 * i, "file_name": path.name, "height": H, "width": W})
        for j in range(2 if i == 0 else int(i < n - 1)):
            box = [3 + i, 2 + 5 * j, 10, 6.5]
            x, y, w, h = box
            about = {"id": 1000 + 10 * i + j, "image_id": 100 + 3 * i, "category_id": [9, 7][j], "bbox": box}
            outline = [[x, y, x + w, y, x + w, y + h, x, y + h]]
            found["annotations"].append({**about, "iscrowd": 0, "segmentation": outline})
    return found


def saved(path: Path, about: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(about))
    return path


def test_boxes_are_two_corners_and_classes_places_of_categories(tmp_path):
    loaded = whole(saved(tmp_path / "labels.json", made(tmp_path)))
    assert (loaded.task, loaded.classes) == ("detection", ("dog", "cat"))
    expected = np.full((4, 2, 5), [-1, 0, 0, 0, 0], np.float32)
    expected[0] = [[1, 3, 2, 13, 8.5], [0, 3, 7, 13, 13.5]]
    expected[1, 0], expected[2, 0] = [1, 4, 2, 14, 8.5], [1, 5, 2, 15, 8.5]
    np.testing.assert_array_equal(loaded.train.y, expected)
    assert loaded.train.y.dtype == np.float32 and loaded.train.x.shape == (4, H, W, 3)
    assert f"{tmp_path}/labels.json: 1 of 4 images have no boxes" in loaded.notes


def test_boxes_move_with_their_images(tmp_path):
    path = saved(tmp_path / "labels.json", made(tmp_path))
    y = whole(path, image_size="40x60", resize="stretch").train.y
    np.testing.assert_allclose(y[..., 1:], 2 * whole(path).train.y[..., 1:])
    fit = whole(path, image_size="30x30").train.y  # five rows of black above and below
    there = fit[..., 0] >= 0
    shifted = whole(path).train.y[..., 1:] + np.array([0, 5, 0, 5])
    np.testing.assert_allclose(fit[there][:, 1:], shifted[there])


def test_fill_leaves_out_boxes_of_which_less_than_a_quarter_is_left(tmp_path):
    about = made(tmp_path, 3)
    for box, annotation in zip(([0, 0, 6, 10], [0, 0, 8, 10], [10, 0, 5, 5]), about["annotations"], strict=True):
        annotation["bbox"] = box  # the middle 20 columns are kept, from 5 on: 1 of 6 columns is left, and 3 of 8
    loaded = whole(saved(tmp_path / "labels.json", about), image_size=20, resize="fill")
    assert (loaded.train.y[..., 0] >= 0).sum() == 2
    np.testing.assert_allclose(loaded.train.y[0, 0], [0, 0, 0, 3, 10])
    note = f"{tmp_path}/labels.json: 1 boxes left out, of which resizing leaves less than a quarter in the picture"
    assert note in loaded.notes


@pytest.mark.parametrize("layout", ["instances", "roboflow", "images"])
def test_the_usual_folders(tmp_path, layout):
    for part, n in (("train", 4), ("val", 3)):
        if layout == "roboflow":
            saved(tmp_path / part / "_annotations.coco.json", made(tmp_path, n, part))
        else:
            about = made(tmp_path, n, f"{part}2017" if layout == "instances" else f"images/{part}2017")
            saved(tmp_path / "annotations" / f"instances_{part}2017.json", about)
    loaded = load(tmp_path, test_fraction=0)
    assert (len(loaded.train.x), len(loaded.validation.x)) == (4, 3)
    one = "val/_annotations.coco.json" if layout == "roboflow" else "annotations/instances_val2017.json"
    np.testing.assert_array_equal(whole(tmp_path / one).train.x, loaded.validation.x)
    with pytest.raises(InputError, match="is for a JSON file"):
        load(tmp_path, dir=tmp_path)


def test_images_of_another_folder(tmp_path):
    path = saved(tmp_path / "a" / "labels.json", made(tmp_path / "b"))
    with pytest.raises(
        InputError, match=r"labels.json: '00.png' is no file in .*/a; add it, or put the .json beside it"
    ):
        whole(path)
    assert len(whole(path, dir=tmp_path / "b").train.x) == 4


def test_crowds_are_left_out_with_a_note(tmp_path):
    about = made(tmp_path)
    about["annotations"][1]["iscrowd"] = 1
    loaded = whole(saved(tmp_path / "labels.json", about))
    assert (loaded.train.y[..., 0] >= 0).sum() == 3
    assert f"{tmp_path}/labels.json: 1 boxes around a crowd (iscrowd) left out" in loaded.notes
    about["annotations"][1]["iscrowd"] = "0"  # a text, which would be true
    with pytest.raises(InputError, match=r"iscrowd='0' must be 0 or 1"):
        whole(saved(tmp_path / "labels.json", about))


def test_boxes_that_stand_out_by_rounding_are_cut(tmp_path):
    about = made(tmp_path)
    about["annotations"][0]["bbox"] = [-1.5, 0, 33, 20.3]
    loaded = whole(saved(tmp_path / "labels.json", about))
    np.testing.assert_array_equal(loaded.train.y[0, 0], [1, 0, 0, 30, 20])
    note = f"{tmp_path}/labels.json: 1 boxes that stand out of their images by up to 2 pixels, cut at the edge"
    assert note in loaded.notes


def test_more_boxes_than_are_allowed(tmp_path):
    path = saved(tmp_path / "labels.json", made(tmp_path))
    rule = f"{tmp_path}/00.png=2 boxes: more than --data.max_boxes 1; add --data.max_boxes 2"
    with pytest.raises(InputError) as caught:
        whole(path, max_boxes=1)
    assert str(caught.value) == rule
    assert whole(path, max_boxes=2).train.y.shape == (4, 2, 5)


# ---- what is refused -------------------------------------------------------------------------------------------------

FIRST = "annotation 1000: "
CHANGES = {  # path in the JSON, its value, what is said; None removes it
    "nan": (("annotations", 0, "bbox", 0), float("nan"), FIRST + "bbox=[nan, 2, 10, 6.5]: must be finite"),
    "no width": (("annotations", 0, "bbox", 2), 0, FIRST + "bbox=[3, 2, 0, 6.5]: width and height must be > 0"),
    "reversed": (("annotations", 0, "bbox", 3), -4, "width and height must be > 0"),
    "outside": (("annotations", 0, "bbox", 0), 30, FIRST + "bbox=[30, 2, 10, 6.5]: lies outside the image, 20x30"),
    "stands out": (("annotations", 0, "bbox", 0), 23, "stands out of the image, 20x30, by more than 2 pixels"),
    "three numbers": (("annotations", 0, "bbox"), [1, 2, 3], "bbox=[1, 2, 3] must be [x, y, width, height]"),
    "text": (("annotations", 0, "bbox", 0), "3", "must be [x, y, width, height]"),
    "huge": (("annotations", 0, "bbox", 0), 10**400, "must be [x, y, width, height]"),
    "no box": (("annotations", 0, "bbox"), None, FIRST + "bbox=missing must be [x, y, width, height]"),
    "image of none": (("annotations", 0, "image_id"), 5, FIRST + "image_id=5 is no image"),
    "category of none": (("annotations", 0, "category_id"), 1, FIRST + "category_id=1 is no category"),
    "id of a list": (("annotations", 0, "category_id"), [1], "category_id=[1] must be a number or text"),
    "annotation twice": (("annotations", 0, "id"), 1010, "annotation id=1010 is there twice"),
    "image twice": (("images", 1, "id"), 100, "image id=100 is there twice"),
    "category twice": (("categories", 1, "id"), 9, "category id=9 is there twice"),
    "name twice": (("categories", 1, "name"), "cat", "category 7: name=cat is that of another category"),
    "file twice": (("images", 1, "file_name"), "00.png", "1 images have a file that another has, 00.png"),
    "no file name": (("images", 1, "file_name"), None, "image 103: file_name=missing must be the name of a file"),
    "missing file": (("images", 1, "file_name"), "z.png", "'z.png' is no file in"),
    "other size": (("images", 1, "width"), 31, "image 103=20x31: "),
    "size of text": (("images", 1, "width"), "30", "image 103: height and width must be whole numbers"),
    "no images": (("images",), None, "must be COCO's JSON, with a list `images`"),
    "empty images": (("images",), [], "images is empty"),
    "no annotations": (("annotations",), None, "must be COCO's JSON, with a list `annotations`"),
    "empty annotations": (("annotations",), [], "=0 boxes: the training images must have at least one"),
    "no categories": (("categories",), None, "must be COCO's JSON, with a list `categories`"),
    "empty categories": (("categories",), [], "categories is empty"),
}


def changed(about: Any, path: tuple[Any, ...], value: Any) -> Any:
    about = copy.deepcopy(about)
    place = about
    for key in path[:-1]:
        place = place[key]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return about


@pytest.mark.parametrize("name", CHANGES)
def test_what_is_wrong_is_refused_by_its_id(tmp_path, name, monkeypatch):
    path, value, rule = CHANGES[name]
    monkeypatch.chdir(tmp_path)
    saved(tmp_path / "labels.json", changed(made(tmp_path), path, value))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError) as caught:
        main.train(["--data.name", "labels.json", "--workdir", "run"])
    assert str(caught.value).startswith("labels.json") and rule in str(caught.value) and "\n" not in str(caught.value)
    assert caught.value.exit_code == 2 and sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("text", ["", "[1, 2]", "{", '{"images": 3}', "[" * 10**5, "\0"])
def test_what_is_no_json_of_coco(tmp_path, text):
    (tmp_path / "labels.json").write_text(text)
    with pytest.raises(InputError, match="labels.json: (is no JSON|must be COCO's JSON)"):
        whole(tmp_path / "labels.json")


def test_a_damaged_image_is_left_out_with_its_boxes(tmp_path):
    path = saved(tmp_path / "labels.json", made(tmp_path))
    expected = whole(path).train.y
    (tmp_path / "00.png").write_bytes(b"no image")
    with pytest.raises(DataError):
        whole(path)
    np.testing.assert_array_equal(whole(path, bad_records=1).train.y, expected[1:, :1])


def test_a_photo_that_exif_turns_has_its_boxes_upright(tmp_path):
    about = made(tmp_path, 1)
    image = Image.open(tmp_path / "00.png").rotate(90, expand=True)
    exif = image.getexif()
    exif[0x112] = 6
    image.save(tmp_path / "00.jpg", exif=exif)
    about["images"][0]["file_name"] = "00.jpg"
    about["annotations"] = [{"id": 1, "image_id": 100, "category_id": 7, "bbox": [0, 0, 30, 20]}]
    assert whole(saved(tmp_path / "labels.json", about)).train.x.shape == (1, H, W, 3)
    about["images"][0] |= {"height": W, "width": H}
    with pytest.raises(InputError, match=r"image 100=30x20: .* and the labels are of the photo as it is stored; save"):
        whole(saved(tmp_path / "labels.json", about))


# ---- masks -----------------------------------------------------------------------------------------------------------


def test_outlines_are_masks_and_the_smaller_lies_on_top(tmp_path):
    about = made(tmp_path)
    about["annotations"][1]["segmentation"] = [[0, 0, 30, 0, 30, 20, 0, 20]]  # the whole image, and a cat on it
    loaded = whole(saved(tmp_path / "labels.json", about), task="segmentation")
    assert (loaded.task, loaded.classes) == ("segmentation", ("background", "dog", "cat"))
    expected = np.ones((H, W), np.uint8)
    expected[2:8, 3:13] = 2  # the centres of row 8 lie on the edge, 8.5, which belongs to the row above
    found = loaded.train.y
    np.testing.assert_array_equal(found[0, :8], expected[:8])
    np.testing.assert_array_equal(found[0, 9:], expected[9:])
    assert (found[3] == 0).all()


def test_run_lengths_are_those_of_pycocotools(tmp_path):
    coco = pytest.importorskip("pycocotools.mask")
    about = made(tmp_path)
    masks = RNG.random((4, H, W)) < 0.3
    about["annotations"] = []
    for i, mask in enumerate(masks):
        packed = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
        flat = mask.T.ravel().astype(int)
        edges = np.flatnonzero(np.diff(flat)) + 1
        counts: Any = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
        counts = packed["counts"].decode() if i % 2 else [0] * int(flat[0]) + counts
        outline = {"size": [H, W], "counts": counts}
        row = {"id": i, "image_id": 100 + 3 * i, "category_id": 9, "segmentation": outline, "iscrowd": 1}
        about["annotations"].append(row)
    loaded = whole(saved(tmp_path / "labels.json", about), task="segmentation")
    np.testing.assert_array_equal(loaded.train.y, 2 * masks)


def test_the_decoder_of_strings_is_that_of_pycocotools():
    coco = pytest.importorskip("pycocotools.mask")
    for _ in range(200):
        h, w = RNG.integers(1, 50, 2)
        mask = RNG.random((h, w)) < RNG.random()
        packed = coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
        np.testing.assert_array_equal(outlines.run_lengths(outlines.unpacked(packed), (h, w)), mask)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of pycocotools, in NumPy
def test_polygons_are_nearly_those_of_pycocotools_and_exactly_their_centres():
    coco = pytest.importorskip("pycocotools.mask")
    shared = []
    for _ in range(30):
        n = int(RNG.integers(3, 20))
        angle = np.sort(RNG.random(n)) * 2 * np.pi
        radius = RNG.uniform(15, 35, n)
        points = 40 + np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1)
        ours = outlines.polygon(points, (80, 80))
        theirs = coco.decode(coco.frPyObjects([points.ravel().tolist()], 80, 80))[..., 0] > 0
        shared.append((ours & theirs).sum() / max((ours | theirs).sum(), 1))
        x, y = points.T
        for row, column in RNG.integers(0, 80, (20, 2)):  # the even-odd rule, in a plain loop
            cx, cy, inside = column + 0.5, row + 0.5, False
            for i in range(n):
                j = (i + 1) % n
                if (y[i] > cy) != (y[j] > cy) and cx < (x[j] - x[i]) * (cy - y[i]) / (y[j] - y[i]) + x[i]:
                    inside = not inside
            assert ours[row, column] == inside
    assert np.mean(shared) > 0.98


OUTLINES: dict[str, tuple[Any, str]] = {
    "none": ([], "has no segmentation; add it, or use --task.name detection"),
    "two points": ([[1, 2, 3, 4]], "of three points at least"),
    "odd": ([[1, 2, 3, 4, 5, 6, 7]], "polygons must be lists of x, y, x, y, ..."),
    "text": ([["a"] * 6], "polygons must be lists"),
    "a number": (3, "polygons must be lists"),
    "nan": ([[1, 2, 3, float("nan"), 5, 6]], "a point outside the image, 20x30"),
    "outside": ([[1, 2, 33, 4, 5, 6]], "a point outside the image, 20x30"),
    "other size": ({"size": [30, 20], "counts": [600]}, "its size is [30, 20], the image's [20, 30]"),
    "too few": ({"size": [20, 30], "counts": [500]}, "must be >= 0 and add up to 20 x 30"),
    "negative": ({"size": [20, 30], "counts": [-100, 700]}, "must be >= 0 and add up to 20 x 30"),
    "no string": ({"size": [20, 30], "counts": "\n"}, "are no compressed run lengths"),
    "cut string": ({"size": [20, 30], "counts": "o"}, "end in the middle of a number"),
    "no counts": ({"size": [20, 30]}, "has no counts"),
}


@pytest.mark.parametrize("name", OUTLINES)
def test_an_outline_that_is_none_is_refused_by_its_id(tmp_path, name):
    outline, rule = OUTLINES[name]
    about = changed(made(tmp_path), ("annotations", 0, "segmentation"), outline)
    with pytest.raises(InputError) as caught:
        whole(saved(tmp_path / "labels.json", about), task="segmentation")
    assert str(caught.value).startswith(f"{tmp_path}/labels.json: annotation 1000: ") and rule in str(caught.value)


# ---- a network that is trained already, and many annotations ---------------------------------------------------------


def test_the_classes_of_a_network_are_found_by_name(tmp_path):
    path = saved(tmp_path / "labels.json", made(tmp_path))
    known: dict[str, Any] = {"task": "detection", "classes": ("cat", "cow", "dog"), "shape": (H, W, 3)}
    y = layouts.labelled(path, None, **known).train.y
    assert y[0, :, 0].tolist() == [0, 2] and y[3, 0, 0] == -1
    with pytest.raises(InputError, match=r"labels.json=dog: not a class of the training examples \(cat, cow\)"):
        layouts.labelled(path, None, **{**known, **{"classes": ("cat", "cow")}})
    with pytest.raises(InputError, match="the network was trained on images"):
        layouts.labelled(path, None, **{**known, **{"shape": (H, W + 1, 3)}})


def test_a_validation_set_of_other_ids_has_the_same_classes(tmp_path):
    path = saved(tmp_path / "a.json", made(tmp_path))
    about = made(tmp_path / "b")
    about["categories"] = [{"id": 9, "name": "dog"}, {"id": 7, "name": "cat"}]  # the other way round
    loaded = load(path, validation=saved(tmp_path / "b" / "b.json", about), test_fraction=0)
    assert loaded.train.y[0, :, 0].tolist() == [1, 0] and loaded.validation.y[0, :, 0].tolist() == [0, 1]


def test_many_annotations_are_read_as_a_plain_loop_reads_them(tmp_path):
    about = made(tmp_path, 4)
    n = 20_000
    xy, wh = RNG.uniform(0, 15, (n, 2)).round(2), RNG.uniform(1, 5, (n, 2)).round(2)
    about["annotations"] = [
        {"id": i, "image_id": 100 + 3 * (i % 4), "category_id": 9 - 2 * (i % 2), "bbox": [*xy[i], *wh[i]]}
        for i in range(n)
    ]
    y = whole(saved(tmp_path / "labels.json", about), max_boxes=n).train.y
    assert y.shape == (4, n // 4, 5)
    for i in range(4):
        rows = range(i, n, 4)
        expected = np.array([[1 - k % 2, *xy[k], *(xy[k] + wh[k])] for k in rows])
        np.testing.assert_allclose(y[i], expected, rtol=1e-6)


def test_the_example_makes_the_same_labels_in_each_format(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(Path(__file__).parent.parent / "examples" / "shapes.py"), run_name="__main__")
    coco, yolo, voc = (whole(Path(name)) for name in ("shapes_coco/labels.json", "shapes_yolo", "shapes_voc"))
    assert (coco.classes, yolo.classes, voc.classes) == (("red", "green"), ("red", "green"), ("green", "red"))
    np.testing.assert_allclose(yolo.train.y, coco.train.y, atol=1e-4)
    np.testing.assert_array_equal(voc.train.y[..., 1:], coco.train.y[..., 1:])
    np.testing.assert_array_equal(voc.train.y[..., 0], 1 - coco.train.y[..., 0])
    masks = whole(Path("shapes_masks"))
    drawn = whole(Path("shapes_coco/labels.json"), task="segmentation")
    assert masks.classes == drawn.classes == ("background", "red", "green")
    np.testing.assert_array_equal(masks.train.y, drawn.train.y)
