"""The cells of a table as a file or a data frame has them, a part of the rows at a time, before they are typed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxnn.data.check import file_size, unpacked_size
from jaxnn.errors import InputError

ROWS = 2**17  # of one part


class Grid(NamedTuple):
    """A table that can be read again, since a large one is never there as a whole."""

    name: str
    names: tuple[str, ...]
    """of the columns"""
    parts: Callable[[frozenset[str], Sequence[str]], Iterator[Any]]
    """(columns to be read as texts, columns) -> `pyarrow.Table` after `pyarrow.Table`"""
    cell: Callable[[int, str], tuple[str, str]]
    """(row, column) -> (its line or row, its text)"""
    has_types: bool = False
    """its texts are texts, even those that look like numbers: a data frame, not a CSV file"""

    def at(self, column: str, row: int) -> str:
        """Where a cell is and what it holds: the head of a message."""
        place, text = self.cell(row, column)
        return f"{self.name} {place}, column {column}={text[:100]}"

    def in_parts(self, texts: frozenset[str], names: Sequence[str]) -> Iterator[Grid]:
        """These columns in parts that fit in memory, each of them a grid whose cells are named by their place here."""
        before = 0
        for table in self.parts(texts, names):
            for start in range(0, len(table), ROWS):
                yield self._part(table.slice(start, ROWS), tuple(names), before + start)
            before += len(table)

    def _part(self, part: Any, names: tuple[str, ...], before: int) -> Grid:
        parts = lambda texts, chosen: iter([part.select(list(chosen))])
        return self._replace(names=names, parts=parts, cell=lambda row, name: self.cell(before + row, name))


def is_frame(source: Any) -> bool:
    """Whether this is a table in memory: of pandas, polars, pyarrow or whatever else speaks Arrow's C interface."""
    return hasattr(source, "__arrow_c_stream__")


def from_frame(frame: Any, name: str = "table") -> Grid:
    """The columns of a data frame; the index of pandas is none of them."""
    import pyarrow as pa

    try:
        if hasattr(frame, "index") and hasattr(frame, "columns"):
            table = pa.Table.from_pandas(frame.rename(columns=str), preserve_index=False)
        else:
            table = pa.table(frame)
    except (pa.ArrowException, ValueError, TypeError) as error:
        reason = " ".join(map(str, error.args))[:300]
        raise InputError(f"{name}: not a table of numbers and texts ({reason}); convert its columns") from error

    def parts(texts: frozenset[str], names: Sequence[str]) -> Iterator[Any]:
        del texts  # a data frame says itself what is a text
        chosen = table.select(list(names))
        return (chosen.slice(start, ROWS) for start in range(0, len(table), ROWS))

    return _grid(name, table.column_names, len(table), parts)


def from_file(path: Path, rows: int | None = None) -> Grid:
    """A Parquet or Feather file. Raises `InputError` for one that is damaged, or unpacks to far more than it is.

    rows: of one part, for a table that is never there as a whole, and so may have any size.
    """
    import pyarrow as pa
    from pyarrow import ipc, parquet

    def refused(error: Exception) -> Exception:
        if isinstance(error, InputError) or (isinstance(error, OSError) and error.errno is not None):
            return error
        reason = str(error).split("\n")[0]
        return InputError(f"{path}: not a readable table ({reason}); save it again")

    def parts(texts: frozenset[str], names: Sequence[str]) -> Iterator[Any]:
        del texts  # the file says itself what is a text
        try:
            if is_parquet:
                with parquet.ParquetFile(path) as file:
                    for batch in file.iter_batches(rows or ROWS, columns=list(names)):
                        yield pa.Table.from_batches([batch])
            else:
                with path.open("rb") as raw, ipc.open_file(raw) as file:
                    for i in range(file.num_record_batches):
                        yield pa.Table.from_batches([file.get_batch(i)]).select(list(names))
        except (pa.ArrowException, OSError, ValueError) as error:
            raise refused(error) from error

    packed, is_parquet = file_size(path), path.suffix.lower() == ".parquet"
    try:
        if is_parquet:
            with parquet.ParquetFile(path) as file:
                about, names = file.metadata, file.schema_arrow.names
            groups = (about.row_group(i) for i in range(about.num_row_groups))
            if rows is None:
                unpacked_size(path, sum(group.total_byte_size for group in groups), packed)
                unpacked_size(path, 4 * about.num_rows * about.num_columns)
            n = about.num_rows
        else:
            with path.open("rb") as raw, ipc.open_file(raw) as file:
                names, n = file.schema.names, sum(file.get_batch(i).num_rows for i in range(file.num_record_batches))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise refused(error) from error
    return _grid(str(path), names, n, parts)


def _grid(name: str, names: Sequence[str], n: int, parts: Any) -> Grid:
    if len(set(names)) < len(names):
        double = next(column for column in names if names.count(column) > 1)
        raise InputError(f"{name}={double}: two columns have this name; rename one")
    if not n or not names:
        raise InputError(f"{name}=0 examples: must hold at least one row; check it")

    def cell(row: int, column: str) -> tuple[str, str]:
        before = 0
        for part in parts(frozenset(), [column]):
            if row < before + len(part):
                return f"row {row}", str(part[column][row - before].as_py())
            before += len(part)
        raise IndexError(row)

    return Grid(name, tuple(names), parts, cell, has_types=True)
