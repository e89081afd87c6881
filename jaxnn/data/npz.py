"""NumPy archives: x and y (and weight), or x_train, y_train, x_test, y_test (and weight_train, weight_test)."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from jaxnn.data.check import unpacked_size
from jaxnn.data.source import Source, Table
from jaxnn.errors import InputError


def read(path: Path, weight: str | None) -> Source:
    """The arrays of an archive; `weight` names the array of weights (default: `weight`, if there)."""
    arrays = _arrays(path)
    weights = weight or "weight"
    wholes = {"x", "y", weights}
    parts = {f"{name}_{part}" for name in wholes for part in ("train", "test")}
    found = set(arrays)
    tail = "" if "x" in found else "_train"
    expected = wholes if "x" in found else parts
    needed = {f"x{tail}", f"y{tail}"} | ({f"{weights}{tail}"} if weight else set())
    if found & {"x_test", "y_test", f"{weights}_test"}:
        needed |= {"x_test", "y_test"}
    if not needed <= found <= expected:
        raise InputError(
            f"{path}={', '.join(sorted(found)) or 'no arrays'}: must hold x, y or x_train, y_train, x_test, y_test, "
            f"with or without {weights}, {weights}_train, {weights}_test, and nothing else; save it so"
        )

    def table(tail: str) -> Table:
        return Table(arrays[f"x{tail}"], arrays[f"y{tail}"], arrays.get(f"{weights}{tail}"))

    return Source(table(tail), test=table("_test") if "x_test" in found else None)


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an archive; never unpickles."""
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked_size(path, sum(member.file_size for member in archive.infolist()))
        with np.load(path, allow_pickle=False) as archive:
            return {name: np.asarray(archive[name]) for name in archive.files}
    except (InputError, OSError):
        raise
    except Exception as error:  # what NumPy and zipfile raise for damaged bytes is not documented
        reason = str(error).split("\n")[0]
        raise InputError(f"{path}: not a readable .npz of plain arrays ({reason}); save it with numpy.savez") from error
