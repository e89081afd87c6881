"""Splits by groups and by time; the oracles are scikit-learn's GroupShuffleSplit and sorting with pandas."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import GroupShuffleSplit

from jaxnn import data
from jaxnn.config.data import DataConfig
from jaxnn.data.split import by_group, by_time
from jaxnn.errors import InputError

N = 200


def frame(**columns: Any) -> pd.DataFrame:
    """Rows whose feature `row` is their number, so that each is found again in its part."""
    rng = np.random.default_rng(0)
    columns = {name: np.asarray(cells) for name, cells in columns.items()}
    n = len(next(iter(columns.values())))
    return pd.DataFrame({"row": np.arange(n), **columns, "y": rng.integers(0, 2, n)})


def rows(loaded: Any) -> dict[str, list[int]]:
    assert loaded.features == ("row",)  # the column of the split is no feature
    return {part: batch.x[:, 0].astype(int).tolist() for part, batch in loaded.parts.items()}


def refusal(*args: Any, **kwargs: Any) -> str:
    with pytest.raises(InputError) as caught:
        data.load(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


RNG = np.random.default_rng(1)
USERS = RNG.integers(0, 30, N)
NAMED = np.array([f"u{user}" for user in USERS])


@pytest.mark.parametrize(
    "users", [USERS, NAMED, USERS + 0.5, USERS > 14, np.datetime64("2024-01-01", "s") + 86400 * USERS]
)
@pytest.mark.parametrize("kind", ["csv", "frame"])
def test_no_group_stands_in_two_parts_and_every_row_in_one(tmp_path, users, kind):
    table = frame(user=users)
    table.to_csv(tmp_path / "t.csv", index=False)
    how: dict[str, Any] = {"split_by": "user", "validation_fraction": 0 if users.dtype == bool else 0.2}
    loaded = data.load(table if kind == "frame" else tmp_path / "t.csv", **how)
    found = rows(loaded)
    assert sorted(row for part in found.values() for row in part) == list(range(N))
    groups = {part: set(np.asarray(users)[index].tolist()) for part, index in found.items()}
    names = list(groups)
    assert all(groups[a].isdisjoint(groups[b]) for a in names for b in names if a < b)
    if users.dtype != bool:
        largest = np.bincount(USERS).max()
        assert abs(len(found["test"]) - 0.2 * N) <= largest / 2
        assert abs(len(found["val"]) - 0.2 * (N - len(found["test"]))) <= largest / 2
    assert "split by user, which is no feature: train " in loaded.notes[0]
    assert f"{len(groups['test'])} groups, {len(found['test'])} examples" in loaded.notes[0]


def test_groups_are_drawn_by_the_seed_of_the_split_alone():
    table = frame(user=NAMED)
    first, again, other = (data.load(table, split_by="user", split_seed=seed) for seed in (0, 0, 1))
    assert first.digest == again.digest != other.digest
    shuffled = data.load(table.iloc[RNG.permutation(N)], split_by="user")  # groups, whatever row comes first
    assert {part: set(index) for part, index in rows(shuffled).items()} == {
        part: set(index) for part, index in rows(first).items()
    }


def test_each_group_is_tested_on_as_often_as_in_scikit_learn():
    sizes = np.full(10, 4)
    groups, draws = np.repeat(np.arange(10), sizes), 2000
    ours, theirs = np.zeros(10), np.zeros(10)
    splitter = GroupShuffleSplit(draws, test_size=0.3, random_state=0)
    for seed, (_, index) in enumerate(splitter.split(groups, groups=groups)):
        part = by_group(np.random.default_rng(seed), groups, 0.3)[1]
        assert len(part) == len(index) == 12
        ours[np.unique(groups[part])] += 1
        theirs[np.unique(groups[index])] += 1
    np.testing.assert_allclose(ours / draws, 0.3, atol=0.05)
    np.testing.assert_allclose(ours / draws, theirs / draws, atol=0.07)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 30), min_size=2, max_size=20), st.floats(0.01, 0.9), st.integers(0, 2**31))
def test_a_cut_by_groups_is_as_near_to_its_fraction_as_any_one_group_could_bring_it(sizes, fraction, seed):
    groups = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    rest, part = by_group(np.random.default_rng(seed), groups, fraction)
    assert sorted([*rest, *part]) == list(range(len(groups))) and len(rest) and len(part)
    assert not set(groups[rest]) & set(groups[part])
    wanted = fraction * len(groups)
    left = [sizes[g] for g in set(groups[rest])]
    if len(left) > 1 and len(part) <= wanted:  # no group that is left would bring the part nearer
        assert all(abs(len(part) + size - wanted) >= abs(len(part) - wanted) for size in left)


DAYS: Any = pd.Timestamp("2023-12-20") + pd.to_timedelta(RNG.permutation(N), unit="D")
DATES = {
    "days": DAYS.strftime("%Y-%m-%d"),
    "minutes": DAYS.strftime("%Y-%m-%d %H:%M"),
    "zoned": DAYS.strftime("%Y-%m-%dT%H:%M:%S+02:00"),
    "weeks": np.array([f"{d.isocalendar().year}-W{d.isocalendar().week:02}-{d.isocalendar().weekday}" for d in DAYS]),
    "seconds": DAYS.astype("int64") // 10**9,
    "fractions": (DAYS - DAYS.min()).days / 7.0,
    "timestamps": DAYS,
    "with a zone": DAYS.tz_localize("Europe/Berlin"),
    "dates": np.array(DAYS.date),
}


@pytest.mark.parametrize("kind", DATES)
@pytest.mark.parametrize("file", [True, False])
def test_the_test_is_the_last_by_time_and_validation_what_comes_before(tmp_path, kind, file):
    table = frame(when=DATES[kind])
    source: Any = table
    if file:
        source = tmp_path / ("t.csv" if table["when"].dtype.kind not in "M" else "t.parquet")
        table.to_csv(source, index=False) if source.suffix == ".csv" else table.to_parquet(source)
    found = rows(loaded := data.load(source, split="time:when", validation_fraction=0.25))
    ordered = table.assign(when=DAYS).sort_values("when")["row"].tolist()
    assert set(found["test"]) == set(ordered[-40:])
    assert set(found["val"]) == set(ordered[-80:-40]) and set(found["train"]) == set(ordered[:-80])
    assert loaded.notes[0].endswith("which is no feature: train 120 examples; test 40 examples; validation 40 examples")
    assert data.load(source, split="time:when", split_seed=7, validation_fraction=0.25).digest == loaded.digest


def test_times_with_offsets_are_ordered_as_moments():
    moments = pd.date_range("2024-03-31T00:00", periods=40, freq="20min", tz="UTC")
    zones = ["UTC", "Asia/Tokyo", "America/New_York"]
    texts = [moment.tz_convert(zones[i % 3]).isoformat() for i, moment in enumerate(moments)]
    found = rows(data.load(frame(t=texts), split="time:t", validation_fraction=0))
    assert found["test"] == list(range(32, 40))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 6), min_size=2, max_size=40), st.floats(0.05, 0.9))
def test_equal_times_are_never_cut_apart(times, fraction):
    values = np.array(times)
    rest, part = by_time(values, fraction)
    assert sorted([*rest, *part]) == list(range(len(times)))
    if len(set(times)) == 1:
        assert len(part) == 0
        return
    assert values[rest].max() < values[part].min()
    wanted = len(times) - round(len(times) * fraction)
    possible = np.cumsum(pd.Series(times).value_counts().sort_index())[:-1]  # rows before each change of time
    assert abs(len(rest) - wanted) == min(abs(possible - wanted))


def test_months_are_times_and_never_cut_apart():
    table = frame(month=[f"2024-{1 + i % 10:02}" for i in range(N)])
    found = rows(data.load(table, split="time:month", test_fraction=0.23, validation_fraction=0))
    assert {row % 10 for row in found["test"]} == {8, 9} and len(found["test"]) == 40


def test_a_validation_table_may_hold_no_group_of_the_training_table():
    table: Any = frame(user=NAMED)
    inside, outside = table[USERS > 20], table[USERS <= 20]
    loaded = data.load(outside, split_by="user", validation=inside)
    assert loaded.shapes["validation"] == (len(inside), 1)
    assert not set(NAMED[rows(loaded)["test"]]) & set(NAMED[rows(loaded)["train"]])
    message = refusal(outside, split_by="user", validation=pd.concat([inside, outside.head(1).assign(row=-1)]))
    expected = (
        f"table row {len(inside)}, column user={outside['user'].iloc[0]}: is a group of the training examples too"
    )
    assert message == f"{expected}; leave the group out of one, or add --data.allow_overlap"
    numbers = frame(user=USERS)
    assert "is a group of the training" in refusal(
        numbers[USERS < 20], split_by="user", validation=numbers[USERS >= 19].astype({"user": float}).assign(row=-1)
    )


def test_without_parts_to_cut_the_column_is_left_out_of_the_features():
    none: dict[str, Any] = {"test_fraction": 0, "validation_fraction": 0}
    assert rows(data.load(frame(user=["a"] * N), split_by="user", **none)) == {"train": list(range(N))}


BY = {"split_by": "g"}
TIME = {"split": "time:g"}


@pytest.mark.parametrize(
    ("cells", "how", "expected"),
    [
        (
            ["a"] * 9,
            BY,
            "--data.split_by=g: has 1 of the 3 different groups that test, validation and train need; split",
        ),
        (["a", "b"] * 9, BY, "--data.split_by=g: has 2 of the 3 different groups"),
        ([3.5] * 9, TIME, "--data.split=time:g: has 1 of the 3 different times"),
        (["a", None, "b"] * 9, BY, "table row 1, column g=None: missing value"),
        (
            ["a", None, "b"] * 9,
            BY | {"nan": "mean"},
            "table row 1, column g=None: missing value; --data.nan mean fills fea",
        ),
        ([1.0, np.inf, 2.0] * 9, TIME, "table row 1, column g=inf: must be finite"),
        (
            ["2024-01-02", "02/01/2024"] * 9,
            TIME,
            "table row 1, column g=02/01/2024: is no number and no date of ISO 8601",
        ),
        (["2024-01-02", "7"] * 9, TIME, "table row 1, column g=7: is no number and no date of ISO 8601"),
        (["2024-01-02", "2024-02-30"] * 9, TIME, "row 1, column g=2024-02-30: is no number and no date"),
        (
            ["2024-01-02", "2024-01-02T10:00Z", "2024-01-03"] * 9,
            TIME,
            "row 1, column g=2024-01-02T10:00Z: has a time zone, a",
        ),
        (
            ["2024-01-02", "2024-01-02T10Z", "2024-01-02T11Z"] * 9,
            TIME,
            "row 0, column g=2024-01-02: has no time zone, and",
        ),
        ([[1], [2]] * 9, BY, "column g=list<"),
        ([1, 2, 3] * 9, {"split_by": "gg"}, "--data.split_by=gg: unknown; did you mean g?"),
        ([1, 2, 3] * 9, {"split": "time:gg"}, "--data.split=time:gg: unknown; did you mean time:g?"),
        ([1, 2, 3] * 9, {"split": "g"}, "--data.split=g: must be time:COLUMN"),
        ([1, 2, 3] * 9, {"split": "time:"}, "--data.split=time:: must be time:COLUMN"),
        ([1, 2, 3] * 9, {"split_by": "y"}, "--data.split_by=y: is the target column too; choose another"),
        ([1, 2, 3] * 9, {"split": "time:y"}, "--data.split=time:y: is the target column too; choose another"),
        ([1, 2, 3] * 9, BY | {"drop": "g"}, "--data.drop=g: is the split_by column too; choose another"),
        ([1, 2, 3] * 9, BY | {"weight": "g"}, "--data.split_by=g: is the weight column too; choose another"),
        (
            [1, 2, 3] * 9,
            BY | TIME,
            "--data.split=time:g: is one way to split, --data.split_by g another; leave one out",
        ),
        ([1, 2, 3] * 9, TIME | {"validation": "v.csv"}, "--data.split=time:g: validates on the rows before the test"),
        (
            [1, 2, 3] * 9,
            BY | {"test_fraction": 0.9},
            "--data.validation_fraction=0.1: leaves 9 of 9 examples for valid",
        ),
    ],
)
def test_what_cannot_be_split_by_is_refused_in_one_line(cells, how, expected):
    table = frame(i=range(len(cells))).assign(g=cells)[["row", "g", "y"]]
    assert expected in refusal(table, **how)


def test_classes_that_the_split_leaves_out_of_training_are_told_of_and_one_alone_is_refused():
    table = frame(t=range(60)).assign(y=["a"] * 30 + ["b"] * 20 + ["c"] * 10)
    loaded = data.load(table, split="time:t", validation_fraction=0)
    assert loaded.notes[1] == "classes c: in no training example, by this split"
    assert refusal(table, split="time:t", test_fraction=0.5).startswith(
        "--data.split=time:t: leaves one class to train on, a; split otherwise"
    )


@pytest.mark.parametrize("option", ["drop", "split_by", "split"])
def test_tables_alone_have_columns(option):
    given: dict[str, Any] = {option: ("time:a",) if option == "drop" else "time:a"}
    with pytest.raises(InputError, match=f"--data.{option}=time:a: is for table data, not bundled; leave it out"):
        data.from_config(DataConfig("wine", **given))
