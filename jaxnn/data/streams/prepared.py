"""A prepared tensorflow-datasets data set whose images stay in its ArrayRecord files."""

from __future__ import annotations

from typing import Any

import numpy as np

from jaxnn.config.data import DataConfig
from jaxnn.data import assemble, encoded, fitted
from jaxnn.data.dataset import PARTS, Dataset
from jaxnn.data.readers import tfds
from jaxnn.data.readers.tfds import Prepared
from jaxnn.data.source import Source, Table
from jaxnn.data.streams import memory
from jaxnn.data.streams.records import Records, opened
from jaxnn.data.streams.rows import span
from jaxnn.errors import InputError
from jaxnn.types import Batch


def read(config: DataConfig, task: str) -> Dataset | None:
    """The data set, its images on the disk; None where `config.feed` is auto and they fit in memory.

    All labels are read first, and then each image once: the digest of the data set is that of its arrays. No example
    is looked for in two splits. Raises what the reader of the whole data set does, and `InputError` for what are no
    images of bytes.
    """
    found = tfds.prepared(config.name.removeprefix("tfds:"), config.dir)
    if config.feed == "auto" and not memory.is_streamed("auto", _size(found)):
        return None
    if config.standardize:
        cure = "convert the data with it, or use --data.feed resident"
        raise InputError(f"--data.standardize=True: would read all images before the first step; {cure}")
    images, source = source_of(found)
    given, labels = encoded.encode(source, task, config.positive)
    rows, notes = assemble.parts_of(source, labels, config)
    index = {part: rows.get(part, np.arange(len(given[part].weight) if part in given else 0)) for part in PARTS}
    index = {part: chosen for part, chosen in index.items() if len(chosen)}
    owner = {part: "train" if part in rows else part for part in index}
    splits = {
        part: Batch(images[owner[part]].of(chosen), *(a[chosen] for a in given[owner[part]][1:]))
        for part, chosen in index.items()
    }
    train, by_class = fitted.weighed(config.class_weight, labels, splits["train"])
    ranges = {part: span(split.x) for part, split in splits.items()}
    highest = max(ranges[part][1] for part in rows)
    told = ("images of 0 and 1: 1 is read as 1.0, not 255",) if highest == 1 and found.scale is None else ()
    center, spread = fitted.amounts(train.y) if labels.classes is None else (0.0, None)
    return Dataset(
        config.name, labels.task, labels.outputs, train, splits.get("validation"), splits.get("test"),
        classes=labels.classes, labels=labels.labels, class_weight=by_class, missing=config.missing,
        scale=found.scale or (1.0 if highest == 1 else 255.0), center=center,
        spread=None if config.standardize is False else spread, notes=notes + told, known_range=ranges["train"],
    )  # fmt: skip


def source_of(found: Prepared) -> tuple[dict[str, Records], Source]:
    """The images of each split, unread, and its labels, with arrays that take no memory in the place of images."""
    both: dict[str, Any] = {part: opened(found, part) for part in found.parts}
    tables = {part: Table(stand_in(x.shape, x.dtype), y) for part, (x, y) in both.items()}
    split = (tables["train"], tables.get("validation"), tables.get("test"))
    return {part: x for part, (x, _) in both.items()}, Source(*split, classes=found.classes, scale=found.scale)


def stand_in(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """An array of zeros of any size that takes no memory."""
    return np.broadcast_to(np.zeros((), dtype), shape)


def _size(found: Prepared) -> int:
    """Bytes of all images, as far as is known of their shape; 0 where they are of several."""
    info = found.builder.info
    feature = info.features[found.x]
    shape = feature.shape
    if None in shape or np.dtype(feature.np_dtype) != np.uint8:
        return 0
    return int(np.prod(shape)) * sum(info.splits[part].num_examples for part in found.parts)
