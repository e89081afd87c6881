"""The words of a command that is about a trained network: its flags, and the run that it names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxnn.commands import environment
from jaxnn.config import paths
from jaxnn.config.names import KERAS_MODEL, UNKNOWN, WEIGHTS
from jaxnn.config.own import Own
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
    with environment.for_jax():
        own = brought(folder, saved, config)
        from jaxnn.devices import cache
        from jaxnn.predict import load_run
    cache.keep_programs()
    process.collect_garbage()
    given_to = {name: getattr(own, name) for name in ("model", "loss", "metrics", "task")}
    return load_run(path, weights=weights, partial="--partial" in given, flips="--flips" in given, **given_to)


def brought(folder: str, saved: dict[str, Any], config: str | None, needed: Sequence[str] = ("model", "task")) -> Own:
    """What the config file of a run brings to it, which is the file --config; Own() where it is not needed.

    saved: config.json of the run. Raises `InputError` where the run has a function of `needed` and no --config.
    """
    names = ["model"] * (saved["own_model"] and saved["source"] != KERAS_MODEL) + saved.get("own", [])
    if config is None and (missing := [name for name in names if name in needed]):
        cure = f"add --config {saved['source']}.py, that file"
        raise InputError(f"run={folder}: its config file brought a {missing[0]}; {cure}")
    if config is not None and not names:
        raise InputError(f"--config={config}: the run brought nothing of its own; leave it out")
    return Own() if config is None else _own(config, saved.get("source_digest"))


def _own(config: str, digest: str | None) -> Own:
    """What a config file brings to a trained network; it must be the file that the run was trained with."""
    from jaxnn.commands import config_file

    path = paths.expand("--config", config)
    if not path.is_file() and path.parent == Path():  # a config by its name
        path = paths.CONFIGS / f"{path.stem}.py"
    if not path.is_file():
        raise InputError(f"--config={config}: no such file; check the path")
    found = config_file.run(path, config)
    if not found.own.names() or digest not in (None, found.digest):
        had = f" (SHA-256 {digest[:12]}...)" if digest else ""
        raise InputError(f"--config={config}: is not the file that the run was trained with{had}; name that file")
    return found.own
