"""CSV files: types of columns, categories, and a line and column for everything that is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from jaxnn import data
from jaxnn.errors import InputError


def load(*args: Any, **kwargs: Any) -> Any:  # Any, since a test knows which splits there are
    return data.load(*args, **kwargs)


HEADER = "age,color,kind,weight,label\n"
LINES = [f"{i}.5,{'red green blue'.split()[i % 3]},{i % 4},{1 + i % 2},{'no yes'.split()[i % 2]}\n" for i in range(20)]
GOOD = HEADER + "".join(LINES)


@pytest.fixture
def write(tmp_path):
    def write(text: str | bytes, name: str = "data.csv"):
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        return tmp_path / name

    return write


def test_numbers_stay_and_text_becomes_a_column_for_each_category(write):
    loaded = load(write(GOOD), weight="weight", test_fraction=0, validation_fraction=0)
    assert loaded.features == ("age", "color=blue", "color=green", "color=red", "kind")
    assert (loaded.task, loaded.classes) == ("binary", ("no", "yes"))
    i = np.arange(20)
    expected = np.column_stack([i + 0.5, i % 3 == 2, i % 3 == 1, i % 3 == 0, i % 4])
    np.testing.assert_array_equal(loaded.train.x, expected.astype(np.float32))
    np.testing.assert_array_equal(loaded.train.y, i % 2)
    np.testing.assert_array_equal(loaded.train.weight, 1 + i % 2)


def test_target_can_be_any_column(write):
    loaded = load(write(GOOD), target="age")
    assert loaded.task == "regression" and "label=yes" in loaded.features and "age" not in loaded.features
    assert load(write(GOOD), target="color").classes == ("blue", "green", "red")
    assert load(write(GOOD), target="kind").classes == (0, 1, 2, 3)


def test_quotes_blank_lines_spaces_byte_order_mark_and_line_ends_do_not_matter(write):
    odd = "\ufeff" + GOOD.replace("red", '" red "').replace(",", " , ").replace(' " red " ', '" red "').replace(
        "\n", "\r\n\r\n"
    )
    assert load(write(odd)).digest == load(write(GOOD)).digest


def test_validation_file_keeps_to_the_columns_and_categories_of_the_training_file(write):
    train = write(GOOD)
    other = write("label,weight,kind,color,age\nyes,1,2,green,7\n", "other.csv")
    loaded = load(train, validation=other, test_fraction=0)
    assert len(loaded.train.x) == 20
    np.testing.assert_array_equal(loaded.validation.x, [[7, 0, 1, 0, 2, 1]])
    np.testing.assert_array_equal(loaded.validation.y, [1])
    for text, message in [
        (HEADER + "1,pink,0,1,yes\n", "line 2, column color=pink: not one of the training file (blue, green, red)"),
        (HEADER + "1,red,x,1,yes\n", "line 2, column kind=x: must be a number"),
        (HEADER + "1,red,0,1,maybe\n", "line 2, column label=maybe: not one of the training file (no, yes)"),
        ("age,colour,kind,weight,label\n1,red,0,1,yes\n", "other.csv=color, colour: must have the columns of"),
    ]:
        write(text, "other.csv")
        with pytest.raises(InputError) as caught:
            load(train, validation=other)
        assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (GOOD.replace("3.5,", ",", 1), {}, "line 5, column age=: missing value"),
        (GOOD.replace("5.5,blue,1", "5.5,blue,NA"), {}, "line 7, column kind=NA: missing value"),
        (GOOD.replace("5.5,blue", "5.5,?"), {}, "line 7, column color=?: missing value"),
        (GOOD.replace("5.5,", "nan,", 1), {}, "line 7, column age=nan: missing value"),
        (GOOD.replace("5.5,blue,1", "5.5,blue,inf"), {}, "line 7, column kind=inf: must be finite"),
        (GOOD.replace("5.5,", "1e39,", 1), {}, "line 7, column age=1e39: does not fit float32"),
        (GOOD.replace("5.5,blue,1", "5.5,blue,16777217"), {}, "line 7, column kind=16777217: float32 would change"),
        (GOOD.replace("5.5,blue,1", f"5.5,blue,{10**30}"), {}, f"line 7, column kind={10**30}: a whole number of more"),
        (GOOD.replace("5.5,", "old,", 1), {}, "line 7, column age=old: numbers and text in one column"),
        (GOOD.replace("5.5,", "1_0,", 1), {}, "line 7, column age=1_0: numbers and text in one column"),
        (GOOD.replace("5.5,blue", "5.5,4"), {}, "line 7, column color=4: numbers and text in one column"),
        (GOOD.replace("5.5,blue,1,2", "5.5,blue,1,x"), {"weight": "weight"}, "line 7, column weight=x: must be a num"),
        (GOOD.replace("5.5,blue,1,2", "5.5,blue,1,-2"), {"weight": "weight"}, "weight[5]=-2.0: must be >= 0"),
        (GOOD.replace("5.5,blue", "5.5"), {}, "line 7=4 cells: the header has 5"),
        (GOOD.replace("no\n", "1\n").replace("yes", "nan"), {}, "line 3, column label=nan: missing value"),
        (GOOD, {"target": "lable"}, "--data.target=lable: unknown; did you mean label?"),
        (GOOD, {"weight": "wait"}, "--data.weight=wait: unknown"),
        (GOOD, {"weight": "label"}, "--data.weight=label: is the target column too"),
        ("".join("1,2,3\n" for _ in range(9)), {}, "line 1=1,2,3: must name the columns; add a header"),
        (GOOD.replace("color", "age", 1), {}, "line 1=age: two columns have this name"),
        (GOOD.replace("color", "", 1), {}, "line 1=column 2: has no name"),
        (GOOD.replace("kind", "color=red", 1), {}, "two columns become the same feature"),
        ("", {}, "=empty: the first line must name the columns"),
        (HEADER, {}, "=0 examples: must hold at least one row"),
        ("label\nyes\nno\n", {}, "no column is left to learn from"),
        (GOOD.replace("red", '"red', 1), {}, "not CSV"),
        (GOOD.encode().replace(b"red", b"r\xe9d"), {}, "must be UTF-8 text"),
        (GOOD.replace("red", "x" * 200_000, 1), {}, "data.csv line 2: not CSV (field larger than field limit"),
        ("name,y\n" + "".join(f"n{i},{i % 2}\n" for i in range(1001)), {}, "column name=1001 different texts: at most"),
    ],
)  # fmt: skip
def test_csv_refuses_with_line_and_column(write, text, options, message):
    with pytest.raises(InputError) as caught:
        load(write(text), **options)
    assert message in str(caught.value) and "\n" not in str(caught.value)
