"""What is in the data, before anything is trained on them. On the host, without jax."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from jaxnn.data.dataset import Dataset
from jaxnn.data.overlap import hashes
from jaxnn.data.streams.rows import Rows, blocks
from jaxnn.types import Batch

Parts = dict[str, Batch]
MOST = 5  # categories of a column that are named


def survey(data: Dataset) -> dict[str, Any]:
    """Counts, shapes, ranges and duplicates of a data set, as JSON can hold them.

    classes: of each class the examples of each part (of masks the pixels, of boxes the boxes, of several labels those
    that have it). columns: of a table, over the training examples. duplicates: how many examples of a part are there
    earlier in the same part, or in another one, byte for byte.

    >>> import jaxnn.data
    >>> found = survey(jaxnn.data.load("iris"))
    >>> found["examples"], found["classes"][0]
    ({'train': 108, 'validation': 12, 'test': 30}, {'class': 'setosa', 'train': 36, 'validation': 4, 'test': 10})
    """
    named = zip(("train", "validation", "test"), data.splits, strict=True)
    parts = {name: split for name, split in named if split is not None}
    return {
        "name": data.name,
        "task": data.task,
        "examples": {part: len(split.weight) for part, split in parts.items()},
        "x": {"shape": list(data.shape), "dtype": str(data.train.x.dtype), "range": data.range, "white": data.scale},
        "y": {"shape": list(data.train.y.shape[1:]), "dtype": str(data.train.y.dtype)},
        "classes": None if data.classes is None else _classes(data, parts),
        "targets": _targets(data, parts) if data.classes is None else None,
        "columns": None if data.features is None else _columns(data),
        "missing": data.absent,
        "duplicates": _duplicates(parts),
        "notes": list(data.notes),
    }


def _classes(data: Dataset, parts: Parts) -> list[dict[str, Any]]:
    """How many there are of each class, in each part."""
    classes = data.classes or ()
    counts = {part: _counted(split.y, len(classes)) for part, split in parts.items()}
    return [{"class": name} | {part: int(each[k]) for part, each in counts.items()} for k, name in enumerate(classes)]


def _counted(labels: Any, classes: int) -> np.ndarray:
    """i64[K], of labels that may be on the disk: i32[n]; several f32[n, K]; masks u8[n, H, W]; boxes f32[n, M, 5]."""
    total = np.zeros(classes, np.int64)
    for y in _arrays(labels):
        if y.ndim == 2:  # each 0 or 1
            total += y.astype(np.int64).sum(0)
            continue
        kinds = y[..., 0] if y.dtype.kind == "f" else y
        kinds = kinds[(kinds >= 0) & (kinds < classes)]  # without the padding of boxes, and pixels of no class
        total += np.bincount(kinds.astype(np.int64), minlength=classes)
    return total


def _targets(data: Dataset, parts: Parts) -> list[dict[str, Any]]:
    """The amounts to predict, over all parts."""
    y = np.concatenate([each for split in parts.values() for each in _arrays(split.y)])
    y = y.reshape(len(y), -1)
    names = data.targets or tuple(f"y[{k}]" if y.shape[1] > 1 else "y" for k in range(y.shape[1]))
    return [{"target": name} | each for name, each in zip(names, _amounts(y), strict=True)]


def _columns(data: Dataset) -> list[dict[str, Any]]:
    """What the columns of a table hold: numbers, or categories, of which the most frequent ones are counted."""
    features = data.features or ()
    place, amounts = {name: k for k, name in enumerate(features)}, _amounts(data.train.x)
    if not data.columns:  # a bundled table, whose columns are its features
        return [{"column": name} | amounts[k] for name, k in place.items()]
    found = []
    for column in data.columns:
        if column.categories is None:
            found.append({"column": column.name} | amounts[place[column.name]])
            continue
        there = {text: place.get(f"{column.name}={text}") for text in column.categories}
        shares = {text: 0.0 if k is None else amounts[k]["mean"] for text, k in there.items()}  # of 0 and 1
        most = sorted(shares, key=lambda text: -shares[text])[:MOST]
        counts = {text: round(shares[text] * len(data.train.weight)) for text in most}
        found.append({"column": column.name, "categories": len(shares), "most": counts})
    return found


def _amounts(x: Any) -> list[dict[str, float]]:
    """Of each column of `[n, F]`, which may be on the disk."""
    low, high = (np.stack([f(part, axis=0) for part in _arrays(x)]) for f in (np.min, np.max))
    mean = np.sum([part.sum(0, dtype=np.float64) for part in _arrays(x)], 0) / len(x)
    variance = np.sum([np.square(part - mean).sum(0) for part in _arrays(x)], 0) / len(x)
    columns = zip(low.min(0), mean, np.sqrt(variance), high.max(0), strict=True)
    return [dict(zip(("least", "mean", "deviation", "greatest"), map(float, each), strict=True)) for each in columns]


def _duplicates(parts: Parts) -> dict[str, int]:
    """`train`: examples that are in train already; `validation in train`: those of validation that are in train."""
    known = {part: hashes(split.x) for part, split in parts.items()}
    found = {part: len(each) - len(np.unique(each)) for part, each in known.items()}
    for one, other in itertools.combinations(known, 2):
        found[f"{other} in {one}"] = int(np.isin(known[other], known[one]).sum())
    return found


def _arrays(array: Any) -> Iterator[np.ndarray]:
    """Its rows, a block at a time where they are on the disk."""
    for part in blocks(array) if isinstance(array, Rows) else [slice(None)]:
        yield array[part]
