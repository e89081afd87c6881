"""`jaxnn COMMAND ...`: what a person types."""

from __future__ import annotations

import contextlib
import errno
import functools
import gc
import importlib
import json
import sys
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait

from jaxnn.commands import environment
from jaxnn.config.paths import CONFIGS
from jaxnn.config.request import Request
from jaxnn.errors import Error, StorageError, choices
from jaxnn.report.page import drawing
from jaxnn.training import process

USAGE = """`jaxnn COMMAND ...`: what a person types.

    jaxnn train [CONFIG] [flags]      train a neural network; `jaxnn train --help` shows configs and flags
    jaxnn predict RUN SOURCE...       answers for new examples: a table, images, a .npz
    jaxnn evaluate RUN LABELLED       the metrics of labelled examples
    jaxnn diagnose RUN                what is wrong with a run, and the flag that mends it
    jaxnn lr [CONFIG] [flags]         a learning rate for a config
    jaxnn report RUN                  a page to look at: curves, mistakes, calibration; of a sweep too
    jaxnn compare RUN RUN...          several runs: their metrics, the flags that differ, means over seeds
    jaxnn export RUN --to FORMAT,...  a trained network for use without jaxnn: onnx, stablehlo, numpy, safetensors
    jaxnn sample RUN                  images that a network generates
    jaxnn style CONTENT STYLE         a picture with the content of one and the style of another
    jaxnn data DATA                   what is in the data: classes, ranges, missing values, duplicates, pictures
    jaxnn configs [NAME] [--copy]     the configs that there are; one as the beginning of your own
    jaxnn convert SOURCE --to DIR     data as a folder that a run can read while it trains
    jaxnn selfcheck [FOLDER]          does a run survive what can happen to it, on this machine?
    jaxnn completion SHELL            a script by which bash, zsh or fish completes words, flags and configs
    jaxnn --version                   the versions that a report of a fault should have

`python train.py ...` and `python -m jaxnn train ...` are `jaxnn train ...`.
"""
STARTED = time.perf_counter()


def train(argv: list[str]) -> int:
    """`jaxnn train`: parse, and read the data while jax is imported."""
    stop = process.Stop()  # before the imports below, so that a signal during them is answered

    from jaxnn.commands import arguments
    from jaxnn.config.values import to_dict

    request = arguments.parse(argv, CONFIGS)
    flags = request.flags
    if flags.print_config:
        print(json.dumps(to_dict(flags.run), indent=2))
        return 0
    with drawing.beside() if flags.run.report != "off" and not flags.dry_run else contextlib.nullcontext() as drawn:
        code = _train(request, stop, drawn)
    if not flags.dry_run and (reason := process.lost()) and reason.errno != errno.EBADF:  # closed on purpose
        print(f"warning: standard output: {reason.strerror}; the results are in the run's folder", file=sys.stderr)
    return code


def _train(request: Request, stop: process.Stop, drawn: drawing.Drawing | None) -> int:
    # numpy.ma looks through NumPy's table of types while it is imported, to which jax's import adds in another thread.
    import numpy.ma  # noqa: F401  # pyright: ignore[reportUnusedImport]

    from jaxnn.data import from_config
    from jaxnn.data.readers import tfds
    from jaxnn.report.stopwatch import Stopwatch

    flags, together = request.flags, request.flags.several()
    pool, config = ThreadPoolExecutor(max_workers=4), flags.run
    clock, keep = Stopwatch("start", since=STARTED), not flags.no_cache
    read = functools.partial(from_config, task=config.task.name, keep=keep, arrays=request.brought.data)
    reading = pool.submit(read, config.data)
    if tfds.is_one(config.data.name):
        # tensorflow-datasets makes the imports of all threads lazy while it is imported, and jax's fail.
        wait([reading])

    with environment.for_jax():
        import jax  # while the data are read

        if not together:  # devices are found, and the run's key is compiled, while the rest is imported
            pool.submit(jax.random.key, config.seed)
        from jaxnn import train
        from jaxnn.devices import hosts

        if together:
            hosts.initialise(flags.coordinator, flags.processes, flags.process_id)

    with hosts.join(clock, stop) if together else contextlib.nullcontext():
        if request.sweep:
            from jaxnn.sweep import run

            return run.sweep(request, request.sweep, reading, read, stop, clock, pool)
        return train.train(request, reading, stop, clock, pool, drawn)


# In which file of jaxnn/commands each word is a function of that name, imported when it is asked for.
COMMANDS = {
    "train": "main",
    "predict": "predict",
    "evaluate": "predict",
    "diagnose": "diagnose",
    "lr": "lr",
    "report": "report",
    "compare": "compare",
    "export": "export",
    "sample": "sample",
    "style": "style",
    "data": "data",
    "configs": "configs",
    "convert": "convert",
    "selfcheck": "selfcheck",
    "completion": "completion",
}


def main(argv: list[str] | None = None) -> None:
    """Run a command and end the process with its exit code; `SystemExit` where it came as `argv`, of a program."""
    ours, argv = argv is None, sys.argv[1:] if argv is None else argv
    gc.disable()  # until the run has started: a fifth of that time would go into looking for garbage
    process.open_output()
    try:
        code = _command(argv)
        if reason := process.lost():
            raise StorageError(f"standard output: cannot be written ({reason.strerror}); send it elsewhere")
    except Error as error:
        if "--traceback" in argv:
            traceback.print_exc()
        print(f"error: {error}", file=sys.stderr)
        process.end(error.exit_code)
    except KeyboardInterrupt:
        process.end(130)
    except Exception:
        traceback.print_exc()
        process.end(1)
    else:
        if ours:
            process.leave(code)
        sys.exit(code)


def command(word: str) -> Callable[[list[str]], int]:
    """The function of a word."""
    return getattr(importlib.import_module(f"jaxnn.commands.{COMMANDS[word]}"), word)


def _version() -> str:
    """jaxnn's version on the first line, and below what it runs on; none of the libraries is imported."""
    import platform  # these take time that no other command has to spend

    from jaxnn.store import identity

    found = identity.versions()
    lines = [f"jaxnn {found.pop('jaxnn')}", *(f"{name} {version}" for name, version in found.items())]
    return "\n".join([*lines, platform.platform()])


def _command(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help"):
        print(USAGE.strip())
        return 0 if argv else 2
    if argv[0] == "--version":
        print(_version())
        return 0
    if argv[0] not in COMMANDS:
        raise choices("command", argv[0], COMMANDS)
    try:
        return command(argv[0])(argv[1:])
    except SystemExit as end:
        if end.code:  # from a config file
            raise
        return 0  # after --help
