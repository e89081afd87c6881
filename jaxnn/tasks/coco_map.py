"""COCO's mean average precision of detections, on the host in float64."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from jaxnn.errors import InputError

IOUS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)
AREAS: dict[str, tuple[float, float]] = {  # in square pixels
    "all": (0, 1e10),
    "small": (0, 32**2),
    "medium": (32**2, 96**2),
    "large": (96**2, 1e10),
}


def coco_map(detections: Any, boxes: Any, crowd: Any = None, *, most: int = 100) -> dict[str, float]:
    """COCO's average precision: `map` over IoU 0.50, 0.55, ..., 0.95, `map50` and `map75` at one of them, and
    `map_small` (boxes up to 32x32), `map_medium` (up to 96x96) and `map_large`.

    The mean over the classes, and the IoUs, of the best precision at recalls 0, 0.01, ..., 1 or higher ones. A class
    without a box is left out; what no class has is NaN (COCO's -1).

    Args:
      detections: f[n, N, 6]: x1, y1, x2, y2, score, class of each image's; class -1 is padding.
      boxes: f[n, M, 5]: class, x1, y1, x2, y2 of those that are there; class -1 is padding.
      crowd: bool[n, M], those that stand for many objects (`iscrowd`): they need not be found, and what lies in one, by
        its own area, counts neither as right nor as wrong.
      most: how many detections of an image and class count at most, the best.

    Raises `InputError` for arrays of other shapes. Source: Lin et al. 2014; pycocotools' `COCOeval`.

    >>> import numpy as np
    >>> import jaxnn
    >>> found = np.array([[[0, 0, 10, 10, 0.9, 3], [20, 20, 30, 30, 0.8, 3]]])
    >>> round(jaxnn.coco_map(found, np.array([[[3, 0, 0, 10, 8]]]))["map"], 4)  # an IoU of 0.8
    0.7
    """
    found, there = (np.asarray(a, np.float64) for a in (detections, boxes))
    crowds = np.zeros(there.shape[:2], bool) if crowd is None else np.asarray(crowd, bool)
    for name, array, last in (("detections", found, 6), ("boxes", there, 5)):
        if array.ndim != 3 or array.shape[-1] != last or len(array) != len(found):
            raise InputError(f"{name}={array.shape}: must be [n, ..., {last}], a row for each of {len(found)} images")
    if crowds.shape != there.shape[:2]:
        raise InputError(f"crowd={crowds.shape}: must be {there.shape[:2]}, one for each box")
    kinds = np.unique(there[..., 0][there[..., 0] >= 0])
    of_classes = [_precisions(*_of_class(found, there, crowds, kind, most)) for kind in kinds]
    ap = np.array(of_classes).reshape(-1, len(AREAS), len(IOUS))  # [K, areas, IoUs], NaN where there is no box
    parts = {"map": ap[:, 0], "map50": ap[:, 0, 0], "map75": ap[:, 0, 5]}
    parts |= {f"map_{area}": ap[:, i] for i, area in enumerate(AREAS) if i}
    known = {name: part[~np.isnan(part)] for name, part in parts.items()}
    return {name: float(part.mean()) if part.size else float("nan") for name, part in known.items()}


class Image(NamedTuple):
    """The detections of a class in an image, x1, y1, x2, y2, score, the best first; its boxes; which are crowds."""

    found: np.ndarray
    boxes: np.ndarray
    crowd: np.ndarray


def _of_class(
    found: np.ndarray, there: np.ndarray, crowds: np.ndarray, kind: float, most: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Of all detections of a class, image after image: their scores [D]; for each area and IoU whether they are right,
    and whether they do not count, [areas, IoUs, D]; and how many boxes each area has."""
    matched = []
    for image, boxes, crowd in zip(found, there, crowds, strict=True):
        mine, real = image[image[:, 5] == kind, :5], boxes[:, 0] == kind
        mine = mine[np.argsort(-mine[:, 4], kind="stable")[:most]]
        if len(mine) or real.any():
            matched.append((mine[:, 4], *_match(Image(mine, boxes[real, 1:], crowd[real]))))
    scores, right, ignored, counts = zip(*matched, strict=True)
    return np.concatenate(scores), np.concatenate(right, -1), np.concatenate(ignored, -1), np.sum(counts, 0)


def _match(image: Image) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Whether each detection is right, and whether it does not count, [areas, IoUs, D]; the number of boxes, [areas].

    From the best score downwards each takes the box that it overlaps most among those that are left: first of those
    that count in this area, then of the others, of which crowds are never taken away.
    """
    found, boxes, crowd = image
    overlaps = _overlaps(found[:, :4], boxes, crowd)
    outside = lambda b: np.array([(_area(b) < low) | (_area(b) > high) for low, high in AREAS.values()])
    extra = outside(boxes) | crowd  # [areas, M]
    shape = (len(AREAS), len(IOUS))
    right, ignored = (np.zeros((*shape, len(found)), bool) for _ in range(2))
    ignored |= outside(found)[:, None]
    left = np.ones((*shape, len(boxes)), bool)
    for d in np.flatnonzero((overlaps >= IOUS[0]).any(1)):
        free = left & (overlaps[d] >= IOUS[:, None])
        first = free & ~extra[:, None]
        chosen = np.where(first.any(-1, keepdims=True), first, free)
        box = len(boxes) - 1 - np.where(chosen, overlaps[d], -1)[..., ::-1].argmax(-1)  # of equal ones the last
        area, iou = np.nonzero(chosen.any(-1))
        box = box[area, iou]
        left[area, iou, box] = crowd[box]
        right[area, iou, d] = ~extra[area, box]
        ignored[area, iou, d] = extra[area, box]
    return right, ignored, (~extra).sum(1)


def _precisions(scores: np.ndarray, right: np.ndarray, ignored: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """AP of a class, [areas, IoUs]; NaN in an area without boxes."""
    order = np.argsort(-scores, kind="stable")
    right, ignored = right[..., order], ignored[..., order]
    hits, misses = (np.cumsum(a, -1, dtype=np.float64) for a in (right & ~ignored, ~right & ~ignored))
    precision = hits / (hits + misses + np.spacing(1))
    best = np.maximum.accumulate(precision[..., ::-1], -1)[..., ::-1]  # at this recall or a higher one
    ap = np.full(right.shape[:2], np.nan)
    for area, iou in np.ndindex(ap.shape):
        if counts[area]:
            place = np.searchsorted(hits[area, iou] / counts[area], RECALLS)
            ap[area, iou] = np.append(best[area, iou], 0)[place].mean()
    return ap


def _area(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def _overlaps(a: np.ndarray, b: np.ndarray, crowd: np.ndarray) -> np.ndarray:
    """IoU of all pairs, [D, M]; with a crowd the intersection over the area of the detection."""
    inner = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    both = np.where((inner > 0).all(-1), inner.prod(-1), 0)
    union = np.where(crowd, _area(a)[:, None], _area(a)[:, None] + _area(b) - both)
    return both / np.where(union > 0, union, 1)
