"""weights.safetensors: the parameters by path (`dense_0/w`), readable by other programs, with their SHA-256."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors

from jaxnn.devices import hosts
from jaxnn.errors import InputError
from jaxnn.store import arrays, durable
from jaxnn.training.loop import FAILED, FINISHED, STOPPED
from jaxnn.types import Params

NAME = "weights.safetensors"
EARLIER = {"input/mean": "input_stats/mean", "input/std": "input_stats/std"}  # paths as format 1 had them


class Weights(NamedTuple):
    """The arrays by path, and the run that they are of: how it ended, how many epochs it was to have, and whether they
    are those of its end (last) or of its best checkpoint."""

    leaves: dict[str, np.ndarray]
    ending: str = FINISHED
    epochs: str = ""
    restore: str = "last"
    data: dict[str, Any] | None = None  # what is known of the data that they have learned from


def save(
    folder: Path, params: Params, ending: str = FINISHED, epochs: int | str = "", *, restore: str = "last"
) -> None:
    """Write the parameters, those that are not trained too; of several processes, the first one does. Raises
    `StorageError` if they cannot be written.

    `ending`: whether the run was finished, stopped, or failed with a number that is not finite.
    """
    if not hosts.leads():
        return
    leaves = arrays.flatten(params)
    about = {"ending": ending, "epochs": str(epochs)} | ({"restore": restore} if restore != "last" else {})
    head = arrays.header(leaves, sha256=_seal(leaves, about), **about)
    durable.replace(folder / NAME, [head, *map(arrays.content, leaves.values())])


def read(folder: Path, name: str = "folder") -> Weights:
    """Those of a run, refused by `name`. Raises `InputError` unless the arrays are what was saved."""
    try:
        leaves, about = _open(folder / NAME)
    except Unreadable as reason:
        raise InputError(f"{name}={folder}: has no weights ({reason}); name the --workdir of a finished run") from None
    if about.pop("sha256", None) != _seal(leaves, about):
        raise InputError(f"{name}={folder}: weights.safetensors is not what was saved; run the same command again")
    named = {EARLIER.get(path, path): leaf for path, leaf in leaves.items()}
    return Weights(named, about.get("ending", FINISHED), about.get("epochs", ""), about.get("restore", "last"))


def read_file(path: Path, name: str) -> Weights:
    """Those of a safetensors file of any program; of one of jaxnn's own only if the arrays are what was saved."""
    try:
        leaves, about = _open(path)
    except Unreadable as reason:
        cure = "name a run's folder, or a .safetensors file"
        raise InputError(f"{name}={path}: cannot be read ({reason}); {cure}") from None
    seal = about.pop("sha256", None)
    if seal and "ending" in about and seal != _seal(leaves, about):
        raise InputError(f"{name}={path}: is not what was saved; bring it back from a copy")
    return Weights(leaves, about.get("ending", FINISHED))


def of_state(leaves: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The weights that a run in this state ends with, by path: their average, if one is kept (`loop.final`)."""
    params = {path.removeprefix("params/"): leaf for path, leaf in leaves.items() if path.startswith("params/")}
    return {path: leaves.get(f"opt_state/average/average/{path}", leaf) for path, leaf in params.items()}


class Unreadable(Exception):
    """Why a file has no arrays to read."""


def _open(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays of a safetensors file, and what is told of them. Raises `Unreadable`."""
    try:
        with safetensors.safe_open(path, "numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, safetensors.SafetensorError) as reason:
        raise Unreadable(reason) from None


def _seal(leaves: dict[str, np.ndarray], about: dict[str, str]) -> str:
    """One SHA-256 of all arrays and of what is told of their run; of the arrays alone where nothing is told."""
    whole = arrays.digest_all(leaves)
    return hashlib.sha256(f"{whole} {sorted(about.items())}".encode()).hexdigest() if about else whole


def refuse_unfinished(
    folder: Path,
    found: Weights,
    epochs: int,
    *,
    partial: bool,
    name: str = "folder",
    cure: str = "give partial=True (or --partial) for the weights so far",
) -> None:
    """Refuse the weights of a run that failed, and unless `partial` of one that has not come to its end."""
    refuse_failed(folder, found, name)
    if not partial and (found.ending == STOPPED or found.epochs not in ("", str(epochs))):
        cure = f"run the same command again to finish it, or {cure}"
        raise InputError(f"{name}={folder}: the run was stopped before the end of its {epochs} epochs; {cure}")


def refuse_failed(path: Path, found: Weights, name: str) -> None:
    """Refuse the weights of a run that failed."""
    if found.ending == FAILED:
        rule = "the run ended with a number that is not finite, and so do its weights mean nothing"
        raise InputError(f"{name}={path}: {rule}; train again with a lower --optim.lr, or --optim.clip_norm")
