"""Pascal VOC's XML: ROOT/Annotations/*.xml, ROOT/JPEGImages and, where there are parts, ROOT/ImageSets/Main/*.txt.

Pixels are numbered from 1 there, and those of xmin and xmax both belong to the box: x1 = xmin - 1, x2 = xmax.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from jaxnn.data.check import file_size
from jaxnn.data.readers import annotated, pairs
from jaxnn.data.readers.annotated import Boxes, Part
from jaxnn.errors import InputError

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

CORNERS = ("xmin", "ymin", "xmax", "ymax")


class _File(NamedTuple):
    """What one XML file says."""

    path: Path
    size: tuple[int, int]
    """height, width; 0, 0 where it does not say"""
    names: list[str]
    boxes: list[list[float]]
    """xmin, ymin, xmax, ymax as they stand there"""
    difficult: int


def is_layout(root: Path) -> bool:
    """Whether a folder holds such data; or is a list of a part of them."""
    if root.is_file():
        return root.suffix == ".txt" and root.parent.parts[-2:] == ("ImageSets", "Main") and is_layout(root.parents[2])
    return (root / "Annotations").is_dir() and (root / "JPEGImages").is_dir()


def read(root: Path) -> dict[str, Part]:
    """The images and boxes of each part, or of one list; classes are those of classes.txt, or the names in order.

    Raises `InputError`, naming the file and the number of the object in it, for what is no box; for XML with a DOCTYPE
    or entities; and for an image or XML file without its partner.
    """
    lone, root = (root, root.parents[2]) if root.is_file() else (None, root)
    labels = pairs.by_stem(root / "Annotations", sorted((root / "Annotations").rglob("*.xml")))
    images = pairs.images(root / "JPEGImages")
    parts = _parts(root) if lone is None else {"train": (lone, _listed(lone, {}))}
    listed = root / "classes.txt"
    classes = pairs.once(listed, pairs.classes(listed)) if listed.is_file() else None
    if not parts:
        parts = {"train": (root / "Annotations", sorted(set(images) | set(labels)))}
    return {part: _part(root, path, stems, images, labels, classes) for part, (path, stems) in parts.items()}


def _parts(root: Path) -> dict[str, tuple[Path, list[str]]]:
    """The list of each part, and the stems in it; trainval where there is no train. Empty where there is no list."""
    lists = {path.stem: path for path in (root / "ImageSets" / "Main").glob("*.txt")}
    train = "train" if "train" in lists else "trainval"
    found: dict[str, tuple[Path, list[str]]] = {}
    owner: dict[str, Path] = {}
    for part, name in (("train", train), ("validation", "val"), ("test", "test")):
        if name not in lists or (name == "val" and train == "trainval"):
            continue
        found[part] = lists[name], _listed(lists[name], owner)
    return found


def _listed(path: Path, owner: dict[str, Path]) -> list[str]:
    """The stems in a list, at least one, each of which then has it as its `owner`."""
    stems: list[str] = []
    for number, line in pairs.lines(path):
        stem = line.split()[0]
        if stem in owner:
            raise InputError(f"{path}:{number}={stem}: is in {owner[stem]} already; remove one of them")
        owner[stem] = path
        stems.append(stem)
    if not stems:
        raise InputError(f"{path}: is empty; list the images of the part, or remove the file")
    return stems


def _part(
    root: Path, path: Path, stems: list[str], images: dict[str, Path], labels: dict[str, Path],
    classes: tuple[str, ...] | None,
) -> Part:  # fmt: skip
    for stem in stems:
        for there, folder in ((images, root / "JPEGImages"), (labels, root / "Annotations")):
            if stem not in there:
                raise InputError(f"{path}={stem}: no such file in {folder}; add it, or remove its partner and its line")
    found = [_file(labels[stem]) for stem in stems]
    names = sorted({name for file in found for name in file.names}) if classes is None else list(classes)
    number = {name: i for i, name in enumerate(names)}
    for file in found:
        for i, name in enumerate(file.names, 1):
            if name not in number:
                rule = f"not a class of {root / 'classes.txt'} ({', '.join(names[:10])})"
                raise InputError(f"{file.path}: object {i}, name={name}: {rule}; add it, or rename it"[:2000])
    files = [images[stem] for stem in stems]
    sizes = annotated.sizes(files)
    annotated.refuse_sizes(files, sizes, np.array([file.size for file in found]), lambda i: f"{found[i].path}: size")
    owner = np.repeat(np.arange(len(found)), [len(file.names) for file in found])
    kinds = [number[name] for file in found for name in file.names]
    given = np.array([box for file in found for box in file.boxes], np.float64).reshape(-1, 4)
    values = np.concatenate([np.array(kinds, np.float64)[:, None], given - np.array([1, 1, 0, 0])], 1)
    first = np.searchsorted(owner, np.arange(len(found)))
    where = lambda i: _at(found[owner[i]], i - int(first[owner[i]]))
    boxes, notes = annotated.checked(Boxes(owner, values, where), sizes, path)
    bare, difficult = sum(not file.names for file in found), sum(file.difficult for file in found)
    notes += (f"{path}: {bare} of {len(found)} images have no boxes",) * (bare > 0)
    notes += (f"{path}: {difficult} boxes are difficult, and learned as the others",) * (difficult > 0)
    return Part(path, files, sizes, boxes, tuple(names), notes)


def _at(file: _File, i: int) -> str:
    box = " ".join(f"{name}={value:g}" for name, value in zip(CORNERS, file.boxes[i], strict=True))
    return f"{file.path}: object {i + 1}, {box}"


def _file(path: Path) -> _File:
    from xml.etree import ElementTree

    file_size(path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
        if "<!DOCTYPE" in text or "<!ENTITY" in text:
            raise InputError(f"{path}: has a DOCTYPE or entities, which are not read; remove them")
        root = ElementTree.fromstring(text)
    except (UnicodeDecodeError, ValueError, ElementTree.ParseError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: is no XML in UTF-8 ({str(error)[:100]}); export it anew") from error
    if root.tag != "annotation":
        raise InputError(f"{path}=<{root.tag}>: must be an <annotation>; export it anew")
    size = tuple(_number(root, f"size/{name}", f"{path}: size", missing="0") for name in ("height", "width"))
    if not all(0 <= each < 2**31 for each in size):
        raise InputError(f"{path}: size={size[0]:g}x{size[1]:g} must be height and width in pixels; repair it")
    names, boxes, difficult = [], [], 0
    for i, item in enumerate(root.findall("object"), 1):
        names.append(" ".join((item.findtext("name") or "").split()))
        if not names[-1]:
            raise InputError(f"{path}: object {i} has no name; add it")
        boxes.append([_number(item, f"bndbox/{name}", f"{path}: object {i}") for name in CORNERS])
        difficult += (item.findtext("difficult") or "").strip() == "1"
    return _File(path, (int(size[0]), int(size[1])), names, boxes, difficult)


def _number(item: Element, name: str, at: str, missing: str | None = None) -> float:
    text = item.findtext(name, missing)
    try:
        found = float(text or "")
    except ValueError:
        raise InputError(f"{at}: {name}={text or 'missing'} must be a number; repair it") from None
    if not math.isfinite(found):
        raise InputError(f"{at}: {name}={text} must be finite; repair it")
    return found
