"""Predictions as CSV, JSON lines or Parquet: a file that is there as a whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from jaxnn.config import paths
from jaxnn.errors import Error, InputError
from jaxnn.store import durable

SUFFIXES = (".csv", ".jsonl", ".parquet")
Columns = dict[str, Any]  # arrays of one length, by name


def named(data: dict[str, Any], answers: Any, probabilities: np.ndarray | None, files: Any) -> Columns:
    """The columns of predictions: `file`, the target or targets, and `P(label)` for each class.

    answers: an array, or several `[n, K]` by what is put behind the names of the targets (`Task.columns`).

    >>> data = {"targets": ["kind"], "classes": ["a", "b"]}
    >>> list(named(data, np.array(["b"]), np.array([[0.25, 0.75]]), None))
    ['kind', 'P(a)', 'P(b)']
    """
    columns: Columns = {} if files is None else {"file": np.array(files)}
    several = answers if isinstance(answers, dict) else {"": answers.reshape(len(answers), -1)}
    count, names = next(iter(several.values())).shape[1], data.get("targets") or ["prediction"]
    shown = names
    if len(names) != count:  # the answers are one of several columns, or an archive has no names
        shown = ["prediction"] if count == 1 else [f"{names[0]}_{k}" for k in range(count)]
    columns |= {f"{name}{end}": each[:, k] for k, name in enumerate(shown) for end, each in several.items()}
    if probabilities is not None:
        labels = names if len(names) > 1 else data["classes"]
        columns |= {f"P({label})": each for label, each in zip(labels, probabilities.T, strict=True)}
    return columns


def check_output(text: str, suffixes: Sequence[str], *, force: bool, flag: str = "--output") -> Path:
    """The path that a flag names, to which a file can be written. Raises `InputError`."""
    path = paths.expand(flag, text)
    if path.suffix.lower() not in suffixes:
        raise InputError(f"{flag}={text}: must end with {' or '.join(suffixes)}; rename it")
    if not os.path.isdir(path.parent):
        raise InputError(f"{flag}={text}: {path.parent} is no folder; make it, or name another")
    if os.path.isdir(path) or os.path.lexists(path) and not force:
        raise InputError(f"{flag}={text}: is there already; name another file, or add --force to replace it")
    return path.parent.resolve() / path.name


@contextlib.contextmanager
def writing(path: Path | None) -> Iterator[Callable[[Columns], None]]:
    """Yields `write(columns)`, to be called for one part of the rows after another.

    path: a .csv, .jsonl or .parquet; None: CSV on standard output. Nothing is there before the context has ended
    well.
    Raises `StorageError` if the file cannot be written.
    """
    import pyarrow as pa

    kind = ".csv" if path is None else path.suffix.lower()
    with _to_stdout() if path is None else _beside(path) as file, contextlib.ExitStack() as stack:
        writer: Any = None

        def write(columns: Columns) -> None:
            nonlocal writer
            table = pa.table({name: pa.array(values) for name, values in columns.items()})
            if kind == ".parquet":
                from pyarrow import parquet

                writer = writer or stack.enter_context(parquet.ParquetWriter(file, table.schema))
                writer.write_table(table)
                return
            if kind == ".csv" and not writer:
                file.write((",".join(map(_cell, table.column_names)) + "\n").encode())
            writer = True
            file.write(_lines(table, kind))

        yield write


def _lines(table: Any, kind: str) -> bytes:
    """The rows of a table as lines of CSV or JSON."""
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = [_texts(column, _cell if kind == ".csv" else json.dumps) for column in table.columns]
    joined: Any = pc  # the functions of pyarrow.compute are made when it is imported
    if kind == ".csv":
        rows = joined.binary_join_element_wise(*texts, ",")
    else:
        names = [("{" if k == 0 else ", ") + json.dumps(name) + ": " for k, name in enumerate(table.column_names)]
        pieces = [piece for name, text in zip(names, texts, strict=True) for piece in (pa.scalar(name), text)]
        rows = joined.binary_join_element_wise(*pieces, pa.scalar("}"), "")
    return ("\n".join(rows.to_pylist()) + "\n").encode()


def _texts(column: Any, quoted: Callable[[str], str]) -> Any:
    """Numbers with as many digits as tell them from all others of their type; texts as `quoted` writes them."""
    import pyarrow as pa

    column = column.combine_chunks()
    if not pa.types.is_string(column.type):
        return column.cast(pa.string())
    coded = column.dictionary_encode()
    return pa.array([quoted(text) for text in coded.dictionary.to_pylist()], pa.string()).take(coded.indices)


def _cell(text: str) -> str:
    """A cell of CSV, between marks where it needs them."""
    return '"' + text.replace('"', '""') + '"' if any(c in ',"\r\n' for c in text) or text != text.strip() else text


@contextlib.contextmanager
def _to_stdout() -> Iterator[IO[bytes]]:
    try:
        with tempfile.TemporaryFile() as file:  # not at once on standard output: the last row may be bad input
            yield file
            file.seek(0)
            shutil.copyfileobj(file, sys.stdout.buffer)
    except OSError as reason:
        if isinstance(reason, Error):
            raise
        raise durable.unwritable(Path(tempfile.gettempdir()), reason) from None


@contextlib.contextmanager
def _beside(path: Path) -> Iterator[IO[bytes]]:
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with os.fdopen(durable.open_file(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        durable.sync(path.parent)
    except OSError as reason:
        if isinstance(reason, Error):
            raise
        raise durable.unwritable(path, reason) from None
    finally:
        beside.unlink(missing_ok=True)
