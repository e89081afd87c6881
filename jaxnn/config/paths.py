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


def cache() -> Path:
    """What can be made again at any time is kept here, below `$XDG_CACHE_HOME` or `~/.cache`.

    Raises `RuntimeError` where neither is known.
    """
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jaxnn"
