"""Labels are the user's own; the network sees 0 ... K - 1. Nothing is wrapped, clamped or rounded on the way.

On the host and in NumPy: this is the boundary where a bad label is refused by position and value.
"""

from __future__ import annotations

import json
import math
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxnn.arrays import refuse_where
from jaxnn.errors import InputError, choices

Label = str | int | float | bool
_KEPT = (str, int, float, bool)  # what JSON gives back as it was
_SORTED = ({"i", "u"}, {"U"})  # kinds of arrays that are compared, and so encoded, all at once
ORDERS = ("appearance", "sorted")


@dataclass(frozen=True)
class Labels:
    """The categories of a column, in the order of their numbers; plain Python values, so that JSON keeps them.

    Raises `InputError` for no category, the same one twice, or one that is not hashable or is NaN.

    >>> import jaxnn
    >>> labels = jaxnn.Labels.fit(["no", "yes", "no"])
    >>> labels.encode(["yes", "no"]).tolist(), labels.decode([0, 1]).tolist()
    ([1, 0], ['no', 'yes'])
    >>> jaxnn.Labels.from_json(labels.to_json()) == labels
    True
    """

    classes: tuple[Hashable, ...]

    def __post_init__(self) -> None:
        if len(categories(self.classes)) < len(self.classes):
            raise InputError(f"classes={self.classes}: the same category twice; give each once")
        object.__setattr__(self, "classes", tuple(_plain(self.classes)))

    @classmethod
    def fit(cls, values: Iterable[Any], order: str = "sorted") -> Labels:
        """The label encoder of a training set. Raises `InputError` if there is only one class to learn."""
        found = categories(values, order)
        if len(found) < 2:
            raise InputError(
                f"labels={list(found)}: a single class, there is nothing to learn; add examples of another"
            )
        return cls(found)

    def encode(self, values: Iterable[Any], name: str = "labels") -> np.ndarray:
        """Labels to numbers `i32[n]`. Raises `InputError` naming the first unknown label as one of `name`."""
        table = self._array()
        given = values if isinstance(values, np.ndarray) else np.empty(0, object)
        if any({given.dtype.kind, table.dtype.kind} <= kinds for kinds in _SORTED):
            order = np.argsort(table)  # a binary search for all labels at once, instead of the loop in Python below
            found = order[np.minimum(np.searchsorted(table, given, sorter=order), len(table) - 1)]
            if (table[found] == given).all():
                return found.astype(np.int32)
        number = {category: i for i, category in enumerate(self.classes)}
        values = _plain(values)
        for i, value in enumerate(values):
            if value not in number:
                raise choices(f"{name}[{i}]", value, map(str, self.classes))
        return np.array([number[value] for value in values], np.int32)

    def decode(self, numbers: Any) -> np.ndarray:
        """Numbers `[...]` to labels `[...]`. Raises `InputError` for a number outside [0, K)."""
        return self._array()[class_numbers(numbers, len(self.classes), "numbers")]

    def one_hot(self, values: Iterable[Any]) -> np.ndarray:
        """Labels to rows `f32[n, K]` with exactly one 1. Raises `InputError` naming the first unknown label."""
        return np.eye(len(self.classes), dtype=np.float32)[self.encode(values)]

    def from_one_hot(self, rows: Any) -> np.ndarray:
        """The inverse of `one_hot`. Raises `InputError` naming the first row that does not hold exactly one 1."""
        rows = np.asarray(rows)
        if rows.ndim != 2 or rows.shape[1] != len(self.classes):
            raise InputError(f"rows{list(rows.shape)}: must be [n, {len(self.classes)}], a column for each category")
        bad = np.flatnonzero(((rows != 0) & (rows != 1)).any(axis=1) | ((rows == 1).sum(axis=1) != 1))
        if bad.size:
            raise InputError(f"rows[{bad[0]}]={rows[bad[0]].tolist()}: must hold exactly one 1, the rest 0")
        return self._array()[rows.argmax(axis=1)]

    def to_json(self) -> str:
        """The categories as a JSON list. Raises `InputError` for one that JSON would change."""
        for category in self.classes:
            if not isinstance(category, _KEPT):
                kind = type(category).__name__
                raise InputError(f"classes={category!r}: a {kind} cannot be saved; use strings, numbers or booleans")
        return json.dumps(self.classes, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Labels:
        """What `to_json` was called on. Raises `InputError` if the text is anything else."""
        try:
            classes = json.loads(text)
        except ValueError as error:
            raise InputError(f"classes={text[:80]!r}: must be a JSON list ({error}); use Labels.to_json") from error
        if not isinstance(classes, list) or not all(isinstance(category, _KEPT) for category in classes):
            raise InputError(f"classes={text[:80]!r}: must be a JSON list of plain values; use Labels.to_json")
        return cls(tuple(classes))

    def _array(self) -> np.ndarray:
        """The categories as an array of their own type; of mixed ones, or tuples, as objects that keep theirs."""
        kinds = {type(category) for category in self.classes}
        if len(kinds) == 1 and kinds <= set(_KEPT):
            table = np.array(self.classes)
            if table.tolist() == list(self.classes):  # NumPy drops trailing zero bytes of text
                return table
        table = np.empty(len(self.classes), object)
        table[:] = self.classes
        return table


def one_hot(values: Iterable[Any], order: str = "appearance") -> tuple[np.ndarray, Labels]:
    """A categorical column as binary vectors with exactly one 1, `f32[n, K]`, and the `Labels` that name the columns.

    Any hashable values; the columns in order of first appearance, or sorted. The inverse is `Labels.from_one_hot`.
    Raises `InputError` for an empty column, a value that is NaN or not hashable, or an unknown order.

    >>> import jaxnn
    >>> rows, labels = jaxnn.one_hot(["red", "blue", "green", "blue"])
    >>> [f"color_{category}" for category in labels.classes]
    ['color_red', 'color_blue', 'color_green']
    >>> rows.astype(int)
    array([[1, 0, 0],
           [0, 1, 0],
           [0, 0, 1],
           [0, 1, 0]])
    >>> labels.from_one_hot(rows).tolist()
    ['red', 'blue', 'green', 'blue']

    Source: the lecture.
    """
    values = _plain(values)
    labels = Labels(categories(values, order))
    return labels.one_hot(values), labels


def categories(values: Iterable[Any], order: str = "appearance") -> tuple[Hashable, ...]:
    """The distinct values, in order of first appearance or sorted, as plain Python values.

    Raises `InputError` if there are none, if one is NaN or not hashable, if booleans are mixed with numbers (to Python
    `True == 1`), or if they cannot be sorted.

    >>> categories(["red", "blue", "green", "blue"]), categories([3, 1, 3], order="sorted")
    (('red', 'blue', 'green'), (1, 3))
    """
    if order not in ORDERS:
        raise choices("order", order, ORDERS)
    values = _plain(values)
    if not values:
        raise InputError("labels=[]: must not be empty; give at least one example")
    kinds = {type(value) for value in values}
    if bool in kinds and kinds & {int, float}:
        raise InputError("labels: booleans and numbers mixed, True would be 1; make them of one type")
    found = tuple(dict.fromkeys(values))
    if order == "appearance":
        return found
    try:
        return tuple(sorted(found))  # pyright: ignore[reportArgumentType]  values that do not compare are caught below
    except TypeError as error:
        raise InputError(f"labels: cannot be sorted ({error}); use order='appearance'") from error


def check_labels(y: Any, classes: int) -> np.ndarray:
    """Class numbers `[...]` as `i32[...]`, none of them changed: what may go into `cross_entropy`.

    Raises `InputError` naming the first label that is out of [0, classes), fractional, NaN or not a number; and if
    there are none, or fewer than two classes.

    >>> import jaxnn
    >>> jaxnn.check_labels([0, 1, 2, 3], classes=3)
    Traceback (most recent call last):
    jaxnn.errors.InputError: labels[3]=3: must be in [0, 3)
    """
    if classes < 2:
        raise InputError(f"classes={classes}: must be >= 2; there is nothing to learn from one class")
    return class_numbers(y, classes, "labels")


def check_targets(y: Any, loss: str = "squared") -> np.ndarray:
    """Regression targets `[...]` as `f32[...]`. Raises `InputError` naming the first that is not finite, that float32
    cannot hold, or that is negative where `loss` is poisson; and if there are none.

    >>> import jaxnn
    >>> jaxnn.check_targets([1.0, -2.0], loss="poisson")
    Traceback (most recent call last):
    jaxnn.errors.InputError: y[1]=-2.0: must be >= 0 for --task.loss poisson; use squared
    """
    y = _numbers(y, "y")
    refuse_where(~np.isfinite(y), "y", y, "must be finite; drop the row or mend it")
    limit = float(np.finfo(np.float32).max)
    refuse_where(abs(y.astype(np.float64)) > limit, "y", y, "must fit float32, at most 3.4e38; scale y")
    if loss == "poisson":
        refuse_where(y < 0, "y", y, "must be >= 0 for --task.loss poisson; use squared")
    return y.astype(np.float32)


def class_numbers(values: Any, classes: int, name: str) -> np.ndarray:
    """`check_labels` of one class or more, which `name` calls the labels."""
    values = _numbers(values, name)
    refuse_where((values < 0) | (values >= classes), name, values, f"must be in [0, {classes})")
    rule = f"must be a whole number in [0, {classes}); mend it or use --task.name regression"
    refuse_where(values % 1 != 0, name, values, rule)  # NaN % 1 is NaN, so it is refused too
    return values.astype(np.int32)


def _numbers(values: Any, name: str) -> np.ndarray:
    try:
        values = np.asarray(values)
    except ValueError as error:
        raise InputError(f"{name}: rows of different lengths ({error}); give one label for each example") from error
    if values.dtype.kind not in "iuf":
        raise InputError(f"{name}={values.dtype}: must be numbers; encode them with jaxnn.Labels.fit")
    if not values.size:
        raise InputError(f"{name}=[]: must not be empty; give at least one example")
    return values


def _plain(values: Iterable[Any]) -> list[Any]:
    """NumPy and pandas values as Python's own: `str`, `int`, `float`, `bool`."""
    # Iterating a pandas table gives the names of its columns, iterating a text its letters.
    table = getattr(values, "ndim", 1) != 1 and not isinstance(values, np.ndarray)
    if table or isinstance(values, str | bytes | dict):
        raise InputError(f"labels={type(values).__name__}: must be one column of labels; give a list or an array [n]")
    listed = values.tolist() if hasattr(values, "tolist") else list(values)  # pyright: ignore[reportAttributeAccessIssue]
    listed = [value.item() if isinstance(value, np.generic) else value for value in listed]
    for i, value in enumerate(listed):
        try:
            hash(value)  # isinstance(value, Hashable) is True for a tuple that holds a list
        except TypeError as error:
            raise InputError(f"labels[{i}]={value}: must be hashable; give one label for each example") from error
        if isinstance(value, float) and not math.isfinite(value):
            raise InputError(f"labels[{i}]={value}: must not be NaN or infinite; drop the row or label it")
    return listed
