"""What a command line asks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from jaxnn.config.names import LOGS
from jaxnn.config.own import Own
from jaxnn.config.settings import Config
from jaxnn.errors import InputError, check, choices

if TYPE_CHECKING:  # imported by those who ask for a sweep
    from jaxnn.config.sweep import Sweep

MODES = ("auto", "map", "vmap")


@dataclass(frozen=True)
class SweepFlags:
    """How the settings of several runs differ."""

    over: Annotated[tuple[str, ...] | None, tyro.conf.arg(name="", metavar="FIELD=VALUES ...")] = None
    """train a run for each value: optim.lr=1e-4..1e-1:16 (so many, evenly spaced in the logarithm; with :linear at the
    end, evenly), optim.name=sgd,adam or model.hidden=50,100+50 (two layers); of several fields, each combination"""
    random: int | None = None
    """draw so many settings from the lists and ranges (then without a count: optim.lr=1e-4..1e-1), by --seed"""
    mode: str = "auto"
    """how the runs of one program are computed: map, one after the other, to the bits of single runs; vmap, all in each
    operation, but for rounding; auto is map on a CPU, vmap elsewhere"""
    halve: tyro.conf.FlagCreatePairsOff[bool] = False
    """successive halving: after 1/8, 1/4 and 1/2 of the epochs (of 8 settings) the worse half of the settings stops"""

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise choices("--sweep.mode", self.mode, MODES)
        if self.over == ():
            raise InputError("--sweep=nothing: must be FIELD=VALUES; write --sweep optim.lr=1e-4..1e-1:16")


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
    once (JAXNN_CACHE=off: in no run)"""
    log: tuple[str, ...] = ()
    """give the rows of the history, as they come, to tensorboard (in the run's folder), wandb, mlflow, or to what a
    function of your own opens, module:function (docs/guide/logs.md)"""
    seeds: int | None = None
    """train so many runs, which differ in their seed: --seed, --seed + 1, ..."""
    folds: int | None = None
    """cross-validation: so many runs, each validated on another part of the training examples"""
    sweep: SweepFlags = SweepFlags()
    traceback: tyro.conf.FlagCreatePairsOff[bool] = False
    """show where an error was raised"""
    distributed: tyro.conf.FlagCreatePairsOff[bool] = False
    """one of several processes that train as one, on several hosts: those of Slurm, Open MPI, Kubernetes or a TPU slice
    are found (docs/guide/cluster.md)"""
    coordinator: Annotated[str | None, tyro.conf.arg(metavar="HOST:PORT")] = None
    """the same where no cluster says it: the address of process 0, where all of them meet"""
    processes: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """how many processes there are"""
    process_id: Annotated[int | None, tyro.conf.arg(metavar="I")] = None
    """which one this is: 0 to N - 1"""

    def __post_init__(self) -> None:
        for name in self.log:
            module, colon, function = name.partition(":")
            if name not in LOGS and not (module and colon and function.isidentifier()):
                raise choices("--log", name, (*LOGS, "module:function"))
            if self.log.count(name) > 1:
                raise InputError(f"--log={name}: named twice; keep one")

    def runs(self) -> Sweep | None:
        """The runs that are asked for; None for one. Raises `InputError` for flags that do not go together."""
        if (self.sweep, self.seeds, self.folds) == (SweepFlags(), None, None):
            return None
        from jaxnn.config.sweep import expand  # which a single run, and --help, start without

        return expand(self.run, self.sweep, self.seeds, self.folds)

    def several(self) -> bool:
        """Whether this is one of several processes. Raises `InputError` for flags that do not go together."""
        given = {"--coordinator": self.coordinator, "--processes": self.processes, "--process_id": self.process_id}
        missing = [flag for flag, value in given.items() if value is None]
        if len(missing) == 3:
            return self.distributed
        flag, value = next((flag, value) for flag, value in given.items() if value is not None)
        if self.coordinator is None or self.processes is None or self.process_id is None:
            raise InputError(f"{flag}={value}: needs {' and '.join(missing)} besides; or write --distributed alone")
        host, _, port = self.coordinator.rpartition(":")
        whole = bool(host) and port.isascii() and port.isdigit() and 0 < int(port) < 2**16
        check("--coordinator", self.coordinator, "HOST:PORT of process 0, with a port of 1 to 65535", whole)
        check("--processes", self.processes, ">= 1", self.processes >= 1)
        rule = f"0 to {self.processes - 1}, for --processes={self.processes} are numbered from 0"
        check("--process_id", self.process_id, rule, 0 <= self.process_id < self.processes)
        devices = self.run.devices
        if devices is not None and self.processes > 1:
            raise InputError(f"--devices={devices}: several processes take all that each has; leave --devices out")
        return True


@dataclass(frozen=True)
class Request:
    """A parsed command line: the flags, and what the config file brought besides values."""

    flags: Flags
    source: str | None = None  # the config file's name
    file: str | None = None  # the same as a command takes it: the path that was typed, or the name of a config
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
