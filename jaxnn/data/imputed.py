"""What stands for the missing cells of a table: learned from the training rows alone."""

from __future__ import annotations

import numpy as np

from jaxnn.data.frame import Frame


def learned(frame: Frame, rows: np.ndarray) -> dict[str, float | str]:
    """What stands for a missing cell of each column, by these rows: of numbers their mean or median (`frame.nan`), of
    texts the most frequent category, of equally frequent ones the first; with `category` the median, and "", none.

    Raises `InputError` for a column that has no value in any of the rows.
    """
    found: dict[str, float | str] = {}
    for j, column in enumerate(frame.columns):
        cells = frame.present(j, rows)
        if column.categories is not None:
            most = column.categories[int(np.bincount(cells).argmax())]
            found[column.name] = "" if frame.nan == "category" else most
        elif frame.nan == "mean":
            found[column.name] = float(cells.mean(dtype=np.float64))
        else:
            found[column.name] = float(np.median(cells.astype(np.float64)))
    return found


def told(frame: Frame) -> tuple[str, ...]:
    """How many cells of which columns were filled, and by what."""
    words = []
    for j, column in enumerate(frame.columns):
        if count := int(frame.missing(j).sum()):
            stand = (frame.fill or {})[column.name]
            shown = f"{stand:.7g}" if isinstance(stand, float) else stand or "a category of its own"
            words.append(f"{count} of {column.name} with {shown}")
    more = f" and {len(words) - 10} columns more" if len(words) > 10 else ""
    return (f"{frame.grid.name}: missing cells filled: {', '.join(words[:10])}{more}",) if words else ()
