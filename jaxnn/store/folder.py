"""A run's folder: who may write to it, and whether there is room.

config.json           all values of the config, versions, what is known of the data   (identity.py)
history.jsonl         a row an epoch or interval; the last one has the test metrics   (history.py)
weights.safetensors   the weights by path (`dense_0/w`), with their SHA-256           (weights.py)
report.html           all that, to look at                                            (jaxnn/report/page)
checkpoints/          the newest checkpoints, so that the same command goes on        (checkpoint.py, saver.py)
log.json              which rows of the history loggers were given; with --log        (report/log.py)
lock                  held by the process that is writing, for as long as it lives    (here)
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
from pathlib import Path

from jaxnn.config import paths
from jaxnn.errors import InputError, LockedError
from jaxnn.store import durable

try:
    import fcntl
except ImportError:  # Windows has none
    raise InputError("platform: must be Linux or macOS, whose locks keep two runs apart; on Windows use WSL") from None

REPORT = "report.html"
FILES = ("config.json", "history.jsonl", "weights.safetensors", "lock", "checkpoints")


def named(text: str) -> Path:
    """The folder that --workdir names; of a link, the folder that the link names."""
    path = paths.expand("--workdir", text)
    link = os.path.islink(path)  # pathlib raises an error for a name that is too long
    if link and not os.path.exists(path):
        raise InputError(f"--workdir={text}: is a link to {os.readlink(path)}, which is not there; make that folder")
    try:
        path.absolute()
    except FileNotFoundError:
        raise InputError(f"--workdir={text}: the folder of this shell is gone; cd to another one") from None
    return path.resolve() if link else path


def enter(folder: Path, *, new: bool = False) -> Path:
    """Make the folder and lock it for the life of this process.

    Args:
      folder: of the run.
      new: take the first of `folder`, `folder-2`, `folder-3`, ... that is not there, for which no other process can
        take it too.

    Returns:
      The folder that was entered.

    Raises:
      LockedError: another process is at it.
      InputError: it cannot be written; what was made of it is removed.
    """
    missing = [path for path in folder.parents if not os.path.exists(path)]
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        if new or not os.path.exists(folder):
            folder = _made(folder, new)
            missing.insert(0, folder)
        _lock(folder)
    except OSError as reason:
        for path in missing:
            with contextlib.suppress(OSError):  # not empty, or never made
                path.rmdir()
        cause = f"--workdir={str(folder)[:200]}: cannot be written ({reason.strerror})"
        raise InputError(f"{cause}; name another folder") from None
    return folder


def _made(folder: Path, new: bool) -> Path:
    path, number = folder, 1
    while True:
        try:
            path.mkdir()
            return path
        except FileExistsError:
            if not new:  # made by another process since: the lock tells whether that is still at it
                return path
        number += 1
        path = folder.with_name(f"{folder.name}-{number}")


def _lock(folder: Path) -> None:
    for name in FILES:
        if (folder / name).is_symlink():
            raise InputError(f"--workdir={folder}: {name} is a link, which is not followed; remove it")
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(lock, 300, 0).decode(errors="replace").strip() or "another process"
        os.close(lock)
        cure = "wait for it to end, or name another folder"
        raise LockedError(f"--workdir={folder}: is in use by {holder}; {cure}") from None
    os.ftruncate(lock, 0)
    (folder / "history.jsonl").touch()
    os.pwrite(lock, f"process {os.getpid()} on {platform.node()}\n".encode(), 0)


def refuse_full(folder: Path, need: int) -> None:
    """Refuse a disk without room for `need` bytes besides what the folder's checkpoints have already."""
    folder = folder.absolute()
    there = next(path for path in (folder, *folder.parents) if os.path.exists(path))
    have = shutil.disk_usage(there).free
    if there == folder:
        for path in folder.glob("checkpoints/*/*"):
            # Removed by another run; `enter` meets the lock of that run next.
            with contextlib.suppress(FileNotFoundError):
                have += path.stat().st_size
    if need > have:
        cure = "free some space, name another folder, or lower --checkpoint.keep"
        raise InputError(f"--workdir={folder}: needs {need:,} bytes, has {have:,}; {cure}")


def tidy(folder: Path) -> int:
    """Remove what a save that was killed left behind; how many there were."""
    files = r"\d{9,}|\d{9,}\.old|config\.json|history\.jsonl|log\.json|report\.html|weights\.safetensors"
    own = re.compile(rf"({files})\.tmp")
    left = [path for path in (*folder.glob("*.tmp"), *folder.glob("checkpoints/*.tmp")) if own.fullmatch(path.name)]
    for path in left:
        durable.discard(path)
    return len(left)


def refuse_foreign(folder: Path) -> None:
    """Refuse a folder with results and no checkpoint: to begin anew would overwrite them."""
    history = folder / "history.jsonl"
    if (folder / "weights.safetensors").exists() or (history.exists() and history.stat().st_size):
        raise InputError(f"--workdir={folder}: holds a run without checkpoints; name another folder")
