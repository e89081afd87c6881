"""What is learned from the training examples before the network is: no other example has a part in it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from jaxnn.arrays import to_float32
from jaxnn.config.names import IMPUTED
from jaxnn.config.values import class_weight
from jaxnn.data import imputed
from jaxnn.data.columns import HOLE
from jaxnn.data.frame import Frame
from jaxnn.data.streams.rows import Rows, blocks
from jaxnn.errors import InputError, choices
from jaxnn.tasks.targets import Targets
from jaxnn.types import Batch

LOST = 2.0**-10  # of a column's deviation: if neighbouring float32 numbers are further apart, its differences are lost


class Inputs(NamedTuple):
    """The features of each part: u8[n, H, W, C] or f32[n, ...]; f64[n, F] where there is an `offset f64[F]`."""

    x: dict[str, np.ndarray]
    offset: np.ndarray | None = None
    features: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()
    fill: dict[str, float | str] | None = None
    """what stands for a missing cell of each column of a table"""


def moments(x: Any) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of each feature over the examples, f32, in the units of `x`; a deviation of 0 becomes 1.

    `x` may be on the disk (`Rows`): NumPy adds row after row, so a block at a time gives the same bits.
    """
    mean = _total(x) / len(x) if isinstance(x, Rows) else x.mean(0, dtype=np.float64)
    parts = range(0, len(x), 4096)  # the float64 copy is of 4,096 examples, not of all
    variance = sum(np.square(x[i : i + 4096] - mean).sum(0) for i in parts) / len(x)
    std = np.sqrt(variance).astype(np.float32)
    return mean.astype(np.float32), np.where(std < np.finfo(np.float32).tiny, np.float32(1), std)


def _total(x: Rows) -> np.ndarray:
    total = np.zeros(x.shape[1:])
    for part in blocks(x):
        total = np.add.reduce(np.concatenate([total[None], x[part]]), axis=0, dtype=np.float64)
    return total


def amounts(y: np.ndarray) -> tuple[list[float], list[float]]:
    """Mean and deviation of each target `f32[n, K]` over the training examples, in float64; a deviation of 0 becomes
    1."""
    mean = y.mean(0, dtype=np.float64)
    deviation = np.sqrt(np.mean(np.square(y - mean), axis=0))
    return mean.tolist(), np.where(deviation > np.finfo(np.float32).tiny, deviation, 1.0).tolist()


def offset(values: np.ndarray, name: str, *, standardize: bool) -> float:
    """What is to be taken off a column in float64 before it becomes float32: its mean where float32 would lose its
    differences (seconds since 1970), else 0. Without `standardize` such a column is refused.

    >>> seconds = np.array([1_700_000_000.0, 1_700_000_030.0])
    >>> offset(seconds, "t", standardize=True), offset(seconds - 1.7e9, "t", standardize=True)
    (1700000015.0, 0.0)
    """
    if not _is_lost(values):
        return 0.0
    if not standardize:
        _refuse_lost(values, name, "standardise the features (--data.standardize), or subtract a constant from it")
    mean = values.mean(dtype=np.float64)
    return float(np.round(mean) if values.dtype.kind in "iu" else mean)  # whole numbers stay whole


def refuse_lost_amounts(y: np.ndarray, names: tuple[str, ...] | None = None) -> None:
    """Refuse amounts to predict, `[n]` or `[n, K]` as they were read, whose differences float32 would lose."""
    for k, column in enumerate(y.reshape(len(y), -1).T):
        name = "amounts to predict" if y.ndim == 1 else f"y[:,{k}]" if names is None else names[k]
        if column.dtype.kind == "f" and _is_lost(column):
            _refuse_lost(column, name, "subtract a constant from them, and add it to what is predicted")


def _refuse_lost(values: np.ndarray, name: str, cure: str) -> None:
    mean, deviation = values.mean(dtype=np.float64), values.std(dtype=np.float64)
    raise InputError(f"{name}={mean:.12g} ± {deviation:.3g}: float32 would lose its differences; {cure}")


def _is_lost(values: np.ndarray) -> bool:
    """Whether neighbouring float32 numbers are as far apart as the values differ."""
    low, high = float(values.min()), float(values.max())
    return low < high and is_lost(low, high, float(values.std(dtype=np.float64)))


def is_lost(low: float, high: float, deviation: float) -> bool:
    """Whether float32 numbers are as far apart, where the largest of these values are, as the values differ."""
    largest = np.float32(min(max(-low, high), float(np.finfo(np.float32).max)))
    # The deviation of a constant column is rounding, not 0.
    return low < high and float(np.spacing(largest)) > LOST * deviation


def inputs(given: dict[str, Any], rows: dict[str, np.ndarray], names: Any, *, standardize: bool) -> Inputs:
    """The features of each part, ready for the network but for what the network does itself.

    Args:
      given: x of each part that the data came in: arrays, or a `Frame` each.
      rows: which rows of `given["train"]` go into each part that is cut from it.
      names: of the columns, where x are arrays.
    """
    whole, others = given["train"], [part for part in given if part not in rows]
    if isinstance(whole, Frame):
        return _of_frames(whole, {part: given[part] for part in others}, rows, standardize)
    cut = lambda x: {part: x["train"][index] for part, index in rows.items()} | {part: x[part] for part in others}
    if whole.ndim != 2:
        as_is = (np.uint8, np.float32)
        return Inputs(cut({part: x if x.dtype in as_is else x.astype(np.float32) for part, x in given.items()}))
    train, off = whole[rows["train"]], np.zeros(whole.shape[1])
    for k in range(len(off)) if train.dtype.itemsize > 2 else ():
        off[k] = offset(train[:, k], f"x[:,{k}]" if names is None else names[k], standardize=standardize)
    lost, ready = bool(off.any()), {}
    for part, x in given.items():
        shifted = x - off.astype(x.dtype if x.dtype.kind == "i" else np.float64) if lost else x
        narrow = to_float32(shifted, "x" if part == "train" else f"{part} x", names)
        ready[part] = x.astype(np.float64) if lost else narrow
    return Inputs(cut(ready), off if lost else None, names)


def _of_frames(whole: Frame, others: dict[str, Frame], rows: dict[str, np.ndarray], standardize: bool) -> Inputs:
    features, train, frames = whole.seen(rows["train"]), rows["train"], (whole, *others.values())
    off = np.zeros(len(features))
    for k, (j, category) in enumerate(features):
        name = whole.columns[j].name
        if category is None and any(name in frame.rounded for frame in frames):
            # The values in float32 are there and tell enough; only a column that may be lost is read again.
            rounded = whole.present(j, train)
            if _is_lost(rounded) or rounded.min() == rounded.max():
                exact = whole.exact(j)[train[~whole.missing(j, train)]]
                off[k] = offset(exact, name, standardize=standardize)
    for frame in frames:
        for k, (j, _) in enumerate(features):
            frame.refuse_changed(j, off[k])
            if off[k]:
                frame.fill_exact(j)
    if whole.nan in IMPUTED:
        fill = imputed.learned(whole, train)
        for frame in frames:
            frame.fill = fill
    dtype = np.float64 if off.any() else np.float32
    x = {part: frame.matrix(features, np.arange(len(frame)), dtype) for part, frame in others.items()}
    x |= {part: whole.matrix(features, index, dtype) for part, index in rows.items()}
    known = set(features)
    unseen = [whole.name(f) for f in whole.features() if f not in known and f.category != HOLE]
    listed = f"{', '.join(unseen[:10])}{', ...' * (len(unseen) > 10)}"
    notes = (f"{listed}: in no training example; read as no category",) if unseen else ()
    notes += tuple(note for frame in frames if frame.fill for note in imputed.told(frame))
    names = tuple(whole.name(feature) for feature in features)
    if len(set(names)) < len(names):
        raise InputError(f"{whole.grid.name}: two columns become the same feature (name=category); rename one")
    return Inputs(x, off if off.any() else None, names, notes, whole.fill)


def weighed(given: Any, found: Targets, train: Batch) -> tuple[Batch, np.ndarray | None]:
    """The training examples with the weights of their classes, and these, f32[K]; None where none are given."""
    if given is None:
        return train, None
    y = np.asarray(train.y)
    by_class = class_weights(given, found, y)
    return train._replace(weight=np.asarray(train.weight) * by_class[y]), by_class


def class_weights(given: Any, found: Targets, y: np.ndarray) -> np.ndarray:
    """f32[K]: by the label (1 for those left out) or in the order of the classes, or "balanced": n / (K count)."""
    if found.classes is None or not found.numbered:
        raise InputError(f"--data.class_weight={given}: {found.task} has no classes of whole examples; leave it out")
    k, names = len(found.classes), [str(label) for label in found.classes]
    if given == "balanced":
        return (len(y) / (k * np.maximum(np.bincount(y, minlength=k), 1))).astype(np.float32)
    pairs = [class_weight(word) for word in given]
    table = {label: weight for label, weight in pairs if label is not None}
    if table and len(table) < len(pairs):
        raise InputError(
            f"--data.class_weight={' '.join(map(str, given))}: must be all by label, each once, or all in order"
        )
    for label in table:
        if label not in names:
            raise choices("--data.class_weight", label, names)
    order = [table.get(name, 1.0) for name in names] if table else [weight for _, weight in pairs]
    weights = np.array(order, np.float32)
    if weights.shape != (k,) or not weights[np.unique(y)].any():
        raise InputError(f"--data.class_weight={given}: must be {k} numbers, one a class, not all 0")
    return weights
