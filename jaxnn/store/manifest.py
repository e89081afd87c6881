"""manifest.json of a checkpoint: what the checkpoint is, the digest of every array, and as its last line its own."""

from __future__ import annotations

import hashlib
import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from jaxnn.config import strict_json
from jaxnn.errors import InputError
from jaxnn.store import arrays, durable

MANIFEST = "manifest.json"
FORMAT = 2  # 1 had the input's mean and deviation beside the state, not in its params


class Damaged(Exception):
    """What is wrong with a checkpoint, in a few words.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     (Path(folder) / MANIFEST).write_text("{}")
    ...     unseal(Path(folder))
    Traceback (most recent call last):
    ...
    jaxnn.store.manifest.Damaged: manifest.json is not what was saved
    """


def text_of(step: int, leaves: dict[str, np.ndarray], head: bytes, about: dict[str, Any], score: float | None) -> bytes:
    """The manifest of a checkpoint, as the file has it."""
    manifest = {
        "format": FORMAT,
        "step": step,
        "score": score if score is None or math.isfinite(score) else None,
        "about": about,
        "header": {"bytes": len(head), "sha256": hashlib.sha256(head).hexdigest()},
        "leaves": {
            path: {"dtype": leaf.dtype.name, "shape": leaf.shape, "sha256": arrays.digest(path, leaf)}
            for path, leaf in leaves.items()
        },
    }
    text = seal(manifest)
    if len(text) > strict_json.MAX_SIZE:
        cure = "use fewer or shorter names of columns and classes"
        raise InputError(f"manifest={len(text):,} bytes: at most {strict_json.MAX_SIZE:,} can be read back; {cure}")
    return text


def seal(manifest: dict[str, Any]) -> bytes:
    """A manifest as text, with the digest of the rest as its last line."""
    text = json.dumps(manifest, indent=1, allow_nan=False)
    sealed = manifest | {"sha256": hashlib.sha256(text.encode()).hexdigest()}
    return json.dumps(sealed, indent=1, allow_nan=False).encode()


def unseal(path: Path) -> dict[str, Any]:
    """The manifest of a checkpoint. Raises `Damaged` unless its text is, to the byte, what `seal` made."""
    if path.is_symlink():
        raise Damaged("is a link")
    with os.fdopen(durable.open_file(path / MANIFEST), "rb") as file:
        text = file.read(strict_json.MAX_SIZE + 1)
    try:
        manifest = strict_json.loads(text.decode(), MANIFEST)
        del manifest["sha256"]
        whole = seal(manifest) == text
    except (InputError, ValueError, TypeError, KeyError):
        whole = False
    if not whole:
        raise Damaged(f"{MANIFEST} is not what was saved")
    return manifest
