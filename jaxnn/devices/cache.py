"""Compiled programs, kept in the user's cache folder: the next run of the same shapes starts at once."""

from __future__ import annotations

import glob
import hashlib
import platform
import re
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import jax

from jaxnn.config import paths
from jaxnn.errors import printable


def folder() -> Path:
    """Where programs for this machine are kept.

    Compiled for one CPU, a program may crash another that shares the folder: each kind of CPU has its own.
    """
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    cpu = next((line for line in lines if line.startswith(("flags", "Features"))), None) or platform.processor()
    kind = hashlib.sha256(f"{platform.machine()} {cpu}".encode()).hexdigest()[:12]
    return paths.cache() / "programs" / kind


def place() -> Path | None:
    """The folder, ready to be written; None where that can't be done, which is said once on stderr.

    A folder that was given to JAX itself (`JAX_COMPILATION_CACHE_DIR`) is left as it is, and counts as none here.
    """
    settings: Any = jax.config
    if settings.jax_compilation_cache_dir or not settings.jax_enable_compilation_cache:
        return None
    try:
        path = folder()
        path.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path).close()
    except (OSError, RuntimeError) as reason:  # Path.home raises RuntimeError where there is none
        why = printable(str(reason))
        print(f"warning: compiled programs are not kept ({why}); mend the folder, or --no-cache", file=sys.stderr)
        return None
    return path


def keep_programs(path: Path | None) -> None:
    """Have JAX keep in a folder (`place`) what it compiles from here on."""
    if path is None:
        return
    jax.config.update("jax_compilation_cache_dir", str(path))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    warnings.filterwarnings("always", message=".*persistent compilation cache")  # shown below, once
    show, told = warnings.showwarning, []

    def show_once(message: Any, *rest: Any, **more: Any) -> None:
        if "persistent compilation cache" not in str(message):
            show(message, *rest, **more)
            return
        # jax never replaces a damaged entry: unless deleted, its program is compiled, with a warning, in every run
        if damaged := re.search(r"reading .* entry for '([^']+)'", str(message)):
            for entry in path.glob(f"{glob.escape(damaged[1])}-*-cache"):
                entry.unlink(missing_ok=True)
        if not told:
            told.append(message)
            where = printable(str(path))
            print(f"warning: {where}: a program could not be kept or read; it is compiled anew", file=sys.stderr)

    warnings.showwarning = show_once
