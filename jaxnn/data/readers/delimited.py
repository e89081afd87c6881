"""CSV, TSV and other delimited text, parsed by pyarrow.

What pyarrow refuses without naming the line, or lets pass (text after a closing mark), the csv module reads again: it
is slower, and knows the line.
"""

from __future__ import annotations

import codecs
import csv
import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

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
    _check_names(str(path), names)
    signs = _signs(path, delimiter)
    if not signs.regular:  # pyarrow lets text after a closing mark pass
        _check(path, delimiter, names)
    how = arrow.ParseOptions(delimiter=delimiter, newlines_in_values=signs.quoted)
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
        texts = frozenset(names) if signs.hexadecimal else texts
        empty = True
        try:
            for content in _blocks(path, lines, signs):
                table = parsed(content, texts, chosen)
                if others := {field.name for field in table.schema if field.type not in plain}:  # dates, times
                    texts |= others  # of the parts that follow too
                    table = parsed(content, texts, chosen)
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


def _blocks(path: Path, lines: int, signs: Signs) -> Iterator[bytes]:
    """The file below its header, in parts that end with a row; in one where its marks do not tell where rows end."""
    with path.open("rb") as file:
        rest, old = b"", False
        while content := file.read(CHUNK if signs.regular else -1):
            old = old or (b"\n" not in content and b"\r" in content)  # lines that end as on the first Macintosh
            content = rest + (content.replace(b"\r", b"\n") if old else content)
            start = 0
            for _ in range(lines):
                start = content.find(b"\n", start) + 1 or len(content)
            lines, end = 0, content.rfind(b"\n") + 1 if signs.regular else len(content)
            while signs.quoted and end > start and content.count(b'"', start, end) % 2 and signs.regular:
                end = content.rfind(b"\n", 0, end - 1) + 1  # the line end before was in a quoted cell
            part, rest = content[start:end], content[max(start, end) :]
            if part and not part.isspace():
                yield part
        if rest and not rest.isspace():
            yield rest


class Signs(NamedTuple):
    """What is to be known of a file before pyarrow reads it."""

    quoted: bool  # there are quotation marks
    regular: bool  # each of them opens a cell, closes one, or is one of two in one
    hexadecimal: bool  # there are numbers such as 0x1F, which pyarrow would read as numbers


def _signs(path: Path, delimiter: str) -> Signs:
    beside = np.zeros(256, bool)  # what may stand before a mark that opens a cell, and after one that closes it
    beside[list(f'"\r\n{delimiter}'.encode())] = True
    quoted, regular, hexadecimal, inside, before = False, True, False, False, b"\n"
    with path.open("rb") as file:
        file.seek(len(codecs.BOM_UTF8) if file.read(3) == codecs.BOM_UTF8 else 0)
        part = file.read(CHUNK)
        while part:
            following = file.read(CHUNK)
            if b'"' in part:
                quoted, letters = True, np.frombuffer(before + part + (following[:1] or b"\n"), np.uint8)
                marks = np.flatnonzero(letters[1:-1] == ord('"')) + 1
                opening, closing = marks[inside::2], marks[1 - inside :: 2]
                regular = regular and bool(beside[letters[opening - 1]].all() and beside[letters[closing + 1]].all())
                inside ^= len(marks) % 2 == 1
            if not hexadecimal and (b"x" in part or b"X" in part):  # one byte is found ten times as fast as two
                hexadecimal = bool(re.search(rb"0[xX]", before + part))
            before, part = part[-1:], following
    return Signs(quoted, regular and not inside, hexadecimal)


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


def _check_names(path: str, names: list[str]) -> None:
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
