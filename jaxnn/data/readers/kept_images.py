"""Decoded images, kept in the user's cache folder: the next run on the same files starts at once.

Each entry is one file, named by the SHA-256 of all that its pixels follow from: the bytes of the images' files, in
their order, and what they were made to be.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxnn.config import kept, paths
from jaxnn.data.readers.image_form import Form
from jaxnn.errors import DataError

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
        packed = kept.read(_folder() / name)
    except DataError:
        return None, (f"{_folder() / name}: decoded images that were kept are damaged; they are decoded again",)
    except (OSError, RuntimeError) as reason:  # Path.home raises RuntimeError where there is none
        return None, (f"decoded images that were kept cannot be read ({reason}); they are decoded again",)
    if packed is None:
        return None, ()
    start = 8 + int.from_bytes(packed[:8], "little")
    shape, rows, told = json.loads(bytes(packed[8:start]))
    return Images(np.frombuffer(packed[start:], np.uint8).reshape(shape), rows, told), ()


def write(name: str, images: Images) -> tuple[str, ...]:
    """Keep an entry; a note where that cannot be."""
    about = json.dumps([images.x.shape, images.kept, images.told]).encode()
    if (size := 40 + len(about) + images.x.nbytes) > MOST:
        return ()
    try:
        kept.make_room(_folder(), size, MOST)
        kept.write(
            _folder() / name, [len(about).to_bytes(8, "little"), about, np.ascontiguousarray(images.x).data.cast("B")]
        )
    except (OSError, RuntimeError) as reason:
        return (f"decoded images are not kept ({reason}); mend the folder, or --no-cache",)
    return ()


def _folder() -> Path:
    return paths.cache() / "images"
