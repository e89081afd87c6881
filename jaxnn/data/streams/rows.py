"""Arrays that stay on the disk: rows are read when they are asked for, and never all of them at once.

Files are read by position, not through a memory map: a map of the whole file would need as many addresses (RLIMIT_AS),
and a file that is cut short while it is mapped ends the process (SIGBUS) before anything is saved.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxnn.errors import DataError, InputError

BLOCK = 2**18  # bytes that are read together where enough of their rows are wanted
NEAR = 2**13  # bytes that are copied in the time of one more call of the system


class Rows:
    """What stands for an array `[n, ...]` whose rows are elsewhere: shape and dtype are there, `rows[i:j]` reads some.

    A reader of one format has `take(index i64[k]) -> [k, ...]`.
    """

    shape: tuple[int, ...]
    dtype: np.dtype

    def take(self, index: np.ndarray) -> np.ndarray:
        """The rows of these numbers, in that order. Raises `DataError` where they cannot be had any more."""
        raise NotImplementedError

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> np.ndarray:
        if isinstance(index, slice):
            return self.take(np.arange(*index.indices(len(self))))
        index = np.asarray(index)
        if index.size and not -len(self) <= index.min() <= index.max() < len(self):
            raise IndexError(f"rows {index.min()} to {index.max()}: there are {len(self)}")
        index = np.where(index < 0, index + len(self), index)
        return self.take(index) if index.ndim else self.take(index[None])[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        del copy  # they are always read anew
        return self[:].astype(dtype or self.dtype, copy=False)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize


class Npy(Rows):
    """The rows of a `.npy` file.

    Raises `InputError` for what is no such file, `DataError` where its length is not what its header says.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.save(f"{folder}/x.npy", np.arange(6).reshape(3, 2))
    ...     Npy(Path(folder) / "x.npy")[::-2].tolist()
    [[4, 5], [0, 1]]
    """

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype
    start: int
    width: int
    file: int
    known: dict[str, int]

    def __init__(self, path: Path):
        self.path = path
        try:
            with path.open("rb") as file:
                version = np.lib.format.read_magic(file)
                read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
                shape, columns_first, dtype = read[version](file)
                self.start = file.tell()
        except (ValueError, KeyError) as error:
            raise InputError(f"{path}: not a readable .npy file ({error}); convert the data again") from error
        if not shape or columns_first or dtype.hasobject:
            raise InputError(f"{path}={dtype}{shape}: must be rows of numbers in C order; convert the data again")
        self.shape, self.dtype = shape, dtype
        self.width = math.prod(shape[1:]) * dtype.itemsize  # bytes of a row
        self.file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.known = about(os.fstat(self.file))
        expected = self.start + self.nbytes
        if self.known["bytes"] != expected:
            raise DataError(f"{path}={self.known['bytes']} bytes: expected {expected}; convert the data again")

    def __del__(self) -> None:
        if hasattr(self, "file"):
            os.close(self.file)

    def take(self, index: np.ndarray) -> np.ndarray:
        """The rows of these numbers, in that order.

        They are read in the order of the file: together where many of a block are wanted, one by one elsewhere.
        """
        refuse_changed(self.path, self.known)
        out = np.empty((len(index), *self.shape[1:]), self.dtype)
        if not out.size:
            return out
        bytes_of = out.reshape(len(index), -1).view(np.uint8)
        if (np.diff(index) == 1).all():
            self._read(bytes_of.reshape(-1).data, int(index[0]))
            return out
        order = np.argsort(index, kind="stable")
        rows, together = index[order], max(BLOCK // self.width, 1)
        edges = np.flatnonzero(np.diff(rows // together, prepend=-1, append=-1)).tolist()
        whole = bytes_of.view(f"V{self.width}")[:, 0]  # a row as one item, which is copied at once
        for a, b in zip(edges, edges[1:], strict=False):
            first, last = int(rows[a]), int(rows[b - 1])
            if (b - a) * NEAR < (last - first) * self.width:
                for row, place in zip(rows[a:b].tolist(), order[a:b].tolist(), strict=True):
                    self._read(bytes_of[place].data, row)
                continue
            block = np.empty(last + 1 - first, whole.dtype)
            self._read(block.view(np.uint8).data, first)
            whole[order[a:b]] = block[rows[a:b] - first]
        return out

    def _read(self, into: memoryview, row: int) -> None:
        """Fill `into` from a row on."""
        place = self.start + row * self.width
        while len(into):
            try:
                count = os.preadv(self.file, [into], place)
            except OSError as error:
                raise DataError(f"{self.path}: cannot be read ({error.strerror}); mend the disk") from error
            if not count:
                refuse_changed(self.path, self.known)
                raise DataError(f"{self.path}: breaks off at byte {place}; bring the file back")
            into, place = into[count:], place + count


def about(status: os.stat_result) -> dict[str, int]:
    """What changes with a file."""
    return {"bytes": status.st_size, "mtime_ns": status.st_mtime_ns, "inode": status.st_ino}


def refuse_changed(path: Path, known: dict[str, int]) -> None:
    """Raise `DataError` where a file is not the one that was opened."""
    cure = "bring the file back, and the same command goes on"
    try:
        now = about(os.stat(path))
    except OSError as error:
        raise DataError(f"{path}: {error.strerror} since the run began; {cure}") from error
    if changed := [f"{what} {known[what]} -> {now[what]}" for what in now if now[what] != known[what]]:
        raise DataError(f"{path}: has changed since the run began ({', '.join(changed)}); {cure}")


def span(array: Any) -> list[float]:
    """The least and the greatest number of an array, each row of which is read once; NaN where one is."""
    ends = [(values.min(), values.max()) for values in (array[part] for part in blocks(array))]
    return [float(np.min([low for low, _ in ends])), float(np.max([high for _, high in ends]))]


def blocks(array: Any, size: int = 2**26) -> Sequence[slice]:
    """Slices of the rows of an array that together are all of them, each of about so many bytes."""
    step = max(size // max(array.nbytes // max(len(array), 1), 1), 1)
    return [slice(i, i + step) for i in range(0, len(array), step)]
