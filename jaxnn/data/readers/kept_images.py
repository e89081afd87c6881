"""Decoded images, kept in the user's cache folder: the next run on the same files starts at once.

Each entry is one file, named by the SHA-256 of all that its pixels follow from: the bytes of the images' files, in
their order, and what they were made to be. It begins with a SHA-256 of the rest. All can be deleted at any time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxnn.config import paths
from jaxnn.data.check import file_size
from jaxnn.data.readers.image_form import Form
from jaxnn.errors import InputError

FORMAT = 1  # another one where the same files would give other pixels
MOST = 2**33  # bytes of all entries; of more, those are removed that were not used for longest


class Images(NamedTuple):
    """`x u8[k, H, W, C]`, which of the files they are, and how many of them something was done to, by `TOLD`."""

    x: np.ndarray
    kept: list[int]
    told: dict[str, int]


def key(hashes: Iterable[bytes], form: Form | None) -> str:
    """The name of an entry. `hashes`: SHA-256 of each file, in their order."""
    import PIL
    import simplejpeg

    about = [FORMAT, form, PIL.__version__, simplejpeg.__version__]
    return hashlib.sha256(json.dumps(about).encode() + b"".join(hashes)).hexdigest()


def read(name: str) -> tuple[Images | None, tuple[str, ...]]:
    """The entry of that name; None where there is none, and a note where it is damaged or cannot be read."""
    try:
        path = _folder() / name
        file_size(path)
        packed = memoryview(path.read_bytes())
        with contextlib.suppress(OSError):
            os.utime(path)  # it was used
    except FileNotFoundError:
        return None, ()
    except (OSError, RuntimeError, InputError) as reason:  # Path.home raises RuntimeError where there is none
        return None, (f"decoded images that were kept cannot be read ({reason}); they are decoded again",)
    if hashlib.sha256(packed[32:]).digest() != packed[:32]:
        return None, (f"{path}: decoded images that were kept are damaged; they are decoded again",)
    start = 40 + int.from_bytes(packed[32:40], "little")
    shape, kept, told = json.loads(bytes(packed[40:start]))
    return Images(np.frombuffer(packed[start:], np.uint8).reshape(shape), kept, told), ()


def write(name: str, images: Images) -> tuple[str, ...]:
    """Keep an entry, whole or not at all; a note where that cannot be. Two processes may do so at once."""
    about = json.dumps([images.x.shape, images.kept, images.told]).encode()
    parts = [len(about).to_bytes(8, "little"), about, np.ascontiguousarray(images.x).data.cast("B")]
    sha = hashlib.sha256()
    for part in parts:
        sha.update(part)
    if (size := 40 + len(about) + images.x.nbytes) > MOST:
        return ()
    beside = None
    try:
        folder = _folder()
        folder.mkdir(parents=True, exist_ok=True)
        _make_room(folder, size)
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
            beside = file.name
            for part in [sha.digest(), *parts]:
                file.write(part)
        os.replace(beside, folder / name)
    except (OSError, RuntimeError) as reason:
        if beside is not None:
            with contextlib.suppress(OSError):
                os.unlink(beside)
        return (f"decoded images are not kept ({reason}); mend the folder, or --no-cache",)
    return ()


def _folder() -> Path:
    return paths.cache() / "images"


def _make_room(folder: Path, size: int) -> None:
    """Remove the entries that were not used for longest, until there is room for one of so many bytes."""
    entries = sorted(((e.stat().st_mtime, e.stat().st_size, e.path) for e in os.scandir(folder)), reverse=True)
    for _, taken, path in entries:
        size += taken
        if size > MOST:
            with contextlib.suppress(OSError):
                os.unlink(path)
