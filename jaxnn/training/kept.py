"""Compiled programs of earlier runs, found without tracing them again, which takes longer than a small run's steps.

A recipe is a pure function of the config and of what is known of the data, and so are its programs. Each is kept, below
the folder of `jaxnn.devices.cache`, by the SHA-256 of all that goes into it: these, the sources of jaxnn, the versions
of the libraries, JAX's settings, the devices, and the shapes of the arguments.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax.experimental import serialize_executable

from jaxnn.config.own import Own
from jaxnn.config.paths import PACKAGE
from jaxnn.training.plan import Plan

ANYWHERE = ("name", "workdir", "report", "seed", "checkpoint")  # settings that no program depends on

COMPILED = "/jax/compilation_cache/cache_misses"  # JAX's event of a program that it has compiled itself
_fresh = threading.local()  # how many programs this thread has compiled


def _count(event: str, **_: Any) -> None:
    if event == COMPILED:
        _fresh.programs = vars(_fresh).get("programs", 0) + 1


# A program that JAX has read from its own cache cannot be kept: packed again, on a CPU it lacks some of its functions.
jax.monitoring.register_event_listener(_count)

Outputs = Callable[[dict[str, Any]], Any]  # what a program gives, from the numbers by name that are a part of it


class Wanted(NamedTuple):
    """A program: its name, what traces it, its arguments or their shapes, and what it gives."""

    name: str
    lower: Callable[[], jax.stages.Lowered]
    args: tuple[Any, ...]
    outputs: Outputs
    named: dict[str, Any] = {}  # arguments by name


class Shelf(NamedTuple):
    """Where the programs of a recipe are kept, and the SHA-256 of all that they have in common."""

    folder: Path
    common: bytes
    devices: tuple[jax.Device, ...]

    def find(self, wanted: Wanted) -> Any:
        """The program; None where there is none that can be read."""
        path = self._path(wanted)
        try:
            head, _, packed = path.read_bytes().partition(b"\n")
            about = json.loads(head)
            if hashlib.sha256(packed).hexdigest() != about["sha256"]:
                return None
            outputs = jax.tree.structure(wanted.outputs(dict.fromkeys(about["names"], 0)))
            trees = jax.tree.structure((wanted.args, wanted.named)), outputs
            program = serialize_executable.deserialize_and_load(packed, *trees, self.devices[0].client, self.devices)
            os.utime(path)  # it was used
        except Exception:  # not there, or of a library that has changed its mind: it is compiled
            return None
        return program

    def keep(self, wanted: Wanted, program: Any) -> None:
        """Keep a program, if it can be had from its bytes alone."""
        with contextlib.suppress(Exception):  # a disk that is full, or a program with arrays that are none of its bytes
            packed, inputs, outputs = serialize_executable.serialize(program)
            names = _names(outputs, wanted.outputs)
            same = outputs == jax.tree.structure(wanted.outputs(dict.fromkeys(names, 0)))
            if same and inputs == jax.tree.structure((wanted.args, wanted.named)):
                about = {"names": names, "sha256": hashlib.sha256(packed).hexdigest()}
                self._write(self._path(wanted), json.dumps(about).encode() + b"\n" + packed)

    def _path(self, wanted: Wanted) -> Path:
        leaves, structure = jax.tree.flatten((wanted.args, wanted.named))
        shapes = [(a.shape, str(a.dtype), str(getattr(a, "sharding", None))) for a in leaves]
        about = f"{wanted.name} {structure} {shapes}".encode()
        return self.folder / f"{hashlib.sha256(self.common + about).hexdigest()}-program"

    def _write(self, path: Path, content: bytes) -> None:
        with tempfile.NamedTemporaryFile(dir=self.folder, delete=False) as file:
            file.write(content)
        os.replace(file.name, path)


def compiled(wanted: dict[Any, Wanted], pool: Executor, shelf: Shelf | None) -> dict[Any, Future[Any]]:
    """The programs: those that are kept, and of the others each is traced here and compiled in a thread of `pool`."""
    finding = {} if shelf is None else {name: pool.submit(shelf.find, each) for name, each in wanted.items()}
    found = {name: job.result() for name, job in finding.items()}

    def compile_one(lowered: jax.stages.Lowered, each: Wanted) -> Any:
        before = vars(_fresh).get("programs", 0)
        program = lowered.compile()
        if shelf is not None and vars(_fresh).get("programs", 0) > before:
            shelf.keep(each, program)
        return program

    programs = {}
    for name, each in wanted.items():
        kept = found.get(name)
        programs[name] = pool.submit(compile_one, each.lower(), each) if kept is None else ready(kept)
    return programs


def ready(program: Any) -> Future[Any]:
    """A program that needs no compilation here."""
    future: Future[Any] = Future()
    future.set_result(program)
    return future


def shelf(folder: Path | None, about: dict[str, Any], plan: Plan, own: Own, *arrays: Any) -> Shelf | None:
    """Where the programs of a run are kept.

    Args:
      folder: of this machine's programs; None where none are to be kept.
      about: what the run is (`identity.describe`).
      plan: what it is going to do.
      own: what the config file brought. Its functions may be any; where there are some, programs are traced.
      arrays: whose values are in the programs.
    """
    if folder is None or jax.process_count() > 1 or set(own.names()) - {"data"}:
        return None
    settings = {name: value for name, value in about["config"].items() if name not in ANYWHERE}
    flags = [os.environ.get(name) for name in ("XLA_FLAGS", "LIBTPU_INIT_ARGS")]
    devices = tuple(jax.sharding.get_mesh().devices.flat)
    known = [about | {"config": settings}, plan, flags, sorted(map(str, jax.config.values.items()))]
    whole = hashlib.sha256(f"{known} {devices} {devices[0].client.platform_version}".encode())
    for array in arrays:
        whole.update(repr(array if array is None else (array.shape, str(array.dtype), array.tobytes())).encode())
    for path in _sources(PACKAGE):
        whole.update(Path(path).read_bytes())
    return Shelf(folder, whole.digest(), devices)


def _sources(folder: str | Path) -> Iterator[str]:
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.is_dir():
            yield from _sources(entry.path)
        elif entry.name.endswith(".py"):
            yield entry.path


def _names(structure: Any, outputs: Outputs) -> list[str]:
    """Of the numbers by name that end what a program gives."""
    paths = jax.tree.leaves_with_path(structure.unflatten(range(structure.num_leaves)))
    return [path[-1].key for path, _ in paths[len(jax.tree.leaves(outputs({}))) :]]
