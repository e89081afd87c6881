"""The words of a command that is about a trained network: its flags, and the run that it names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxnn.commands import environment
from jaxnn.config import paths
from jaxnn.config.names import KERAS_MODEL, UNKNOWN, WEIGHTS
from jaxnn.errors import InputError, choices, nearest
from jaxnn.training import process


def parsed(argv: list[str], valued: Sequence[str], switches: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """The words of a command line, and its flags with their values."""
    words: list[str] = []
    given: dict[str, str] = {}
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-") or word == "-":
            words.append(word)
            continue
        flag, equals, value = word.partition("=")
        if flag not in (*valued, *switches):
            near = nearest(flag, (*valued, *switches))
            raise InputError(f"{flag}: unknown flag; {f'did you mean {near}?' if near else 'see --help'}")
        if flag in given:
            raise InputError(f"{flag}: given twice; keep one")
        if flag in switches and equals:
            raise InputError(f"{word}: is a switch, which takes no value; write {flag} alone")
        if flag in valued and not equals:
            if not rest or rest[0].startswith("--"):
                raise InputError(f"{flag}: needs a value; see --help")
            value = rest.pop(0)
        given[flag] = value
    if (unknown := given.get("--unknown", "refuse")) not in UNKNOWN:
        raise choices("--unknown", unknown, UNKNOWN)
    if (weights := given.get("--weights", "last")) not in WEIGHTS:
        raise choices("--weights", weights, WEIGHTS)
    return words, given


def own_flags(
    argv: Sequence[str], valued: Sequence[str], switches: Sequence[str] = ()
) -> tuple[list[str], dict[str, str]]:
    """The words of a command line that are for the parser of jaxnn train, and the flags of the command's own."""
    rest, given, words = [], {}, list(argv)
    while words:
        word = words.pop(0)
        name, equals, _ = word.partition("=")
        if name not in (*valued, *switches):
            rest.append(word)
            continue
        taken = [word, *([words.pop(0)] if name in valued and not equals and words else [])]
        found = parsed(taken, valued, switches)[1]
        if name in given:
            raise InputError(f"{name}: given twice; keep one")
        given |= found
    return rest, given


def known(folder: str) -> tuple[Path, dict[str, Any]]:
    """The folder of a run, and what its config.json says: before jax is imported. Raises `InputError` for no run."""
    from jaxnn.store import identity

    path = paths.expand("run", folder)
    identity.refuse_no_run(path)
    return path, identity.read(path / "config.json", "run")


def load(folder: str, given: dict[str, str]) -> Any:
    """The run in a folder, with the weights that are asked for and the functions that its config file brought."""
    config, weights = given.get("--config"), given.get("--weights", "last")
    path, saved = known(folder)
    brought = ["model"] * (saved["own_model"] and saved["source"] != KERAS_MODEL) + saved.get("own", [])
    if config is None and (needed := [name for name in brought if name in ("model", "task")]):
        cure = f"add --config {saved['source']}.py, that file"
        raise InputError(f"run={folder}: its config file brought a {needed[0]}; {cure}")
    if config is not None and not brought:
        raise InputError(f"--config={config}: the run brought nothing of its own; leave it out")
    with environment.for_jax():
        own = {} if config is None else _own(config, saved.get("source_digest"))
        from jaxnn.devices import cache
        from jaxnn.predict import load_run
    cache.keep_programs()
    process.collect_garbage()
    return load_run(path, weights=weights, partial="--partial" in given, flips="--flips" in given, **own)


def _own(config: str, digest: str | None) -> dict[str, Any]:
    """What a config file brings to a trained network; it must be the file that the run was trained with."""
    from jaxnn.commands import config_file

    path = paths.expand("--config", config)
    if not path.is_file():
        raise InputError(f"--config={config}: no such file; check the path")
    brought = config_file.run(path, config)
    if not brought.own.names() or digest not in (None, brought.digest):
        had = f" (SHA-256 {digest[:12]}...)" if digest else ""
        raise InputError(f"--config={config}: is not the file that the run was trained with{had}; name that file")
    return {name: getattr(brought.own, name) for name in ("model", "loss", "metrics", "task")}
