"""A run's folder: who may write to it, and what is in it.

config.json           all values of the config, versions, what is known of the data   (replays the run)
history.jsonl         a row an epoch or interval; the last one has the test metrics and where the time went
weights.safetensors   the weights by path (`dense_0/w`), readable without JAX, with their SHA-256
checkpoints/          the newest checkpoints (`jaxnn/checkpoint.py`), so that the same command goes on
lock                  held by the process that is writing, for as long as it lives
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.metadata
import json
import math
import os
import platform
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

import jaxnn
from jaxnn import checkpoint, durable, run
from jaxnn.config import Config, to_dict
from jaxnn.errors import InputError, LockedError, StorageError
from jaxnn.types import Params

FILES = ("config.json", "history.jsonl", "weights.safetensors", "lock", "checkpoints")


def enter(folder: Path) -> int:
    """Make the folder and lock it for the life of this process; the lock's descriptor, to be kept open.

    Raises `LockedError` if another process has it, `InputError` if it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
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
    except OSError as reason:
        cause = f"--workdir={str(folder)[:200]}: cannot be written ({reason.strerror})"
        raise InputError(f"{cause}; name another folder") from None
    return lock


def refuse_full(folder: Path, need: int) -> None:
    """Refuse a disk without room for `need` bytes besides what the folder's checkpoints have already."""
    folder = folder.absolute()
    there = next(path for path in (folder, *folder.parents) if os.path.exists(path))
    have = shutil.disk_usage(there).free
    if there == folder:
        for path in folder.glob("checkpoints/*/*"):
            with contextlib.suppress(FileNotFoundError):  # removed by another run, whose lock is met next
                have += path.stat().st_size
    if need > have:
        cure = "free some space, name another folder, or lower --checkpoint.keep"
        raise InputError(f"--workdir={folder}: needs {need:,} bytes, has {have:,}; {cure}")


def tidy(folder: Path) -> int:
    """Remove what a save that was killed left behind; how many there were."""
    own = re.compile(r"(\d{9,}|\d{9,}\.old|config\.json|history\.jsonl|weights\.safetensors)\.tmp")
    left = [path for path in (*folder.glob("*.tmp"), *folder.glob("checkpoints/*.tmp")) if own.fullmatch(path.name)]
    for path in left:
        durable.discard(path)
    return len(left)


def refuse_foreign(folder: Path) -> None:
    """Refuse a folder with results and no checkpoint: to begin anew would overwrite them."""
    history = folder / "history.jsonl"
    if (folder / "weights.safetensors").exists() or (history.exists() and history.stat().st_size):
        raise InputError(f"--workdir={folder}: holds a run without checkpoints; name another folder")


def about(config: Config, data: dict[str, Any], chosen: str, **source: Any) -> dict[str, Any]:
    """What a run is, as `config.json` and the checkpoints keep it: config, data, versions."""
    packages = ("jax", "jaxlib", "optax", "flax", "numpy")
    versions = {"python": platform.python_version(), "jaxnn": jaxnn.__version__}
    versions |= {name: importlib.metadata.version(name) for name in packages} | {"devices": chosen}
    return {"config": to_dict(config) | {"workdir": None}, **source, "data": data, "versions": versions}


def save_config(folder: Path, about: dict[str, Any]) -> None:
    write(folder / "config.json", json.dumps(about, indent=2, allow_nan=False).encode())


def cut_history(folder: Path, step: int, *, pending: bool) -> tuple[dict[str, Any], int]:
    """Drop the rows after a step, which is done again from there, and the one that told of the end.

    `pending`: the interval that a row at `step` told of was not finished (the run was, and goes on now). Returns the
    last row that is left, and how many steps after `step` the rows had told of.
    """
    file = folder / "history.jsonl"
    text = file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""
    kept, last, reached = [], {}, step
    for line in text.splitlines():
        try:
            row = json.loads(line)
            reached = max(reached, row["step"])
            good = row["step"] <= step - pending and "seconds" in row
        except (ValueError, TypeError, KeyError):  # torn by a kill
            good = False
        if good:
            kept, last = [*kept, line], row
    if (whole := "".join(line + "\n" for line in kept)) != text:
        write(file, whole.encode())
    return last, reached - step


def is_finished(folder: Path, step: int) -> bool:
    """Whether the end at this step was told of, which comes last of all, and the weights are as they were saved.

    Not where a loss of the end is not finite (null): that is told again.
    """
    try:
        lines = (folder / "history.jsonl").read_text(encoding="utf-8").splitlines()
        *before, last = (json.loads(line) for line in lines[-2:])
        run.read_weights(folder)
    except (OSError, ValueError):
        return False
    losses = [value for row in (*before, last) for name, value in row.items() if name.endswith("/loss")]
    return "seconds" not in last and last.get("step") == step and None not in losses


def save_state(folder: Path, step: int, state: Any, about: dict[str, Any], host: dict[str, Any], **kept: Any) -> None:
    """A checkpoint, once the rows of the history that led to it are on the disk."""
    try:
        durable.sync(folder / "history.jsonl")
    except OSError as reason:
        raise _unwritable(folder / "history.jsonl", reason) from None
    checkpoint.save(folder / "checkpoints", step, state, {"run": about, "host": host}, **kept)


def append_history(folder: Path, row: dict[str, Any]) -> None:
    """One more line; a metric that is not a number (0/0) is null."""
    values = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}
    try:
        with (folder / "history.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(values, allow_nan=False) + "\n")
    except OSError as reason:
        raise _unwritable(folder / "history.jsonl", reason) from None


def save_weights(folder: Path, params: Params, stats: dict[str, np.ndarray]) -> None:
    arrays = checkpoint.flatten(params) | {f"input/{name}": value for name, value in stats.items()}
    digest = {"sha256": checkpoint.digest_all(arrays)}
    write(folder / "weights.safetensors", safetensors.numpy.save(arrays, digest))


def write(path: Path, content: bytes) -> None:
    """Write beside, then rename: a reader never sees half a file."""
    beside = path.with_name(path.name + ".tmp")
    try:
        beside.unlink(missing_ok=True)
        durable.write(beside, [content], 0o666)
        beside.replace(path)
        durable.sync(path.parent)
    except OSError as reason:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise _unwritable(path, reason) from None


def _unwritable(path: Path, reason: OSError) -> StorageError:
    return StorageError(f"{path}: cannot be written ({reason.strerror}); free some space, or mend the folder")
