"""What fits neither the dtype of an estimator nor its classes, refused by its place and value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.utils import compute_sample_weight


def cast(values: Any, dtype: Any, name: str) -> Any:
    """The values, dense or sparse, as `dtype`. Raises `ValueError` for the first that would become infinite in it.

    >>> cast(np.array([[0.0, 1e39]]), np.float32, "X")
    Traceback (most recent call last):
    ValueError: X[0, 1]=1e+39: does not fit float32 (at most 3.40282e+38), in which the estimator computes; rescale it
    """
    with np.errstate(over="ignore"):
        fitting = values.astype(dtype, copy=False)
    entries = fitting.data if sparse.issparse(fitting) else fitting
    if not (bad := ~np.isfinite(entries)).any():
        return fitting
    place: tuple[Any, ...] = np.unravel_index(np.argmax(bad), bad.shape)
    value = (values.data if sparse.issparse(values) else values)[place]
    if sparse.issparse(fitting):
        places = fitting.tocoo()
        place = places.row[place], places.col[place]
    where, limit = ", ".join(str(int(i)) for i in place), f"{np.dtype(dtype)} (at most {np.finfo(dtype).max:g})"
    raise ValueError(f"{name}[{where}]={value}: does not fit {limit}, in which the estimator computes; rescale it")


def class_weights(given: Any, classes: np.ndarray, y: np.ndarray, incremental: bool) -> np.ndarray:
    """The weight of each row's class: y `[n]` numbers of classes, or `[n, labels]`; gives `float64[n]`.

    Raises `ValueError` for weights that are not finite or negative, for labels that are no class, and for a list that
    is not as long as there are classes.
    """
    if given is None:
        return np.ones(len(y))
    if isinstance(given, str):
        if incremental:
            raise ValueError("class_weight='balanced' needs all rows at once: give partial_fit a dict")
        return compute_sample_weight("balanced", y)
    if y.ndim == 2:
        raise ValueError(f"class_weight={given}: with several labels only 'balanced' can be used")
    if not isinstance(given, Mapping):
        if np.shape(given) != (len(classes),):
            rule = f"must hold one weight for each of the {len(classes)} classes, in the order of `self.classes_`"
            raise ValueError(f"class_weight of shape {np.shape(given)}: {rule} {classes}")
        given = dict(enumerate(given))
        places = {place: [place] for place in given}
    else:
        places = {label: np.flatnonzero([label == each for each in classes]) for label in given}
        if unknown := [label for label, found in places.items() if not len(found)]:
            raise ValueError(f"class_weight has the classes {unknown}, `self.classes_` has {classes}.")
    weights = np.ones(len(classes))
    for label, weight in given.items():
        try:
            weights[places[label]] = weight
        except (TypeError, ValueError):
            weights[places[label]] = np.nan
        if not (0 <= weights[places[label]] < np.inf).all():
            raise ValueError(f"class_weight[{label!r}]={weight!r}: must be finite and >= 0")
    return weights[y]
