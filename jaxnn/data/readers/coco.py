"""COCO's JSON: boxes, or polygons and run lengths as masks; a file, or a folder in one of the usual layouts.

Boxes are x, y, width, height there. The numbers of the classes are the places of the categories by id, which may have
gaps; in masks class 0 is the background. Of annotations that overlap, the smaller lies on top.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxnn.data.check import file_size
from jaxnn.data.readers import annotated, outlines
from jaxnn.data.readers.annotated import ROUNDING, Boxes, Masks, Part
from jaxnn.data.readers.folder import PARTS
from jaxnn.errors import InputError
from jaxnn.tasks.marks import IGNORE

BACKGROUND = "background"
ROBOFLOW = "_annotations.coco.json"


def files(root: Path) -> dict[str, Path]:
    """The JSON file of each part: ROOT/annotations/instances_PART*.json, or ROOT/PART/_annotations.coco.json; `train`
    for a file, and for a folder of one part. Empty where these are no such data."""
    if root.suffix.lower() == ".json":
        return {"train": root}
    if (root / ROBOFLOW).is_file():
        return {"train": root / ROBOFLOW}
    given = [(path.parent.name, path) for path in sorted(root.glob(f"*/{ROBOFLOW}"))]
    given += [
        (path.stem.removeprefix("instances_"), path) for path in sorted(root.glob("annotations/instances_*.json"))
    ]
    found: dict[str, Path] = {}
    for name, path in given:
        part = next((part for word, part in PARTS.items() if name.lower().rstrip("0123456789_-") == word), None)
        if part is None:
            raise InputError(f"{path}: its name says no part ({', '.join(PARTS)}); rename it, or give the file alone")
        if part in found:
            raise InputError(f"{path}: {found[part]} holds the {part} images too; give one of them alone")
        found[part] = path
    return {part: found[part] for part in PARTS.values() if part in found}


def read(root: Path, dir: Path | None, *, masks: bool) -> dict[str, Part]:
    """The images of each part with their boxes or masks; `dir` has the images, where they are not at a usual place.

    Raises `InputError`, naming the file and the id, for what is missing, doubled, unknown or no box or outline.
    """
    found = files(root)
    if dir is not None and len(found) > 1:
        raise InputError(f"--data.dir={dir}: is for a JSON file, and {root} has {len(found)}; give one of them")
    return {part: _part(path, dir, masks=masks) for part, path in found.items()}


class _Table(NamedTuple):
    """One of the lists of the file."""

    path: Path
    name: str
    rows: list[dict[str, Any]]

    def at(self, i: int) -> str:
        return f"{self.path}: {self.name} {self.rows[i].get('id', f'number {i}')}"

    def column(self, key: str, kind: type | tuple[type, ...], rule: str) -> list[Any]:
        """The values of all rows; refused where one is missing or of another kind."""
        values = [row.get(key) for row in self.rows]
        for i, value in enumerate(values):
            if not isinstance(value, kind) or isinstance(value, bool):
                raise InputError(f"{self.at(i)}: {key}={_short(value)} must be {rule}; repair it")
        return values

    def ids(self) -> dict[Any, int]:
        """The row of each id. Raises `InputError` for one that there is twice."""
        found: dict[Any, int] = {}
        for i, key in enumerate(self.column("id", (int, str), "a number or text")):
            if key in found:
                raise InputError(f"{self.path}: {self.name} id={key} is there twice; number them anew")
            found[key] = i
        return found

    def links(self, key: str, ids: dict[Any, int], what: str) -> np.ndarray:
        """i64[m]: the rows that other ids are of."""
        values = self.column(key, (int, str), "a number or text")
        for i, value in enumerate(values):
            if value not in ids:
                raise InputError(f"{self.at(i)}: {key}={value} is no {what}; add it, or remove the annotation")
        return np.array([ids[value] for value in values], np.int64)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and not abs(value) > 2**53  # NaN is looked for later


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**31


def _short(value: Any) -> str:
    return "missing" if value is None else repr(value)[:60]


def _part(path: Path, dir: Path | None, *, masks: bool) -> Part:
    images, annotations, categories = _tables(path)
    rows, kinds = images.ids(), categories.ids()
    annotations.ids()
    order, classes = _classes(categories, list(kinds), masks=masks)
    names = images.column("file_name", str, "the name of a file")
    if (twice := len(set(names))) < len(names):
        again = next(name for i, name in enumerate(names) if name in names[:i])
        raise InputError(f"{path}: {len(names) - twice} images have a file that another has, {again}; keep one")
    image = annotations.links("image_id", rows, "image")
    kind = order[annotations.links("category_id", kinds, "category")]
    files = _found(path, dir, names)
    sizes = annotated.sizes(files)
    stated = [(row.get("height", 0), row.get("width", 0)) for row in images.rows]
    if (i := next((i for i, pair in enumerate(stated) if not all(map(_is_size, pair))), None)) is not None:
        raise InputError(f"{images.at(i)}: height and width must be whole numbers; repair them")
    annotated.refuse_sizes(files, sizes, np.array(stated, np.int64).reshape(-1, 2), images.at)
    if masks:
        return Part(path, files, sizes, _outlines(annotations, image, kind, sizes), classes)
    boxes, notes = _boxes(annotations, image, kind)
    boxes, told = annotated.checked(boxes, sizes, path)
    bare = len(files) - len(np.unique(boxes.image))
    notes += (f"{path}: {bare} of {len(files)} images have no boxes",) * (bare > 0)
    return Part(path, files, sizes, boxes, classes, (*notes, *told))


def _tables(path: Path) -> list[_Table]:
    file_size(path)
    try:
        whole = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        reason = str(error).split("\n")[0]
        raise InputError(f"{path}: is no JSON ({reason}); export it anew") from error
    found = []
    for key, name in (("images", "image"), ("annotations", "annotation"), ("categories", "category")):
        rows = whole.get(key) if isinstance(whole, dict) else None
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise InputError(f"{path}: must be COCO's JSON, with a list `{key}`; export it anew")
        if not rows and key != "annotations":
            raise InputError(f"{path}: {key} is empty; there must be at least one")
        found.append(_Table(path, name, rows))
    return found


def _classes(categories: _Table, ids: Sequence[Any], *, masks: bool) -> tuple[np.ndarray, tuple[str, ...]]:
    """The class of each row of the categories, by id, and their names; in masks the first is the background."""
    names = [name.strip() for name in categories.column("name", str, "text")]
    for i, name in enumerate(names):
        if name in names[:i]:
            raise InputError(f"{categories.at(i)}: name={name} is that of another category; rename one of them")
    by_id = sorted(range(len(ids)), key=lambda i: (isinstance(ids[i], str), ids[i]))
    listed = [names[i] for i in by_id]
    if masks:
        listed = [BACKGROUND, *(name for name in listed if name != BACKGROUND)]
        if len(listed) > IGNORE:
            raise InputError(f"{categories.path}={len(listed)} classes: masks can have at most {IGNORE}; merge some")
    return np.array([listed.index(name) for name in names]), tuple(listed)


def _found(path: Path, dir: Path | None, names: Sequence[str]) -> list[Path]:
    """The images: in `dir`, or beside the file, or at the places that the usual layouts have for them."""
    above, name = path.parent.parent, path.stem.removeprefix("instances_")
    places = [path.parent, path.parent / "images", above / name, above / "images" / name, above / "images"]
    root = next((place for place in places if (place / names[0]).is_file()), path.parent) if dir is None else dir
    files = [root / name for name in names]
    for file in files:
        if "\0" in file.name or not file.is_file():
            cure = (
                "add it"
                if dir is not None
                else "add it, or put the .json beside it (one to train on: or say the folder, --data.dir)"
            )
            raise InputError(f"{path}: {file.name!r} is no file in {file.parent.absolute()}; {cure}")
    return files


def _boxes(annotations: _Table, image: np.ndarray, kind: np.ndarray) -> tuple[Boxes, tuple[str, ...]]:
    """x, y, width, height as two corners; crowds, whose box is around many, are left out."""
    stated = [row.get("iscrowd", 0) for row in annotations.rows]
    for i, value in enumerate(stated):
        if value not in (0, 1, None):
            raise InputError(f"{annotations.at(i)}: iscrowd={_short(value)} must be 0 or 1; repair it")
    crowd = np.array(stated, object).astype(bool)
    given = annotations.column("bbox", list, "[x, y, width, height]")
    for i, box in enumerate(given):
        if len(box) != 4 or not all(map(_is_number, box)):
            raise InputError(f"{annotations.at(i)}: bbox={_short(box)} must be [x, y, width, height]; repair it")
    rows = np.flatnonzero(~crowd)
    rows = rows[np.argsort(image[rows], kind="stable")]
    xywh = np.array(given, np.float64).reshape(-1, 4)[rows]
    values = np.concatenate([kind[rows, None], xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], 1)
    where = lambda i: f"{annotations.at(int(rows[i]))}: bbox={given[rows[i]]}"
    left = f"{annotations.path}: {crowd.sum()} boxes around a crowd (iscrowd) left out"
    return Boxes(image[rows], values, where), (left,) * bool(crowd.any())


def _outlines(annotations: _Table, image: np.ndarray, kind: np.ndarray, sizes: np.ndarray) -> Masks:
    """Masks that are drawn when they are asked for."""
    of: list[list[int]] = [[] for _ in range(len(sizes))]
    for i, row in enumerate(image.tolist()):
        of[row].append(i)
    for i, row in enumerate(annotations.rows):
        if not row.get("segmentation"):
            raise InputError(f"{annotations.at(i)}: has no segmentation; add it, or use --task.name detection")

    def read(row: int) -> np.ndarray:
        size = (int(sizes[row, 0]), int(sizes[row, 1]))
        mask = np.zeros(size, np.uint8)
        drawn = [(_drawn(annotations.rows[i]["segmentation"], size, lambda i=i: annotations.at(i)), i) for i in of[row]]
        for inside, i in sorted(drawn, key=lambda pair: -int(pair[0].sum())):
            mask[inside] = kind[i]
        return mask

    return Masks(read, lambda row: f"{annotations.path}: image {row}")


def _drawn(outline: Any, size: tuple[int, int], at: Callable[[], str]) -> np.ndarray:
    """bool[h, w]: the pixels of polygons, or of run lengths, compressed or not."""
    h, w = size
    if isinstance(outline, dict):
        counts = outline.get("counts")
        try:
            if outline.get("size") != [h, w]:
                raise ValueError(f"its size is {_short(outline.get('size'))}, the image's [{h}, {w}]")
            if not isinstance(counts, str | list):
                raise ValueError("has no counts")
            return outlines.run_lengths(outlines.unpacked(counts) if isinstance(counts, str) else counts, size)
        except ValueError as error:
            raise InputError(f"{at()}: segmentation: {error}; repair it, or remove it") from error
    inside = np.zeros(size, bool)
    for given in outline if isinstance(outline, list) else [outline]:
        numbers = isinstance(given, list) and all(map(_is_number, given))
        if not numbers or len(given) < 6 or len(given) % 2:
            rule = "polygons must be lists of x, y, x, y, ..., of three points at least"
            raise InputError(f"{at()}: segmentation={_short(given)}: {rule}; repair it, or remove it")
        points = np.array(given, np.float64).reshape(-1, 2)
        if not np.isfinite(points).all() or (points < -ROUNDING).any() or (points > np.array([w, h]) + ROUNDING).any():
            rule = f"a point outside the image, {h}x{w}"
            raise InputError(f"{at()}: segmentation={_short(given)}: {rule}; repair it, or remove it")
        inside |= outlines.polygon(points, size)
    return inside
