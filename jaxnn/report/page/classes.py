"""The part of a page that is of classes: what was taken for what, how surely, and which of them are found."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from jaxnn.plot import answers as drawn
from jaxnn.plot import counts
from jaxnn.report.page import images
from jaxnn.report.page.answers import Answers
from jaxnn.report.page.html import Picture, percent
from jaxnn.types import Task

MATRIX = 20  # classes of which a whole confusion matrix has room
SHOWN = 12  # mistakes
LISTED = 40  # classes and pairs of a table; of more the worst ones


def of_one(task: Task, data: dict[str, Any], found: Answers) -> dict[str, Any]:
    """Of examples with one class each."""
    classes, y, answers = data["classes"], found.y.astype(int), found.answers.astype(int).reshape(-1)
    assert task.distribution is not None
    proba = np.asarray(task.distribution(found.outputs))
    right, sure = answers == y, proba[np.arange(len(y)), answers]
    wrong = np.flatnonzero(~right)
    worst = wrong[np.argsort(-sure[wrong], kind="stable")][:SHOWN]
    captions = [(str(classes[y[i]]), str(classes[answers[i]]), float(sure[i])) for i in worst]
    k = len(classes)
    hits, there = np.bincount(y[right], minlength=k), np.bincount(y, minlength=k)
    table = counts.by_class(hits, np.bincount(answers, minlength=k), there)
    return {
        "tiles": _share(right),
        "matrix": _matrix(y, answers, classes) if k <= MATRIX else None,
        "pairs": None if k <= MATRIX else _pairs(y[wrong], answers[wrong], classes),
        "mistakes": images.examples(found, worst, data, captions),
        "by_class": _listed(classes, table),
        "classes": k,
        "pictures": [_calibration(sure, right)],
    }


def of_several(task: Task, data: dict[str, Any], found: Answers) -> dict[str, Any]:
    """Of examples with any of several labels."""
    names = data.get("targets") or data["classes"] or [str(k) for k in range(found.y.shape[-1])]
    y, answers, p = found.y > 0.5, found.answers > 0.5, np.asarray(found.outputs, float)
    right, sure = answers == y, np.where(answers, p, 1 - p)
    i, j = np.nonzero(~right)
    order = np.argsort(-sure[i, j], kind="stable")[:SHOWN]
    i, j = i[order], j[order]
    said = lambda yes, name: str(name) if yes else f"not {name}"
    cells = zip(i, j, strict=True)
    captions = [(said(y[a, b], names[b]), said(answers[a, b], names[b]), float(sure[a, b])) for a, b in cells]
    table = counts.by_class((y & answers).sum(0), answers.sum(0), y.sum(0))
    return {
        "tiles": _share(right.all(1)),
        "mistakes": images.examples(found, i, data, captions),
        "by_class": _listed(names, table),
        "classes": len(names),
        "pictures": [_calibration(sure.ravel(), right.ravel())],
    }


def _share(right: np.ndarray) -> list[tuple[str, str, str]]:
    """The tiles of examples that are right."""
    n, hits = len(right), int(right.sum())
    low, high = counts.wilson(hits, n)
    return [
        ("accuracy", percent(hits / n), f"95 % interval {percent(low)} to {percent(high)} (Wilson)"),
        ("wrong", f"{n - hits:,} of {n:,}", ""),
    ]


def _matrix(y: np.ndarray, answers: np.ndarray, classes: list[Any]) -> dict[str, Any]:
    """Rows of (count, share of the row, whether it is right) by class."""
    found = counts.confused(y, answers, len(classes))
    share = found / np.maximum(found.sum(1, keepdims=True), 1)
    cells = [
        [(int(found[i, j]), round(float(share[i, j]), 3), i == j) for j in range(len(classes))]
        for i in range(len(classes))
    ]
    return {"classes": classes, "rows": list(zip(classes, cells, strict=True))}


def _pairs(y: np.ndarray, answers: np.ndarray, classes: list[Any]) -> list[tuple[Any, Any, int]]:
    """(truth, answer, how often) of the mistakes that are made most."""
    pairs, often = np.unique(np.stack([y, answers]), axis=1, return_counts=True)
    order = np.argsort(-often, kind="stable")[:LISTED]
    return [(classes[pairs[0, i]], classes[pairs[1, i]], int(often[i])) for i in order]


def _listed(names: list[Any], found: counts.ByClass) -> list[tuple[Any, float, float, int]]:
    """(class, precision, recall, examples): all in their order, or of many those of the lowest F1."""
    f1 = 2 / (1 / np.maximum(found.precision, 1e-9) + 1 / np.maximum(found.recall, 1e-9))
    order = np.argsort(np.nan_to_num(f1, nan=2.0), kind="stable")[:LISTED] if len(names) > LISTED else range(len(names))
    return [(names[k], float(found.precision[k]), float(found.recall[k]), int(found.there[k])) for k in order]


def _calibration(sure: np.ndarray, right: np.ndarray) -> Picture:
    found = counts.reliability(sure, right)
    text = f"Calibration: the share of answers that are right over their probability, ECE {found.error:.3f}"
    return Picture("calibration", text, functools.partial(drawn.reliable, found=found))
