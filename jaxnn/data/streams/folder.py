"""The folder that `jaxnn convert` makes: `.npy` files, and `dataset.json`, which says what they are.

train-x.npy, train-y.npy, train-weight.npy, and the same of validation and test where they are there: the arrays of a
`jaxnn.data.Dataset`, already split, with classes as numbers. dataset.json has the rest of it, and the length and
SHA-256 of each file, which were checked when it was written; its `digest` is that of the data set.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from jaxnn.config.data import DataConfig
from jaxnn.config.names import GENERATIVE
from jaxnn.data import fitted
from jaxnn.data.columns import Column
from jaxnn.data.dataset import Dataset
from jaxnn.data.streams import memory
from jaxnn.data.streams.rows import Npy
from jaxnn.errors import DataError, InputError
from jaxnn.tasks.targets import Targets
from jaxnn.types import Batch

MANIFEST, FORMAT = "dataset.json", 1
ARRAYS = ("x", "y", "weight")
SMALL = 2**26  # bytes of all labels or weights of a part, up to which they are in memory
# What was decided when the data were converted; `validation_fraction` and the like may be said again.
DECIDED = ("positive", "fold", "validation_fraction", "test_fraction", "split_seed")


def manifest(path: Path) -> dict[str, Any]:
    """What dataset.json says. Raises `InputError` for another file of that name."""
    try:
        found = json.loads((path / MANIFEST).read_bytes())
        if found["format"] != FORMAT:
            raise InputError(f"{path / MANIFEST}: is of format {found['format']}, this jaxnn reads {FORMAT}")
        return found
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path / MANIFEST}: is not of `jaxnn convert`; convert the data again") from error


def read(path: Path, config: DataConfig, task: str) -> Dataset:
    """The data set in a folder: its rows in memory, or on the disk, as `config.feed` says.

    The lengths of the files are compared with dataset.json, and what is in them is believed. Raises `InputError` for
    settings that were decided when it was converted, `DataError` for a file that is missing or has another length.
    """
    found = manifest(path)
    about = found["about"]
    for name in DECIDED:
        value = getattr(config, name)
        if value not in (getattr(DataConfig, name), found["settings"].get(name)):
            had = found["settings"].get(name)
            cure = f"use --data.{name} {had}" if had is not None else "leave it out"
            raise InputError(f"--data.{name}={value}: {path} was converted with {had}; {cure}, or convert it again")
    if task not in ("auto", about["task"], *GENERATIVE):
        rule = f"{path} was converted as {about['task']}; convert it with --task.name {task}"
        raise InputError(f"--task.name={task}: {rule}")
    if config.standardize and about["mean"] is None:
        raise InputError("--data.standardize=True: the data were converted without; convert them with it")
    arrays = {name: _opened(path, name, file["bytes"]) for name, file in found["files"].items()}
    size = sum(array.nbytes for array in arrays.values())
    streamed = memory.is_streamed(config.feed, size)
    in_memory = lambda name, a: not streamed or ("-x." not in name and a.nbytes <= SMALL)
    loaded = {name: array[:] if in_memory(name, array) else array for name, array in arrays.items()}
    splits = {part: Batch(*(loaded[file(part, array)] for array in ARRAYS)) for part in found["parts"]}
    return _dataset(path, config, found, splits)


def file(part: str, array: str) -> str:
    return f"{part}-{array}.npy"


def _opened(path: Path, name: str, size: int) -> Npy:
    try:
        array = Npy(path / name)
    except FileNotFoundError:
        raise DataError(f"{path / name}: no such file, which {MANIFEST} names; convert the data again") from None
    if array.known["bytes"] != size:
        raise DataError(f"{path / name}={array.known['bytes']} bytes: {MANIFEST} has {size}; convert the data again")
    return array


def _dataset(path: Path, config: DataConfig, whole: dict[str, Any], splits: dict[str, Batch]) -> Dataset:
    about = whole["about"]
    names = ("classes", "labels", "features", "targets")
    tuples: dict[str, Any] = {name: about[name] and tuple(about[name]) for name in names}
    columns = about["columns"] and tuple(Column(name, texts and tuple(texts)) for name, texts in about["columns"])
    labels = Targets(about["task"], tuples["classes"], {"train": splits["train"].y})
    train, by_class = fitted.weighed(config.class_weight, labels, splits["train"])
    scaled = config.standardize is not False
    mean, std = (about[name] if scaled else None for name in ("mean", "std"))
    as_f32 = lambda values: None if values is None else np.array(values, np.float32)
    return Dataset(
        str(path), about["task"], about["outputs"], train, splits.get("validation"), splits.get("test"), **tuples,
        columns=columns, fill=about["fill"], missing=tuple(about["missing"]), class_weight=by_class,
        scale=about["scale"], mean=as_f32(mean), std=as_f32(std), center=about["center"],
        spread=about["spread"] if scaled else None, notes=tuple(about["notes"]),
        known_digest=about["digest"], known_range=about["range"], settings=whole["settings"],
    )  # fmt: skip
