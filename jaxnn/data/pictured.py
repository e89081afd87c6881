"""Labels that lie in the image: masks, which give each pixel a class, and boxes around objects."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from jaxnn.arrays import refuse_where
from jaxnn.config.names import PICTURED
from jaxnn.data.source import Source
from jaxnn.errors import InputError
from jaxnn.tasks.marks import IGNORE, check_boxes, check_masks
from jaxnn.tasks.targets import Targets

MOST = 10_000  # classes of boxes that have no names: a larger number is a coordinate
AXES = "must be [n] or [n, K]; masks [n, H, W] of the size of the images x [n, H, W, C]; or boxes [n, M, 5]"


def kind(source: Source) -> str | None:
    """segmentation or detection, where the labels lie in the images; None where they are of whole examples."""
    if source.task in PICTURED:
        return source.task
    x, y = source.train.x, source.train.y
    if getattr(y, "ndim", 0) != 3:
        return None
    if getattr(x, "ndim", 0) not in (3, 4):
        raise InputError(f"y={y.shape}: {AXES}; reshape it")
    if y.shape == x.shape[:3]:
        return "segmentation"
    if y.shape[2] == 5:
        return "detection"
    raise InputError(f"y={y.shape}: {AXES}; reshape it")


def encode(source: Source, found: str, task: str, positive: str | None = None) -> Targets:
    """Masks as `u8[n, H, W]`, 255 where a pixel has no class, or boxes as `f32[n, M, 5]` (class, x1, y1, x2, y2).

    Args:
      source: what was read.
      found: the kind of its labels.
      task: that which was asked for, or auto.
      positive: refused if there is one, since it is for classes of whole examples.

    Without names there are as many classes as the training labels have, by the largest of them.
    """
    what, convert, numbers, check = KINDS[found]
    if task not in ("auto", found):
        raise InputError(f"--task.name={task}: the labels of this data are {what}; use --task.name {found}")
    if positive is not None:
        raise InputError(f"--data.positive={positive}: the labels are {what}, not classes of examples; leave it out")
    y = {part: convert(table.y, "y" if part == "train" else f"{part} y") for part, table in source.parts.items()}
    if convert is _boxes:
        most = max(labels.shape[1] for labels in y.values())
        y = {part: _padded(labels, most) for part, labels in y.items()}
        if source.classes is None:
            kinds = y["train"][..., 0]
            refuse_where(kinds >= MOST, "y", kinds, f"a class must be < {MOST}, and stands before x1, y1, x2, y2")
    largest = int(np.nan_to_num(numbers(y["train"]), nan=0).astype(np.int32).max(initial=-1))
    if largest < 0:
        raise InputError(f"y={y['train'].shape}: the labels have no class; there is nothing to learn or to measure")
    if convert is _mask and source.classes is None and largest == 0:
        raise InputError(f"y=0 and {IGNORE}: {IGNORE} is ignored, and 0 the only class; number them 0, 1, 2, ...")
    classes = source.classes or tuple(range(largest + 1))
    for part, labels in y.items():  # here, where their numbers are those of the file
        name = what if part == "train" else f"{part} {what}"
        check(labels, source.parts[part].x.shape[1:3], len(classes), name=name)
    return Targets(found, classes, y)


def _mask(y: np.ndarray, name: str) -> np.ndarray:
    if y.dtype.kind not in "biuf" or y.ndim != 3:
        raise InputError(f"{name}={y.dtype}{y.shape}: masks must be whole numbers [n, H, W]; convert them")
    refuse_where((y < 0) | (y > 255) | (y != np.round(y)), name, y, "a mask must have whole numbers of 0 to 255")
    return y.astype(np.uint8)


def _boxes(y: np.ndarray, name: str) -> np.ndarray:
    if y.dtype.kind not in "iuf" or y.ndim != 3 or y.shape[2] != 5:
        raise InputError(f"{name}={y.dtype}{y.shape}: boxes must be [n, M, 5] (class, x1, y1, x2, y2); convert them")
    return y.astype(np.float32)


def _padded(boxes: np.ndarray, most: int) -> np.ndarray:
    """f32[n, most, 5], class -1 where there is no box."""
    none = np.broadcast_to(np.array([-1, 0, 0, 0, 0], np.float32), (len(boxes), most - boxes.shape[1], 5))
    return np.concatenate([boxes, none], axis=1)


# By the kind of labels: what they are, what makes them one array, the numbers of classes in it, and what checks it.
KINDS: dict[str, tuple[str, Callable[..., np.ndarray], Callable[[np.ndarray], np.ndarray], Callable[..., None]]] = {
    "segmentation": ("masks", _mask, lambda y: y[y != IGNORE], check_masks),
    "detection": ("boxes", _boxes, lambda y: y[..., 0], check_boxes),
}
