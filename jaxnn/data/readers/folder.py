"""A folder of images with one sub-folder a class: ROOT/CLASS/**, or ROOT/PART/CLASS/**, the parts train, val and test.

Without a form, channels are kept as they are stored: grey 1, grey with alpha 2, RGB 3, RGBA 4. Palettes are looked up
(RGB), a transparent colour becomes an alpha channel, black-and-white 0 and 255, and photos are turned as their EXIF
orientation says. All images must then have one size and one number of channels: nothing is resized, dropped or painted
on a background by guess.
"""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxnn.data.readers import decoding
from jaxnn.data.readers.image_form import Form
from jaxnn.data.readers.kept_images import Images
from jaxnn.data.source import Source, Table
from jaxnn.errors import InputError

SUFFIXES = frozenset((".bmp", ".gif", ".jfif", ".jpg", ".jpeg", ".png", ".pgm", ".ppm", ".tif", ".tiff", ".webp"))
# Photos too, which would be missed if they were left out as files that are none.
UNREAD = frozenset((".arw", ".avif", ".cr2", ".cr3", ".dng", ".heic", ".heif", ".jp2", ".jxl", ".nef"))
PARTS = {"train": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test"}
JUNK = frozenset(("__macosx", "desktop.ini", "thumbs.db"))  # what other systems leave beside the images


class File(NamedTuple):
    """An image, its label, and the folder of its class."""

    path: Path
    label: str
    folder: Path


Files = list[File]


def read(
    root: Path, form: Form | None = None, *, bad_records: int = 0, validation: Path | None = None,
    shape: tuple[int, ...] | None = None, keep: bool = False,
) -> Source:  # fmt: skip
    """Images u8[n, H, W, C] and their folders' names as labels; the other arguments are those of `decoding.read`."""
    parts, folders, left = listed(root, validation)
    given = {part: (folders[part], [file.path for file in files]) for part, files in parts.items()}
    found, told = decoding.parts(root, given, form, bad_records=bad_records, shape=shape, keep=keep)
    tables = {part: _table(files, found[part]) for part, files in parts.items()}
    split = (tables["train"], tables.get("validation"), tables.get("test"))
    return Source(*split, scale=255.0, by_folder=True, notes=(*told, *left))


def listed(root: Path, validation: Path | None) -> tuple[dict[str, Files], dict[str, Path], tuple[str, ...]]:
    """The files of each part, in the order of the rows, the folder of each, and what to tell of those left out."""
    folders = _parts(root)
    if validation is not None:
        if own := folders.get("validation"):
            raise InputError(f"--data.validation={validation}: {own} is a validation set too; leave out one of them")
        given = _parts(validation)
        if more := sorted(set(given) - {"train"}):
            raise InputError(f"--data.validation={validation}: has a {more[0]} part too; give a set in one piece")
        folders["validation"] = given["train"]
    others: list[Path] = []
    parts = {part: _files(folder, others) for part, folder in folders.items()}
    _same_classes(folders, parts)
    every = [file for files in parts.values() for file in files]
    notes = (f"{root}: {note}" for note in (*left_out(others), *_deeper(every), *_joined(every)))
    return parts, folders, tuple(notes)


def left_out(others: list[Path]) -> tuple[str, ...]:
    """What to tell of files that are passed over."""
    return (f"{len(others)} files that are hidden or no images left out, the first is {others[0]}",) if others else ()


def _deeper(files: Files) -> tuple[str, ...]:
    """A note of images in folders below that of their class: the label is the first folder's name."""
    deeper = [file for file in files if file.path.parent != file.folder]
    if not deeper:
        return ()
    what = f"{len(deeper)} images lie in folders below those of the classes, to which they belong"
    return (f"{what}, the first is {deeper[0].path}, of class {deeper[0].label}",)


def _joined(files: Files) -> list[str]:
    """A note for each class of several folders whose names look alike and are not."""
    spellings: dict[str, set[str]] = {}
    for file in files:
        spellings.setdefault(file.label, set()).add(file.folder.name)
    several = sorted(label for label, names in spellings.items() if len(names) > 1)
    return [f"the folders named {label} are one class, though Unicode writes them differently" for label in several]


def _is_visible(path: Path) -> bool:
    return path.name[0] != "." and path.name.lower() not in JUNK


def is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.is_dir()


def images(root: Path, above: frozenset[Path] = frozenset()) -> tuple[list[Path], list[Path]]:
    """All images in a folder and its sub-folders, in the order of their names; and what is hidden or no image.

    Raises `InputError` for photos of a format that cannot be read.
    """
    found: list[Path] = []
    others: list[Path] = []
    above |= {root.resolve()}  # a link to one of these would be followed for ever
    for path in sorted(root.iterdir()):
        if not _is_visible(path):
            others.append(path)
        elif path.is_dir():
            inside = images(path, above) if path.resolve() not in above else ([], [])
            found, others = found + inside[0], others + inside[1]
        elif path.suffix.lower() in UNREAD:
            raise InputError(f"{path}: {path.suffix[1:]} cannot be read; convert such photos to JPEG or PNG")
        else:
            (found if is_image(path) else others).append(path)
    return found, others


def _folders(root: Path) -> list[Path]:
    """The folders of classes or parts; what else there is may be a README or a licence."""
    visible = [path for path in sorted(root.iterdir()) if _is_visible(path)]
    for path in visible:
        if is_image(path):
            raise InputError(f"{path}: stands beside the classes; move it into the folder of its class")
    return [path for path in visible if path.is_dir()]


def _parts(root: Path) -> dict[str, Path]:
    """The folder of each part, by the names in `PARTS`; a folder of classes is all training examples."""
    folders = _folders(root)
    parts = [folder for folder in folders if folder.name.lower() in PARTS]
    others = [folder for folder in folders if folder.name.lower() not in PARTS]
    if not parts or (others and len(parts) == 1 and any(map(is_image, parts[0].iterdir()))):
        return {"train": root}  # a class may be called train, or test
    named: dict[str, Path] = {}
    for folder in parts:
        part = PARTS[folder.name.lower()]
        if part in named:
            raise InputError(f"{root}: both {named[part].name} and {folder.name} hold the {part} images; keep one")
        named[part] = folder
    if others:
        raise InputError(f"{others[0]}: stands beside the parts {_names(parts)}; move it away, or into one of them")
    if "train" not in named:
        raise InputError(f"{root}: has the parts {_names(parts)} and no train; add it, or name the folders differently")
    return {part: named[part] for part in PARTS.values() if part in named}


def _names(folders: list[Path]) -> str:
    return ", ".join(folder.name for folder in folders)


def _files(root: Path, others: list[Path]) -> Files:
    """The images of one part; labels are in the Unicode form that nearly all programs write (NFC). What is no image is
    added to `others`."""
    files: Files = []
    for folder in _folders(root):
        inside, left = images(folder)
        if not inside:
            raise InputError(f"{folder}=0 images: must hold at least one; remove the empty folder")
        files += [File(path, unicodedata.normalize("NFC", folder.name), folder) for path in inside]
        others += left
    if not files:
        raise InputError(f"{root}=0 images: must hold one folder of images for each class; check the path")
    return files


def _same_classes(folders: dict[str, Path], parts: dict[str, Files]) -> None:
    """Refuse a class that one part has and another lacks: its folder is misspelled, or was forgotten."""
    classes = {part: {file.label for file in files} for part, files in parts.items()}
    known = classes["train"]
    for part, folder in folders.items():
        if alien := sorted(classes[part] - known):
            rule = f"not a class of the training examples ({', '.join(sorted(known))})"
            raise InputError(f"{folder / alien[0]}: {rule}; rename it, or remove it"[:2000])
        if absent := sorted(known - classes[part]):
            rule = f"the {part} images must have all classes of {folders['train']}"
            raise InputError(f"{folder / absent[0]}: no such folder; {rule}")


def _table(files: Files, images: Images) -> Table:
    """The images of one part. Raises `InputError` for a folder all of whose images are damaged."""
    if lost := sorted({file.folder for file in files} - {files[i].folder for i in images.kept}):
        raise InputError(f"{lost[0]}=0 images: all of them are damaged; replace them, or remove the folder")
    return Table(images.x, np.array([files[i].label for i in images.kept]))
