"""sweep.json: the runs of a sweep, the values that they differ in, how each has ended, and which of them is best."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from jaxnn.config import strict_json
from jaxnn.errors import InputError
from jaxnn.store import durable

NAME = "sweep.json"


def write(folder: Path, about: dict[str, Any]) -> None:
    durable.replace(folder / NAME, [json.dumps(about, indent=1, allow_nan=False).encode()])


def is_one(folder: Path) -> bool:
    """Whether a folder is that of a sweep."""
    return os.path.isfile(folder / NAME)  # pathlib raises an error for a name that is too long


def read(folder: Path, name: str) -> dict[str, Any]:
    """What sweep.json says: `members`, each with its `folder` and `values`, and once it has ended `ending` and `row`;
    `metric` and `best`. Refused by `name` if it is none."""
    path = folder / NAME
    try:
        saved = strict_json.loads(path.read_text(encoding="utf-8"), f"{name}={path}")
    except (OSError, ValueError) as reason:
        if isinstance(reason, InputError):
            raise
        raise InputError(f"{name}={path}: cannot be read ({reason}); name the folder of a sweep") from None
    members = saved.get("members") if isinstance(saved, dict) else None
    if not isinstance(members, list) or not all(map(_is_member, members)):
        raise InputError(f"{name}={path}: is no sweep's list of runs; name the folder of a sweep")
    return saved


def _is_member(each: Any) -> bool:
    """Whether it names a folder inside that of the sweep."""
    if not isinstance(each, dict) or not isinstance(each.get("values"), dict):
        return False
    folder = each.get("folder")
    return isinstance(folder, str) and Path(folder).name == folder != ".." and isinstance(each.get("row", {}), dict)
