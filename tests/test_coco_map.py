"""mAP is COCO's: equal to pycocotools on the same detections."""

import contextlib
import io
from typing import Any

import numpy as np
import pytest

from jaxnn.errors import InputError
from jaxnn.tasks.coco_map import coco_map

NAMES = ["map", "map50", "map75", "map_small", "map_medium", "map_large"]


def some(rng, n, classes, *, crowds=True, fine=True, size=200):
    """Boxes, crowds and detections: the boxes moved a little, and others; empty images and absent classes."""
    m, k = 7, 14
    boxes = np.full((n, m, 5), -1.0)
    crowd = np.zeros((n, m), bool)
    found = np.zeros((n, k, 6))
    found[..., 5] = -1
    corners = lambda count: np.sort(rng.integers(0, size, (count, 2, 2)), 1).reshape(-1, 4) + [0, 0, 1, 1]
    for i in range(n):
        count = rng.integers(0, m + 1) * (rng.random() > 0.2)
        boxes[i, :count] = np.c_[rng.choice(classes, count), corners(count)]
        crowd[i, :count] = crowds & (rng.random(count) < 0.2)
        near = boxes[i, : rng.integers(0, count + 1)]
        moved = near[:, 1:] + (rng.normal(0, 3, (len(near), 4)) if fine else rng.integers(-3, 4, (len(near), 4)))
        moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2] + 1)
        more = rng.integers(0, k - len(near) + 1) * (rng.random() > 0.2)
        given = np.r_[np.c_[moved, near[:, 0]], np.c_[corners(more), rng.choice([*classes, 11], more)]]
        score = rng.random(len(given)) if fine else rng.integers(1, 5, len(given)) / 5  # ties
        found[i, : len(given)] = np.c_[given[:, :4], score, given[:, 4]]
    return found, boxes, crowd


def oracle(found, boxes, crowd):
    pytest.importorskip("pycocotools")
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    wide = lambda b: [b[0], b[1], b[2] - b[0], b[3] - b[1]]
    known = [{"id": i + 1} for i in range(len(found))]
    rows = [(i, j) for i, j in np.ndindex(boxes.shape[:2]) if boxes[i, j, 0] >= 0]
    truth = [
        {
            "id": number + 1,
            "image_id": i + 1,
            "category_id": int(boxes[i, j, 0]),
            "bbox": wide(boxes[i, j, 1:]),
            "area": float(np.prod(wide(boxes[i, j, 1:])[2:])),
            "iscrowd": int(crowd[i, j]),
        }
        for number, (i, j) in enumerate(rows)
    ]
    given = [
        {"image_id": i + 1, "category_id": int(row[5]), "bbox": wide(row), "score": row[4]}
        for i, image in enumerate(found)
        for row in image
        if row[5] >= 0
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        coco: Any = COCO()
        coco.dataset = {"images": known, "annotations": truth, "categories": [{"id": k} for k in range(12)]}
        coco.createIndex()
        if not given:
            return None
        run = COCOeval(coco, coco.loadRes(given), "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    return dict(zip(NAMES, run.stats[:6], strict=True))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("crowds", [False, True])
@pytest.mark.parametrize("fine", [False, True])
def test_map_is_that_of_pycocotools(seed, crowds, fine):
    rng = np.random.default_rng(seed)
    given = some(rng, 30, [0, 2, 5, 9], crowds=crowds, fine=fine)
    expected, ours = oracle(*given), coco_map(*given)
    assert list(ours) == NAMES and expected
    for name in NAMES:
        np.testing.assert_allclose(np.nan_to_num(ours[name], nan=-1), expected[name], rtol=0, atol=1e-12, err_msg=name)


def test_nothing_found_is_0_and_nothing_there_is_no_number():
    found, boxes, crowd = some(np.random.default_rng(0), 5, [1, 2])
    none = np.full_like(found, -1.0)
    assert coco_map(none, boxes, crowd)["map"] == 0 and coco_map(none[:, :0], boxes, crowd)["map"] == 0
    nothing = coco_map(found, np.full_like(boxes, -1.0))
    assert list(nothing) == NAMES and np.isnan(list(nothing.values())).all()


def test_of_boxes_that_are_overlapped_alike_the_last_is_taken():
    boxes = np.array([[[0, 0, 0, 10, 10], [0, 4, 0, 14, 10]]])
    found = np.array([[[2, 0, 12, 10, 0.9, 0], [-1, 0, 7, 10, 0.8, 0]]])  # the second overlaps the first box alone
    assert coco_map(found, boxes)["map50"] == pytest.approx(1)
    assert coco_map(found, boxes[:, ::-1])["map50"] == pytest.approx(51 / 101)


def test_only_the_best_of_an_image_and_class_count():
    boxes = np.array([[[0, 0, 0, 10, 10]]])
    found = np.array([[[50, 50, 60, 60, 0.9, 0], [0, 0, 10, 10, 0.8, 0]]])
    assert coco_map(found, boxes)["map"] == pytest.approx(0.5)
    assert coco_map(found, boxes, most=1)["map"] == 0


@pytest.mark.parametrize(
    ("found", "boxes", "crowd", "line"),
    [
        (np.zeros((2, 3, 5)), np.zeros((2, 3, 5)), None, "detections=(2, 3, 5): must be [n, ..., 6]"),
        (np.zeros((2, 3, 6)), np.zeros((3, 3, 5)), None, "boxes=(3, 3, 5): must be [n, ..., 5], a row for each of 2"),
        (np.zeros((2, 3, 6)), np.zeros((2, 3, 5)), np.zeros(2), "crowd=(2,): must be (2, 3)"),
    ],
)
def test_other_shapes_are_refused(found, boxes, crowd, line):
    with pytest.raises(InputError) as error:
        coco_map(found, boxes, crowd)
    assert str(error.value).startswith(line)
