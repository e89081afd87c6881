"""history.jsonl: a row for each interval of a run, and a last one that tells its end.

The last row has no `seconds`: it has the test metrics, and where the time went.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxnn.store import durable

NAME = "history.jsonl"
MAIN = ("loss", "accuracy", "r2", "miou", "map50")  # metrics that are shown where there is room for a few
MINIMIZED = frozenset(
    ("loss", "mse", "mae", "pinball")
)  # those of jaxnn's tasks; of a metric of one's own more is better


def append(folder: Path, row: dict[str, Any]) -> None:
    """One more line; a metric that is not a number (0/0) is null. Of several processes, the first one writes."""
    from jaxnn.devices import hosts  # needs jax, without which a history is read

    if not hosts.leads():
        return
    values = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}
    try:
        with (folder / NAME).open("a", encoding="utf-8") as file:
            file.write(json.dumps(values, allow_nan=False) + "\n")
    except OSError as reason:
        raise durable.unwritable(folder / NAME, reason) from None


def sync(folder: Path) -> None:
    """Have the disk take the rows so far."""
    try:
        durable.sync(folder / NAME)
    except OSError as reason:
        raise durable.unwritable(folder / NAME, reason) from None


def rows(folder: Path) -> list[dict[str, Any]]:
    """All rows, the final one last; of several processes, the first one has them."""
    from jaxnn.devices import hosts

    if not hosts.leads():
        return []
    return [json.loads(line) for line in (folder / NAME).read_text(encoding="utf-8").splitlines()]


def since(folder: Path, place: int) -> tuple[list[dict[str, Any]], int]:
    """The rows that begin after so many bytes, and how many bytes there are."""
    with (folder / NAME).open("rb") as file:
        file.seek(place)
        text = file.read()
    return [json.loads(line) for line in text.splitlines()], place + len(text)


def intervals(folder: Path) -> list[dict[str, Any]]:
    """The rows of intervals, without the final one; lines that a kill has torn are left out."""
    found = []
    for line in _lines(folder):
        try:
            row = json.loads(line)
            good = isinstance(row["step"], int) and all(isinstance(row[k], int | float) for k in ("epoch", "seconds"))
        except (ValueError, TypeError, KeyError):
            good = False
        if good:
            found.append(row)
    return found


def last(folder: Path) -> dict[str, Any]:
    """The final row, which has the test metrics; an empty one of a run that has not come to its end."""
    try:
        row = json.loads(_lines(folder)[-1])
        return {} if "seconds" in row or not isinstance(row["step"], int) else row
    except (IndexError, ValueError, TypeError, KeyError):
        return {}


def best(rows: Sequence[Mapping[str, Any]], by: str | None) -> Mapping[str, Any] | None:
    """The first row with the best number of a metric; None where there is none.

    >>> best([{"val/loss": 2.0}, {"val/loss": 1.0}, {"val/loss": None}], "val/loss")
    {'val/loss': 1.0}
    """
    name = by or ""
    there = [row for row in rows if row.get(name) is not None]
    sign = -1 if name.partition("/")[2] in MINIMIZED else 1
    return max(there, key=lambda row: sign * row[name], default=None)


def _lines(folder: Path) -> list[str]:
    file = folder / NAME
    return file.read_text(encoding="utf-8", errors="replace").splitlines() if file.exists() else []


def cut(folder: Path, step: int, *, pending: bool) -> tuple[dict[str, Any], int]:
    """Drop the rows past `step`, which is done again from there, and the final row.

    `pending`: drop the row at `step` too, because its interval was cut short by the end of the run and now goes on.
    Returns the last row that is left, and how many steps past `step` there were rows of.
    """
    file = folder / NAME
    text = file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""
    kept: list[str] = []
    last, reached = {}, step
    for line in text.splitlines():
        try:
            row = json.loads(line)
            reached = max(reached, row["step"])
            good = row["step"] <= step - pending and "seconds" in row
        except (ValueError, TypeError, KeyError):  # a line that a kill has torn
            good = False
        if good:
            kept.append(line)
            last = row
    if (whole := "".join(line + "\n" for line in kept)) != text:
        durable.replace(file, [whole.encode()])
    return last, reached - step


def is_finished(folder: Path, step: int) -> bool:
    """True if the final row is at `step` and no loss of the end is null: one that is not finite is told again."""
    try:
        lines = (folder / NAME).read_text(encoding="utf-8").splitlines()
        *before, last = (json.loads(line) for line in lines[-2:])
    except (OSError, ValueError):
        return False
    losses = [value for row in (*before, last) for name, value in row.items() if name.endswith("/loss")]
    return "seconds" not in last and last.get("step") == step and None not in losses
