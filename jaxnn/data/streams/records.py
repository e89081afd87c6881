"""The examples of a prepared tensorflow-datasets data set, read from its ArrayRecord files a whole batch at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxnn.data.readers.tfds import Prepared
from jaxnn.data.streams.rows import Rows, about, refuse_changed
from jaxnn.errors import DataError, InputError

TOGETHER = 4096  # labels that are read in one call


class Records(Rows):
    """One feature of the examples of a split. `__getitems__` of many rows takes a fiftieth of the time of one by one.

    `row_numbers`: which examples of the split these rows are, where not all.
    """

    source: Any
    key: str
    shape: tuple[int, ...]
    dtype: np.dtype
    row_numbers: np.ndarray
    known: dict[Path, dict[str, int]]

    def __init__(self, source: Any, key: str, shape: tuple[int, ...], dtype: Any, files: Sequence[Path]):
        self.source, self.key = source, key
        self.shape, self.dtype = (len(source), *shape), np.dtype(dtype)
        self.row_numbers = np.arange(len(source))
        self.known = {path: about(os.stat(path)) for path in files}

    def of(self, rows: np.ndarray) -> Records:
        """Some of these rows."""
        made = Records(self.source, self.key, self.shape[1:], self.dtype, ())
        made.known, made.row_numbers = self.known, self.row_numbers[rows]
        made.shape = (len(rows), *self.shape[1:])
        return made

    def take(self, index: np.ndarray) -> np.ndarray:
        """The rows of these numbers, in that order."""
        for path, known in self.known.items():
            refuse_changed(path, known)
        out = np.empty((len(index), *self.shape[1:]), self.dtype)
        shape = self.shape[1:]
        try:
            found = self.source.__getitems__(self.row_numbers[index].tolist()) if len(index) else []
        except Exception as error:  # what array_record raises for damaged files is not documented
            reason = str(error).split("\n")[0]
            where = next(iter(self.known)).parent
            raise DataError(f"{where}: damaged records ({reason}); prepare the data again") from error
        for place, example in enumerate(found):
            value = np.asarray(example[self.key])
            if value.shape not in (shape, shape[:2]):  # grey images may have no axis of channels
                rule = f"all must have the shape of the first, {shape}"
                raise InputError(f"{self.key}[{self.row_numbers[index[place]]}]={value.shape}: {rule}")
            out[place] = value.reshape(shape)
        return out


def opened(found: Prepared, part: str) -> tuple[Records, np.ndarray]:
    """The features of a split, unread, and all its labels. Raises `InputError` for what are no images of bytes."""
    import tensorflow_datasets as tfds

    split = found.builder.info.splits[part]
    files = [Path(os.fspath(path)) for path in split.filepaths]
    skipped = {found.x: tfds.decode.SkipDecoding()}
    source = damaged(found, part, lambda: found.builder.as_data_source(split=part))
    if not len(source):
        raise InputError(f"{found.builder.data_dir}: {part}=0 examples: must hold at least one; prepare it again")
    first = np.asarray(damaged(found, part, lambda: source[0])[found.x])
    if first.dtype != np.uint8 or first.ndim not in (2, 3):
        cure = "convert them with jaxnn convert, or use --data.feed resident"
        raise InputError(f"--data.feed=stream: features {first.dtype}{first.shape} are no images of bytes; {cure}")
    shape = first.shape if first.ndim != 2 else (*first.shape, 1)
    x = Records(source, found.x, shape, first.dtype, files)
    labels = damaged(found, part, lambda: found.builder.as_data_source(split=part, decoders=skipped))
    parts = [list(range(i, min(i + TOGETHER, len(labels)))) for i in range(0, len(labels), TOGETHER)]
    read = lambda rows: [example[found.y] for example in labels.__getitems__(rows)]
    return x, np.asarray([y for rows in parts for y in damaged(found, part, lambda rows=rows: read(rows))])


def damaged(found: Prepared, part: str, call: Callable[[], Any]) -> Any:
    """What a call gives; `DataError` for whatever it raises."""
    try:
        return call()
    except Exception as error:  # what array_record raises for damaged files is not documented
        reason = str(error).split("\n")[0]
        raise DataError(f"{found.builder.data_dir}: damaged {part} split ({reason}); prepare it again") from error
