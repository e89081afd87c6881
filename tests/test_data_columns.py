"""How cells and columns are typed, whatever the table came in; the oracles are pandas, polars and NumPy."""

from __future__ import annotations

import csv
import io
from typing import Any

import numpy as np
import pandas as pd
import polars
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import feather

from jaxnn import data
from jaxnn.errors import InputError

WHOLE: dict[str, Any] = {"test_fraction": 0, "validation_fraction": 0}


def load(*args: Any, **kwargs: Any) -> Any:
    return data.load(*args, **WHOLE, **kwargs)


@pytest.fixture
def write(tmp_path):
    def write(rows: list[list[Any]], name: str = "t.csv", delimiter: str = ",", encoding: str = "utf-8"):
        text = io.StringIO()
        csv.writer(text, delimiter=delimiter).writerows(rows)
        (tmp_path / name).write_bytes(text.getvalue().encode(encoding))
        return tmp_path / name

    return write


def refusal(*args: Any, **kwargs: Any) -> str:
    with pytest.raises(InputError) as caught:
        load(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


ROWS = [[i + 0.5, "red blue".split()[i % 2], "no yes".split()[i % 3 % 2]] for i in range(24)]
NAMES = ["size", "colour", "label"]


@pytest.mark.parametrize("word", ["nan", "NaN", "None", "n/a", "<NA>", "NA", "null", "", "?", "-nan", " NaN "])
@pytest.mark.parametrize("column", [0, 1, 2])
def test_what_pandas_takes_for_missing_is_missing_in_every_kind_of_column(write, word, column):
    rows = [list(row) for row in ROWS]
    for i in (4, 17):
        rows[i][column] = word
    path = write([NAMES, *rows])
    assert refusal(path).startswith(f"{path} line 6, column {NAMES[column]}={word.strip()}: missing value")
    loaded = load(path, nan="drop")
    assert loaded.notes == (f"{path}: 2 of 24 rows left out, with a missing value",)
    expected = pd.read_csv(path, skipinitialspace=True, na_values=["?", "NaN "]).dropna()
    np.testing.assert_array_equal(loaded.train.x[:, 0], expected["size"])
    assert loaded.features == ("size", "colour=blue", "colour=red") and loaded.classes == ("no", "yes")
    np.testing.assert_array_equal(loaded.train.y, expected["label"] == "yes")


def test_the_words_for_missing_can_be_said_so_that_na_is_a_country(write):
    rows = [[i % 5, ("NA", "DE", "-")[i % 3], i % 2] for i in range(24)]
    path = write([["x", "country", "y"], *rows])
    assert load(path, missing=["-"], nan="drop").features == ("x", "country=DE", "country=NA")
    assert load(path, missing=[]).features == ("x", "country=-", "country=DE", "country=NA")


def test_missing_words_among_text_labels_of_an_archive(tmp_path):
    labels = np.array(["cat", "dog", np.nan, "cat"] * 6)
    np.savez(tmp_path / "t.npz", x=np.arange(48.0).reshape(24, 2), y=labels)
    assert refusal(tmp_path / "t.npz").startswith("labels[2]=nan: missing value")
    loaded = load(tmp_path / "t.npz", nan="drop")
    assert loaded.classes == ("cat", "dog") and len(loaded.train.y) == 18
    assert loaded.notes == ("train: 6 of 24 examples left out, with a missing value",)


@pytest.mark.parametrize("shown", ["{:,}", "${}", "{}%", "{} kg", "€ {}", "{}.5,7", "USD {}", "1:{}"])
def test_numbers_in_disguise_are_refused_where_they_are_many_and_told_of_where_they_are_few(write, shown):
    many = [[shown.format(1001 + 37 * i), i % 2] for i in range(60)]
    path = write([["price", "y"], *many])
    assert f"{path} line 2, column price={many[0][0]}: looks like a number, and 60 different ones" in refusal(path)
    loaded = load(path, text=["price"])
    assert loaded.train.x.shape == (60, 60) and loaded.notes == ()
    few = [[shown.format(1001 + 37 * (i % 3)), i % 2] for i in range(60)]
    loaded = load(write([["price", "y"], *few]))
    assert loaded.train.x.shape == (60, 3) and "column price: read as 3 categories, though" in loaded.notes[0]


def test_a_decimal_comma_is_named_and_one_of_thousands_is_not_taken_for_it(write):
    table = lambda cells: write([["length", "y"], *([cell, i % 2] for i, cell in enumerate(cells))], delimiter=";")
    commas, thousands = [f"{30 + i},7" for i in range(40)], [f"{30 + i},700" for i in range(40)]
    assert "write plain numbers such as 30.7 for 30,7, or add --data.text length" in refusal(table(commas))
    assert "write plain numbers such as 1163.5, or add --data.text length" in refusal(table(thousands))


def test_texts_that_name_single_rows_are_refused_or_told_of(write):
    rows = [[f"person {chr(97 + i // 26)}{chr(97 + i % 26)}", i, i % 2] for i in range(60)]
    assert "column name: each of the 60 rows has another text" in refusal(write([["name", "x", "y"], *rows]))
    assert "each of the 59 rows" in refusal(write([["name", "x", "y"], ["", 60, 1], *rows[1:]]), nan="category")
    assert load(write([["name", "x", "y"], *rows]), drop=["name"]).features == ("x",)
    assert load(write([["name", "x", "y"], *rows]), text=["name"]).train.x.shape[1] > 30
    twice = [[rows[i // 2 if i < 30 else i][0], i, i % 2] for i in range(60)]
    assert "column name: 45 categories in 60 rows" in load(write([["name", "x", "y"], *twice])).notes[0]
    assert load(write([["name", "x", "y"], *rows[:15]])).train.x.shape == (15, 16)


def test_a_validation_file_is_typed_as_the_training_file(write):
    names = ["code", "x", "label"]
    train = write(
        [["code", "x", "label"], *[[f"c{i % 3}" if i % 2 else "12e3", i, "a b 7".split()[i % 3]] for i in range(24)]]
    )
    assert "numbers and text in one column" in refusal(train)  # the labels a, b and 7
    other = write([names, ["12e3", 100, "7"], ["12e3", 101, "7"]], "v.csv")
    loaded = load(train, text=["label"], validation=other)
    assert loaded.classes == ("7", "a", "b") and loaded.validation.y.tolist() == [0, 0]
    assert loaded.features[0] == "code=12e3" and (loaded.validation.x[:, 0] == 1).all()
    write([names, ["c1", "many", "7"]], "v.csv")
    assert refusal(train, text=["label"], validation=other).startswith(
        f"{other} line 2, column x=many: must be a number"
    )


@pytest.mark.parametrize("word", ["Inf", "infinity", "12e3", "7E2"])
def test_a_text_that_may_be_a_number_is_a_text_among_texts(write, word):
    rows = [[word if i == 3 else "ab", i, i % 2] for i in range(24)]
    assert load(write([["code", "x", "y"], *rows])).features[:2] == tuple(f"code={w}" for w in sorted([word, "ab"]))


def test_numbers_that_are_no_decimal_numbers_are_texts(write):
    rows = [[f"0x{i % 3:X}", f"1_{i % 2}", i % 2] for i in range(24)]
    loaded = load(write([["hex", "long", "y"], *rows]))
    assert loaded.features == ("hex=0x0", "hex=0x1", "hex=0x2", "long=1_0", "long=1_1")
    rows = [["+" + str(i), " 2", f"{i}e-1", i % 2] for i in range(24)]
    np.testing.assert_array_equal(
        load(write([["a", "b", "c", "y"], *rows])).train.x[3], np.array([3, 2, 0.3], np.float32)
    )


@pytest.mark.parametrize("delimiter, name", [(";", "semicolon"), ("\t", "tab"), ("|", "bar")])
def test_delimiters_are_found_or_given(write, delimiter, name):
    rows = [NAMES, *ROWS]
    expected = load(write(rows)).digest
    path = write(rows, "t.tsv", delimiter)
    assert load(path).digest == load(path, delimiter=name).digest == load(path, delimiter=delimiter).digest == expected
    path = write([["size (a,b,c,d)", *NAMES[1:]], *ROWS], "odd.csv", delimiter)  # quoted nowhere
    assert "4" in refusal(path) and load(path, delimiter=delimiter).train.x.shape == (24, 3)


def test_every_kind_of_table_gives_the_same_data(tmp_path, write):
    expected = load(write([NAMES, *ROWS]))
    frame = pd.DataFrame(ROWS, columns=NAMES)
    frame.to_parquet(tmp_path / "t.parquet")
    feather.write_feather(frame, tmp_path / "t.feather")
    lazy = frame.assign(colour=frame["colour"].astype("category"), size=frame["size"].astype("float32"))
    tables = [tmp_path / "t.parquet", tmp_path / "t.feather", frame, frame.set_index(frame.index[::-1]), lazy]
    for table in (*tables, polars.DataFrame(ROWS, schema=NAMES, orient="row"), pa.table(frame)):
        found = load(table)
        assert found.digest == expected.digest and found.columns == expected.columns
    assert load(frame, validation=frame.head(3).assign(size=[101.0, 102, 103])).validation.x[0, 0] == 101


@pytest.mark.parametrize(
    "frame, message",
    [
        (pd.DataFrame({"a": [1, "x"] * 9, "y": [0, 1] * 9}), "table: not a table of numbers and texts"),
        (pd.DataFrame({"a": pd.date_range("2020", periods=18), "y": [0, 1] * 9}), "column a=timestamp["),
        (pd.DataFrame({"a": [1.0, None] * 9, "y": [0, 1] * 9}), "table row 1, column a=None: missing value"),
        (pd.DataFrame({"a": ["x", None] * 9, "y": [0, 1] * 9}), "table row 1, column a=None: missing value"),
        (pd.DataFrame({"a": [], "y": []}), "table=0 examples"),
        (pd.DataFrame([[1, 2, 0], [3, 4, 1]], columns=["a", "a", "y"]), "Duplicate column names found"),
        (pd.DataFrame({"a": [1e39, 1.0] * 9, "y": [0, 1] * 9}), "table row 0, column a=1e+39: does not fit float32"),
        (polars.DataFrame({"a": [[1], [2]] * 9, "y": [0, 1] * 9}), "must hold numbers or texts"),
    ],
)
def test_frames_are_refused_by_row_and_column(frame, message):
    assert message in refusal(frame)


def test_a_damaged_parquet_file_is_refused(tmp_path):
    frame = pd.DataFrame({"a": np.arange(2000.0), "y": np.arange(2000) % 2})
    frame.to_parquet(tmp_path / "t.parquet")
    content = (tmp_path / "t.parquet").read_bytes()
    for part in (content[:1000], content[:-10], b"PAR1", b"", content[:50] + bytes(40) + content[90:]):
        (tmp_path / "t.parquet").write_bytes(part)
        assert "t.parquet" in refusal(tmp_path / "t.parquet")


@pytest.mark.parametrize(
    "header, good",
    [
        ("0,1,2,3,species", True),
        ("2019,2020,2021,2022,country", True),
        ("5.1,3.5,1.4,0.2,setosa", False),
        ("setosa,5.1,3.5,1.4,0.2", False),
        ("5,3,1,0,setosa", False),
        ("5,3,1,0,iris", False),
        ("1,2,3,4,setosa", False),
        ("a,1e3,b,c,d", False),
        ("-1,2,3,4,label", False),
    ],
)
def test_a_row_of_data_is_no_header(tmp_path, header, good):
    first = header.startswith("setosa,")
    numbers = [f"{i % 7},{i % 5},{i % 3},{i % 2}" for i in range(24)]
    rows = [f"setosa,{row}" if first else f"{row},{('setosa', 'virginica')[i % 2]}" for i, row in enumerate(numbers)]
    (tmp_path / "t.csv").write_text("\n".join([header, *rows]))
    if good:
        assert len(load(tmp_path / "t.csv").train.x) == 24
    else:
        assert refusal(tmp_path / "t.csv").startswith(f"{tmp_path}/t.csv line 1=") and "header" in refusal(
            tmp_path / "t.csv"
        )


def test_labels_that_unicode_writes_in_two_ways_are_one(write, tmp_path):
    e, combining = chr(233), "e" + chr(769)
    rows = [[i, (e, combining, "a")[i % 3]] for i in range(24)]
    loaded = load(write([["x", "y"], *rows]))
    assert loaded.classes == ("a", e) and np.bincount(loaded.train.y).tolist() == [8, 16]
    np.savez(tmp_path / "t.npz", x=np.arange(24.0)[:, None], y=np.array([row[1] for row in rows]))
    assert np.bincount(load(tmp_path / "t.npz").train.y).tolist() == [8, 16]


def test_a_type_that_shows_late_in_a_long_file_is_found(write, monkeypatch):
    from jaxnn.data.readers import delimited

    monkeypatch.setattr(delimited, "CHUNK", 200)  # so that it is read in many parts
    rows = [[i, i if i < 80 else i + 0.25, "", f'"{i % 2}"' if i > 90 else i % 2, f"line\n{i % 2}"] for i in range(100)]
    path = write([["whole", "late", "none", "quoted", "y"], *rows])
    assert refusal(path).startswith(f"{path} line 3, column none=: missing value")
    path = write([["whole", "late", "quoted", "y"], *[row[:2] + row[3:] for row in rows]])
    assert "numbers and text in one column" in refusal(path)
    loaded = load(path, text=["quoted"])
    np.testing.assert_array_equal(loaded.train.x[:, 1], [row[1] for row in rows])
    assert loaded.features == ("whole", "late", 'quoted="0"', 'quoted="1"', "quoted=0", "quoted=1")
    assert loaded.classes == ("line\n0", "line\n1")


CELL = st.one_of(
    st.floats(-1e6, 1e6).map(lambda v: f"{v:.3f}"),
    st.integers(-999, 999).map(str),
    st.text(st.characters(codec="utf-8", exclude_characters="\0", exclude_categories=["Cs"]), max_size=6),
    st.sampled_from(["nan", 'a"b', "a,b", "x\ny", " pad ", "1e3", "inf", "$5"]),
)


@given(st.lists(st.tuples(CELL, CELL, st.sampled_from(["yes", "no"])), min_size=4, max_size=12), st.booleans())
@settings(deadline=None, max_examples=60)
def test_cells_are_those_that_the_csv_module_reads(tmp_path_factory, rows, quoted):
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL)
        writer.writerows([["alpha", "beta", "y"], *rows])
    try:
        loaded = load(path, text=["alpha", "beta"], missing=[], nan="drop", allow_overlap=True)
    except InputError:
        return  # one class, an empty cell in each row, many categories: others look at these
    with path.open(newline="", encoding="utf-8") as file:
        read = [[cell.strip() for cell in row] for row in list(csv.reader(file))[1:]]
    kept = [row for row in read if all(row)]
    import unicodedata

    form = lambda text: unicodedata.normalize("NFC", text)
    for j, name in enumerate(("alpha", "beta")):
        categories = [f for f in loaded.features if f.startswith(f"{name}=")]
        index = [loaded.features.index(f) for f in categories]
        chosen = [categories[k].partition("=")[2] for k in loaded.train.x[:, index].argmax(1)]
        assert [form(text) for text in chosen] == [form(row[j]) for row in kept]
    assert [loaded.classes[k] for k in loaded.train.y] == [row[2] for row in kept]
