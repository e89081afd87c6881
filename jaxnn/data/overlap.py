"""Examples that stand in two parts of the data: a test on what was trained on tests nothing."""

from __future__ import annotations

import numpy as np

from jaxnn.errors import InputError
from jaxnn.types import Batch


def hashes(x: np.ndarray) -> np.ndarray:
    """i64[n], one for each row by its bytes; of one process only."""
    return np.fromiter((hash(row.tobytes()) for row in x), np.int64, len(x))


def repeated(x: np.ndarray, known: np.ndarray, known_hashes: np.ndarray) -> list[tuple[int, int]]:
    """Each row of `x` that is a row of `known` too, byte for byte, with that row's number.

    Args:
      x: [n, ...]
      known: [m, ...], of the same dtype and shape of a row.
      known_hashes: `hashes(known)`.

    >>> import numpy as np
    >>> known = np.array([[5, 6], [3, 4]])
    >>> repeated(np.array([[1, 2], [3, 4]]), known, hashes(known))
    [(1, 1)]
    """
    ours = hashes(x)
    (rows,) = np.nonzero(np.isin(ours, known_hashes))
    place = dict(zip(known_hashes.tolist(), range(len(known)), strict=True)) if len(rows) else {}
    pairs = [(i, place[ours[i]]) for i in rows.tolist()]
    return [(i, j) for i, j in pairs if np.array_equal(x[i], known[j])]


def found(parts: dict[str, Batch], train_hashes: np.ndarray, *, refuse: bool) -> tuple[str, ...]:
    """What is to be told of examples that are both trained on and validated or tested on; with `refuse`, an error."""
    notes = ()
    for part, split in parts.items():
        pairs = repeated(split.x, parts["train"].x, train_hashes) if part != "train" else []
        if not pairs:
            continue
        share, (i, j) = f"{len(pairs)} of {len(split.x)} {part} examples", pairs[0]
        if refuse:
            raise InputError(
                f"{part} x[{i}]=train x[{j}]: {share} are training examples too; "
                "leave them out of one, or add --data.allow_overlap"
            )
        notes += (f"{share} are training examples too, the first is {part} x[{i}]",)
    return notes
