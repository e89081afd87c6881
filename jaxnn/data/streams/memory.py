"""How much memory there is, and whether data fit."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from jaxnn.errors import InputError

COPIES = 2  # of resident rows: as they were read, and as the devices have them


def there() -> int:
    """Bytes that this process may have: the machine's, or fewer by its control group or RLIMIT_AS."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    with contextlib.suppress(ImportError):  # not on Windows
        import resource

        soft = resource.getrlimit(resource.RLIMIT_AS)[0]
        found += [soft] if soft != resource.RLIM_INFINITY else []
    return min(*found, *_groups(), 2**63)


def _groups() -> list[int]:
    """The limits of the control groups that this process is in, of both versions."""
    found, root = [], Path("/sys/fs/cgroup")
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, kinds, name = line.split(":", 2)
            top, file = (root, "memory.max") if not kinds else (root / "memory", "memory.limit_in_bytes")
            inner = top / name.lstrip("/")
            for folder in (inner, *inner.parents) if not kinds or "memory" in kinds.split(",") else ():
                with contextlib.suppress(OSError, ValueError):
                    found.append(int((folder / file).read_text()))
                if folder == root:
                    break
    return found


def is_streamed(feed: str, nbytes: int) -> bool:
    """Whether rows of so many bytes, which may be either, are streamed: `auto` keeps those that take a quarter of the
    memory or less. Raises `InputError` for `resident` rows that do not fit."""
    have = there()
    if feed == "resident" and COPIES * nbytes > have:
        need = f"needs {COPIES * nbytes:,} bytes ({nbytes:,} as read, and as many on the device)"
        raise InputError(f"--data.feed=resident: {need}, has {have:,}; use --data.feed stream")
    return feed == "stream" or (feed == "auto" and nbytes > have // 4)
