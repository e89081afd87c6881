"""IDX files, the format of MNIST (LeCun, Cortes and Burges 1998): a magic number, the sizes, then bytes."""

from __future__ import annotations

import re
import struct
import zlib
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from jaxnn.data.check import MAX_RATIO, SMALL, file_size, unpacked_size
from jaxnn.data.source import Source, Table
from jaxnn.errors import InputError

IMAGES = re.compile(r"(?:.*[-_.])?(train|t10k|test)[-.]images[-.]idx3-ubyte(?:\.gz)?")
CHUNK, PIECE = 2**26, 2**20  # bytes at a time: unpacked, packed


def read_array(path: Path, ndim: int) -> np.ndarray:
    """u8 array of `ndim` axes, from an IDX file, gzipped or not.

    Raises:
      InputError: a wrong magic number, a size of 0, or a length that is not exactly what the header says.
    """
    file_size(path)
    with path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"  # an IDX file begins with two zeros
    start = 4 + 4 * ndim
    try:
        with path.open("rb") as raw:
            file = Inflated(raw) if packed else raw
            header = _read(file, start)
            if len(header) < start:
                raise InputError(f"{path}={len(header)} bytes: expected {start} or more; download it again")
            magic, *shape = struct.unpack(f">{1 + ndim}I", header)
            if magic != 0x800 + ndim:
                raise InputError(f"{path}={magic:#010x}: must begin with {0x800 + ndim:#010x}; not such an IDX file")
            if 0 in shape:
                raise InputError(f"{path}={tuple(shape)}: no size may be 0; use another file")
            size = prod(shape)
            unpacked_size(path, size)
            data = _read(file, size)
            more = " or more" if len(data) == size and file.read1(1) else ""
    except (EOFError, zlib.error) as error:
        raise InputError(f"{path}: not readable as gzip ({error}); download it again") from error
    if len(data) < size or more:
        raise InputError(
            f"{path}={start + len(data) + bool(more)}{more} bytes: expected {start + size}; download it again"
        )
    return np.frombuffer(data, np.uint8).reshape(shape)


class Inflated:
    """A gzip file, as `gzip.open` reads it but in larger pieces, so that other threads run meanwhile."""

    file: Any
    packed: bytes
    stream: Any  # a decompressor of zlib, whose class has no public name
    found: int

    def __init__(self, file: Any):
        self.file, self.packed, self.stream = file, b"", zlib.decompressobj(wbits=31)
        self.found = 0  # bytes so far

    def read1(self, size: int) -> bytes:
        """From 1 to `size` bytes, none at the end. Raises `EOFError` where it breaks off, `zlib.error` if damaged."""
        while True:
            if not self.packed:
                self.packed = self.file.read(PIECE)
            ended = not self.packed
            found = self.stream.decompress(self.packed, size)
            self.packed = self.stream.unconsumed_tail
            if self.stream.eof:  # one file may follow another, or zeros
                self.packed = self._after(self.stream.unused_data)
                if self.packed:
                    self.stream = zlib.decompressobj(wbits=31)
                elif not found:
                    return b""
            if found:
                self.found += len(found)
                if self.found > max(SMALL, MAX_RATIO * (self.file.tell() - len(self.packed))):
                    raise zlib.error(f"more than {MAX_RATIO} times as large unpacked")
                return found
            if ended and not self.stream.eof:
                raise EOFError("it breaks off")

    def _after(self, rest: bytes) -> bytes:
        """What follows, without padding."""
        while not (rest := rest.lstrip(b"\0")) and (more := self.file.read(PIECE)):
            rest = more
        return rest


def _read(file: Any, size: int) -> bytearray:
    """`size` bytes, or what there is; in chunks, so that a header that promises too much costs no memory."""
    found = bytearray()
    try:
        while len(found) < size and (chunk := file.read1(min(CHUNK, size - len(found)))):
            found += chunk
    except EOFError:
        pass  # a compressed stream that breaks off: fewer bytes than promised
    return found


def image_files(folder: Path) -> dict[str, Path]:
    """The IDX image files of a folder, by the part they hold (train or test)."""
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if match := IMAGES.fullmatch(path.name):
            part = "train" if match[1] == "train" else "test"
            if part in files and path.name == files[part].name + ".gz":
                continue  # the same, packed
            if part in files:
                raise InputError(f"{folder}: both {files[part].name} and {path.name} hold the {part} images; keep one")
            files[part] = path
    return files


def _labels_file(images: Path) -> Path:
    """The companion of an image file, gzipped or not."""
    name = images.name.removesuffix(".gz").replace("images", "labels").replace("idx3", "idx1")
    for path in (images.with_name(name), images.with_name(name + ".gz")):
        if path.exists():
            return path
    raise InputError(f"{images.with_name(name)}: no such file, nor with .gz; put it beside {images.name}")


def read(folder: Path) -> Source:
    """Images u8[n, H, W, 1] and labels u8[n] of `train-*` and, if there, `t10k-*` or `test-*`."""
    files = image_files(folder)
    if "train" not in files:
        raise InputError(f"{folder}: has no train-images-idx3-ubyte, nor with .gz; point to the folder that has it")
    parts = {
        part: Table(read_array(path, 3)[..., None], read_array(_labels_file(path), 1)) for part, path in files.items()
    }
    return Source(parts["train"], test=parts.get("test"), scale=255.0)
