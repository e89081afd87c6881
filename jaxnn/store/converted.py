"""A data set written as `.npy` files (`jaxnn.data.streams.folder`), a block of rows at a time.

progress.json says what is being converted, how many rows are on the disk, and the CRC-32 of each piece that was
written; a process that is killed is followed by one that goes on from there. Files that are there are read back before
dataset.json is written, which makes the folder whole.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jaxnn.data import fitted, overlap
from jaxnn.data.dataset import PARTS, Dataset
from jaxnn.data.streams import folder as converted
from jaxnn.data.streams.folder import file
from jaxnn.data.streams.rows import Npy, span
from jaxnn.data.streams.sources import Made
from jaxnn.errors import InputError, StorageError
from jaxnn.store import durable
from jaxnn.types import Batch

PROGRESS, LOCK = "progress.json", "lock"
PIECE, SECONDS = 2**26, 5.0  # bytes and seconds after which what was written is made safe
READ = 2**24  # bytes that are read back at a time


def check(path: Path, known: dict[str, Any]) -> dict[str, Any] | None:
    """What dataset.json says where the folder is whole already, of the same source and settings; nothing is written.

    known: what is converted, as progress.json and dataset.json have it. Raises `InputError` for a folder with other
    files or of another conversion.
    """
    names = set(os.listdir(path)) if os.path.isdir(path) else set[str]()
    ours = {converted.MANIFEST, PROGRESS, LOCK, f"{PROGRESS}.tmp", f"{converted.MANIFEST}.tmp"}
    ours |= {file(part, array) for part in PARTS for array in converted.ARRAYS}
    ours |= {f"{name}.tmp" for name in ours}
    begun = names & {converted.MANIFEST, PROGRESS}
    if foreign := sorted(names - ours) or ([] if begun else sorted(names - {LOCK, f"{PROGRESS}.tmp"})):
        raise InputError(f"--to={path}: holds {foreign[0]}, which is no conversion; name another folder")
    if not begun:
        return None
    whole = converted.MANIFEST in begun
    try:
        found = converted.manifest(path) if whole else json.loads((path / PROGRESS).read_bytes())
        before = {"source": found["source"], "settings": found["settings"]} if whole else found["of"]
        same_settings = before["settings"] == known["settings"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"--to={path}: {PROGRESS} is damaged ({error}); remove the folder") from error
    if before != known:
        differ = "source, or its files have changed since" if same_settings else "settings"
        raise InputError(f"--to={path}: was begun with another {differ}; name another folder, or remove this one")
    return found if whole else None


@contextlib.contextmanager
def entered(path: Path, known: dict[str, Any]) -> Iterator[None]:
    """Make the folder, and lock it. Raises `InputError` where it cannot be written, or another process is at it."""
    import fcntl

    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as reason:
        raise InputError(f"--to={path}: cannot be written ({reason.strerror}); name another folder") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if check(path, known) is None and not (path / PROGRESS).exists():
            durable.replace(path / PROGRESS, [json.dumps({"of": known, "rows": 0, "pieces": []}).encode()])
        yield
    except BlockingIOError:
        raise InputError(f"--to={path}: another process converts into it; wait for it to end") from None
    finally:
        os.close(lock)


def write(
    path: Path, made: Made, known: dict[str, Any], *, allow_overlap: bool, tell: Callable[[int], None]
) -> dict[str, Any]:
    """Convert what is left, read all of it back, and write dataset.json, whose values are given back.

    tell: called with the rows that are done.
    Raises `StorageError` for a disk that is full, or on which is not what was written.
    """
    try:
        _room(path, made)
        pieces = _rows(path, made, known, tell)
        return _finish(path, made, known, pieces, allow_overlap=allow_overlap)
    except OSError as reason:
        if isinstance(reason, StorageError):
            raise
        raise durable.unwritable(path, reason) from None


def _room(path: Path, made: Made) -> None:
    """Refuse a disk without room for what is not there yet."""
    width = int(np.prod(made.shape)) * made.dtype.itemsize
    need = sum(len(p.rows) * width + p.y.nbytes + p.weight.nbytes + 3 * 4096 for p in made.parts.values())
    have = os.statvfs(path).f_bavail * os.statvfs(path).f_frsize
    have += sum(entry.stat().st_blocks * 512 for entry in os.scandir(path))
    if need > have:
        raise StorageError(f"--to={path}: needs {need:,} bytes, has {have:,}; free some space, or name another folder")


def _header(shape: tuple[int, ...], dtype: np.dtype) -> bytes:
    head = io.BytesIO()
    about = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(head, about)
    return head.getvalue()


def _rows(path: Path, made: Made, known: dict[str, Any], tell: Callable[[int], None]) -> list[list[Any]]:
    """Write what is left of x, after y and weight: the pieces of x, each `[part, row, row, CRC-32]`."""
    progress = json.loads((path / PROGRESS).read_bytes())
    done, pieces = progress["rows"], progress["pieces"]
    files, starts, width = {}, {}, int(np.prod(made.shape)) * made.dtype.itemsize
    for name, part in made.parts.items():
        for array, values in (("y", part.y), ("weight", part.weight)):
            durable.replace(path / file(name, array), [_header(values.shape, values.dtype), _bytes(values)])
        head = _header((len(part.rows), *made.shape), made.dtype)
        files[name] = os.open(path / file(name, "x"), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        os.pwrite(files[name], head, 0)
        os.ftruncate(files[name], len(head) + len(part.rows) * width)
        starts[name] = len(head)
    open_pieces = {name: [name, at, at, 0] for name, at in _places(made, done).items()}
    since, unsafe = time.monotonic(), 0

    def safe() -> None:
        for name in files:
            os.fsync(files[name])
            if open_pieces[name][1] < open_pieces[name][2]:
                pieces.append(open_pieces[name])
                open_pieces[name] = [name, open_pieces[name][2], open_pieces[name][2], 0]
        durable.replace(path / PROGRESS, [json.dumps({"of": known, "rows": done, "pieces": pieces}).encode()])

    try:
        tell(done)
        last = max(int(part.rows[-1]) for part in made.parts.values()) + 1
        for x in made.blocks(done) if done < last else ():
            for name, part in made.parts.items():
                a, b = np.searchsorted(part.rows, [done, done + len(x)])
                content = _bytes(np.ascontiguousarray(x[part.rows[a:b] - done], made.dtype))
                _write(files[name], content, starts[name] + int(a) * width)
                piece = open_pieces[name]
                piece[2], piece[3] = int(b), zlib.crc32(content, piece[3])
                unsafe += len(content)
            done += len(x)
            tell(done)
            if unsafe >= PIECE or time.monotonic() - since > SECONDS:
                safe()
                since, unsafe = time.monotonic(), 0
        safe()
    finally:
        for number in files.values():
            os.close(number)
    return pieces


def _places(made: Made, done: int) -> dict[str, int]:
    """How many rows of each part are among the first `done`."""
    return {name: int(np.searchsorted(part.rows, done)) for name, part in made.parts.items()}


def _bytes(values: np.ndarray) -> memoryview:
    return np.ascontiguousarray(values).reshape(-1).view(np.uint8).data


def _write(number: int, content: memoryview, place: int) -> None:
    while len(content):
        count = os.pwrite(number, content, place)
        content, place = content[count:], place + count


def _finish(
    path: Path, made: Made, known: dict[str, Any], pieces: list[list[Any]], *, allow_overlap: bool
) -> dict[str, Any]:
    """Read back, work out what is to be known of the whole, and write dataset.json."""
    shas = {}
    for name in made.parts:
        for array in converted.ARRAYS:
            mine = [piece[1:] for piece in pieces if piece[0] == name] if array == "x" else []
            values = None if array == "x" else getattr(made.parts[name], array)
            shas[file(name, array)] = _read_back(path / file(name, array), mine, values)
    splits = {name: Batch(*(Npy(path / file(name, array)) for array in converted.ARRAYS)) for name in made.parts}
    x = splits["train"].x
    about = dict(made.about)
    if made.cut is not None:
        rows = {name: made.parts[name].rows for name in made.cut}
        about["notes"] = [*about["notes"], *overlap.found(splits, rows, refuse=not allow_overlap)]
    moments = fitted.moments(x) if made.standardize else None
    about["mean"], about["std"] = [values.tolist() for values in moments] if moments else (None, None)
    about["range"] = span(x)
    whole: Any = [splits.get(part) for part in PARTS]
    as_tuple = lambda values: values and tuple(values)
    data = Dataset("", "", 1, *whole, classes=as_tuple(about["classes"]), features=as_tuple(about["features"]))
    about |= {"digest": data.digest, "shape": list(made.shape)}
    sizes = {name: len(part.rows) for name, part in made.parts.items()}
    told = {"format": converted.FORMAT, **known, "parts": sizes, "about": about, "files": shas}
    durable.replace(path / converted.MANIFEST, [json.dumps(told, indent=1, allow_nan=False).encode()])
    for name in (PROGRESS, LOCK):
        (path / name).unlink(missing_ok=True)
    durable.sync(path)
    return told


def _read_back(path: Path, pieces: list[list[int]], values: np.ndarray | None) -> dict[str, Any]:
    """The length and SHA-256 of a file. Raises `StorageError` where it is not what was written."""
    durable.sync(path)
    array, sha = Npy(path), hashlib.sha256()
    if hasattr(os, "posix_fadvise"):  # drop the page cache, so that the bytes come from the disk
        os.posix_fadvise(array.file, 0, 0, os.POSIX_FADV_DONTNEED)
    sha.update(os.pread(array.file, array.start, 0))
    step = max(READ // max(array.width, 1), 1)
    for first, last, crc in pieces if values is None else [[0, len(array), zlib.crc32(_bytes(values))]]:
        found = 0
        for start in range(first, last, step):
            content = _bytes(array[start : min(start + step, last)])
            sha.update(content)
            found = zlib.crc32(content, found)
        if found != crc:
            raise StorageError(f"{path}: what was read back is not what was written; the disk or memory is failing")
    return {"bytes": array.known["bytes"], "sha256": sha.hexdigest()}
