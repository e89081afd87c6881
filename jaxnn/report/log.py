"""`--log`: the rows of a run's history, given to TensorBoard, wandb, mlflow or a function of one's own as they come.

A log is a copy of history.jsonl. Rows are given once a checkpoint at or after their step is on the disk, so that no row
is given which a resumed run makes again. log.json, in the folder of the run, says of each logger which row is the last
that it was given (`to`: its step, and whether it is the final row), and from which step on rows were being given when
this was written (`since`). After a kill in that moment nobody knows which of these are in the log: TensorBoard's reader
forgets them, and they are given again; any other logger is not given them again, so that no row is in a log twice.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import os
import sys
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

from jaxnn.config import strict_json
from jaxnn.config.names import LOGS
from jaxnn.config.settings import Config
from jaxnn.devices import hosts
from jaxnn.errors import InputError
from jaxnn.report import screen
from jaxnn.store import durable, history
from jaxnn.store.saver import Saver

NAME = "log.json"
FORGETS = "tensorboard"  # what it was given from a step on, when it is opened at that step
OPENING = threading.Lock()  # the members of a sweep open theirs one after the other: packages are imported, files made


class Logger(Protocol):
    """What is given the rows of a run."""

    def log(self, step: int, scalars: dict[str, float]) -> None:
        """One row: its numbers by their names in the history. Each step once; the test metrics come last, with the step
        that the run ended at."""
        ...

    def close(self) -> None:
        """No more rows come from this process."""
        ...


# (folder of the run, its config, its name, step) -> logger; rows up to that step were given by earlier processes.
Open = Callable[[Path, Config, str, int], Logger]
Position = tuple[int, bool]  # of a row: its step, and whether it is the final one, which has the step of the one before


def found(names: Sequence[str]) -> dict[str, Open]:
    """What opens each of the loggers that --log names. Raises `InputError` for a package or function that is not there.

    >>> found([])
    {}
    """
    return {name: _built_in(name) if name in LOGS else _own(name) for name in names}


def _built_in(name: str) -> Open:
    package = LOGS[name]
    if importlib.util.find_spec(package) is None:
        raise InputError(f"--log={name}: needs the package {package}, which is not installed; pip install {package}")
    from jaxnn.report import loggers

    return loggers.OPEN[name]


def _own(name: str) -> Open:
    """`module:function`, which only a person types; the folder of the shell is looked in last."""
    module, _, function = name.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        given: Any = getattr(importlib.import_module(module), function, None)
    except ModuleNotFoundError as reason:
        if reason.name is None or not f"{module}.".startswith(f"{reason.name}."):  # a module that this one imports
            raise
        raise InputError(f"--log={name}: there is no module {reason.name}; check the name, or PYTHONPATH") from None
    if not callable(given):
        rule = f"{module} has no function {function}" if given is None else f"{function} is no function"
        raise InputError(f"--log={name}: {rule}; write def {function or 'mine'}(folder, config, name, step): ...")
    return cast(Open, given)


@contextlib.contextmanager
def following(saver: Saver, openers: Mapping[str, Open], config: Config) -> Iterator[None]:
    """While the context lasts, loggers are given the rows of the run that `saver` saves, in the thread of each save."""
    if not openers or not hosts.leads():
        yield
        return
    with OPENING:
        log = Log(saver.folder, openers, config)
    try:
        log.give()  # rows of an earlier process, which it did not come to give
        saver.then = log.give
        yield
        log.give()  # the final row
    finally:
        log.close()


def complete(folder: Path, openers: Mapping[str, Open], config: Config) -> None:
    """Give loggers what they lack of a finished run."""
    if not openers or not hosts.leads():
        return
    marks, last = _read(folder)["loggers"], _position(history.rows(folder)[-1])
    lacking = {
        name: opener
        for name, opener in openers.items()
        if name not in marks or _after(marks[name], forgets=name == FORGETS) < last
    }
    if lacking:
        log = Log(folder, lacking, config)
        log.give()
        log.close()


class Log:
    """The loggers of one run, and how far each has come; one that fails is told of once, and given no more."""

    folder: Path
    lock: threading.Lock
    read: int
    known: dict[str, Any]

    def __init__(self, folder: Path, openers: Mapping[str, Open], config: Config):
        self.folder, self.lock = folder, threading.Lock()
        self.read = 0  # bytes of the history
        self.known = _read(folder)
        durable.replace(folder / NAME, [json.dumps(self.known).encode()])
        self.after: dict[str, Position] = {}
        self.loggers: dict[str, Logger] = {}
        for name, opener in openers.items():
            self.after[name] = after = _after(self.known["loggers"].get(name), forgets=name == FORGETS)
            try:
                self.loggers[name] = opener(folder, config, folder.name, after[0])
            except Exception as reason:
                self._failed(name, reason)
                continue
            for method in ("log", "close"):
                if not callable(getattr(self.loggers[name], method, None)):
                    rule = f"gave a {type(self.loggers[name]).__name__} without {method}"
                    raise InputError(f"--log={name}: {rule}; return what has log(step, scalars) and close()")

    def give(self) -> None:
        """Give each logger the rows of the history that it has not had."""
        with self.lock:
            try:
                self._give()
            except Exception as reason:  # log.json cannot be written: what is given now might be given again
                for name in list(self.loggers):
                    self._failed(name, reason)

    def _give(self) -> None:
        rows, self.read = history.since(self.folder, self.read)
        new = {name: [row for row in rows if _position(row) > self.after[name]] for name in self.loggers}
        if not any(new.values()):
            return
        marks = self.known["loggers"]
        marks |= {n: {"to": _position(each[-1]), "since": each[0]["step"]} for n, each in new.items() if each}
        durable.replace(self.folder / NAME, [json.dumps(self.known).encode()])
        for name, each in new.items():
            for row in each:
                try:
                    self.loggers[name].log(row["step"], _scalars(row))
                except Exception as reason:
                    self._failed(name, reason)
                    break
                self.after[name] = _position(row)

    def close(self) -> None:
        """What has been given is noted as such."""
        with self.lock:
            for name, logger in list(self.loggers.items()):
                try:
                    logger.close()
                except Exception as reason:
                    self._failed(name, reason)
            self.loggers.clear()
            self.known["loggers"] |= {name: {"to": after, "since": None} for name, after in self.after.items()}
            with contextlib.suppress(OSError):  # the next process goes by what was noted before
                durable.replace(self.folder / NAME, [json.dumps(self.known).encode()])

    def _failed(self, name: str, reason: Exception) -> None:
        self.loggers.pop(name, None)
        told = (str(reason).splitlines() or [""])[0]
        cure = "the run goes on; its rows are in history.jsonl, and the same command gives those that are missing"
        screen.warn("warning", [f"--log={name}: {type(reason).__name__}: {told}; {cure}"])


def _read(folder: Path) -> dict[str, Any]:
    """log.json: `id`, the run's in all its processes, and `loggers`. Raises `InputError` for a file that is none."""
    path = folder / NAME
    if not path.exists():
        return {"id": uuid.uuid4().hex[:8], "loggers": {}}
    try:
        known = strict_json.loads(path.read_text(encoding="utf-8"), str(path))
        assert isinstance(known["id"], str)
        for mark in known["loggers"].values():
            (step, final), since = mark["to"], mark["since"]
            assert type(step) is int and type(final) is bool and type(since) in (int, type(None))
    except (OSError, ValueError, TypeError, LookupError, AttributeError, AssertionError):
        raise InputError(f"{path}: does not say what was logged; remove it, and all rows are logged again") from None
    return known


def _after(mark: dict[str, Any] | None, *, forgets: bool) -> Position:
    """The position that the rows come after which a logger is to be given."""
    if mark is None:
        return 0, False
    if forgets and mark["since"] is not None:
        return mark["since"] - 1, True
    step, final = mark["to"]
    return step, final


def _position(row: dict[str, Any]) -> Position:
    return row["step"], "seconds" not in row


def _scalars(row: dict[str, Any]) -> dict[str, float]:
    """The numbers of a row; those of the final one without its epoch, which stands in the row before it."""
    left = {"step"} | ({"epoch"} if "seconds" not in row else set())
    return {name: float(value) for name, value in row.items() if name not in left and value is not None}
