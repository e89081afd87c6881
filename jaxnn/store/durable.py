"""Files that survive a kill or a power cut: the disk has them when the call returns, and no link is ever followed."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from jaxnn.config import paths
from jaxnn.errors import Error, InputError, StorageError

BLOCK = 2**20


def open_file(path: Path, flags: int = os.O_RDONLY, mode: int = 0o600) -> int:
    """A file or folder, never through a link."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, mode)


def write(path: Path, parts: Iterable[Any], mode: int = 0o600) -> None:
    """A new file, on the disk when this returns."""
    with os.fdopen(open_file(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        for part in parts:
            file.write(part)
        file.flush()
        os.fsync(file.fileno())


def sync(path: Path) -> None:
    """Have the disk take a file, or the names in a folder."""
    number = open_file(path)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def compare(path: Path, parts: Iterable[Any]) -> None:
    """Read a file back and hold it against what was written."""
    with os.fdopen(open_file(path), "rb") as file:
        if hasattr(os, "posix_fadvise"):  # drop the page cache, so that the bytes come from the disk
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        same = all(file.read(min(BLOCK, len(part) - at)) == part[at : at + BLOCK]
                   for part in parts for at in range(0, len(part), BLOCK))  # fmt: skip
        if not same or file.read(1):
            raise StorageError(f"{path}: what was read back is not what was written; the disk or memory is failing")


def discard(path: Path) -> None:
    """Remove a checkpoint, or a file or link that stands in its place, in one instant for those who look."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        aside = path if path.suffix == ".tmp" else path.with_name(path.name + ".old.tmp")
        path.rename(aside)
        shutil.rmtree(aside)


def refuse_link(folder: Path) -> None:
    if folder.is_symlink():
        raise InputError(f"--workdir: {folder} is a link, which is not followed; put a folder in its place")


def no_room(path: Path, reason: OSError, need: int) -> StorageError:
    cure = "mend the folder"
    if reason.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        cure = f"needs {need:,} bytes, has {shutil.disk_usage(path.parent.parent).free:,}: free some space"
    return StorageError(f"{path}: cannot be written ({reason.strerror}); {cure}; the earlier checkpoints are intact")


def replace(path: Path, parts: Iterable[Any]) -> None:
    """Write a file beside, then rename: a reader never sees half of it. Raises `StorageError` if it cannot be."""
    beside = path.with_name(path.name + ".tmp")
    try:
        beside.unlink(missing_ok=True)
        write(beside, parts, 0o666)
        beside.replace(path)
        sync(path.parent)
    except OSError as reason:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise unwritable(path, reason) from None


def check_new_folder(flag: str, text: str, holds: Iterable[str], *, force: bool) -> Path:
    """The path of a folder that can be made, or with `force` put in the place of one that holds no more than that.

    Raises `InputError`.
    """
    path = paths.expand(flag, text)
    if not os.path.isdir(path.parent):
        raise InputError(f"{flag}={text}: {path.parent} is no folder; make it, or name another")
    if os.path.lexists(path) and not (force and os.path.isdir(path) and not path.is_symlink()):
        raise InputError(f"{flag}={text}: is there already; name another folder, or add --force to replace it")
    for name in sorted(os.listdir(path)) if os.path.isdir(path) else ():
        if name not in holds:
            raise InputError(f"{flag}={text}: has {name}, which --force does not remove; name another folder")
    return path.parent.resolve() / path.name


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yields a folder beside, which has the name `path` once the context has ended well; one that is there is replaced.

    Raises `StorageError` if it cannot be written.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        beside.mkdir()
        yield beside
        sync(beside)
        discard(path)
        beside.rename(path)
        sync(path.parent)
    except OSError as reason:
        if isinstance(reason, Error):
            raise
        raise unwritable(path, reason) from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def unwritable(path: Path, reason: OSError) -> StorageError:
    return StorageError(f"{path}: cannot be written ({reason.strerror}); free some space, or mend the folder")
