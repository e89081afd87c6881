"""Which kind of source a name or path is, and which options are for it."""

from __future__ import annotations

import os

from jaxnn.config import paths
from jaxnn.config.data import DataConfig
from jaxnn.config.names import IMPUTED, LAYOUTS
from jaxnn.data.readers import bundled, idx, npz, table, tfds
from jaxnn.data.streams import folder as converted
from jaxnn.errors import InputError, choices

CONVERTED = "converted"  # by `jaxnn convert`
LISTED = "table of images"  # --data.images; what is for a table is for it too
# The kinds of source that an option is for. With any other kind the option would be ignored, so it is refused.
OPTIONS: dict[str, tuple[str, ...]] = {
    "dir": ("mnist", "tfds", LISTED, "coco"),
    "images": ("table",),
    "target": ("table",),
    "drop": ("table",),
    "weight": ("table", "npz"),
    "split_by": ("table",),
    "split": ("table",),
    "text": ("table",),
    "missing": ("table", "npz"),
    "delimiter": ("table",),
    "validation": ("table", "npz", "idx", "mnist", "folder", *LAYOUTS),
    "max_boxes": ("coco", "voc", "yolo"),
    **dict.fromkeys(("image_size", "resize", "color", "bad_records"), ("folder", LISTED, *LAYOUTS)),
}


def is_table(name: str) -> bool:
    """Whether these data are rows of features, not images, as far as their name and first bytes say."""
    try:
        kind = kind_of(DataConfig(name))
        if kind == "npz":
            return npz.ndim(paths.expand("--data.name", name)) == 2
        if kind == CONVERTED:
            return len(converted.manifest(paths.expand("--data.name", name))["about"]["shape"]) == 1
        return kind == "table" or (kind == "bundled" and name != "digits")
    except Exception:  # what damaged bytes raise is not documented; it is told when they are read
        return False


def kind_of(config: DataConfig, task: str = "auto") -> str:
    """Which reader a name or path is for."""
    name, path = config.name, paths.expand("--data.name", config.name)
    if name in bundled.NAMES:
        return "bundled"
    if name == "mnist":
        return "mnist"
    if os.path.isfile(path / converted.MANIFEST):  # pathlib raises an error for a name that is too long
        return CONVERTED
    if tfds.is_one(name):
        return "tfds"
    if path.is_dir() or (path.is_file() and path.suffix.lower() == ".json"):
        from jaxnn.data.readers import layouts

        found = layouts.kind(path, task)
        return found or ("idx" if idx.image_files(path) else "folder")
    if not path.exists():
        if not path.suffix and len(path.parts) == 1:
            raise choices("--data.name", name, (*bundled.NAMES, "mnist", "tfds:NAME", "path/to/data"))
        raise InputError(f"--data.name={name}: no such file or folder; check the path")
    if path.suffix.lower() == ".npz":
        return "npz"
    if path.suffix.lower() in table.SUFFIXES:
        return "table"
    known = ", ".join((*table.SUFFIXES, ".npz", ".json"))
    raise InputError(f"--data.name={name}: must be a file ({known}), or a folder of images or IDX files; convert it")


def check_options(config: DataConfig, kind: str) -> None:
    for option, kinds in OPTIONS.items():
        value = getattr(config, option)
        if value != getattr(DataConfig, option) and not {kind, kind.partition(" ")[0]} & {*kinds}:
            value = " ".join(value) if isinstance(value, tuple) else value
            raise InputError(f"--data.{option}={value}: is for {', '.join(kinds)} data, not {kind}; leave it out")
    if config.nan in IMPUTED and kind != "table":
        raise InputError(f"--data.nan={config.nan}: is for table data, not {kind}; leave it out, or use drop")
