"""Labels come back as they were given, and no bad one passes."""

from __future__ import annotations

import math
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import LabelEncoder, OneHotEncoder

from jaxnn.errors import InputError
from jaxnn.tasks.labels import Labels, categories, check_labels, check_targets, one_hot

COLORS = ["red", "blue", "green", "blue"]


def test_one_hot_is_the_lectures_table():
    rows, labels = one_hot(COLORS)
    assert labels.classes == ("red", "blue", "green") and rows.dtype == np.float32
    assert rows.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 1, 0]]
    assert labels.from_one_hot(rows).tolist() == COLORS


def test_sorted_one_hot_is_scikit_learns():
    rows, labels = one_hot(COLORS, order="sorted")
    encoder = OneHotEncoder(sparse_output=False).fit(np.array(COLORS)[:, None])
    assert labels.classes == tuple(encoder.categories_[0])
    np.testing.assert_array_equal(rows, encoder.transform(np.array(COLORS)[:, None]))


@pytest.mark.parametrize("values", [COLORS, [3, 1, 2, 1], np.array([2.5, -1.0, 2.5]), [True, False], np.array(COLORS)])
def test_encoding_is_scikit_learns(values):
    labels, encoder = Labels.fit(values), LabelEncoder().fit(values)
    numbers = labels.encode(values)
    assert numbers.dtype == np.int32 and numbers.tolist() == encoder.transform(values).tolist()
    back = labels.decode(numbers)
    assert back.dtype == encoder.inverse_transform(numbers).dtype and back.tolist() == list(values)


scalars = st.one_of(st.text(), st.integers(), st.floats(allow_nan=False, allow_infinity=False))


@settings(max_examples=200, deadline=None)
@given(st.lists(scalars, min_size=1))
def test_any_labels_come_back_exactly_also_through_json(values):
    labels = Labels(categories(values))
    again = Labels.from_json(labels.to_json())
    assert again == labels and list(map(type, again.classes)) == list(map(type, labels.classes))
    assert again.decode(again.encode(values)).tolist() == values


@pytest.mark.parametrize(
    "values",
    [
        [(1, 2), (3,), (1, 2)],
        [None, "a"],
        ["a", 1, 2.5],
        [2**80, -1],
        [2**63, -1],
        ["a\0", "a"],
        [frozenset("a"), frozenset()],
    ],
)
def test_any_hashable_is_a_category(values):
    rows, labels = one_hot(values)
    assert labels.from_one_hot(rows).tolist() == values


@pytest.mark.parametrize(
    "values", [np.array(["a", "b"]), np.array([1, 2], np.int8), np.array([0.5, 1], np.float32), np.array([True, False])]
)
def test_numpy_labels_become_plain_python_values(values):
    for given_as in (values, list(values), values.astype(object)):
        assert [type(value) for value in Labels.fit(given_as).classes] == [type(values.tolist()[0])] * 2


def test_decode_keeps_the_shape():
    assert Labels(("a", "b")).decode([[0, 1], [1, 1]]).tolist() == [["a", "b"], ["b", "b"]]


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: Labels.fit(["no", "yes"]).encode(["yes", "yess"]), "labels[1]=yess: unknown; did you mean yes?"),
        (lambda: Labels.fit(["a", "a"]), "labels=['a']: a single class"),
        (lambda: Labels.fit([]), "labels=[]: must not be empty"),
        (lambda: one_hot([]), "labels=[]: must not be empty"),
        (lambda: Labels(()), "labels=[]: must not be empty"),
        (lambda: Labels(("a", "b", "a")), "the same category twice"),
        (lambda: Labels.fit([1.0, math.nan]), "labels[1]=nan: must not be NaN"),
        (lambda: Labels.fit([math.inf, 1.0]), "labels[0]=inf: must not be NaN or infinite"),
        (lambda: Labels.fit([[0, 1], [1, 0]]), "labels[0]=[0, 1]: must be hashable"),
        (lambda: Labels.fit([(1, [2]), (3,)]), "labels[0]=(1, [2]): must be hashable"),
        (lambda: Labels.fit(np.eye(2)), "labels[0]=[1.0, 0.0]: must be hashable"),
        (lambda: Labels.fit(["a", 1]), "cannot be sorted"),
        (lambda: Labels.fit([True, 1, 0]), "booleans and numbers mixed"),
        (lambda: one_hot(COLORS, order="sort"), "did you mean sorted?"),
        (lambda: Labels(("a", "b")).decode([0, 2]), "numbers[1]=2: must be in [0, 2)"),
        (lambda: Labels(("a", "b")).decode([-1]), "numbers[0]=-1: must be in [0, 2)"),
        (lambda: Labels(("a", "b")).from_one_hot([[1, 0], [0, 0]]), "rows[1]=[0, 0]: must hold exactly one 1"),
        (lambda: Labels(("a", "b")).from_one_hot([[1, 1]]), "rows[0]=[1, 1]: must hold exactly one 1"),
        (lambda: Labels(("a", "b")).from_one_hot([[1, 0.5]]), "rows[0]=[1.0, 0.5]: must hold exactly one 1"),
        (lambda: Labels(("a", "b")).from_one_hot([[1, 0, 0]]), "rows[1, 3]: must be [n, 2]"),
        (lambda: Labels(((1, 2), (3,))).to_json(), "a tuple cannot be saved"),
        (lambda: Labels.from_json("["), "must be a JSON list"),
        (lambda: Labels.from_json('{"a": 1}'), "must be a JSON list"),
        (lambda: Labels.from_json("[[1], [2]]"), "must be a JSON list"),
        (lambda: Labels.from_json("[NaN, 1.0]"), "must not be NaN"),
        (lambda: check_labels([0, 1], 1), "classes=1: must be >= 2"),
        (lambda: check_labels([], 3), "labels=[]: must not be empty"),
        (lambda: check_labels([0, 1.7], 3), "labels[1]=1.7: must be a whole number in [0, 3)"),
        (lambda: check_labels(np.array([0, 1.7], np.float32), 3), "labels[1]=1.7: must be a whole number"),
        (lambda: check_labels([0, math.nan], 3), "labels[1]=nan: must be a whole number"),
        (lambda: check_labels([0, math.inf], 3), "labels[1]=inf: must be in [0, 3)"),
        (lambda: check_labels([[0, 1], [2, -1]], 3), "labels[1,1]=-1: must be in [0, 3)"),
        (lambda: check_labels(np.array([2**40 + 1]), 3), "labels[0]=1099511627777: must be in [0, 3)"),
        (lambda: check_labels(np.array([2**64 - 1], np.uint64), 3), "labels[0]=18446744073709551615: must be in"),
        (lambda: check_labels(["a"], 3), "must be numbers; encode them with jaxnn.Labels.fit"),
        (lambda: check_labels(np.array([0, None]), 3), "labels=object: must be numbers"),
        (lambda: check_labels([[0], [1, 2]], 3), "labels: rows of different lengths"),
        (lambda: check_targets([1.0, math.nan]), "y[1]=nan: must be finite"),
        (lambda: check_targets([[1.0, -math.inf]]), "y[0,1]=-inf: must be finite"),
        (lambda: check_targets([1e300]), "y[0]=1e+300: must fit float32"),
        (lambda: check_targets([2.0, -1.0], "poisson"), "y[1]=-1.0: must be >= 0 for --task.loss poisson; use squared"),
        (lambda: check_targets([]), "y=[]: must not be empty"),
    ],
)
def test_what_is_no_label_is_refused_by_position_and_value(call, words):
    with pytest.raises(InputError) as error:
        call()
    assert words in str(error.value) and "\n" not in str(error.value)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 99), st.integers().filter(lambda n: not 0 <= n < 3 and abs(n) < 2**63))
def test_a_bad_label_is_found_at_every_position(position, label):
    labels = np.tile([0, 1, 2, 1], 25).astype(np.int64)
    labels[position] = label
    with pytest.raises(InputError) as error:
        check_labels(labels, 3)
    assert str(error.value) == f"labels[{position}]={label}: must be in [0, 3)"


def test_good_labels_pass_unchanged():
    for labels in ([0, 2, 1], np.array([0.0, 2.0, 1.0]), np.array([0, 2, 1], np.uint8), jnp.array([0, 2, 1])):
        checked = check_labels(labels, 3)
        assert checked.dtype == np.int32 and checked.tolist() == [0, 2, 1]
    assert check_targets([0, 3], "poisson").tolist() == [0, 3] and check_targets([-1.5]).dtype == np.float32


def test_labels_need_no_jax():
    code = "import sys; sys.modules['jax'] = None; import jaxnn.tasks.labels"
    subprocess.run([sys.executable, "-c", code], check=True)
