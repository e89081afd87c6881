"""A folder of images with one sub-folder a class: ROOT/CLASS/*, or ROOT/PART/CLASS/*, the parts train, val and test.

Channels are kept as they are stored: grey 1, grey with alpha 2, RGB 3, RGBA 4. Palettes are looked up (RGB), a
transparent colour becomes an alpha channel, black-and-white 0 and 255, and photos are turned as their EXIF orientation
says. All images must then have one size and one number of channels: nothing is resized, dropped or painted on a
background by guess.
"""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np

from jaxnn.data.check import unpacked_size
from jaxnn.data.readers import image_file
from jaxnn.data.source import Source, Table
from jaxnn.errors import DataError, InputError

SUFFIXES = frozenset((".bmp", ".gif", ".jpg", ".jpeg", ".png", ".pgm", ".ppm", ".tif", ".tiff", ".webp"))
PARTS = {"train": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test"}
JUNK = frozenset(("__macosx", "desktop.ini", "thumbs.db"))  # what other systems leave beside the images
Files = list[tuple[Path, str]]  # images and their labels


def read(root: Path, bad_records: int = 0, validation: Path | None = None) -> Source:
    """Images u8[n, H, W, C] and their folders' names as labels; up to `bad_records` damaged ones are left out."""
    folders = _parts(root)
    if validation is not None:
        if own := folders.get("validation"):
            raise InputError(f"--data.validation={validation}: {own} is a validation set too; leave out one of them")
        given = _parts(validation)
        if more := sorted(set(given) - {"train"}):
            raise InputError(f"--data.validation={validation}: has a {more[0]} part too; give a set in one piece")
        folders["validation"] = given["train"]
    parts = {part: _files(folder) for part, folder in folders.items()}
    _same_classes(folders, parts)
    bad: list[Path] = []
    turned: list[Path] = []
    tables = {part: _table(folders[part], files, bad, bad_records, turned) for part, files in parts.items()}
    notes = [f"{len(bad)} damaged images left out: {_list(bad)}"] if bad else []
    if turned:
        notes.append(f"{len(turned)} images turned upright, as their EXIF data say")
    notes += _joined([pair for files in parts.values() for pair in files])
    train, others = tables["train"], (tables.get("validation"), tables.get("test"))
    return Source(train, *others, scale=255.0, by_folder=True, notes=tuple(f"{root}: {note}" for note in notes))


def _list(paths: list[Path]) -> str:
    return ", ".join(map(str, paths[:10])) + (", ..." if len(paths) > 10 else "")


def _joined(files: Files) -> list[str]:
    """A note for each class of several folders whose names look alike and are not."""
    spellings: dict[str, set[str]] = {}
    for path, label in files:
        spellings.setdefault(label, set()).add(path.parent.name)
    several = sorted(label for label, names in spellings.items() if len(names) > 1)
    return [f"the folders named {label} are one class, though Unicode writes them differently" for label in several]


def _visible(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.iterdir()) if path.name[0] != "." and path.name.lower() not in JUNK]


def images(root: Path, above: frozenset[Path] = frozenset()) -> tuple[list[Path], list[Path]]:
    """All images in a folder and its sub-folders, in the order of their names; and the files that are none."""
    found: list[Path] = []
    others: list[Path] = []
    above |= {root.resolve()}  # a link to one of these would be followed for ever
    for path in _visible(root):
        if path.is_dir():
            inside = images(path, above) if path.resolve() not in above else ([], [])
            found, others = found + inside[0], others + inside[1]
        elif path.suffix.lower() in SUFFIXES:
            found.append(path)
        else:
            others.append(path)
    return found, others


def _folders(root: Path) -> list[Path]:
    """The folders of classes or parts; what else there is may be a README or a licence."""
    visible = _visible(root)
    for path in visible:
        if path.suffix.lower() in SUFFIXES and not path.is_dir():
            raise InputError(f"{path}: stands beside the classes; move it into the folder of its class")
    return [path for path in visible if path.is_dir()]


def _parts(root: Path) -> dict[str, Path]:
    """The folder of each part, by the names in `PARTS`; a folder of classes is all training examples."""
    folders = _folders(root)
    parts = [folder for folder in folders if folder.name.lower() in PARTS]
    others = [folder for folder in folders if folder.name.lower() not in PARTS]
    if not parts or (others and len(parts) == 1):  # a class may be called train, or test
        return {"train": root}
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


def _files(root: Path) -> Files:
    """The images of one part; labels are in the Unicode form that nearly all programs write (NFC)."""
    files: Files = []
    for folder in _folders(root):
        inside = _visible(folder)
        if not inside:
            raise InputError(f"{folder}=0 images: must hold at least one; remove the empty folder")
        for path in inside:
            if path.is_dir():
                raise InputError(
                    f"{path}: a folder, not an image file; the folder of a class holds images only, and parts are "
                    f"named train, val (valid, validation) and test; move or rename it"
                )
            if path.suffix.lower() not in SUFFIXES:
                raise InputError(f"{path}: not an image file ({', '.join(sorted(SUFFIXES))}); move it out of {folder}")
        files += [(path, unicodedata.normalize("NFC", folder.name)) for path in inside]
    if not files:
        raise InputError(f"{root}=0 images: must hold one folder of images for each class; check the path")
    return files


def _same_classes(folders: dict[str, Path], parts: dict[str, Files]) -> None:
    """Refuse a class that one part has and another lacks: its folder is misspelled, or was forgotten."""
    classes = {part: {label for _, label in files} for part, files in parts.items()}
    known = classes["train"]
    for part, folder in folders.items():
        if alien := sorted(classes[part] - known):
            rule = f"not a class of the training examples ({', '.join(sorted(known))})"
            raise InputError(f"{folder / alien[0]}: {rule}; rename it, or remove it"[:2000])
        if absent := sorted(known - classes[part]):
            rule = f"the {part} images must have all classes of {folders['train']}"
            raise InputError(f"{folder / absent[0]}: no such folder; {rule}")


def _table(root: Path, files: Files, bad: list[Path], bad_records: int, turned: list[Path]) -> Table:
    """The images of one part; the damaged are added to `bad`, which may hold `bad_records`, the turned to `turned`."""
    x = np.empty((len(files), 0, 0, 0), np.uint8)
    kept: list[int] = []
    for i, (path, _) in enumerate(files):
        try:
            image, was_turned = image_file.read(path)
        except DataError:
            bad.append(path)
            if len(bad) > bad_records:
                raise
            continue
        if not kept:
            unpacked_size(root, len(files) * image.size)
            x = np.empty((len(files), *image.shape), np.uint8)
        if image.shape != x.shape[1:]:
            raise InputError(
                f"{path}={image.shape}: all images must have one size and number of channels, "
                f"[H, W, C]={x.shape[1:]} as {files[kept[0]][0]}; convert it"
            )
        x[len(kept)] = image
        kept.append(i)
        if was_turned:
            turned.append(path)
    if lost := sorted({path.parent for path, _ in files} - {files[i][0].parent for i in kept}):
        raise InputError(f"{lost[0]}=0 images: all of them are damaged; replace them, or remove the folder")
    labels = np.array([label for _, label in files])
    return Table(x[: len(kept)], labels[kept])
