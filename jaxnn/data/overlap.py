"""Examples that stand in two parts of the data: a test on what was trained on tests nothing."""

from __future__ import annotations

import numpy as np

from jaxnn.errors import InputError
from jaxnn.types import Batch

ROWS = 4096  # at a time, so that no copy of the whole is made
MIX = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio


def hashes(x: np.ndarray) -> np.ndarray:
    """u64[n], one for each row by its bytes: a sum over the words of the row, each mixed with a number of its own."""
    flat = np.ascontiguousarray(x).reshape(len(x), -1).view(np.uint8)
    found = np.zeros(len(x), np.uint64)
    keys = np.random.default_rng(0).integers(1, 2**63, -(-flat.shape[1] // 4), np.uint64) * np.uint64(2) + np.uint64(1)
    for start in range(0, len(x), ROWS):
        rows = flat[start : start + ROWS]
        padded = np.zeros((len(rows), 4 * len(keys)), np.uint8)
        padded[:, : rows.shape[1]] = rows
        words = padded.view(np.uint32).astype(np.uint64)
        words += np.uint64(1)  # so that a word of 0 counts
        words *= keys
        words ^= words >> np.uint64(32)
        words *= MIX
        found[start : start + ROWS] = words.sum(1, dtype=np.uint64)
    return found


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
    ours, ascending = hashes(x), np.sort(known_hashes)
    nearest = ascending[np.minimum(np.searchsorted(ascending, ours), len(ascending) - 1)]
    (rows,) = np.nonzero(nearest == ours)
    place = dict(zip(known_hashes.tolist(), range(len(known)), strict=True)) if len(rows) else {}
    pairs = [(i, place[int(ours[i])]) for i in rows.tolist()]
    return [(i, j) for i, j in pairs if np.array_equal(x[i], known[j])]


def found(parts: dict[str, Batch], rows: dict[str, np.ndarray], *, refuse: bool) -> tuple[str, ...]:
    """What is to be told of examples that are both trained on and validated or tested on.

    Args:
      parts: all parts of the data.
      rows: which rows of the training file each part is that was cut from it.
      refuse: raise an error where a part was given apart and holds rows of the training file.
    """
    train, notes = parts["train"].x, ()
    known, cut = hashes(train), [part for part in rows if part != "train"]
    for part, split in parts.items():
        pairs = [] if part == "train" else [(i, rows["train"][j]) for i, j in repeated(split.x, train, known)]
        if part not in rows:
            for other in cut:
                pairs += [(i, rows[other][j]) for i, j in repeated(split.x, parts[other].x, hashes(parts[other].x))]
        if not pairs:
            continue
        share, (i, j) = f"{len({i for i, _ in pairs})} of {len(split.x)} {part} examples", min(pairs)
        if refuse and part not in rows:
            raise InputError(
                f"{part} x[{i}]=train x[{j}]: {share} are training examples too; "
                "leave them out of one, or add --data.allow_overlap"
            )
        notes += (f"{share} are training examples too, the first is {part} x[{i}]",)
    return notes
