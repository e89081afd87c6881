"""weights.safetensors: the parameters by path (`dense_0/w`), readable by other programs, with their SHA-256."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import safetensors

from jaxnn.errors import InputError
from jaxnn.store import arrays, durable
from jaxnn.training.loop import FAILED, FINISHED, STOPPED
from jaxnn.types import Params

NAME = "weights.safetensors"
EARLIER = {"input/mean": "input_stats/mean", "input/std": "input_stats/std"}  # paths as format 1 had them


class Weights(NamedTuple):
    """The arrays by path, and the run that they are of: how it ended, and how many epochs it was to have."""

    leaves: dict[str, np.ndarray]
    ending: str = FINISHED
    epochs: str = ""


def save(folder: Path, params: Params, ending: str = FINISHED, epochs: int | str = "") -> None:
    """Write the parameters, those that are not trained too. Raises `StorageError` if they cannot be written.

    `ending`: whether the run was finished, stopped, or failed with a number that is not finite.
    """
    leaves = arrays.flatten(params)
    about = {"ending": ending, "epochs": str(epochs)}
    head = arrays.header(leaves, sha256=_seal(leaves, about), **about)
    durable.replace(folder / NAME, [head, *map(arrays.content, leaves.values())])


def read(folder: Path) -> Weights:
    """Raises `InputError` unless the arrays are what was saved."""
    try:
        with safetensors.safe_open(folder / NAME, "numpy") as file:
            leaves: dict[str, np.ndarray] = {name: file.get_tensor(name) for name in file.keys()}
            about = file.metadata() or {}
    except (OSError, ValueError, KeyError, safetensors.SafetensorError) as reason:
        raise InputError(f"folder={folder}: has no weights ({reason}); name the --workdir of a finished run") from None
    if about.pop("sha256", None) != _seal(leaves, about):
        raise InputError(f"folder={folder}: weights.safetensors is not what was saved; run the same command again")
    named = {EARLIER.get(name, name): leaf for name, leaf in leaves.items()}
    return Weights(named, about.get("ending", FINISHED), about.get("epochs", ""))


def _seal(leaves: dict[str, np.ndarray], about: dict[str, str]) -> str:
    """One SHA-256 of all arrays and of what is told of their run; of the arrays alone where nothing is told."""
    whole = arrays.digest_all(leaves)
    return hashlib.sha256(f"{whole} {sorted(about.items())}".encode()).hexdigest() if about else whole


def refuse_unfinished(folder: Path, found: Weights, epochs: int, *, partial: bool) -> None:
    """Refuse the weights of a run that failed, and unless `partial` of one that has not come to its end."""
    if found.ending == FAILED:
        rule = "the run ended with a number that is not finite, and so do its weights mean nothing"
        raise InputError(f"folder={folder}: {rule}; train again with a lower --optim.lr, or --optim.clip_norm")
    if not partial and (found.ending == STOPPED or found.epochs not in ("", str(epochs))):
        cure = "run the same command again to finish it, or give partial=True for the weights so far"
        raise InputError(f"folder={folder}: the run was stopped before the end of its {epochs} epochs; {cure}")
