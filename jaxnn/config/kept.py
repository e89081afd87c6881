"""What is kept in the user's cache folder: files that can be made again, so that all can be deleted at any time.

Each begins with a SHA-256 of the rest, and is written whole or not at all, by any number of processes at once.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxnn.errors import DataError


def read(path: Path) -> memoryview | None:
    """What was written there, which counts as a use of it; None where nothing was.

    Raises `OSError` where it cannot be read, and `DataError` where it is damaged.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise OSError(f"{path}: must be a regular file")  # a pipe would keep its reader waiting
        packed = memoryview(path.read_bytes())
    except FileNotFoundError:
        return None
    with contextlib.suppress(OSError):
        os.utime(path)
    if hashlib.sha256(packed[32:]).digest() != packed[:32]:
        raise DataError(f"{path}: is damaged; it is made again")
    return packed[32:]


def write(path: Path, parts: Sequence[Any]) -> None:
    """Raises `OSError` where that cannot be."""
    sha = hashlib.sha256()
    for part in parts:
        sha.update(part)
    path.parent.mkdir(parents=True, exist_ok=True)
    number, beside = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(number, "wb") as file:
            for part in [sha.digest(), *parts]:
                file.write(part)
        os.replace(beside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(beside)
        raise


def make_room(folder: Path, size: int, most: int) -> int:
    """Remove files below a folder, first those that were not used for longest, until there is room for so many bytes.

    Returns the bytes that are left.
    """
    entries = []
    for inside, _, names in os.walk(folder):
        for path in (os.path.join(inside, name) for name in names):
            with contextlib.suppress(OSError):  # another process may have removed it
                about = os.stat(path, follow_symlinks=False)
                entries.append((about.st_mtime, about.st_size, path))
    left = sum(taken for _, taken, _ in entries)
    for _, taken, path in sorted(entries):
        if left + size <= most:
            break
        with contextlib.suppress(OSError):
            os.unlink(path)
        left -= taken
    return left
