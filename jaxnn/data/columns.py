"""How a cell and a column of a table are typed: one definition, for files and for data frames.

A cell is missing (empty, or one of the words that mean that), a number (`NUMBER`), a text, or either (`EITHER`: Inf, or
the 12e3 of a serial number). Spaces around it do not count, and texts are compared in Unicode's form NFC. A column
without texts is one of numbers, a column without numbers one of texts, whose different texts are its categories; a
column with both is refused. The training file decides this, and all other tables are read by what it decided.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from jaxnn.config.names import IMPUTED, MISSING
from jaxnn.data.cells import LONG, WHOLE, Cells, collect
from jaxnn.data.grid import Grid
from jaxnn.errors import InputError
from jaxnn.tasks.targets import normal_form

NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
EITHER = re.compile(r"[0-9]+[eE][0-9]+|[+-]?inf(inity)?", re.IGNORECASE)
# One number with what people write around it: $1,163.50, 45 %, 3 kg, 1.163,5, 12:30.
DRESSED = re.compile(r"\W{0,2}[A-Z]{0,3}\W{0,2}[0-9][0-9\W]*[^\W0-9]{0,4}\W?")
COMMA, THOUSANDS = re.compile(r"[+-]?[0-9]+,[0-9]+"), re.compile(r"[+-]?[0-9]{1,3},[0-9]{3}")  # 31,7 is not 1,163
HOLE = -2  # the number of the category that a missing text is; -1 is none of the categories
MAX_CATEGORIES = 1000
MAX_DRESSED = 20
FEW = 20  # of so few rows each may well have another text
MAX_LETTERS = 100_000


class Column(NamedTuple):
    """What a column was found to be: numbers, or texts with these categories, sorted."""

    name: str
    categories: tuple[str, ...] | None = None


class Rules(NamedTuple):
    """How the columns of a table are to be read; the fields are those of `jaxnn.config.DataConfig`."""

    text: tuple[str, ...] = ()
    missing: tuple[str, ...] = MISSING
    nan: str = "refuse"
    fill: dict[str, float | str] | None = None
    """what stands for a missing value, by column, where the training examples have told"""
    unknown: Literal["refuse", "ignore"] | None = None
    """rows for a trained network: a category that the training table has not is refused, or read as none"""


class Typed(NamedTuple):
    """A table by its columns.

    `values`: numbers, in float32 unless they were to be exact, or the numbers of the categories (missing ones: NaN and
    `HOLE`); `rounded`: the columns in which float32 is not what the table says; `changed`: those of them that are whole
    numbers; `rows`: which rows of the grid are left; `key`: the column of that name, as numbers or as numbers of texts.
    """

    columns: dict[str, Column]
    values: dict[str, np.ndarray]
    rounded: frozenset[str]
    changed: frozenset[str]
    rows: np.ndarray
    notes: tuple[str, ...]
    key: tuple[np.ndarray, tuple[str, ...]] | None = None


def typed(
    grid: Grid,
    names: Sequence[str],
    rules: Rules,
    known: dict[str, Column],
    exact: Sequence[str] = (),
    key: str | None = None,
) -> Typed:
    """The columns of these names, typed; as they are `known` to be, where the training table has decided.

    `exact`: columns whose numbers stay float64 or int64; `key`: one more column, which is not typed. Rows with a
    missing value are left out, refused or kept, as `rules.nan` says; those with one in `exact` or `key` are never kept.
    """
    as_text = {name for name in names if (known[name].categories is not None if name in known else name in rules.text)}
    read = [*names, *filter(None, [key])]
    while True:
        cells = collect(grid, read, frozenset(as_text), exact, key)
        clash = {name for name, each in cells.items() if len(each.kinds) > 1}
        if not clash:
            break
        as_text |= clash  # some parts of the rows were read as numbers, some as texts
    filled = [name for name in names if rules.nan in IMPUTED and name not in exact]
    kept = {name: missing for name in filled if (missing := cells[name].gone(rules.missing)) is not None}
    rows, notes = _whole_rows(grid, cells, rules, kept)
    columns: dict[str, Column] = {}
    values: dict[str, np.ndarray] = {}
    for name in names:
        found = cells[name].values() if len(rows) == sum(cells[name].lengths) else cells[name].values()[rows]
        cells[name].parts.clear()
        how = rules._replace(unknown=None) if name in exact else rules  # of a label an unknown one is always refused
        if name not in kept:
            columns[name], values[name], told = _column(grid, cells[name], found, rows, how, known.get(name))
        else:
            there = ~kept[name][rows]
            columns[name], present, told = _column(grid, cells[name], found[there], rows[there], how, known.get(name))
            values[name] = _spread(present, there, columns[name])
        notes += told
        if name not in exact and name not in known and name not in rules.text:
            notes += _named(grid, columns[name], int(there.sum()) if name in kept else len(rows))
    rounded = frozenset(name for name in names if cells[name].rounded)
    changed = frozenset(name for name in rounded if cells[name].whole)
    by = None if key is None else (cells[key].values()[rows], tuple(cells[key].texts.values()))
    return Typed(columns, values, rounded, changed, rows, notes, by)


def _column(
    grid: Grid, cells: Cells, found: np.ndarray, rows: np.ndarray, rules: Rules, known: Column | None
) -> tuple[Column, np.ndarray, tuple[str, ...]]:
    """The column whose cells in these rows are `found`, typed, its values, and what to tell of it."""
    name = cells.name
    if not cells.texts:
        if known is None or known.categories is None:
            return Column(name), found, ()
        if len(found):
            raise InputError(f"{grid.at(name, 0)}: a number, in the training table a text; convert the column")
        return known, found.astype(np.int32), ()
    texts = Texts(grid, name, list(cells.texts.values()), found, rows)
    column, values = texts.resolved(grid.has_types or name in rules.text, known, rules.unknown)
    return column, values, () if known is not None or name in rules.text else texts.dressed(column, values)


def typed_texts(
    grid: Grid, cells: Cells, codes: np.ndarray, rows: np.ndarray, rules: Rules, known: Column | None, n: int
) -> tuple[Column, tuple[str, ...]]:
    """A column of which the different texts are known, `codes i32[k]`, and in which row each is first; what to tell.

    n: rows of the table.
    """
    column, _, notes = _column(grid, cells, codes, rows, rules, known)
    told = () if known is not None or cells.name in rules.text else _named(grid, column, n)
    return column, notes + told


def _spread(values: np.ndarray, there: np.ndarray, column: Column) -> np.ndarray:
    """The values in the rows where they are there, and NaN or `HOLE` in the others."""
    dtype = values.dtype if values.dtype.kind == "f" else np.float64
    found = np.full(len(there), np.nan, dtype) if column.categories is None else np.full(len(there), HOLE, np.int32)
    found[there] = values
    return found


def _whole_rows(
    grid: Grid, cells: dict[str, Cells], rules: Rules, kept: dict[str, np.ndarray]
) -> tuple[np.ndarray, tuple[str, ...]]:
    """The rows without an infinity or a missing value, where those are not `kept`, and what to tell of the others."""
    n = sum(next(iter(cells.values())).lengths)
    gone, infinite = np.zeros(n, bool), np.zeros(n, bool)
    drop = ", leave the row out, or add --data.nan drop" if rules.unknown is None else ", or leave the row out"
    for name, each in cells.items():
        missing = None if name in kept else each.gone(rules.missing)
        if missing is not None and missing.any() and rules.nan != "drop":
            where = grid.at(name, int(np.argmax(missing)))
            cure = "fill it in, or add --data.nan drop, mean, median or category (--data.missing has the words)"
            if rules.unknown is not None:
                cure = "fill it in, or leave the row out"
            elif rules.nan in IMPUTED:
                what = f"--data.nan {rules.nan} fills features, no target (--data.target), weight or column of a split"
                cure = f"{what}; leave the row out, or use --data.nan drop"
            raise InputError(f"{where}: missing value; {cure}")
        gone |= False if missing is None else missing
        if each.infinite:
            infinite |= np.isinf(each.values())
            if rules.nan != "drop":
                where = grid.at(name, int(np.argmax(infinite)))
                raise InputError(f"{where}: must be finite; repair it{drop}")
    left_out = {"with a missing value": gone, "with a value that is not finite": infinite & ~gone}
    notes = tuple(
        f"{grid.name}: {rows.sum()} of {n} rows left out, {what}" for what, rows in left_out.items() if rows.any()
    )
    rows = np.flatnonzero(~(gone | infinite))
    if not len(rows):
        raise InputError(f"{grid.name}=0 examples: each of the {n} rows has a missing value; leave a column out")
    return rows, notes


def _named(grid: Grid, column: Column, n: int) -> tuple[str, ...]:
    """What to tell of texts that name single rows, from which nothing is learned; refused where all of n do."""
    texts = len(column.categories or ())
    if n < FEW or 2 * texts <= n:
        return ()
    cure = f"leave the column out with --data.drop {column.name}"
    if texts == n:
        rule = f"each of the {n} rows has another text, from which nothing is learned"
        raise InputError(f"{grid.name}, column {column.name}: {rule}; {cure}, or keep it with --data.text")
    return (f"{grid.name}, column {column.name}: {texts} categories in {n} rows; {cure} if they name rows",)


class Texts(NamedTuple):
    """A column that was read as texts: `codes i32[n]` are numbers of `texts`, `rows` those of the grid."""

    grid: Grid
    name: str
    texts: list[str]
    codes: np.ndarray
    rows: np.ndarray

    def at(self, bad: np.ndarray) -> str:
        """Where the first bad cell is."""
        return self.grid.at(self.name, int(self.rows[np.argmax(bad)]))

    def resolved(self, as_text: bool, known: Column | None, unknown: str | None) -> tuple[Column, np.ndarray]:
        """Categories, -1 for one that is ignored, or numbers after all."""
        number, either = ([bool(kind.fullmatch(text)) for text in self.texts] for kind in (NUMBER, EITHER))
        is_text, is_number = ~np.array(number) & ~np.array(either), np.array(number) & ~np.array(either)
        used = np.unique(self.codes)
        if known is not None:
            as_text = known.categories is not None
            if not as_text and is_text[used].any():
                raise InputError(f"{self.at(is_text[self.codes])}: must be a number; repair it")
        elif not as_text and is_text[used].any() and is_number[used].any():
            text = is_text[self.codes]
            where = self.at(text if 2 * text.sum() < len(text) else ~text)  # the first cell of the rarer kind
            cure = f"make all its cells one kind, or add --data.text {self.name} (--data.missing: words for none)"
            raise InputError(f"{where}: numbers and text in one column; {cure}")
        if not as_text and not is_text[used].any():
            return Column(self.name), self._numbers(used)
        categories = (known.categories or ()) if known is not None else self._categories(used)
        place = {normal_form(category): k for k, category in enumerate(categories)}
        codes = np.array([place.get(normal_form(text), -1) for text in self.texts], np.int32)[self.codes]
        if (codes < 0).any() and unknown != "ignore":
            listed = ", ".join(categories[:10])
            cure = "repair it, or add --unknown ignore" if unknown else "repair it"
            raise InputError(f"{self.at(codes < 0)}: not one of the training file ({listed}); {cure}")
        return Column(self.name, categories), codes

    def _categories(self, used: np.ndarray) -> tuple[str, ...]:
        if len(used) > MAX_CATEGORIES:
            rule = f"at most {MAX_CATEGORIES} categories; leave the column out"
            raise InputError(f"{self.grid.name}, column {self.name}={len(used)} different texts: {rule}")
        for k in used:
            if len(self.texts[k]) > MAX_LETTERS:
                raise InputError(f"{self.at(self.codes == k)}: a text of more than {MAX_LETTERS:,} letters; shorten it")
        return tuple(sorted(self.texts[k] for k in used))

    def _numbers(self, used: np.ndarray) -> np.ndarray:
        """i64[n] if all are whole, else f64[n]."""
        whole = all(WHOLE.fullmatch(self.texts[k]) for k in used)
        numbers = np.zeros(len(self.texts), np.int64 if whole else np.float64)
        for k in used.tolist():
            value = int(self.texts[k]) if whole else float(self.texts[k])
            if whole and not -(2**63) <= value < 2**63:
                raise InputError(f"{self.at(self.codes == k)}: {LONG}")
            if not np.isfinite(value):
                raise InputError(f"{self.at(self.codes == k)}: must be finite; repair it or leave the row out")
            numbers[k] = value
        return numbers[self.codes]

    def dressed(self, column: Column, codes: np.ndarray) -> tuple[str, ...]:
        """What to tell of categories that look like numbers; many different ones are refused."""
        texts = column.categories or ()
        looks = [bool(DRESSED.fullmatch(text)) or bool(NUMBER.fullmatch(text)) for text in texts]
        if 2 * sum(looks) <= len(looks):
            return ()
        comma = [text for text in texts if COMMA.fullmatch(text) and not THOUSANDS.fullmatch(text)]
        plain = f"{comma[0].replace(',', '.')} for {comma[0]}" if comma else "1163.5"
        cure = f"write plain numbers such as {plain}, or add --data.text {self.name} if they are names"
        cure += f", or --data.drop {self.name}"
        if len(texts) > MAX_DRESSED:
            rule = f"looks like a number, and {len(texts)} different ones would become categories"
            raise InputError(f"{self.at(codes == looks.index(True))}: {rule}; {cure}")
        what = f"read as {len(texts)} categories, though they look like numbers ({', '.join(texts[:3])})"
        return (f"{self.grid.name}, column {self.name}: {what}; {cure}",)
