"""Labels become numbers: what the task is, which classes there are, and the index of each label."""

from __future__ import annotations

import unicodedata
from typing import Any, NamedTuple

import numpy as np

from jaxnn.arrays import refuse_where, to_float32
from jaxnn.config.names import GENERATIVE, PICTURED
from jaxnn.errors import InputError, choices
from jaxnn.tasks.labels import Label, Labels

MAX_AUTO_CLASSES = 100


class Targets(NamedTuple):
    """`y` of each split: i32[n] for binary and multiclass, f32[n, K] for multilabel and regression; u8[n, H, W] for
    segmentation, f32[n, M, 5] for detection."""

    task: str
    classes: tuple[Label, ...] | None
    y: dict[str, np.ndarray]
    labels: tuple[Label, ...] | None = None  # those of training, where class 0 is all of them but one

    @property
    def numbered(self) -> bool:
        """Whether y are the numbers of classes."""
        return self.classes is not None and self.y["train"].ndim == 1

    @property
    def outputs(self) -> int:
        """How many numbers a model must give: 1 for binary, K for K classes, labels or targets."""
        if self.classes is not None and self.task in ("multiclass", *PICTURED):
            return len(self.classes)
        return 1 if self.task == "binary" else self.y["train"].shape[1]


def encode(
    labels: dict[str, np.ndarray],
    task: str,
    *,
    known: tuple[Label, ...] | None = None,
    positive: str | None = None,
    names: tuple[str, ...] | None = None,
) -> Targets:
    """Numbers for the labels of every split, by what the labels of `train` are.

    Args:
      labels: those of each split; class numbers where the classes are `known`.
      task: its name, or auto. That of one that generates images may have one class.
      positive: the label against which all others are one class.
      names: of the columns of a matrix that has them: of the labels, or of the amounts.

    `auto` reads: text, truth values, and whole numbers with at most 100 different values are classes; two are
    binary, more multiclass. A matrix of 0 and 1 is one-hot if each row has a single 1, else multilabel; with `names` it
    is multilabel, and a matrix with some columns of 0 and 1 alone is refused. Numbers with fractions are regression.
    """
    fewest, task = (1, "auto") if task in GENERATIVE else (2, task)
    if known is not None and task in ("regression", "multilabel"):
        raise InputError(f"--task.name={task}: the labels are classes ({_list(known)}); use multiclass")
    if names is not None and task == "auto":
        task = _named_kind(labels["train"], names)
    kind = "indices" if known is not None else _kind(labels["train"], task)
    if kind in ("regression", "multilabel"):
        if positive is not None:
            raise InputError(f"--data.positive={positive}: the labels are not classes ({kind}); leave it out")
        y = {part: _matrix(values, part, kind) for part, values in labels.items()}
        width = y["train"].shape[1]
        for part, values in y.items():
            if values.shape[1] != width:
                raise InputError(f"{part} y={values.shape}: must have the {width} columns of the training examples")
        return Targets(kind, (names or tuple(range(width))) if kind == "multilabel" else None, y)

    if kind == "one_hot":
        classes: tuple[Label, ...] = names or tuple(range(labels["train"].shape[1]))
        y = {part: _from_one_hot(values, part, len(classes)) for part, values in labels.items()}
    elif kind == "indices":
        classes = known or ()
        y = {part: _in_range(values, part, len(classes)) for part, values in labels.items()}
    else:
        found = np.unique(_whole(labels["train"], "labels"))
        classes = tuple(found.tolist())
        y = {part: _look_up(values, part, found) for part, values in labels.items()}
    merged = None
    if positive is not None:
        merged = classes if len(classes) > 2 else None
        classes, y = _one_against_rest(classes, y, positive, task)

    present = np.unique(y["train"])
    if len(present) < fewest:
        only = classes[present[0]]
        raise InputError(f"labels={only}: the only class of {len(y['train'])} training examples; there must be two")
    if task == "binary" and len(classes) != 2:
        raise InputError(
            f"--task.name=binary: the labels have {len(classes)} classes ({_list(classes)}); "
            "choose one with --data.positive, or use --task.name multiclass"
        )
    if task == "auto":
        task = "binary" if len(classes) == 2 else "multiclass"
    return Targets(task, classes, y, merged)


def normal_form(text: str) -> str:
    """Unicode's form NFC, in which the two ways to write an accented letter are one."""
    return unicodedata.normalize("NFC", text)


def alike(labels: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Labels of each split in which texts that differ in Unicode's normal form alone are one: that of a training label.

    >>> letters = alike({"train": np.array([chr(233), "e" + chr(769), "a"])})["train"]
    >>> len(set(letters.tolist()))
    2
    """
    if any(y.dtype.kind != "U" for y in labels.values()):
        return labels
    forms: dict[str, str] = {}
    for y in (labels["train"], *labels.values()):
        for text in sorted(set(y.ravel().tolist()), reverse=True):
            forms.setdefault(normal_form(text), text)
    found = {}
    for part, y in labels.items():
        texts, place = np.unique(y, return_inverse=True)
        chosen = [forms.get(normal_form(text), text) for text in texts.tolist()]
        found[part] = np.array(chosen)[place.reshape(y.shape)]
    return found


def _kind(y: np.ndarray, task: str) -> str:
    """classes, one_hot, multilabel or regression; refuses what fits none."""
    if y.dtype.kind not in "biufU":
        raise InputError(f"y={y.dtype}: labels must be text, truth values or numbers; convert them")
    if y.ndim not in (1, 2) or 0 in y.shape:
        raise InputError(f"y={y.shape}: must be [n], or [n, K]; reshape it")
    number = y.dtype.kind != "U"
    if y.dtype.kind == "f":
        refuse_where(~np.isfinite(y), "labels", y, "must be finite; repair it or leave the row out")
    fractional = y.dtype.kind == "f" and bool((y != np.round(y)).any())
    if task == "regression" or (task == "auto" and fractional):
        if not number:
            raise InputError("--task.name=regression: the labels are text; use --task.name multiclass")
        return "regression"
    if y.ndim == 2 and y.shape[1] == 1:
        raise InputError(f"y={y.shape}: classes must be [n]; pass y[:, 0]")
    if y.ndim == 1:
        if task == "multilabel":
            raise InputError(f"--task.name=multilabel: y has the shape {y.shape}; must be [n, K] of 0 and 1")
        if task == "auto" and number and len(np.unique(y)) > MAX_AUTO_CLASSES:
            raise InputError(
                f"--task.name=auto: the {len(np.unique(y))} different whole numbers in y may be classes or amounts; "
                "say --task.name multiclass or regression"
            )
        return "classes"
    if not number:
        raise InputError(f"y={y.shape}: text labels must be [n]; pass one column")
    zero_one = ((y == 0) | (y == 1)).all()
    if task in ("auto", "multilabel") and not zero_one:
        if task == "auto":
            return "regression"
        refuse_where((y != 0) & (y != 1), "labels", y, "must be 0 or 1 (multilabel)")
    return "one_hot" if task != "multilabel" and (task != "auto" or (y.sum(1) == 1).all()) else "multilabel"


def _named_kind(y: np.ndarray, names: tuple[str, ...]) -> str:
    """multilabel or regression, of columns that were chosen by their names; refuses a mixture."""
    binary = ((y == 0) | (y == 1)).all(0).tolist()
    if any(binary) and not all(binary):
        mixture = f"{names[binary.index(True)]} is 0 and 1 alone, {names[binary.index(False)]} is not"
        cure = "say --task.name regression, or choose columns of one kind"
        raise InputError(f"--data.target={' '.join(names)}: {mixture}; {cure}")
    return "multilabel" if all(binary) else "regression"


def _named(part: str, name: str = "labels") -> str:
    return name if part == "train" else f"{part} {name}"


def _list(classes: tuple[Label, ...]) -> str:
    return ", ".join(map(str, classes[:10])) + (", ..." if len(classes) > 10 else "")


def _matrix(y: np.ndarray, part: str, kind: str) -> np.ndarray:
    """f32[n, K]"""
    y = to_float32(y, _named(part, "y"))
    if kind == "multilabel":
        refuse_where((y != 0) & (y != 1), _named(part), y, "must be 0 or 1 (multilabel)")
    return y if y.ndim == 2 else y[:, None]


def _from_one_hot(y: np.ndarray, part: str, width: int) -> np.ndarray:
    if y.ndim != 2 or y.shape[1] != width or y.dtype.kind not in "biuf":
        raise InputError(f"{_named(part, 'y')}={y.shape}: must be [n, {width}], one-hot as in the training examples")
    bad = ~(((y == 0) | (y == 1)).all(1) & (y.sum(1) == 1))
    refuse_where(bad, _named(part), y, "must be one-hot, a single 1 in each row; use --task.name multilabel")
    return y.argmax(1).astype(np.int32)


def _in_range(y: np.ndarray, part: str, n: int) -> np.ndarray:
    if y.ndim != 1 or y.dtype.kind not in "iu":
        raise InputError(f"{_named(part, 'y')}={y.dtype}{y.shape}: class indices must be whole numbers [n]")
    refuse_where((y < 0) | (y >= n), _named(part), y, f"must be in [0, {n}); repair it or leave the row out")
    return y.astype(np.int32)


def _whole(y: np.ndarray, name: str) -> np.ndarray:
    """Labels of classes: numbers must be whole and, but for the pair -1 and 1, not negative."""
    if y.ndim != 1:
        raise InputError(f"{name}={y.shape}: classes must be [n]; pass y[:, 0]")
    if y.dtype.kind == "f":
        refuse_where(~np.isfinite(y), name, y, "must be finite; repair it or leave the row out")
        refuse_where(y != np.round(y), name, y, "a class must be a whole number or text; use --task.name regression")
        refuse_where(np.abs(y) > 2**53, name, y, "too large for a whole number; give the classes as text")
        y = y.astype(np.int64)
    if y.dtype.kind == "i" and not np.isin(y, (-1, 1)).all():
        refuse_where(y < 0, name, y, "must be >= 0 (or -1 and 1 alone); give other classes as text")
    return y


def _look_up(y: np.ndarray, part: str, known: np.ndarray) -> np.ndarray:
    name = _named(part)
    y = _whole(y, name)
    if (y.dtype.kind in "iu") != (known.dtype.kind in "iu") or (y.dtype.kind == "U") != (known.dtype.kind == "U"):
        raise InputError(f"{name}={y.dtype}: must be of the same kind as in the training examples ({known.dtype})")
    classes = tuple(known.tolist())
    refuse_where(~np.isin(y, known), name, y, f"not a class of the training examples ({_list(classes)})")
    return Labels(classes).encode(y, name)


def _one_against_rest(
    classes: tuple[Label, ...], y: dict[str, np.ndarray], positive: str, task: str
) -> tuple[tuple[Label, ...], dict[str, np.ndarray]]:
    """Class 1 is `positive`, class 0 all the others."""
    names = [normal_form(str(label)) for label in classes]
    positive = normal_form(positive)
    if positive not in names:
        raise choices("--data.positive", positive, names)
    if task not in ("auto", "binary"):
        raise InputError(f"--data.positive={positive}: makes a binary task; leave out --task.name {task}")
    chosen = names.index(positive)
    rest = classes[1 - chosen] if len(classes) == 2 else f"not {positive}"
    hit = {part: (values == chosen).astype(np.int32) for part, values in y.items()}
    return (rest, classes[chosen] if len(classes) == 2 else positive), hit


def encode_known(y: np.ndarray, about: dict[str, Any], positive: str | None) -> np.ndarray:
    """The labels of new examples by what those of training were: i32[n] numbers of the classes, or f32[n, K].

    about: what is known of the data (`Dataset.describe`). Raises `InputError` for a label that no training example had.

    >>> encode_known(np.array(["b", "a"]), {"task": "binary", "classes": ["a", "b"]}, None).tolist()
    [1, 0]
    >>> known = {"task": "binary", "classes": ["not b", "b"], "labels": ["a", "b", "c"]}
    >>> encode_known(np.array(["b", "a", "c"]), known, "b").tolist()
    [1, 0, 0]
    """
    labels, classes = about.get("labels"), about["classes"]
    if classes is None or about["task"] == "multilabel":
        return _matrix(y, "train", "regression" if classes is None else about["task"])
    known = labels or classes
    found = _from_one_hot(y, "train", len(known)) if y.ndim == 2 else _look_up(y, "train", np.array(known))
    if labels is None or positive is None:
        return found
    return (found == [normal_form(str(label)) for label in labels].index(normal_form(positive))).astype(np.int32)
