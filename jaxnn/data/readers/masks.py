"""Masks beside images: ROOT/images and ROOT/masks, or in parts (`pairs`), paired by their stems.

A pixel of a mask is the number of its class: that which the file holds, in a palette too, whose colours say nothing
unless classes.txt has colours: then they must be the same. In colour, classes.txt says which class each colour is.
255 is ignored.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxnn.data.readers import annotated, folder, image_file, pairs
from jaxnn.data.readers.annotated import Masks, Part
from jaxnn.errors import InputError
from jaxnn.tasks.marks import IGNORE

SUFFIXES = (".bmp", ".gif", ".png", ".tif", ".tiff")
FORMATS = ("BMP", "GIF", "PNG", "TIFF")
_PLACES = np.array([65536, 256, 1])  # of red, green and blue in the number of a colour


class Classes(NamedTuple):
    """What classes.txt says."""

    path: Path
    names: tuple[str, ...]
    colours: np.ndarray | None
    """i64[K]: 65536 r + 256 g + b of each class"""


def folders(root: Path) -> dict[str, pairs.Pair]:
    """The folders of images and masks of each part; empty where these are no such data."""
    return pairs.folders(root, "masks")


def read(root: Path) -> dict[str, Part]:
    """The images and masks of each part.

    Raises `InputError` for an image or mask without its partner, a JPEG, and a classes.txt that is none.
    """
    found = folders(root)
    lists = list(dict.fromkeys(path for pair in found.values() for path in pairs.roots(root, pair)))
    named = next((path / "classes.txt" for path in lists if (path / "classes.txt").is_file()), None)
    classes = None if named is None else _classes(named)
    return {part: _part(pair, classes) for part, pair in found.items()}


def _part(pair: pairs.Pair, classes: Classes | None) -> Part:
    images, masks = pairs.images(pair.images), _masks(pair.labels)
    for stem in sorted(set(images) ^ set(masks)):
        path, other = (images[stem], pair.labels) if stem in images else (masks[stem], pair.images)
        what = "mask" if stem in images else "image"
        raise InputError(f"{path}: has no {what} in {other}, {Path(stem).name}.*; add it, or remove this file")
    files, paths = [images[stem] for stem in images], [masks[stem] for stem in images]
    where = lambda i: str(paths[i])
    labels = Masks(lambda i: indices(paths[i], classes), where)
    return Part(pair.images, files, annotated.sizes(files), labels, classes and classes.names)


def _masks(root: Path) -> dict[str, Path]:
    paths = folder.images(root)[0]
    for path in paths:
        if path.suffix.lower() not in SUFFIXES:
            raise InputError(
                f"{path}: a mask must be {', '.join(SUFFIXES)}: others may change the classes; export it anew"
            )
    return pairs.by_stem(root, paths)


def indices(path: Path, classes: Classes | None) -> np.ndarray:
    """u8[h, w]: the class of each pixel.

    Raises `InputError` for what holds no classes: JPEG inside, 16 bits, colours without a table or that are not in it,
    and a palette that has other colours than the table.
    """
    packed = image_file.content(path)
    told: Callable[[str], InputError] = lambda rule: InputError(f"{path}{rule}")
    pixels, mode, kind, palette = image_file.stored(path, packed)
    if kind not in FORMATS:
        raise told(f"={kind}: a mask must be {', '.join(FORMATS)}, which keep each class; export it anew")
    if mode == "RGBA":
        if (pixels[..., 3] != 255).any():
            raise told("=RGBA: a mask must have no transparent pixels; save it without")
        pixels = pixels[..., :3]
        mode = "RGB"
    if mode == "RGB":
        return _look_up(path, pixels, classes)
    if mode == "1":
        return pixels.astype(np.uint8)
    if mode not in ("L", "P"):
        raise told(f"={mode}: a mask must be grey or have a palette, of 8 bits; convert it")
    if mode == "P" and classes is not None and classes.colours is not None:
        _check_palette(path, pixels, palette, classes.path, classes.colours)
    return pixels


def _check_palette(path: Path, pixels: np.ndarray, palette: np.ndarray, listed: Path, colours: np.ndarray) -> None:
    """Refuse a palette in which a class that is in the mask has another colour than in the table: programs that make
    files small number the colours anew."""
    for k in np.unique(pixels):
        if k < min(len(colours), len(palette)) and palette[k] @ _PLACES != colours[k]:
            rule = f"the palette has {' '.join(map(str, palette[k]))} for class {k}, and {listed} another colour"
            raise InputError(f"{path}: {rule}; save the mask in the colours of the table, or take them out of it")


def _look_up(path: Path, pixels: np.ndarray, classes: Classes | None) -> np.ndarray:
    if classes is None or classes.colours is None:
        cure = "save the numbers of the classes, or add classes.txt with a line `name r g b` for each colour"
        raise InputError(f"{path}=RGB: the colours of a mask must be in a table; {cure}")
    whole = pixels @ _PLACES
    order = np.argsort(classes.colours)
    place = np.minimum(np.searchsorted(classes.colours, whole, sorter=order), len(order) - 1)
    found = order[place].astype(np.uint8)
    if (alien := classes.colours[found] != whole).any():
        row, column = map(int, np.argwhere(alien)[0])
        colour = " ".join(map(str, pixels[row, column]))
        raise InputError(f"{path}[{row},{column}]={colour}: a colour that {classes.path} has not; add it, or repair it")
    return found


def _classes(path: Path) -> Classes:
    """The names, and colours if there are some, of a file with lines `name` or `name r g b`."""
    names: list[str] = []
    colours: list[int] = []
    pairs.classes(path)
    for number, line in pairs.lines(path):
        words = line.split()
        rgb = words[-3:] if len(words) > 3 and all(word.isdecimal() for word in words[-3:]) else []
        name = " ".join(words[: len(words) - len(rgb)])
        values = [int(word) for word in rgb]
        if max(values, default=0) > 255:
            raise InputError(f"{path}:{number}={line}: r g b must be 0 to 255; repair the line")
        if name in names:
            raise InputError(f"{path}:{number}={name}: the name of two classes; rename one of them")
        names.append(name)
        colours += [values[0] * 65536 + values[1] * 256 + values[2]] if rgb else []
    if colours and len(colours) < len(names):
        raise InputError(f"{path}: {len(colours)} of {len(names)} classes have a colour; all must, or none")
    if len(set(colours)) < len(colours):
        raise InputError(f"{path}: two classes have the same colour; change one of them")
    if not 2 <= len(names) <= IGNORE:
        raise InputError(f"{path}={len(names)} classes: must be 2 to {IGNORE}, the background too")
    return Classes(path, tuple(names), np.array(colours) if colours else None)
