"""`jaxnn convert`: data of any kind as a folder of `.npy` files, which a run may read while it trains."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from jaxnn.commands.words import own_flags
from jaxnn.config import paths
from jaxnn.config.data import DataConfig
from jaxnn.config.values import to_dict
from jaxnn.errors import Error, InputError, printable

USAGE = """usage: jaxnn convert SOURCE --to DIR [--data.*] [--task.name NAME]

Data as a folder of .npy files, already split, which `jaxnn train --data.name DIR` reads into memory, or while it trains
where they are larger than that (docs/guide/streams.md).

  SOURCE                   what --data.name may be: a folder of images by class, a table (.csv .tsv .parquet .feather),
                           tfds:NAME or the folder of its ArrayRecord files, a .npz, mnist, a folder of IDX files,
                           images with masks or boxes

  --to DIR                 a new folder. A conversion that was cut off goes on with the same command
  --data.*                 how the source is read and split, as of jaxnn train: --data.image_size, --data.target, ...
  --task.name NAME         as of jaxnn train, where the labels do not say it
  --traceback              show where an error was raised
"""
OF_TRAINING = ("augment", "class_weight", "feed")


def convert(argv: list[str]) -> int:
    """`jaxnn convert`: the exit code."""
    if not {"-h", "--help"}.isdisjoint(argv):
        print(USAGE.strip())
        return 0
    config, task, to = _parsed(argv)

    from jaxnn.data.streams import sources
    from jaxnn.store import converted

    folder = paths.expand("--to", to)
    try:
        known = {"source": _fingerprint(config.name, sources.files(config)), "settings": _settings(config, task)}
        whole = converted.check(folder, known)
        if whole is None:
            made = sources.made(config, task)
            total = sum(len(part.rows) for part in made.parts.values())
            with converted.entered(folder, known), _bar(total) as tell:
                whole = converted.write(folder, made, known, allow_overlap=config.allow_overlap, tell=tell)
            for note in whole["about"]["notes"]:
                print(f"note: {printable(note)}", file=sys.stderr)
    except OSError as error:
        if isinstance(error, Error) or not error.filename:
            raise
        raise InputError(f"{error.filename}: {error.strerror}; check the path") from error
    files = whole["files"]
    size = sum(file["bytes"] for file in files.values())
    print(f"{printable(to)}: {_listed(whole)}; {len(files)} files, {size:,} bytes, read back")
    return 0


def _listed(whole: dict[str, Any]) -> str:
    """How many examples each part has."""
    shape = "x".join(map(str, whole["about"]["shape"]))
    sizes = ", ".join(f"{rows:,} {part}" for part, rows in whole["parts"].items())
    return f"{sizes} examples of {shape}"


def _parsed(argv: Sequence[str]) -> tuple[DataConfig, str, str]:
    """The settings of the data, the task, and the folder. Raises `InputError` for flags that are none of those."""
    from jaxnn.commands import arguments

    words, given = own_flags(argv, ["--to"])
    to = given.get("--to")
    if not words or words[0].startswith("-") or to is None:
        raise InputError("convert: needs a SOURCE and --to DIR; see jaxnn convert --help")
    source, *flags = words
    for word in flags:
        name = word.partition("=")[0].replace("-", "_").replace("__", "--", 1)
        option = name.removeprefix("--data.").removeprefix("no_")
        if name.startswith("--") and name not in ("--task.name", "--traceback") and not name.startswith("--data."):
            raise InputError(f"{word}: is no flag of convert, which has --to, --data.* and --task.name; leave it out")
        if name.startswith("--data.") and option in (*OF_TRAINING, "name"):
            cure = "give it to jaxnn train" if option != "name" else "name the source first"
            raise InputError(f"{word}: does not change what is converted; {cure}")
    run = arguments.parse(["--data.name", source, *flags], paths.CONFIGS).flags.run
    return run.data, run.task.name, to


def _settings(config: DataConfig, task: str) -> dict[str, Any]:
    """What decides the bytes that are written, as JSON has it."""
    values = json.loads(json.dumps(to_dict(config)))
    for name in ("name", "dir", "validation", "allow_overlap", *OF_TRAINING):
        del values[name]
    return values | {"task": task, "validation": config.validation is not None}


def _fingerprint(name: str, files: Sequence[Path]) -> str:
    """SHA-256 of the places, lengths and times of all files of a source: what is read again must be the same.

    A source without files is known by its name; the files of another one may be moved together.
    """
    sha = hashlib.sha256(b"" if files else name.encode(errors="surrogateescape"))
    root = os.path.commonpath([path.parent for path in files]) if files else ""
    for path in files:
        status = path.stat()
        sha.update(
            f"{os.path.relpath(path, root)}\0{status.st_size} {status.st_mtime_ns}\n".encode(errors="surrogateescape")
        )
    return sha.hexdigest()


@contextlib.contextmanager
def _bar(total: int) -> Iterator[Callable[[int], None]]:
    """Yields what is called with the rows that are done: a bar on a terminal."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield lambda rows: None
        return
    from rich import progress
    from rich.console import Console

    columns = (progress.TextColumn("{task.description}"), progress.BarColumn(), progress.MofNCompleteColumn())
    with progress.Progress(*columns, progress.TimeRemainingColumn(), console=Console(stderr=True)) as bar:
        number = bar.add_task("converting", total=total)

        def tell(rows: int) -> None:
            bar.update(number, completed=rows, description="reading back" if rows >= total else "converting")

        yield tell
