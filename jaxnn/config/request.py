"""What a command line asks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import tyro

from jaxnn.config.own import Own
from jaxnn.config.settings import Config
from jaxnn.config.sweep import Sweep, SweepFlags
from jaxnn.errors import InputError


@dataclass(frozen=True)
class Flags:
    """What a command line asks for."""

    run: Annotated[Config, tyro.conf.arg(name="")]
    config: Annotated[str | None, tyro.conf.arg(metavar="FILE")] = None
    """replay: the config.json of an earlier run; flags go on top"""
    print_config: tyro.conf.FlagCreatePairsOff[bool] = False
    """print the resolved config as JSON and stop"""
    dry_run: tyro.conf.FlagCreatePairsOff[bool] = False
    """check everything, print shapes, parameters and memory, and stop before the first step"""
    no_cache: tyro.conf.FlagCreatePairsOff[bool] = False
    """do not keep compiled programs and decoded images in the user's cache folder; kept, they let the next run start at
    once"""
    seeds: int | None = None
    """train so many runs, which differ in their seed: --seed, --seed + 1, ..."""
    folds: int | None = None
    """cross-validation: so many runs, each validated on another part of the training examples"""
    sweep: SweepFlags = SweepFlags()
    traceback: tyro.conf.FlagCreatePairsOff[bool] = False
    """show where an error was raised"""


@dataclass(frozen=True)
class Request:
    """A parsed command line: the flags, and what the config file brought besides values."""

    flags: Flags
    source: str | None = None  # the config file's name
    brought: Own = Own()
    source_digest: str | None = None  # SHA-256 of that file, if it brought anything
    digest: str | None = None  # of the data of the run that is replayed
    start: dict[str, Any] | None = None  # what the run that is replayed began with, where --init_from is its own
    sweep: Sweep | None = None  # the runs that are asked for, where they are several

    def own(self) -> dict[str, Any]:
        """What a run's config.json says of the config file; `own`: what it brought besides a model, if anything."""
        rest = [name for name in self.brought.names() if name != "model"]
        about = {"source": self.source, "own_model": self.brought.model is not None}
        return about | ({"own": rest} if rest else {}) | {"source_digest": self.source_digest}

    def check_digest(self, digest: str) -> None:
        """Refuse to replay a run on other data than it had."""
        if self.digest not in (None, digest):
            had = (self.digest or "")[:12]
            raise InputError(f"data.digest={digest[:12]}: the run had {had}; the data have changed")
