"""The strict JSON reader: what it takes, Python's takes to the same value; what it refuses has a place and one line."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxnn.config import strict_json
from jaxnn.errors import InputError

FINITE = st.floats(allow_nan=False, allow_infinity=False)
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**300), 10**300) | FINITE | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    max_leaves=20,
)


@given(VALUES, st.booleans(), st.sampled_from([None, 2]))
def test_every_json_value_is_read_as_it_was_written(value, ascii_only, indent):
    assert strict_json.loads(json.dumps(value, ensure_ascii=ascii_only, indent=indent), "x") == value


REFUSED = [
    ('{"a": NaN}', "1:7: NaN is no JSON"),
    ("[1,\n -Infinity]", "2:3: Infinity is no JSON"),
    ("[1e999]", "1:2: 1e999 does not fit"),
    ("[-" + "9" * 5000 + "]", "1:3: 99999999999999999999 does not fit"),
    ('{"a": 1,\n  "a": 2}', '2:3: "a" stands twice'),
    ('{"a": 1, "b": [{"a": 1}], "\\u0061" : 2}', '1:27: "a" stands twice'),
    ("[" * 65 + "]" * 65, "1:65: must be nested at most 64 deep"),
    ("[" * 100_000, "1:65: must be nested"),
    ('{"a":' * 100_000, "1:321: must be nested"),
    ("", "1:1: is no JSON (Expecting value)"),
    ("{'a': 1}", "1:2: is no JSON"),
    ('["a', "1:2: is no JSON (Unterminated string"),
    ('["\\', "1:2: is no JSON (Unterminated string"),
    ('["\\x"]', "1:3: is no JSON"),
    ('["\\ud800"]', "1:2: holds half a surrogate pair"),
    ("[1]]", "1:4: is no JSON (Extra data)"),
    ("\ufeff[1]", "1:1: is no JSON"),
    ("[1] // one", "1:5: is no JSON"),
    (" " * (2**22 + 1), "1:1: must be at most 4194304 characters"),
]


@pytest.mark.parametrize(("text", "words"), REFUSED, ids=[words for _, words in REFUSED])
def test_f07_what_is_no_strict_json_is_refused_with_its_place(text, words):
    with pytest.raises(InputError) as refusal:
        strict_json.loads(text, "c.json")
    assert str(refusal.value).startswith(f"c.json: {words}") and "\n" not in str(refusal.value)


def test_brackets_and_keys_in_strings_count_for_nothing():
    text = json.dumps({"a": '[[[ {"b": NaN, "b": 1e999', "b": ["a", "a", 'b"'], "deep": [[[]]] * 40})
    assert strict_json.loads(text, "x") == json.loads(text)
    assert strict_json.loads("[" * 64 + "]" * 64, "x") is not None


@given(st.text(alphabet='[]{}:,"\\ \n0159eE.-+NaInfituyrlsd\ud800é', max_size=40) | st.text())
def test_any_text_is_a_value_or_an_input_error_and_never_more_than_python_takes(text):
    try:
        value = strict_json.loads(text, "x")
    except InputError as refusal:
        assert "\n" not in str(refusal)
    else:
        assert json.loads(text, parse_constant=lambda _: math.nan) == value


@pytest.mark.parametrize(
    "size", [strict_json.MAX_SIZE // 16, pytest.param(strict_json.MAX_SIZE, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("word", ['"\\"', '"', "1,", "[],", '"a":', "\\", "1e9", "9"])
def test_a_long_text_is_answered(word, size):
    """A reader that looks back would need minutes for some of these, and hours for the longest."""
    with pytest.raises(InputError):
        strict_json.loads(word * (size // len(word)), "x")
