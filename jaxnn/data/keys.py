"""The column that a split goes by: groups, or times."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np

from jaxnn.data.columns import NUMBER
from jaxnn.data.grid import Grid
from jaxnn.errors import InputError

MONTH = re.compile(r"[0-9]{4}-[0-9]{2}")


class Key(NamedTuple):
    """`values[n]` are numbers, dates (`datetime64`), or numbers of `texts`; `rows i64[n]` are those of the grid."""

    grid: Grid
    name: str
    rows: np.ndarray
    values: np.ndarray
    texts: tuple[str, ...] = ()

    def groups(self) -> np.ndarray:
        """i64[n]: the number of each row's group, counted in the order of the column's values."""
        labels, codes = np.unique(self.values, return_inverse=True)
        if not self.texts:
            return codes
        place = np.argsort(np.argsort([self.texts[k] for k in labels]))  # whatever row comes first in the file
        return place[codes]

    def times(self) -> np.ndarray:
        """[n], numbers or dates that can be ordered.

        Raises `InputError`, with the row, for a text that is no date of ISO 8601, and for times of which some have a
        zone and some have none.
        """
        if not self.texts:
            return self.values
        used, place = np.unique(self.values, return_inverse=True)
        texts = [self.texts[k] for k in used]
        if all(map(NUMBER.fullmatch, texts)):
            return np.array(texts, np.float64)[place]
        dates = [date for text in texts if (date := _date(text))]
        if len(dates) < len(texts):
            rule = "is no number and no date of ISO 8601 (2024-05-31, 2024-05-31T23:59:00+02:00); write it so"
            raise InputError(f"{self._at(np.array([_date(text) is None for text in texts])[place])}: {rule}")
        zoned = np.array([date.tzinfo is not None for date in dates])
        if zoned.any() and not zoned.all():
            rare = 2 * int(zoned.sum()) < len(zoned)
            has = "has a time zone, and others have none" if rare else "has no time zone, and others have one"
            raise InputError(f"{self._at((zoned == rare)[place])}: {has}; write all alike")
        return np.array([date.replace(tzinfo=None) for date in dates], "datetime64[us]")[place]

    def refuse_shared(self, other: Key) -> None:
        """Refuse a group of the training file that stands in another one too."""
        known, given = self.values, other.values
        if self.texts or other.texts:
            known, given = self._as_texts(), other._as_texts()
        bad = np.isin(given, np.unique(known))
        if bad.any():
            cure = "leave the group out of one, or add --data.allow_overlap"
            raise InputError(f"{other._at(bad)}: is a group of the training examples too; {cure}")

    def _as_texts(self) -> np.ndarray:
        return np.array(self.texts)[self.values] if self.texts else self.values.astype(str)

    def _at(self, bad: np.ndarray) -> str:
        """Where the first bad cell is."""
        return self.grid.at(self.name, int(self.rows[np.argmax(bad)]))


def _date(text: str) -> datetime | None:
    """The time, in UTC where it has a zone."""
    try:
        date = datetime.fromisoformat(f"{text}-01" if MONTH.fullmatch(text) else text)
        return date.astimezone(UTC) if date.tzinfo else date
    except (ValueError, OverflowError):  # no date, and one that is before the year 1 in UTC
        return None
