"""Examples that stand in two parts of the data: a test on what was trained on tests nothing."""

from __future__ import annotations

from typing import Any

import numpy as np

from jaxnn.data.streams.rows import Rows, blocks
from jaxnn.errors import InputError
from jaxnn.types import Batch

ROWS = 4096  # at a time, so that no copy of the whole is made
MIX = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio


def hashes(x: Any) -> np.ndarray:
    """u64[n], one for each row by its bytes: a sum over the words of the row, each mixed with a number of its own."""
    if isinstance(x, Rows):
        return np.concatenate([hashes(x[part]) for part in blocks(x)])
    flat = np.ascontiguousarray(x).reshape(len(x), -1).view(np.uint8)
    found, width = np.empty(len(x), np.uint64), -(-flat.shape[1] // 8)
    keys = np.random.default_rng(0).integers(1, 2**63, width, np.uint64) * np.uint64(2) + np.uint64(1)
    for start in range(0, len(x), ROWS):
        rows = flat[start : start + ROWS]
        padded = np.zeros((len(rows), 8 * width), np.uint8)
        padded[:, : rows.shape[1]] = rows
        words = padded.view(np.uint64)
        words += np.uint64(1)  # so that a word of 0 counts
        words *= keys
        words ^= words >> np.uint64(32)
        words *= MIX
        found[start : start + ROWS] = words.sum(1, dtype=np.uint64)
    return found


def repeated(x: np.ndarray, known: np.ndarray, x_hashes: np.ndarray, known_hashes: np.ndarray) -> list[tuple[int, int]]:
    """Each row of `x` that is a row of `known` too, byte for byte, with that row's number.

    Args:
      x: [n, ...]
      known: [m, ...], of the same dtype and shape of a row.
      x_hashes, known_hashes: `hashes` of both.

    >>> import numpy as np
    >>> x, known = np.array([[1, 2], [3, 4]]), np.array([[5, 6], [3, 4]])
    >>> repeated(x, known, hashes(x), hashes(known))
    [(1, 1)]
    """
    # Nearly all hashes are of one side alone. Those of both are found in sorted values: looked up in the order of the
    # rows, each hash would be reads from all over a large memory, which takes ten times as long for 3 million rows.
    ordered, asked = np.sort(known_hashes), np.sort(x_hashes)
    shared = np.unique(asked[_are_in(ordered, asked)])
    if not len(shared):
        return []
    rows, places = (np.flatnonzero(_are_in(shared, each)) for each in (x_hashes, known_hashes))
    places = places[np.argsort(known_hashes[places], kind="stable")]
    places = places[np.searchsorted(known_hashes[places], x_hashes[rows], side="right") - 1]
    return [(i, j) for i, j in zip(rows.tolist(), places.tolist(), strict=True) if np.array_equal(x[i], known[j])]


def _are_in(ordered: np.ndarray, values: np.ndarray) -> np.ndarray:
    return ordered[np.searchsorted(ordered, values, side="right") - 1] == values


def found(parts: dict[str, Batch], rows: dict[str, np.ndarray], *, refuse: bool) -> tuple[str, ...]:
    """What is to be told of examples that are both trained on and validated or tested on.

    Args:
      parts: all parts of the data.
      rows: which rows of the training file each part is that was cut from it.
      refuse: raise an error where a part was given apart and holds rows of the training file.
    """
    known, notes = {part: hashes(split.x) for part, split in parts.items()}, ()
    for part, split in parts.items():
        # Of its own file a part is compared with what is trained on, of another one with all that is there.
        others = [other for other in rows if other != part] if part not in rows else ["train"] * (part != "train")
        pairs = [
            (i, int(rows[other][j]))
            for other in others
            for i, j in repeated(split.x, parts[other].x, known[part], known[other])
        ]
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
