"""Checkpoints that are whole or not there, and believed only when every byte has been verified.

    000001234/state.safetensors   every array by its path (`params/dense_0/w`), readable by other programs
    000001234/manifest.json       step, what the run is, SHA-256 of every array, of the header, and of itself

A save writes both into `000001234.tmp`, the manifest last, has the disk take them, reads them back from it, and renames
the folder: a kill, a power cut or a full disk at any moment leaves the older checkpoints as they were, and those are
removed only after that. It is synchronous, by one process: the state is the same on every device.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxnn.errors import InputError, StorageError, printable
from jaxnn.store import arrays, durable
from jaxnn.store.arrays import restore as restore
from jaxnn.store.manifest import FORMAT as FORMAT
from jaxnn.store.manifest import MANIFEST as MANIFEST
from jaxnn.store.manifest import Damaged as Damaged
from jaxnn.store.manifest import text_of, unseal

STATE = "state.safetensors"
BEST_IS_LOST = "bring it back from a copy, or take the last weights (--restore last)"


class Checkpoint(NamedTuple):
    """A verified checkpoint: `leaves` by path, `about` as it was given to `save`.

    >>> import numpy as np
    >>> found = Checkpoint(step=7, leaves={"w": np.ones((2, 3))}, about={"lr": 0.1})
    >>> found.leaves["w"].shape, found.about
    ((2, 3), {'lr': 0.1})
    """

    step: int
    leaves: dict[str, np.ndarray]
    about: dict[str, Any]
    format: int = FORMAT
    score: float | None = None


def save(
    folder: Path,
    step: int,
    tree: Any,
    about: dict[str, Any],
    *,
    keep: int,
    score: float | None = None,
    keep_best: bool = False,
) -> None:
    """Write the checkpoint of a step; then remove all but the newest `keep`, and the one with the best score.

    Args:
      folder: of all the checkpoints; it is made if it is not there.
      step: of the run; checkpoints of later steps, which were given up, are removed.
      tree: any pytree of arrays, of any dtype that safetensors has (bfloat16 too).
      about: what JSON can hold; it comes back with `latest`.
      keep: how many to keep, at least 1.
      score: how good it is, greater is better.
      keep_best: whether the one with the best score is kept besides.

    Raises:
      StorageError: it could not be written, or what was read back was not what was written. The older ones are intact.
      InputError: a leaf that cannot be saved, more names than a manifest can hold, or a folder that is a link.

    >>> import tempfile
    >>> import jax, jax.numpy as jnp
    >>> from jaxnn import checkpoint
    >>> tree = {"w": jnp.ones((2, 3), "bfloat16"), "step": jnp.array(7)}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     checkpoint.save(Path(folder), 7, tree, {"lr": 0.1}, keep=2)
    ...     found = checkpoint.latest(Path(folder))
    >>> again = checkpoint.restore(found.leaves, jax.eval_shape(lambda: tree))
    >>> found.step, found.about, again["w"].dtype
    (7, {'lr': 0.1}, dtype(bfloat16))
    """
    leaves = arrays.flatten(tree)
    head = arrays.header(leaves)
    sealed = text_of(step, leaves, head, about, score)
    files = {STATE: [head, *map(arrays.content, leaves.values())], MANIFEST: [sealed]}
    final, beside = folder / f"{step:09d}", folder / f"{step:09d}.tmp"
    try:
        durable.refuse_link(folder)
        _write(beside, files)
        durable.discard(final)  # a damaged checkpoint of this step, which the run passed over
        beside.rename(final)
        durable.sync(folder)
    except BaseException as reason:
        shutil.rmtree(beside, ignore_errors=True)
        if isinstance(reason, OSError) and not isinstance(reason, StorageError):
            raise durable.no_room(final, reason, sum(len(part) for parts in files.values() for part in parts)) from None
        raise
    try:
        _forget(folder, step, keep, keep_best)
    except OSError as reason:
        raise durable.no_room(final, reason, 0) from None


def _write(beside: Path, files: dict[str, list[Any]]) -> None:
    """All files of a checkpoint, read back from the disk."""
    if not beside.parent.is_dir():
        beside.parent.mkdir(mode=0o700)
        durable.sync(beside.parent.parent)
    durable.discard(beside)
    beside.mkdir(mode=0o700)
    for name, parts in files.items():
        durable.write(beside / name, parts)
    durable.sync(beside)
    for name, parts in files.items():
        durable.compare(beside / name, parts)


def latest(folder: Path) -> Checkpoint | None:
    """The newest checkpoint whose every byte is as it was written, or None where there is none.

    One that is damaged is passed over for an older one, with a warning on stderr. Raises `StorageError` if there are
    checkpoints and none is good, `InputError` if the folder is a link.

    >>> import tempfile
    >>> from jaxnn import checkpoint
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for step in (1, 2):
    ...         checkpoint.save(Path(folder), step, {"w": np.ones(3)}, {}, keep=2)
    ...     checkpoint.latest(Path(folder)).step
    2
    """
    durable.refuse_link(folder)
    bad: list[str] = []
    for path in reversed(steps(folder)):
        try:
            found = read(path)
        except (Damaged, OSError) as reason:
            bad.append(f"{path.name}: {reason.strerror if isinstance(reason, OSError) else reason}")
            continue
        for reason in bad:
            text = f"warning: {folder}/{reason}; it is left out, step {found.step} is good"
            print(printable(text), file=sys.stderr)
        return found
    if bad:
        cure = "bring one back from a copy, or name another --workdir to begin anew"
        raise StorageError(f"{folder}: no checkpoint is good ({'; '.join(bad)}); {cure}")
    return None


def best(folder: Path, score: float) -> Checkpoint:
    """The first checkpoint with this score, every byte as it was written. Raises `StorageError` where there is none.

    No other one takes its place: the next best of those that are left may be any of the run.

    >>> import tempfile
    >>> from jaxnn import checkpoint
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for step, score in ((1, 0.9), (2, 0.8)):
    ...         checkpoint.save(Path(folder), step, {"w": np.ones(3)}, {}, keep=2, score=score)
    ...     checkpoint.best(Path(folder), 0.9).step
    1
    """
    durable.refuse_link(folder)
    for path in steps(folder):
        if _score(path) == score:
            try:
                return read(path)
            except (Damaged, OSError) as reason:
                raise StorageError(f"{path}: {reason}, and it was the best; {BEST_IS_LOST}") from None
    raise StorageError(f"{folder}: the best checkpoint is not there, or its manifest is damaged; {BEST_IS_LOST}")


def about_of(path: Path) -> dict[str, Any] | None:
    """What a checkpoint was saved with, by its manifest alone; None where that is damaged.

    >>> import tempfile
    >>> from jaxnn import checkpoint
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     checkpoint.save(Path(folder), 7, {"w": np.ones(3)}, {"lr": 0.1}, keep=1)
    ...     checkpoint.about_of(Path(folder) / "000000007")
    {'lr': 0.1}
    """
    try:
        return unseal(path)["about"]
    except (Damaged, OSError):
        return None


def read(path: Path) -> Checkpoint:
    """The checkpoint in a folder of its own. Raises `Damaged` or `OSError` unless every byte is as it was written.

    One of another format raises `InputError`.

    >>> import tempfile
    >>> from jaxnn import checkpoint
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     checkpoint.save(Path(folder), 7, {"w": np.ones(3)}, {}, keep=1)
    ...     checkpoint.read(Path(folder) / "000000007").leaves["w"].tolist()
    [1.0, 1.0, 1.0]
    """
    manifest = unseal(path)
    if manifest.get("format") not in range(1, FORMAT + 1):
        cure = "use the jaxnn that wrote it"
        raise InputError(f"{path}: is of format {manifest.get('format')}, this jaxnn reads 1 to {FORMAT}; {cure}")
    try:
        return _read(path, manifest)
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError):
        # The digest is right, so jaxnn did not write this manifest.
        raise Damaged(f"{MANIFEST} is no manifest") from None


def _read(path: Path, manifest: dict[str, Any]) -> Checkpoint:
    if f"{manifest['step']:09d}" != path.name:
        raise Damaged(f"{MANIFEST} is of step {manifest['step']}")
    head_size, described = manifest["header"]["bytes"], manifest["leaves"]
    sizes = {name: _size(leaf["shape"], leaf["dtype"]) for name, leaf in described.items()}
    with os.fdopen(durable.open_file(path / STATE), "rb") as file:
        needed, given = head_size + sum(sizes.values()), os.fstat(file.fileno()).st_size
        if given > needed:  # the digests of the leaves do not cover what follows them
            raise Damaged(f"{STATE} has {given} bytes instead of {needed}")
        if hashlib.sha256(file.read(min(head_size, given))).hexdigest() != manifest["header"]["sha256"]:
            raise Damaged(f"the header of {STATE} is not what was saved")
        leaves = {}
        for name, leaf in described.items():
            if file.tell() + sizes[name] > given:
                raise Damaged(f"{name} in {STATE} is cut off")
            leaves[name] = np.empty(leaf["shape"], leaf["dtype"])
            file.readinto(arrays.content(leaves[name]))
            if arrays.digest(name, leaves[name]) != leaf["sha256"]:
                raise Damaged(f"{name} in {STATE} is not what was saved")
    return Checkpoint(manifest["step"], leaves, manifest["about"], manifest["format"], manifest["score"])


def _size(shape: list[int], dtype: str) -> int:
    """In bytes. Raises `ValueError` for what is no shape or no dtype."""
    if dtype not in arrays.DTYPES or not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError
    return math.prod(shape) * np.dtype(dtype).itemsize


def steps(folder: Path) -> list[Path]:
    """The folders of all checkpoints, damaged ones too, the oldest first.

    >>> import tempfile
    >>> from jaxnn import checkpoint
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     checkpoint.save(Path(folder), 7, {"w": np.ones(3)}, {}, keep=1)
    ...     [path.name for path in checkpoint.steps(Path(folder))]
    ['000000007']
    """
    found = [path for path in folder.iterdir() if re.fullmatch(r"\d{9,}", path.name)] if folder.is_dir() else []
    return sorted(found, key=lambda path: int(path.name))


def _forget(folder: Path, step: int, keep: int, keep_best: bool) -> None:
    """Remove what is not to be kept; the newest has just been verified."""
    there = steps(folder)
    good = [path for path in there if int(path.name) <= step]
    kept = set(good[-keep:])
    if keep_best:
        kept.add(max(good, key=_score))
    for path in there:
        if path not in kept:
            durable.discard(path)


def _score(path: Path) -> float:
    try:
        score = unseal(path)["score"]
    except (Damaged, OSError):
        score = None
    return -math.inf if score is None else score
