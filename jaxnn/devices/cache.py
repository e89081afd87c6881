"""Compiled programs, kept in the user's cache folder: the next process that needs them starts at once."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import platform
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import jax
from jax._src import compilation_cache  # jax has no public way to give it a cache of one's own

from jaxnn.config import kept, paths
from jaxnn.errors import DataError, printable

MOST = 2**31  # bytes of all programs; of more, those are removed that were not used for longest


def keep_programs(folder: str | os.PathLike[str] | Literal[False] | None = None) -> None:
    """Keep all that this process compiles from here on, in `folder` or the user's cache folder; with False, nothing.

    Estimators and `jaxnn.keras` keep their own programs unless told not to: this is for another folder, for programs
    around `jaxnn.fit` and one's own, or to switch it off, as the environment variable `JAXNN_CACHE` does for all
    processes (a folder, or `off`). A cache that was given to JAX itself (`JAX_COMPILATION_CACHE_DIR`) is left as it is.
    Where a folder can't be written, a line on stderr says so. Raises `InputError` for what is no path.

    >>> import jaxnn
    >>> jaxnn.keep_programs(False)
    """
    keeping.choose(folder)


def place() -> Programs | None:
    """Where a command keeps its programs, before JAX keeps any (`keep_programs`); None where nothing is to be kept."""
    return keeping.place()


def is_used() -> bool:
    """Whether what JAX compiles may come from a cache."""
    settings: Any = jax.config
    return bool(settings.jax_compilation_cache_dir or compilation_cache._cache)


class Programs:
    """The programs of one folder, as JAX asks for them: by a key that stands for all that a program depends on.

    The folder cache of JAX itself writes an entry in place, where another process may read half of it, never replaces a
    damaged one, and takes a lock around each read where its size is limited.
    """

    def __init__(self, path: Path, tell: Callable[[str], None]):
        self._path, self._tell = path, tell
        self._taken: int | None = None  # bytes of all programs, once they were counted

    def get(self, key: str) -> bytes | None:
        try:
            value = kept.read(self._file(key))
        except (OSError, DataError):
            return self._failed()
        return None if value is None else bytes(value)

    def put(self, key: str, value: bytes) -> None:
        try:
            if self._taken is None or self._taken + len(value) > MOST:
                room = len(value) + MOST // 10  # so that the next program does not look through the folder again
                self._taken = kept.make_room(self._path.parent, room, MOST)
            kept.write(self._file(key), [value])
            self._taken += len(value)
        except OSError:
            self._failed()

    def _file(self, key: str) -> Path:
        return self._path / f"{key}.xla"

    def _failed(self) -> None:
        self._tell(f"{self._path}: a program could not be kept or read; it is compiled anew")


@functools.cache
def kind() -> str:
    """Compiled for one CPU, a program may crash another that shares the folder: each kind of CPU has its own."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    cpu = next((line for line in lines if line.startswith(("flags", "Features"))), None) or platform.processor()
    return hashlib.sha256(f"{platform.machine()} {cpu}".encode()).hexdigest()[:12]


class Keeping(contextlib.ContextDecorator):
    """A context within which programs are kept, and a decorator; between its uses JAX is as its user has set it.

    Threads may be in it at once: it ends with the last of them. What others compile meanwhile is kept too.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._inside, self._always = 0, False
        self._folder: str | os.PathLike[str] | Literal[False] | None = None
        self._programs: dict[Path, Programs] = {}
        self._least: float | None = None  # JAX's setting, while this one's is in its place
        self._told: set[str] = set()
        self._untold: list[str] = []

    def choose(self, folder: str | os.PathLike[str] | Literal[False] | None) -> None:
        with self._lock:
            self._end()
            self._folder, self._always = folder, folder is not False
            if self._always:
                self._begin()

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside == 1 and not self._always:
                self._begin()
        try:
            self._warn()
        except Warning as error:  # as its user wants it
            self.__exit__(error)
            raise

    def __exit__(self, error: object, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside and not self._always:
                self._end()
        if error is None:
            self._warn()

    def place(self) -> Programs | None:
        """The programs of the folder; what is wrong with it is said at once."""
        with self._lock:
            self._always = True
            settings: Any = jax.config
            return None if is_used() or not settings.jax_enable_compilation_cache else self._found()

    def _begin(self) -> None:
        settings: Any = jax.config
        if is_used() or not settings.jax_enable_compilation_cache or (programs := self._found()) is None:
            return
        self._least = settings.jax_persistent_cache_min_compile_time_secs
        settings.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        compilation_cache.reset_cache()
        compilation_cache._cache = programs

    def _end(self) -> None:
        if self._least is not None:
            jax.config.update("jax_persistent_cache_min_compile_time_secs", self._least)
            compilation_cache.reset_cache()
            self._least = None

    def _found(self) -> Programs | None:
        """The programs of the folder, None where there is to be none or it cannot be written."""
        if self._folder is False or self._folder is None and not paths.keeps():
            return None
        try:
            path = paths.cache(self._folder) / "programs" / kind()
            if path not in self._programs:
                path.mkdir(parents=True, exist_ok=True)
                tempfile.TemporaryFile(dir=path).close()
                self._programs[path] = Programs(path, self._tell)
        except (OSError, RuntimeError) as reason:  # Path.home raises RuntimeError where there is none
            self._tell(f"compiled programs are not kept ({reason}); mend the folder, or JAXNN_CACHE=off")
            return None
        return self._programs[path]

    def _tell(self, text: str) -> None:
        """Once: at once where all is kept, as a command does, else as a warning of the call that keeps its own."""
        if text not in self._told:
            self._told.add(text)
            if self._always:
                print(f"warning: {printable(text)}", file=sys.stderr)
            else:
                self._untold.append(text)

    def _warn(self) -> None:
        while self._untold:
            warnings.warn(self._untold.pop(), stacklevel=4)


keeping: Keeping = Keeping()
