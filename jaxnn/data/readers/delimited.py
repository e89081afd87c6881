"""CSV, TSV and other delimited text, parsed by pyarrow.

What pyarrow refuses without naming the line, or lets pass (text after a closing quote), the csv module reads again: it
is slower, and knows the line.
"""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jaxnn.data.check import file_size
from jaxnn.data.columns import NUMBER
from jaxnn.data.grid import Grid
from jaxnn.errors import InputError

DELIMITERS = {"\\t": "\t", "comma": ",", "tab": "\t", "semicolon": ";", "bar": "|", "space": " "}
FOUND = ",\t;|"  # the ones that are looked for
CHUNK, BLOCK = 2**24, 2**22  # bytes: read at a time, and parsed at a time by one thread


def read(path: Path, delimiter: str | None, missing: tuple[str, ...]) -> Grid:
    """The cells of a file: numbers where all cells of a column are, in a part of the rows, and texts elsewhere.

    Raises `InputError` for a header that names no columns, rows of different lengths, and what is no UTF-8 or CSV.
    """
    import pyarrow as pa
    from pyarrow import csv as arrow

    delimiter = DELIMITERS.get(delimiter or "", delimiter) or _found(path)
    if len(delimiter) != 1 or delimiter in '"\r\n' or not delimiter.isascii():
        rule = f"must be one ASCII character, or {', '.join(DELIMITERS)}"
        raise InputError(f"--data.delimiter={delimiter}: {rule}")
    names, lines = _header(path, delimiter)
    check_names(str(path), names)
    quoted, hexadecimal = _signs(path)
    if quoted:
        _check(path, delimiter, names)
    how = arrow.ParseOptions(delimiter=delimiter, newlines_in_values=quoted)
    plain = (pa.int64(), pa.float64(), pa.string(), pa.null())

    def parsed(content: bytes, texts: frozenset[str], chosen: Sequence[str]) -> Any:
        options = arrow.ConvertOptions(
            null_values=[*missing, ""], strings_can_be_null=True, true_values=[], false_values=[],
            column_types={name: pa.string() for name in texts}, include_columns=list(chosen),
        )  # fmt: skip
        return arrow.read_csv(
            pa.BufferReader(content), arrow.ReadOptions(column_names=names, block_size=BLOCK), how, options
        )

    def parts(texts: frozenset[str], chosen: Sequence[str]) -> Iterator[Any]:
        texts = frozenset(names) if hexadecimal else texts
        empty = True
        try:
            for content in _blocks(path, lines, quoted):
                table = parsed(content, texts, chosen)
                if others := {field.name for field in table.schema if field.type not in plain}:  # dates, times
                    table = parsed(content, texts | others, chosen)
                empty = empty and not len(table)
                yield table
        except pa.ArrowInvalid as error:
            _check(path, delimiter, names)
            reason = str(error).split("\n")[0]
            raise InputError(f"{path}: not CSV ({reason}); repair it") from error
        if empty:
            _check(path, delimiter, names)

    def cell(row: int, name: str) -> tuple[str, str]:
        line, cells = next(itertools.islice(_rows(path, delimiter), row + 1, None))
        return f"line {line}", cells[names.index(name)].strip()

    return Grid(str(path), tuple(names), parts, cell)


def _blocks(path: Path, lines: int, quoted: bool) -> Iterator[bytes]:
    """The file below its header, in parts that end with a row."""
    with path.open("rb") as file:
        rest, old = b"", False
        while content := file.read(CHUNK):
            old = old or (b"\n" not in content and b"\r" in content)  # lines that end as on the first Macintosh
            content = rest + (content.replace(b"\r", b"\n") if old else content)
            start = 0
            for _ in range(lines):
                start = content.find(b"\n", start) + 1 or len(content)
            lines, end = 0, content.rfind(b"\n") + 1
            while quoted and end > start and content.count(b'"', start, end) % 2:  # this line end is in a quoted cell
                end = content.rfind(b"\n", 0, end - 1) + 1
            part, rest = content[start:end], content[max(start, end) :]
            if part and not part.isspace():
                yield part
        if rest and not rest.isspace():
            yield rest


def _signs(path: Path) -> tuple[bool, bool]:
    """Whether there is a quotation mark, and whether there is a hexadecimal number, which pyarrow would read as one."""
    quote = hexadecimal = False
    tail = b""
    with path.open("rb") as file:
        while part := file.read(CHUNK):
            quote |= b'"' in part
            if not hexadecimal and (b"x" in part or b"X" in part):  # one byte is found ten times as fast as two
                hexadecimal = bool(re.search(rb"0[xX]", tail + part))
            tail = part[-1:]
    return quote, hexadecimal


def _rows(path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Each row that is not blank, the header too, and the line that it ends on."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True, delimiter=delimiter)
        try:
            for row in reader:
                if row or reader.line_num == 1:
                    yield reader.line_num, row
        except UnicodeDecodeError as error:
            raise InputError(f"{path} after line {reader.line_num}: must be UTF-8 text; save it as UTF-8") from error
        except csv.Error as error:
            raise InputError(f"{path} line {reader.line_num}: not CSV ({error}); repair it") from error


def _found(path: Path) -> str:
    """The delimiter that cuts the first line into most cells."""
    file_size(path)

    def width(delimiter: str) -> int:
        try:
            return len(next(_rows(path, delimiter), (0, []))[1])
        except InputError:  # with a comma, "a";"b" is no CSV
            return 0

    return max(FOUND, key=width)


def _header(path: Path, delimiter: str) -> tuple[list[str], int]:
    """The names of the columns, and how many lines they take."""
    line, cells = next(_rows(path, delimiter), (0, []))
    names = [name.strip() for name in cells]
    if not names:
        raise InputError(f"{path}=empty: the first line must name the columns; check the file")
    return names, line


def check_names(path: str, names: list[str]) -> None:
    """Refuse a first line that is none of names: a row of data, a name twice or none."""
    line = f"{path} line 1"
    if "" in names:
        raise InputError(f"{line}=column {names.index('') + 1}: has no name; give it one")
    numbers = [name for name in names if NUMBER.fullmatch(name)]
    if len(numbers) == len(names) or not all(name.isdecimal() for name in numbers):
        raise InputError(f"{line}={','.join(names)[:80]}: must name the columns; add a header")
    if len(set(names)) < len(names):
        double = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{line}={double}: two columns have this name; rename one, or add a header if this is data")


def _check(path: Path, delimiter: str, names: list[str]) -> None:
    """Refuse, with the line, what is no CSV, and rows that are not as long as the header."""
    line = 0
    for line, row in itertools.islice(_rows(path, delimiter), 1, None):
        if len(row) != len(names):
            raise InputError(f"{path} line {line}={len(row)} cells: the header has {len(names)}; repair it")
    if not line:
        raise InputError(f"{path}=0 examples: must hold at least one row below the header; check the file")
