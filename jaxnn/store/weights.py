"""weights.safetensors: the parameters by path (`dense_0/w`), readable by other programs, with their SHA-256."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import safetensors

from jaxnn.errors import InputError
from jaxnn.store import arrays, durable
from jaxnn.types import Params

NAME = "weights.safetensors"
EARLIER = {"input/mean": "input_stats/mean", "input/std": "input_stats/std"}  # paths as format 1 had them


def save(folder: Path, params: Params) -> None:
    """Write the parameters, those that are not trained too. Raises `StorageError` if they cannot be written."""
    leaves = arrays.flatten(params)
    head = arrays.header(leaves, sha256=arrays.digest_all(leaves))
    durable.replace(folder / NAME, [head, *map(arrays.content, leaves.values())])


def read(folder: Path) -> dict[str, np.ndarray]:
    """The arrays by path. Raises `InputError` unless they are what was saved."""
    try:
        with safetensors.safe_open(folder / NAME, "numpy") as file:
            leaves: dict[str, np.ndarray] = {name: file.get_tensor(name) for name in file.keys()}
            digest = (file.metadata() or {}).get("sha256")
    except (OSError, ValueError, KeyError, safetensors.SafetensorError) as reason:
        raise InputError(f"folder={folder}: has no weights ({reason}); name the --workdir of a finished run") from None
    if digest != arrays.digest_all(leaves):
        raise InputError(f"folder={folder}: weights.safetensors is not what was saved; run the same command again")
    return {EARLIER.get(name, name): leaf for name, leaf in leaves.items()}
