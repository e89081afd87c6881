"""Images with boxes or masks, whatever the format they came in: checked, made one size, and put into arrays.

The rules that hold for boxes of all formats are in `checked`; what resizing does to them is in `geometry`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxnn.data.check import unpacked_size
from jaxnn.data.readers import decoding, geometry, image_file
from jaxnn.data.readers.image_form import Form
from jaxnn.data.source import Source, Table
from jaxnn.errors import InputError
from jaxnn.tasks.labels import Label
from jaxnn.tasks.marks import IGNORE, LEFT

ROUNDING = 2.0  # pixels by which a box may stand out of its image; it is cut at the edge


class Boxes(NamedTuple):
    """The boxes of a part, of all its images."""

    image: np.ndarray
    """i64[m]: which file; not decreasing"""
    values: np.ndarray
    """f64[m, 5]: class, x1, y1, x2, y2 in the pixels of the file, upright"""
    where: Callable[[int], str]
    """what a message calls a box: `file:line=as it stands there`"""


class Masks(NamedTuple):
    """The masks of a part."""

    read: Callable[[int], np.ndarray]
    """u8[h, w], the classes of the pixels of a file, upright; 255 is none"""
    where: Callable[[int], str]


class Part(NamedTuple):
    """The images of a part with their labels, as their files have them."""

    root: Path
    files: list[Path]
    sizes: np.ndarray
    """i64[n, 2]: height and width of the files, upright; 0, 0 of a damaged one"""
    labels: Boxes | Masks
    classes: tuple[Label, ...] | None
    """None where there are numbers only"""
    notes: tuple[str, ...] = ()


def sizes(files: Sequence[Path]) -> np.ndarray:
    """i64[n, 2]: height and width as the heads of the files have them, upright; 0, 0 of a damaged one."""
    with image_file.quiet():
        found = list(decoding.each(lambda path: image_file.head(path) or (0, 0), files, "looking at"))
    return np.array(found, np.int64).reshape(-1, 2)


def refuse_sizes(files: Sequence[Path], sizes: np.ndarray, stated: np.ndarray, source: Callable[[int], str]) -> None:
    """Refuse labels of an image of another size; `stated i64[n, 2]` is 0, 0 where they do not say.

    A photo that its EXIF data turn is upright here, as in the tools that draw boxes. Where the labels say the size of
    the photo as it is stored, they belong to that.
    """
    other = (stated != sizes).any(1) & sizes.all(1) & stated.all(1)
    if other.any():
        i = int(np.argmax(other))
        (h, w), (height, width) = stated[i], sizes[i]
        rule = f"{files[i]} is {height}x{width} (HEIGHTxWIDTH)"
        if (h, w) == (width, height) and image_file.is_turned(files[i]):
            rule += " as its EXIF data turn it, and the labels are of the photo as it is stored"
            raise InputError(f"{source(i)}={h}x{w}: {rule}; save the photo without its EXIF orientation")
        raise InputError(f"{source(i)}={h}x{w}: {rule}; the labels must be of that image")


def checked(boxes: Boxes, sizes: np.ndarray, name: object) -> tuple[Boxes, tuple[str, ...]]:
    """Boxes within their images, and a note of those that were cut.

    Raises `InputError` for a box that is not finite, is empty or reversed, lies outside its image, or stands out of
    it by more than `ROUNDING` pixels. Boxes of damaged images, of no known size, are not looked at.
    """
    there = sizes[boxes.image].all(1)
    corners, size = boxes.values[:, 1:], sizes[boxes.image][:, ::-1]
    low, high = corners[:, :2], corners[:, 2:]

    def refuse(bad: Any, rule: str) -> None:
        bad = bad & there
        if bad.any():
            i = int(np.argmax(bad))
            h, w = sizes[boxes.image[i]]
            raise InputError(f"{boxes.where(i)}: {rule.format(image=f'the image, {h}x{w}')}")

    refuse(~np.isfinite(corners).all(1), "must be finite; repair it, or remove it")
    refuse((high <= low).any(1), "width and height must be > 0; repair it, or remove it")
    refuse(((high <= 0) | (low >= size)).any(1), "lies outside {image}; repair it, or remove it")
    out = np.maximum(-low, high - size).max(1, initial=0)
    refuse(out > ROUNDING, "stands out of {image}, by more than 2 pixels; repair it, or cut it at the edge")
    cut = int(np.sum((out > 0) & there))
    notes = (f"{name}: {cut} boxes that stand out of their images by up to 2 pixels, cut at the edge",) if cut else ()
    inside = np.concatenate([boxes.values[:, :1], np.clip(corners, 0, np.tile(size, 2))], 1)
    return boxes._replace(values=inside), notes


def source(
    parts: Mapping[str, Part], form: Form | None, *, most: int | None = None, known: Sequence[Label] | None = None,
    bad_records: int = 0, shape: tuple[int, ...] | None = None, keep: bool = False,
) -> Source:  # fmt: skip
    """Arrays of all parts: y is u8[n, H, W] or f32[n, M, 5] (class, x1, y1, x2, y2; class -1 pads), M by part.

    Args:
      most: boxes that an image may have; None is any number.
      known: the classes, in the order of their numbers; those of the training part where None.

    Other arguments are those of `decoding.read`, and so are the errors; `InputError` too for a class that the training
    part has not, more boxes than `most`, masks of one class, and pixels of a class that there is not.
    """
    root, files = parts["train"].root, {part: (each.root, each.files) for part, each in parts.items()}
    found, notes = decoding.parts(root, files, form, bad_records=bad_records, shape=shape, keep=keep)
    for part, images in found.items():
        if not images.kept:
            raise InputError(f"{parts[part].root}=0 images: all of them are damaged; replace them")
    names = tuple(parts["train"].classes or ()) if known is None else tuple(known)
    labels: dict[str, np.ndarray] = {}
    for name, part in parts.items():
        if isinstance(part.labels, Boxes):
            y, told = _boxes(part, part.labels, found[name].kept, form, most)
        else:
            y, largest = _masks(part, part.labels, found[name].kept, form, len(part.classes or names) or IGNORE)
            names, told = names or tuple(range(largest + 1)), ()
        labels[name] = _renumbered(y, part, names)
        notes += (*part.notes, *told)
    is_boxes = isinstance(parts["train"].labels, Boxes)
    if known is None:
        notes += _classes(parts["train"].root, labels["train"], names, is_boxes=is_boxes)
    tables = {name: Table(images.x, labels[name]) for name, images in found.items()}
    return Source(
        tables["train"], tables.get("validation"), tables.get("test"), classes=names, scale=255.0,
        task="detection" if is_boxes else "segmentation", notes=tuple(dict.fromkeys(notes)),
    )  # fmt: skip


def _boxes(
    part: Part, labels: Boxes, kept: list[int], form: Form | None, most: int | None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """f32[n, M, 5] of the images that are kept, in the pixels of what they are made to be."""
    counts = np.bincount(labels.image, minlength=len(part.files))
    if most is not None and (counts > most).any():
        i = int(np.argmax(counts > most))
        rule = f"more than --data.max_boxes {most}"
        raise InputError(f"{part.files[i]}={counts[i]} boxes: {rule}; add --data.max_boxes {counts.max()}")
    row = np.full(len(part.files), -1)
    row[kept] = np.arange(len(kept))
    chosen = row[labels.image] >= 0
    image, given = row[labels.image][chosen], labels.values[chosen]
    made = np.empty((0, 4), np.float32)
    if len(given):
        forms = [geometry.of((int(h), int(w)), form) for h, w in part.sizes[kept]]
        g = geometry.taken(forms, image)
        made = geometry.boxes(g, given[:, 1:]).astype(np.float32)
        whole = _area(given[:, 1:]) * np.prod(g.inner, 1) / _area(g.crop)
        left = (_area(made) >= LEFT * whole) & (made[:, 2:] > made[:, :2]).all(1)
        notes = _told_of_boxes(part.root, left, made)
        image, given, made = image[left], given[left], made[left]
    else:
        notes = ()
    counts = np.bincount(image, minlength=len(kept))
    y = np.zeros((len(kept), counts.max(initial=1), 5), np.float32)
    y[..., 0] = -1
    place = np.arange(len(image)) - (np.cumsum(counts) - counts)[image]
    y[image, place] = np.concatenate([given[:, :1].astype(np.float32), made], 1)
    return y, notes


def _area(corners: np.ndarray) -> np.ndarray:
    return np.prod(corners[:, 2:] - corners[:, :2], axis=1, dtype=np.float64)


def _told_of_boxes(root: Path, left: np.ndarray, made: np.ndarray) -> tuple[str, ...]:
    """Notes of boxes that are left out, or too small to be seen, once the images have their size."""
    notes = ()
    if lost := int(np.sum(~left)):
        notes += (f"{root}: {lost} boxes left out, of which resizing leaves less than a quarter in the picture",)
    if small := int(np.sum((made[left, 2:] - made[left, :2]).min(1, initial=np.inf) < 1)):
        notes += (f"{root}: {small} boxes are narrower than 1 pixel at this size of the images",)
    return notes


def _masks(part: Part, labels: Masks, kept: list[int], form: Form | None, k: int) -> tuple[np.ndarray, int]:
    """u8[n, H, W] of the images that are kept, as they are made to be, and the largest class of a pixel."""

    def one(i: int) -> tuple[np.ndarray, int]:
        mask, size = labels.read(i), tuple(part.sizes[i].tolist())
        if mask.shape != size:
            rule = f"{part.files[i]} is {size[0]}x{size[1]} (HEIGHTxWIDTH)"
            given = "x".join(map(str, mask.shape))
            raise InputError(f"{labels.where(i)}={given}: {rule}; a mask must have the size of its image, upright")
        seen = np.flatnonzero(np.bincount(mask.ravel(), minlength=256)[:IGNORE])
        largest = int(seen.max(initial=0))
        if largest >= k:
            row, column = map(int, np.argwhere(mask == largest)[0])
            rule = f"classes must be < {k}, or {IGNORE} (ignored)"
            raise InputError(f"{labels.where(i)}[{row},{column}]={largest}: {rule}; repair it, or add the class")
        return geometry.mask(geometry.of((int(size[0]), int(size[1])), form), mask), largest

    y, most = np.empty((0, 0, 0), np.uint8), 0
    with image_file.quiet(), contextlib.closing(decoding.each(one, kept, "reading the masks of")) as found:
        for row, (mask, largest) in enumerate(found):
            if row == 0:
                unpacked_size(part.root, len(kept) * mask.size)
                y = np.empty((len(kept), *mask.shape), np.uint8)
            y[row] = mask
            most = max(most, largest)
    return y, most


def _renumbered(y: np.ndarray, part: Part, names: Sequence[Label]) -> np.ndarray:
    """The labels with the numbers that their classes have in `names`."""
    if part.classes is None or tuple(part.classes) == tuple(names):
        return y
    number = {name: i for i, name in enumerate(names)}
    used = np.unique(y[..., 0] if y.dtype != np.uint8 else y).astype(int)
    table = np.arange(256) if y.dtype == np.uint8 else np.arange(len(part.classes))
    for i, name in enumerate(part.classes):
        if name not in number and i in used:
            listed = ", ".join(map(str, names[:10])) + ", ..." * (len(names) > 10)
            rule = f"not a class of the training examples ({listed})"
            raise InputError(f"{part.root}={name}: {rule}; rename it, or remove it"[:2000])
        table[i] = number.get(name, 0)
    if y.dtype == np.uint8:
        return table.astype(np.uint8)[y]
    there = y[..., 0] >= 0
    y[there, 0] = table[y[there, 0].astype(int)]
    return y


def _classes(root: Path, y: np.ndarray, names: Sequence[Label], *, is_boxes: bool) -> tuple[str, ...]:
    """A note of the classes that no training example has; refused where there is nothing to learn."""
    seen = set(np.unique(y[..., 0] if is_boxes else y).astype(int).tolist()) - {-1 if is_boxes else IGNORE}
    if is_boxes and not seen:
        raise InputError(f"{root}=0 boxes: the training images must have at least one; check the labels")
    if not is_boxes and len(seen) < 2:
        rule = f"the only class of the training masks beside {IGNORE}, which is ignored; there must be two"
        only = names[seen.pop()] if seen else "none"
        raise InputError(f"{root}={only}: {rule}; number the classes 0, 1, 2, ...")
    absent = [str(name) for i, name in enumerate(names) if i not in seen]
    listed = ", ".join(absent[:10]) + ", ..." * (len(absent) > 10)
    return (f"{root}: no training example has the class {listed}",) if absent else ()
