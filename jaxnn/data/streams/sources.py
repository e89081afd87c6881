"""What `jaxnn convert` writes: a data set whose labels are known and split, and whose x is read a block at a time.

Labels, weights and the numbers of the rows are in memory; x is not, but for sources that are read whole.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxnn.config import paths
from jaxnn.config.data import DataConfig
from jaxnn.data import assemble, encoded, fitted
from jaxnn.data.dataset import PARTS, Dataset
from jaxnn.data.kinds import CONVERTED, check_options, kind_of
from jaxnn.data.readers import decoding, folder, image_file, image_form, tfds
from jaxnn.data.readers.image_form import Form
from jaxnn.data.source import Source, Table
from jaxnn.data.streams.prepared import source_of, stand_in
from jaxnn.errors import DataError, InputError

GREY = ("1", "I", "L", "F")  # how Pillow's names of grey kinds of images begin
BYTES = 2**24  # of the rows that are written at a time
IMAGES = 256  # that are decoded between two looks at the clock


class Part(NamedTuple):
    """One split: its labels and weights, and the numbers of its rows, ascending, as `Made.blocks` counts them."""

    y: np.ndarray
    weight: np.ndarray
    rows: np.ndarray


class Made(NamedTuple):
    """What is to be written.

    Args:
      about: what a `Dataset` says besides its arrays.
      parts: the splits.
      shape, dtype: of one x.
      blocks: `blocks(first)`, the x of all rows from one on, some at a time.
      standardize: whether the moments of the training x are worked out.
      cut: the parts that were cut from the training rows that were given; None where overlaps were looked for.
    """

    about: dict[str, Any]
    parts: dict[str, Part]
    shape: tuple[int, ...]
    dtype: np.dtype
    blocks: Callable[[int], Iterator[np.ndarray]]
    standardize: bool = False
    cut: tuple[str, ...] | None = None


def made(config: DataConfig, task: str) -> Made:
    """What a source becomes. Raises `InputError` and `DataError` as the readers do."""
    config = replace(config, feed="auto")
    kind = kind_of(config, task)
    check_options(config, kind)
    if kind == CONVERTED:
        raise InputError(f"source={config.name}: is converted already; name what it was converted from")
    if kind == "folder":
        return _images(paths.expand("source", config.name), config, task)
    if kind == "table" and config.images is None:
        from jaxnn.data.streams import tables

        return tables.made(paths.expand("source", config.name), config, task)
    if kind == "tfds":
        found = tfds.prepared(config.name.removeprefix("tfds:"), config.dir)
        feature = found.builder.info.features[found.x]
        if np.dtype(feature.np_dtype) == np.uint8 and len(feature.shape) in (2, 3):
            images, source = source_of(found)
            return of_source(source, config, task, functools.partial(_arrays, list(images.values())))
    return _in_memory(assemble.from_config(replace(config, feed="resident"), task))


def files(config: DataConfig) -> list[Path]:
    """The files that a source is read from: where one of them changes, it is another source."""
    named = [config.dir] if config.name == "mnist" else [config.name, config.validation, config.dir]
    if config.name.startswith("tfds:"):
        named = [str(tfds.prepared(config.name.removeprefix("tfds:"), config.dir).builder.data_dir)]
    roots = [paths.expand("source", name) for name in named if name is not None]
    found = [root for root in roots if root.is_file()]
    for root in roots:
        found += [Path(top) / name for top, _, names in os.walk(root) for name in names]
    return sorted(found)


def of_source(
    source: Source, config: DataConfig, task: str, read: Callable[[int], Iterator[np.ndarray]], **more: Any
) -> Made:
    """The labels of a source encoded and split; its x are stand-ins for what `read` gives."""
    given, labels = encoded.encode(source, task, config.positive)
    rows, notes = assemble.parts_of(source, labels, config)
    before, first = {}, 0
    for part, batch in given.items():
        before[part], first = first, first + len(batch.weight)
    parts = {
        part: Part(given["train"].y[rows[part]], given["train"].weight[rows[part]], rows[part]) if part in rows
        else Part(given[part].y, given[part].weight, before[part] + np.arange(len(given[part].weight)))
        for part in PARTS if part in rows or part in given
    }  # fmt: skip
    assemble.refuse_weightless(parts)
    x, train = given["train"].x, parts["train"]
    center, spread = fitted.amounts(train.y) if labels.classes is None else (0.0, None)
    about = {
        "task": labels.task, "outputs": labels.outputs, "classes": labels.classes, "labels": labels.labels,
        "features": None, "columns": None, "targets": source.targets, "fill": None, "missing": config.missing,
        "scale": source.scale, "center": center, "spread": None if config.standardize is False else spread,
        "notes": [*source.notes, *notes],
    } | more  # fmt: skip
    rows_of_features = x.ndim == 2
    standardize = rows_of_features if config.standardize is None else config.standardize
    return Made(about, parts, x.shape[1:], x.dtype, read, standardize, tuple(rows))


def _in_memory(data: Dataset) -> Made:
    """A data set that was read whole."""
    if data.offset is not None:
        far = [name for name, off in zip(data.features or (), data.offset, strict=False) if off]
        rule = "float32 would lose its differences; subtract a constant from it"
        raise InputError(f"{far[0] if far else 'x'}: {rule}")
    parts, first = {}, 0
    splits = {part: split for part, split in zip(PARTS, data.splits, strict=True) if split is not None}
    for part, split in splits.items():
        parts[part] = Part(split.y, split.weight, first + np.arange(len(split.weight)))
        first += len(split.weight)
    about = data.describe()
    kept = ("task", "outputs", "classes", "labels", "features", "columns", "targets", "fill", "missing", "scale")
    about = {name: about[name] for name in (*kept, "center", "spread")} | {"notes": list(data.notes)}
    read = functools.partial(_arrays, [split.x for split in splits.values()])
    return Made(about, parts, data.shape, data.train.x.dtype, read, standardize=data.mean is not None)


def _arrays(arrays: Sequence[Any], first: int) -> Iterator[np.ndarray]:
    """The rows of several arrays, one after another, from one on."""
    for x in arrays:
        skip, first = min(first, len(x)), max(first - len(x), 0)
        step = max(BYTES // max(x.nbytes // max(len(x), 1), 1), 1)
        yield from (x[start : start + step] for start in range(skip, len(x), step))


def _images(root: Path, config: DataConfig, task: str) -> Made:
    """A folder of images by class."""
    validation = None if config.validation is None else paths.expand("--data.validation", config.validation)
    listed, _, notes = folder.listed(root, validation)
    if config.bad_records:
        listed, lost = _whole_ones(root, listed, config.bad_records)
        notes += lost
    every = [file.path for files in listed.values() for file in files]
    form = _with_color(every, image_form.of(config))
    with image_file.quiet():
        shape = image_file.read(every[0], form)[0].shape
    tables = {
        part: Table(stand_in((len(files), *shape), np.uint8), np.array([file.label for file in files]))
        for part, files in listed.items()
    }
    split = (tables["train"], tables.get("validation"), tables.get("test"))
    source = Source(*split, scale=255.0, by_folder=True, notes=notes)
    return of_source(source, config, task, functools.partial(_decoded, every, form, shape))


def _whole_ones(
    root: Path, listed: dict[str, folder.Files], most: int
) -> tuple[dict[str, folder.Files], tuple[str, ...]]:
    """The images that are not damaged, each of which is decoded for that, and a note of the others."""

    def is_whole(path: Path) -> bool:
        try:
            image_file.decode(path, image_file.content(path), None)
            return True
        except DataError:
            return False

    lost: list[Path] = []
    with image_file.quiet(), ThreadPoolExecutor(os.cpu_count()) as pool:
        for part, files in listed.items():
            good = list(pool.map(is_whole, [file.path for file in files]))
            lost += [file.path for file, whole in zip(files, good, strict=True) if not whole]
            listed[part] = [file for file, whole in zip(files, good, strict=True) if whole]
            if len(lost) > most:
                image_file.read(lost[most])  # raises the error of the first one too many
    return listed, tuple(decoding.damaged(root, lost))


def _with_color(files: Sequence[Path], form: Form | None) -> Form | None:
    """The form with the colour that it leaves open: rgb where one of the images is in colour."""
    if form is None or form.color is not None:
        return form
    from PIL import Image

    def is_colored(path: Path) -> bool:
        try:
            with Image.open(path) as image:
                return not image.mode.startswith(GREY)
        except Exception:  # damaged: told when it is decoded
            return False

    return form._replace(color="rgb" if any(map(is_colored, files)) else "grey")


def _decoded(files: Sequence[Path], form: Form | None, shape: tuple[int, ...], first: int) -> Iterator[np.ndarray]:
    """The images from one on, decoded on all cores."""

    def one(path: Path) -> np.ndarray:
        pixels = image_file.decode(path, image_file.content(path), form)[0]
        if pixels.shape != shape:
            rule = f"all images must have one size and number of channels, [H, W, C]={shape} as {files[0]}"
            cure = "--data.color rgb" if pixels.shape[:2] == shape[:2] else "--data.image_size 64"
            raise InputError(f"{path}={pixels.shape}: {rule}; add {cure}")
        return pixels

    with image_file.quiet(), ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(first, len(files), IMAGES):
            yield np.stack(list(pool.map(one, files[start : start + IMAGES])))
