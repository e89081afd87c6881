"""YOLO's text files: images and labels in folders side by side (`pairs`), a line `class cx cy w h` a box.

The centre and the size are fractions of the width and height of the image, and classes are numbered from 0 in the order
of the names in data.yaml or classes.txt.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from jaxnn.data.check import file_size
from jaxnn.data.readers import annotated, pairs
from jaxnn.data.readers.annotated import Boxes, Part
from jaxnn.errors import InputError

LISTS = ("data.yaml", "data.yml", "classes.txt")
ROUNDING = 1e-3  # by which a fraction may be above 1


def folders(root: Path) -> dict[str, pairs.Pair]:
    """The folders of images and labels of each part; empty where these are no such data."""
    return pairs.folders(root, "labels")


def read(root: Path) -> dict[str, Part]:
    """The images and boxes of each part.

    Raises `InputError`, naming the file and the line, for a line that is no box; and for labels without an image, or
    no names of the classes.
    """
    found = folders(root)
    places = dict.fromkeys(path for pair in found.values() for path in pairs.roots(root, pair))
    lists = [path / name for path in places for name in LISTS if (path / name).is_file()]
    if not lists:
        raise InputError(f"{root}: has no names of the classes; add classes.txt, a name a line, or data.yaml")
    names = {path: _names(path) for path in lists}
    for path, other in names.items():
        if other != names[lists[0]]:
            raise InputError(f"{path}: has other classes than {lists[0]}; remove one of them")
    return {part: _part(pair, names[lists[0]], lists[0]) for part, pair in found.items()}


def _names(path: Path) -> tuple[str, ...]:
    """The names of the classes, in the order of their numbers."""
    names: Any = pairs.classes(path) if path.suffix == ".txt" else _yaml(path)
    rule = "must be a list of texts, or a mapping from 0, 1, 2, ... to them"
    if isinstance(names, dict):
        if sorted(names, key=str) != sorted(range(len(names)), key=str):
            raise InputError(f"{path}: names {rule}; number them from 0")
        names = [names[i] for i in range(len(names))]
    if not isinstance(names, list) or not names or not all(type(name) in (str, int, float) for name in names):
        raise InputError(f"{path}: names {rule}; mend the file")
    return pairs.once(path, (str(name).strip() for name in names))


def _yaml(path: Path) -> Any:
    import yaml

    if file_size(path) > 2**20:
        raise InputError(f"{path}: more than 1 MiB, which is no list of names; give classes.txt")
    try:
        whole = yaml.safe_load(path.read_bytes())
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: is no YAML ({' '.join(str(error).split())[:200]}); mend the file") from error
    if not isinstance(whole, dict) or "names" not in whole:
        raise InputError(f"{path}: has no `names`; add the names of the classes")
    return whole["names"]


def _part(pair: pairs.Pair, names: tuple[str, ...], listed: Path) -> Part:
    images = pairs.images(pair.images)
    texts = [path for path in sorted(pair.labels.rglob("*.txt")) if path.name != "classes.txt" and path.name[0] != "."]
    labels = pairs.by_stem(pair.labels, texts)
    if alien := sorted(set(labels) - set(images)):
        rule = f"has no image in {pair.images}, {Path(alien[0]).name}.*; add it, or remove this file"
        raise InputError(f"{labels[alien[0]]}: {rule}")
    if not labels:
        raise InputError(f"{pair.labels}=0 labels: must hold a text for each image that has boxes; check the path")
    rows: list[tuple[float, ...]] = []
    lines: list[tuple[Path, int, str]] = []
    image: list[int] = []
    for i, stem in enumerate(images):
        for number, line in pairs.lines(labels[stem]) if stem in labels else ():
            rows.append(_box(labels[stem], number, line, names, listed))
            lines.append((labels[stem], number, line))
            image.append(i)
    files = list(images.values())
    sizes = annotated.sizes(files)
    values = np.array(rows, np.float64).reshape(-1, 5)
    owner = np.array(image, np.int64)
    centre, half = values[:, 1:3], values[:, 3:] / 2
    size = sizes[owner][:, [1, 0, 1, 0]]
    values = np.concatenate([values[:, :1], np.concatenate([centre - half, centre + half], 1) * size], 1)
    boxes, notes = annotated.checked(Boxes(owner, values, lambda i: _at(*lines[i])), sizes, pair.labels)
    none, bare = len(set(images) - set(labels)), len(files) - len(set(image))
    told = f"{pair.images}: {bare} of {len(files)} images have no boxes, {none} of them no label file"
    return Part(pair.images, files, sizes, boxes, names, (told,) * (bare > 0) + notes)


def _at(path: Path, number: int, line: str) -> str:
    return f"{path}:{number}={line[:80]}"


def _box(path: Path, number: int, line: str, names: tuple[str, ...], listed: Path) -> tuple[float, ...]:
    """The five numbers of a line."""

    def refused(rule: str) -> InputError:
        return InputError(f"{_at(path, number, line)}: {rule}")

    words = line.split()
    if len(words) != 5:
        what = "looks like an outline: " if len(words) > 6 and len(words) % 2 else ""
        cure = "export boxes" if what else "repair the line"
        raise refused(f"{what}must be the 5 numbers class cx cy w h, not {len(words)}; {cure}")
    try:
        kind, *box = found = tuple(map(float, words))
    except ValueError:
        raise refused("must be the 5 numbers class cx cy w h; repair the line") from None
    if not all(map(math.isfinite, found)):
        raise refused("must be finite; repair the line")
    if kind != int(kind) or not 0 <= kind < len(names):
        rule = f"classes are numbered from 0, so 0 to {len(names) - 1} for the {len(names)} names of {listed}"
        raise refused(f"{rule}; number them anew, or add the name")
    if min(box) < 0 or max(box) > 1 + ROUNDING:
        raise refused("cx cy w h must be in [0, 1], fractions of the width and height of the image; divide by them")
    if min(box[2:]) == 0:
        raise refused("w and h must be > 0; repair the line, or remove it")
    return found
