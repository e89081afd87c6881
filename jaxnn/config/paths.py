"""Paths as people type them."""

from __future__ import annotations

import os
from pathlib import Path

from jaxnn.errors import InputError

PACKAGE = Path(__file__).parent.parent
# In a wheel the configs are inside the package, in a checkout beside it.
CONFIGS = PACKAGE / "configs" if (PACKAGE / "configs").is_dir() else PACKAGE.parent / "configs"


def expand(flag: str, text: str | os.PathLike[str]) -> Path:
    """The path that a person typed, `~` and `~user` replaced.

    Raises `InputError`, naming `flag`, for no text, a `~user` who is not there, and a NUL, which no path can have.

    >>> expand("--workdir", "runs//first/").as_posix(), expand("--workdir", "~/r") == Path.home() / "r"
    ('runs/first', True)
    """
    typed = os.fspath(text)
    if not typed or "\0" in typed:
        raise InputError(f"{flag}={typed}: must be a path; check the path")
    try:
        return Path(typed).expanduser()
    except RuntimeError:  # neither the environment nor the list of users knows that home
        user = Path(typed).parts[0]
        raise InputError(f"{flag}={typed}: {user} is no user's home here; write the whole path") from None


def keeps() -> bool:
    """Whether anything is kept in the user's cache folder: unless `JAXNN_CACHE` is `off`."""
    return os.environ.get("JAXNN_CACHE") != "off"


def cache(folder: str | os.PathLike[str] | None = None) -> Path:
    """What can be made again at any time is kept here: `jaxnn` in `folder`, `$JAXNN_CACHE`, `$XDG_CACHE_HOME` or
    `~/.cache`, the first that is given.

    Raises `RuntimeError` where none is known, and `InputError` for what is no path.
    """
    if folder or (folder := os.environ.get("JAXNN_CACHE")):
        return expand("the cache's folder", folder) / "jaxnn"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jaxnn"
