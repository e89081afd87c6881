"""Compiled programs of earlier runs, found without tracing them again, which takes longer than a small run's steps.

A recipe is a pure function of the config and of what is known of the data, and so are its programs. Each is kept
(`jaxnn.devices.cache`) by the SHA-256 of what it computes: its StableHLO, the versions of the libraries, JAX's settings
and the devices. A second, small entry has that name by the SHA-256 of what the program comes from: the config, what is
known of the data, the sources of jaxnn, and the shapes of the arguments.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax.experimental import serialize_executable

from jaxnn.config.own import Own
from jaxnn.config.paths import PACKAGE
from jaxnn.devices import cache
from jaxnn.devices.cache import Programs
from jaxnn.training.plan import Plan

ANYWHERE = ("name", "workdir", "report", "seed", "checkpoint")  # settings that no program depends on

Outputs = Callable[[dict[str, Any]], Any]  # what a program gives, from the numbers by name that end it


class Wanted(NamedTuple):
    """A program: its name, what traces it, its arguments or their shapes, and what it gives."""

    name: str
    lower: Callable[[], jax.stages.Lowered]
    args: tuple[Any, ...]
    outputs: Outputs
    named: dict[str, Any] = {}  # arguments by name


class Shelf(NamedTuple):
    """Where the programs of a run are kept, what they run on, and two digests: of that, and of what they come from
    (None: of functions of one's own, which may be any)."""

    programs: Programs
    devices: tuple[Any, ...]
    machine: bytes
    source: bytes | None

    def find(self, wanted: Wanted) -> Callable[[], Any] | None:
        """What loads the program, by what it comes from, or gives None of a damaged one; None where there is none."""
        if self.source is None or (found := self.programs.get(self._run(wanted))) is None:
            return None
        about = json.loads(found)
        outputs = jax.tree.structure(wanted.outputs(dict.fromkeys(about["names"], 0)))
        return lambda: self._load(about["program"], wanted, outputs)

    def compiled(self, wanted: Wanted, lowered: jax.stages.Lowered) -> Any:
        """The program, by what it computes; compiled where there is none."""
        text = lowered.as_text()
        about = f"{wanted.name} {_shapes(wanted)} {text}".encode()
        name = f"program-{hashlib.sha256(self.machine + about).hexdigest()}"
        program = self._load(name, wanted, lowered.out_tree)
        if program is None:
            program = lowered.compile()
            # One that JAX has read from its cache cannot be kept: packed again, on a CPU it lacks some functions. One
            # that calls Python cannot either.
            if cache.is_used() or "callback" in text:
                return program
            try:
                self.programs.put(name, serialize_executable.serialize(program)[0])
            except Exception:  # of JAX, where arrays are none of the program's bytes
                return program
        names = _names(lowered.out_tree, wanted.outputs)
        if self.source is not None and lowered.out_tree == jax.tree.structure(wanted.outputs(dict.fromkeys(names, 0))):
            self.programs.put(self._run(wanted), json.dumps({"program": name, "names": names}).encode())
        return program

    def _load(self, name: str, wanted: Wanted, outputs: Any) -> Any:
        packed = self.programs.get(name)
        if packed is None:
            return None
        inputs, client = jax.tree.structure((wanted.args, wanted.named)), self.devices[0].client
        try:
            return serialize_executable.deserialize_and_load(packed, inputs, outputs, client, self.devices)
        except Exception:  # whatever a library says of what an earlier one has written
            return None

    def _run(self, wanted: Wanted) -> str:
        about = f"{wanted.name} {_shapes(wanted)}".encode()
        return f"run-{hashlib.sha256((self.source or b'') + self.machine + about).hexdigest()}"


def compiled(wanted: dict[Any, Wanted], pool: Executor, shelf: Shelf | None) -> dict[Any, Future[Any]]:
    """The programs: those that are kept are loaded in threads of `pool`, and of the others each is traced here and
    compiled in one."""
    programs = {}
    for name, each in wanted.items():
        load = None if shelf is None else shelf.find(each)
        if load is None:
            programs[name] = pool.submit(_compiled, each, each.lower(), shelf)
        else:
            programs[name] = pool.submit(_loaded, load, each, shelf, jax.sharding.get_mesh())
    return programs


def one(wanted: Wanted, shelf: Shelf | None) -> Any:
    """A program that is kept, or one that is compiled here."""
    load = None if shelf is None else shelf.find(wanted)
    return _compiled(wanted, wanted.lower(), shelf) if load is None else _loaded(load, wanted, shelf)


def _loaded(load: Callable[[], Any], wanted: Wanted, shelf: Shelf | None, mesh: jax.sharding.Mesh | None = None) -> Any:
    """The program, which is traced where it is damaged; `mesh`: what for, in another thread."""
    program = load()
    if program is None:
        with contextlib.nullcontext() if mesh is None else jax.set_mesh(mesh):
            program = _compiled(wanted, wanted.lower(), shelf)
    return program


def _compiled(wanted: Wanted, lowered: jax.stages.Lowered, shelf: Shelf | None) -> Any:
    return lowered.compile() if shelf is None else shelf.compiled(wanted, lowered)


def ready(program: Any) -> Future[Any]:
    """A program that needs no compilation here."""
    future: Future[Any] = Future()
    future.set_result(program)
    return future


def of_run(programs: Programs | None, about: dict[str, Any], plan: Plan, own: Own, *arrays: Any) -> Shelf | None:
    """Where the programs of a run are kept.

    Args:
      programs: of this machine; None where none are to be kept.
      about: what the run is (`identity.describe`).
      plan: what it is going to do.
      own: what the config file brought.
      arrays: whose values are in the programs.
    """
    if programs is None or jax.process_count() > 1:
        return None
    devices = tuple(jax.sharding.get_mesh().devices.flat)
    flags = [os.environ.get(name) for name in ("XLA_FLAGS", "LIBTPU_INIT_ARGS")]
    set_to = sorted(map(str, jax.config.values.items()))
    machine = [about["versions"], devices, devices[0].client.platform_version, flags, set_to]
    source = None
    if not set(own.names()) - {"data"}:
        settings = {name: value for name, value in about["config"].items() if name not in ANYWHERE}
        source = hashlib.sha256(f"{about | {'config': settings}} {plan}".encode())
        for array in arrays:
            source.update(repr(array if array is None else (array.shape, str(array.dtype), array.tobytes())).encode())
        for path in _sources(PACKAGE):
            source.update(Path(path).read_bytes())
    return Shelf(programs, devices, hashlib.sha256(str(machine).encode()).digest(), source and source.digest())


def _sources(folder: str | Path) -> Iterator[str]:
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.is_dir():
            yield from _sources(entry.path)
        elif entry.name.endswith(".py"):
            yield entry.path


def _shapes(wanted: Wanted) -> Any:
    leaves, structure = jax.tree.flatten((wanted.args, wanted.named))
    return structure, [(a.shape, str(a.dtype), str(getattr(a, "sharding", None))) for a in leaves]


def _names(structure: Any, outputs: Outputs) -> list[str]:
    """Of the numbers by name that end what a program gives."""
    paths = jax.tree.leaves_with_path(structure.unflatten(range(structure.num_leaves)))
    return [path[-1].key for path, _ in paths[len(jax.tree.leaves(outputs({}))) :]]
