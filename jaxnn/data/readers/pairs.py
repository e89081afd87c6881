"""Images in one folder and their labels in another, paired by their paths without the suffix.

ROOT/images and ROOT/OTHER; or in parts, ROOT/PART/images and ROOT/PART/OTHER, or ROOT/images/PART and ROOT/OTHER/PART.
One part alone is ROOT/PART, or ROOT/images/PART.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from jaxnn.data.check import file_size
from jaxnn.data.readers import folder
from jaxnn.data.readers.folder import PARTS
from jaxnn.errors import InputError


class Pair(NamedTuple):
    """The folder of the images of a part, and that of their labels."""

    images: Path
    labels: Path


def folders(root: Path, other: str) -> dict[str, Pair]:
    """The folders of each part; a set in one piece is `train`. Empty where `root` is no such folder."""
    own = Pair(root / "images", root / other)
    if own.images.is_dir() and own.labels.is_dir():
        named = _by_part(own.images)
        if not named:
            return {"train": own}
        if lone := [path for path in own.images.iterdir() if folder.is_image(path)]:
            raise InputError(f"{sorted(lone)[0]}: stands beside the parts {_names(named)}; move it into one of them")
        return _there({part: Pair(path, own.labels / path.name) for part, path in named.items()})
    if root.parent.name == "images" and (root.parent.parent / other / root.name).is_dir():
        return {"train": Pair(root, root.parent.parent / other / root.name)}
    parts = {part: Pair(path / "images", path / other) for part, path in _by_part(root).items()}
    if not any(pair.images.is_dir() and pair.labels.is_dir() for pair in parts.values()):
        return {}
    return _there(parts)


def _by_part(root: Path) -> dict[str, Path]:
    """The sub-folders named as `PARTS`."""
    named: dict[str, Path] = {}
    for path in sorted(root.iterdir()) if root.is_dir() else ():
        part = PARTS.get(path.name.lower())
        if part is None or not path.is_dir():
            continue
        if part in named:
            raise InputError(f"{root}: both {named[part].name} and {path.name} hold the {part} images; keep one")
        named[part] = path
    return {part: named[part] for part in PARTS.values() if part in named}


def _there(parts: dict[str, Pair]) -> dict[str, Pair]:
    for pair in parts.values():
        for path in pair:
            if not path.is_dir():
                raise InputError(f"{path}: no such folder; add it, or remove {pair[path == pair.images]}")
    return parts


def _names(named: dict[str, Path]) -> str:
    return ", ".join(path.name for path in named.values())


def by_stem(root: Path, paths: Iterable[Path]) -> dict[str, Path]:
    """Each path by what it is below `root`, without its suffix. Raises `InputError` for two of the same stem."""
    found: dict[str, Path] = {}
    for path in paths:
        stem = path.relative_to(root).with_suffix("").as_posix()
        if stem in found:
            raise InputError(f"{path}: has the stem of {found[stem]}, by which labels are found; rename one of them")
        found[stem] = path
    return found


def images(root: Path) -> dict[str, Path]:
    """The images of a folder and its sub-folders by stem; at least one."""
    found = by_stem(root, folder.images(root)[0])
    if not found:
        raise InputError(f"{root}=0 images: must hold at least one; check the path")
    return found


def roots(root: Path, pair: Pair) -> list[Path]:
    """Where what is said of the whole set may stand: the folder of the set, and those of its labels."""
    above = (
        [pair.labels.parent, pair.labels.parent.parent] if pair.labels.name.lower() in PARTS else [pair.labels.parent]
    )
    if root.name.lower() in PARTS:
        above.append(root.parent)
    return list(dict.fromkeys([root, *above, pair.labels]))


def lines(path: Path) -> list[tuple[int, str]]:
    """The lines of a small text that are not empty, with their numbers from 1."""
    file_size(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: must be text in UTF-8; save it so") from error
    return [(i, line.strip()) for i, line in enumerate(text.splitlines(), 1) if line.strip()]


def classes(path: Path) -> list[str]:
    """The lines of a list of classes, the first of which is class 0.

    Raises `InputError` for an empty line before others, which shifts the numbers in some programs and not in others.
    """
    listed = lines(path)
    for i, (number, _) in enumerate(listed, 1):
        if number != i:
            raise InputError(
                f"{path}:{i}: an empty line before a class, and classes are numbered by their lines; remove it"
            )
    return [line for _, line in listed]


def once(path: Path, names: Iterable[str]) -> tuple[str, ...]:
    """The names themselves. Raises `InputError` for one that two classes have."""
    names = tuple(names)
    for i, name in enumerate(names):
        if name in names[:i]:
            raise InputError(f"{path}: {name} is the name of two classes; rename one of them")
    return names
